"""The ladder of `make best`: from the plain program to the fastest setting, choice by choice, each with its factor."""

from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

import pandas as pd

from siliconbench.analysis import advice, stats
from siliconbench.analysis.cases import SETTING, case_words
from siliconbench.analysis.words import APART, rate_words, ratio_words, significant, times_words
from siliconbench.record import axes
from siliconbench.record.schema import Case, Record


class Rung(NamedTuple):
    """A setting, what it changes in the one before it in words, and its looks: those that ran with the right outputs,
    their rates, why one is missing; and how much faster it is than the one before it that ran (None: the first)."""

    case: Case
    words: str
    looks: list[Record]
    rates: list[float]
    missing: str
    step: stats.Comparison | None


def rate(r: Record) -> float:
    """The images/s of a look: of requests by their median, where it timed them, else of the model alone."""
    assert r.passes and r.passes.forward, "a look has timed the model alone"
    return r.case.batch_size / median(r.latency.request_s) if r.latency else r.passes.forward.images_per_s


def right(records: Iterable[Record]) -> list[Record]:
    """The runs that succeeded and of which nothing says that they are wrong."""
    return [r for r in records if r.verdict and r.verdict.word != "wrong"]


def rates(records: Iterable[Record], part: str = "end_to_end") -> list[float]:
    """Images per second of a part, a pass, of those runs that have it."""
    return [timed.images_per_s for r in right(records) if r.passes and (timed := getattr(r.passes, part))]


def newest(records: Iterable[Record]) -> list[list[Record]]:
    """The records of the newest ladder of each machine, model, device and goal; what surely brings most comes first."""
    sweeps, found = dict[str, list[Record]](), dict[tuple[str, ...], list[Record]]()
    for r in records:
        sweeps.setdefault(r.sweep.id, []).append(r)
    for _, mine in sorted(sweeps.items()):
        if looks := [r for r in mine if r.sweep.search and r.passes and not r.passes.end_to_end]:
            first, goal = looks[0], "latency" if looks[0].latency else ""
            found[first.machine.slug, first.case.source + first.case.model, first.case.device, goal] = mine
    ladders = [mine for mine in found.values() if rungs(mine)]  # a stranger's may have no plain setting
    return sorted(ladders, key=lambda mine: -(((total := whole(rungs(mine))) and total.low) or 0.0))


def rungs(records: Iterable[Record]) -> list[Rung]:
    """The ladder of one sweep, from the reference (at 64, or as many as memory held) on; empty without a look of it."""
    looks, cases = [r for r in records if r.sweep.search], dict[Case, list[Record]]()
    for r in looks:
        cases.setdefault(r.case.model_copy(update={"image_px": None}), []).append(r)
    held = sorted((c for c in cases if c.reference), key=lambda c: (c.batch_size > advice.PLAIN, -c.batch_size))
    plain = next(iter(held), None)
    if plain is None:
        return []
    found, before, last = list[Rung](), plain, list[float]()
    for case in sorted(cases, key=lambda c: sum(getattr(c, axis) != getattr(plain, axis) for axis in SETTING)):
        axes = [axis for axis in SETTING if case == plain or getattr(case, axis) != getattr(before, axis)]
        unlike = any(r.checks and r.checks.outputs and not r.checks.outputs.agree for r in cases[case])
        good = [] if unlike else right(cases[case])
        why = next((r.error.message for r in cases[case] if r.error), "" if good else "its outputs are not the CPU's")
        words = case_words(case, axes).partition(", ")[2] or ", ".join(f"{axis} as before" for axis in axes)
        own = [rate(r) for r in good]
        found.append(Rung(case, words, good, own, why, stats.compare(last, own) if last and own else None))
        before, last = case, own or last
    return found


def best(found: list[Rung]) -> Rung | None:
    """The fastest rung, of those within 2 % of it the first: the search's last may be no gain; None where none ran."""
    means = [stats.interval(rung.rates).mean if rung.rates else 0.0 for rung in found]
    return next((rung for rung, mean in zip(found, means, strict=True) if (1 + stats.MARGIN) * mean > max(means)), None)


def whole(found: list[Rung]) -> stats.Comparison | None:
    """How much faster the best rung is than the first; None where it is the first, or the first did not run."""
    top = best(found)
    return stats.compare(found[0].rates, top.rates) if top and top is not found[0] and found[0].rates else None


def timed_words(found: list[Rung]) -> str:
    """What the rates of a ladder are of, in words."""
    return "one request at a time" if any(r.latency for rung in found for r in rung.looks) else "the model alone"


def factor_words(rung: Rung) -> str:
    """What a rung brings, in words."""
    if (step := rung.step) is None:
        return rung.missing or "the start"
    gained = step.low is None or step.low > 1
    return f"× {times_words(step)}{'' if gained else ', no gain' if (step.high or 2) > 1 else ', slower'}"


def table(found: list[Rung]) -> pd.DataFrame:
    """A row a rung: what it changes, its rate over these runs, its factor, whether its outputs agree."""
    request, rows = timed_words(found).startswith("one"), []
    for rung in found:
        mean = stats.interval(rung.rates)[:3] if rung.rates else (None, None, None)
        checks = [r.checks.outputs for r in rung.looks if r.checks and r.checks.outputs]
        plain = rung.case.reference and rung.case.device == "cpu"
        agree = "yes" if checks else "–" if not rung.looks else "it is that computation" if plain else "not compared"
        ms = f"{significant(1000 * rung.case.batch_size / mean[0])} ms a request, " if request and mean[0] else ""
        rows.append((rung.words, factor_words(rung), ms + rate_words(*mean), agree))
    return pd.DataFrame(rows, columns=["setting", "factor", "speed", "outputs agree"])


def bars(found: list[Rung]) -> pd.DataFrame:
    """The rungs that ran, for a figure: setting, mean rate, its interval (low, high), the factor in words."""
    ran = [rung for rung in found if rung.rates]
    drawn = pd.DataFrame([stats.interval(rung.rates) for rung in ran], columns=stats.Interval._fields, dtype=float)
    drawn.loc[drawn["high"] >= APART * drawn["low"], ["low", "high"]] = None  # its runs differ too much for a bar
    factors = [factor_words(rung) if rung.step else "" for rung in ran]
    return drawn.assign(setting=[rung.words for rung in ran], factor=factors)


def sentences(found: list[Rung], records: Iterable[Record]) -> list[str]:
    """What the whole ladder brings, and whether the runs in full say so, too."""
    full, total = [r for r in right(records) if not r.sweep.search], whole(found)
    first, top, on = found[0].case, best(found), axes.DEVICES[found[0].case.device].title
    if total is None or top is None:
        return [f"{first.model} on the {on}: no other setting is faster than the plain one."]
    how = f"{timed_words(found).capitalize()}, {len(found[0].rates)} fresh processes a rung, interleaved; "
    how += "the factors multiply to the whole." if top is found[-1] else "what comes after the best brings nothing."
    said = [f"{first.model} on the {on}: {times_words(total)} times as fast as the plain program. {how}"]
    ends = [[r for r in full if r.case.model_copy(update={"image_px": None}) == case] for case in (first, top.case)]
    if all(ends):
        told, alone = (stats.compare(rates(ends[0], p), rates(ends[1], p)) for p in ("end_to_end", "forward"))
        rate, checks = significant(stats.interval(rates(ends[1])).mean), ends[1][0].checks
        more = f"the model alone {ratio_words(alone.ratio)} times; its bottleneck now: {checks and checks.bottleneck}"
        more += f"; its runs: {', '.join(r.verdict.word for end in ends for r in end if r.verdict)}"
        said += [f"In full, end to end: {times_words(told)} times, to {rate} images/s ({more})."]
    return said


def agreement(r: Record) -> str:
    """Whether a run's outputs are the CPU's, in a sentence."""
    outputs = r.checks.outputs if r.checks else None
    if outputs is None or outputs.largest_difference is None:
        return f"Its outputs were not compared: {r.checks.unknown.get('outputs', '?') if r.checks else '?'}."
    difference = f"{outputs.largest_difference:.2g} of their scatter ({outputs.tolerance:g} is allowed)"
    top1 = outputs.top1_agreement
    same = "" if top1 is None else f", the class is the same for {100 * top1:.0f} %"
    return f"Its outputs agree with the CPU's in fp32: the largest difference is {difference}{same}."
