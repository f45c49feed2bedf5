"""What a reader of the comparison may choose: each case, by each measure, and who is ahead, as data for its script."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd
from IPython.display import HTML

from siliconbench.analysis import stats
from siliconbench.analysis.cases import ALIKE, COMPARED, SETTING, USUAL, case_words, chief, compared
from siliconbench.analysis.words import APART, percent_words, significant, span_words, times_words
from siliconbench.pages import html, tables
from siliconbench.pages.ranking import Study, weight
from siliconbench.record import named

WHAT = [name for name in ALIKE if name not in (*SETTING, "image_px")]  # the first choice: the model, and how it is fed
EVERY_PAIR = 40  # machines of a case up to which each pair is compared; of more each with the first and one's own
AXES = ("model", "image size", "batch size", "setting", "compared in")
USED = ("the reference setting", "each at its fastest setting")
BEST = "each at its fastest"  # batch size
Row = dict[Any, Any]  # of cases.cases()
Pairs = dict[tuple[int, int], stats.Comparison]
View = dict[str, Any]  # one choice as data: see view()


class Measure(NamedTuple):
    """What machines are compared in: a run's figure, of which more is better, and how it is shown."""

    heading: str
    of: str  # which of cases.MEASURES
    better: str  # what the one with more is more of
    times: Callable[[Row], float | None] = lambda row: 1.0  # None: nothing is known of it
    shown: Callable[[float], float] = float
    alike: str = ""  # a column in which what is compared must agree


MEASURES = [
    Measure("images/s, end to end", "images_per_s", "fast"),
    Measure("ms, a request's median", "requests_per_s", "fast", shown=lambda rate: 1000 / rate),
    Measure("images per joule", "images_per_j", "thrifty", alike="joules_of"),
    Measure("images/s per 1,000 of its price", "images_per_s", "good value",
            lambda row: 1000 / row["price"], alike="currency"),
    Measure("cost of a million images, rented", "images_per_s", "cheap to rent",
            lambda row: 3.6e-3 / row["rent"], lambda rate: 1 / rate, "currency"),
]  # fmt: skip


def measured(cases: list[Row], measure: Measure) -> list[Row]:
    """The cases of which this measure is known, their figure, interval and sessions those of it, the best first."""
    rows = []
    for row in cases:
        times, (every, quiet) = measure.times(row), row["measures"][measure.of]
        if times == 1.0 and measure.of == "images_per_s" and any(every):
            rows.append(row)  # its own figure
        elif pd.notna(times) and any(every):
            every, quiet = ([[times * x for x in day] for day in days] for days in (every, quiet))
            rate = stats.interval(every, row["between"])
            calm = measure.shown(math.exp(stats.estimate(quiet).log)) if any(quiet) else None
            new = {"sessions": every, "undisturbed": quiet, "undisturbed_images_per_s": calm, "images_per_s": rate.mean}
            rows.append(row | new | {"low": rate.low, "high": rate.high})
    rows.sort(key=itemgetter("images_per_s"), reverse=True)
    kinds = Counter(row[measure.alike] for row in rows) if measure.alike else {}
    return [row for row in rows if not kinds or row[measure.alike] == max(kinds, key=lambda kind: (kinds[kind], kind))]


def turned(found: stats.Comparison) -> stats.Comparison:
    """The same comparison seen from its other side."""
    word = {"faster": "slower", "slower": "faster"}.get(found.word, found.word)
    return stats.Comparison(1 / found.ratio, found.high and 1 / found.high, found.low and 1 / found.low, found.p, word)


def pairs(rows: list[Row]) -> Pairs:
    """Who is ahead, by rows: what the second of a key is to its first. All at once (Holm), or with each base."""
    table = pd.DataFrame({name: [row[name] for row in rows] for name in COMPARED}).assign(place=range(len(rows)))
    if len(rows) > EVERY_PAIR:
        bases = {0, next((place for place, row in enumerate(rows) if row["mine"]), 0)}
        return {key: pair for base in bases for key, pair in compared(table, "place", base).items()}
    found = compared(table, "place")
    return found | {(b, a): turned(pair) for (a, b), pair in found.items()}


def drawn(found: stats.Comparison) -> list[object]:
    """What the page's script shows of a comparison: its share and who is ahead in words, its ratio, its interval."""
    numbers = found[:3] if found.high and found.low and found.high <= APART * found.low else (found.ratio, None, None)
    place = {"faster": ", ahead", "slower": ", behind"}.get(found.word, f", {found.word}")
    low, high = found.low and 100 * found.low, found.high and 100 * found.high
    share = times_words(found._replace(ratio=100 * found.ratio, low=low, high=high))
    words = f"{share} %" if "(" not in share else share.replace(" (", " % (")
    return [words + (" (one run)" if found.low is None else place), *(x and float(f"{x:.4g}") for x in numbers)]


def apart(case: Row) -> bool:
    """Whether its runs differ so much that they give no figure to use."""
    return bool(pd.notna(case["low"]) and case["high"] > APART * case["low"])


def verdict(rows: list[Row], found: Pairs, measure: Measure) -> str:
    """Who is ahead there, by how much, how sure; and how far the last is behind."""
    first = rows[0]["who"]
    if len(rows) == 1:
        own = f"{significant(measure.shown(rows[0]['images_per_s']), 4)} {measure.heading}"
        own += " (don't use it: its runs differ too much)" if apart(rows[0]) else ""
        return f"{first}: {own}. There is no other machine to compare it with.{doubt([first] * (not rows[0]['clean']))}"
    second, pair = rows[1]["who"], turned(found[0, 1])
    once = " (one run)" if pair.low is None else ""
    ahead = f"{first} is {times_words(pair)}{once} times as {measure.better} as {second}"
    sure = {"faster": f"{ahead}.", "same": f"{first} and {second} are equally {measure.better} within 2 %."}
    told = sure.get(pair.word, f"{ahead}, but that is undecided: {what_would_tell(rows[1], rows[0])}.")
    mine, last = next((place for place, row in enumerate(rows) if row["mine"]), 0), len(rows) - 1
    for place in (place for place in dict.fromkeys((mine, last)) if place > 1):
        where = "the last" if place == last else f"number {place + 1}"
        share = percent_words(found[0, place].ratio)
        told += f" Of {len(rows)} machines {rows[place]['who']} is {where}, at {share} of the first."
    return told + doubt(row["who"] for row in rows[:2] if not row["clean"])


def doubt(names: Iterable[str]) -> str:
    """That none of the runs of these machines was clean, if there are any."""
    said = " and ".join(names)
    return f" No run of {said} was clean: see the doubts below." if said else ""


def what_would_tell(slow: Row, fast: Row) -> str:
    """What would decide between two machines: runs, sessions on other days, a quieter host."""
    a, b, between = slow["sessions"], fast["sessions"], slow["between"]
    more, days = stats.runs_needed(a, b, between=between), min(len(a), len(b))
    if min(slow["runs"], fast["runs"]) < 2:
        return "one run can't tell; REPEATS=5 says more"
    if stats.compare(a, b, between=between).word != "undecided" and (slow["disturbed"] or fast["disturbed"]):
        return "the disturbed runs sway it, or it is one of many pairs: more runs on a quiet machine would tell"
    if more is None and days < stats.ALONE:
        return f"more runs of that day can't tell, {stats.ALONE} sessions of each on different days may"
    if more is None:
        return "the noise is too large for more runs to tell"
    what = "session" if days >= stats.ALONE else "run"
    return f"{more} more {what}{'' if more == 1 else 's'} of each would tell" if more else f"more {what}s would tell"


def command(row: Row, used: str, measure: Measure, batch: str) -> str:
    """The command that measures this on another machine."""
    model = f"IMAGE_MODEL={named.word(row['source'], row['model'])}"
    given = [f"{k.upper()}={row[k]}" for k in ("input", "workers", "mode") if row[k] != USUAL[k]]
    given = [re.sub("=folder.*", "=path/to/folder", one) for one in given]  # where it is no record tells
    given += [f"IMAGE_PX={row['image_px']}"] if row["image_px"] != 224 else []
    size, request = [f"BATCH_SIZE={'auto' if batch == BEST else batch}"], measure.of == "requests_per_s"
    if used == USED[1]:
        return " ".join(["make best", model, *["GOAL=latency", *size * (batch != BEST)] * request, *given])
    return " ".join(["make image", model, *size, *given])


def row_of(case: Row, measure: Measure, axes: list[str]) -> list[object]:
    """What the page's script shows of a case: its machine, figure and interval, its runs, and what is its own."""
    own = case_words(case, axes).partition(", ")[2]
    if pd.isna(case["images_per_s"]):
        return [case["who"], None, (case["error"] or "wrong outputs").replace("_", " "), "", own]
    ends = sorted(map(measure.shown, (case["low"], case["high"]))) if pd.notna(case["low"]) else (None, None)
    value, runs = measure.shown(case["images_per_s"]), tables.runs_words(case)
    why = "others were at work in each" if case["disturbed"] >= case["runs"] else "its runs differ too much"
    runs += f"\ndon't use: {why}" if case["disturbed"] >= case["runs"] or apart(case) else ""
    span = span_words(value, *ends)
    return [case["who"], float(f"{value:.5g}"), f"{significant(value, 4)}\n({span})", runs, own]


def view(cases: list[Row], at: tuple[str, ...], measure: Measure, lost: list[Row]) -> View:
    """One choice as data: place, rows, pairs, verdict, command, if more is better. lost: cases that failed there."""
    axes = [name for name in SETTING if (at[2] == BEST if name == "batch_size" else at[3] == USED[1])]
    found, count = pairs(cases), range(len(cases))
    beside = [[drawn(found[i, j]) if (i, j) in found else None for j in count] for i in count]
    rows = [row_of(case, measure, axes) for case in (*cases, *lost)]
    heading = measure.heading + (f" ({cases[0][measure.alike]})" if measure.alike else "")
    batch = f"{BEST} batch size" if at[2] == BEST else f"batch {at[2]}"
    says = f"At {at[0]}, {at[1]}, {batch}, {at[3]}: {verdict(cases, found, measure)}"
    holm = "all pairs" if len(cases) <= EVERY_PAIR else "all pairs with the first, or with yours,"
    return {"at": [*at[:4], measure.heading], "heading": heading, "rows": rows, "says": says, "holm": holm,
            "pairs": [line if any(line) else None for line in beside], "more": measure.shown(2.0) > measure.shown(1.0),
            "command": command(cases[0], at[3], measure, at[2])}  # fmt: skip


def prepared(study: Study) -> pd.DataFrame:
    """The cases of short runs, each with `what` it is of and `who` ran it."""
    table = study.cases[~study.cases["sustained"]]
    names, several = table["machine"].map(study.names.get), table.groupby("machine")["device"].transform("nunique") > 1
    differ = [name for name in WHAT if name not in USUAL and name != "model" and table[name].nunique() > 1]
    usual = [name for name in WHAT if name in USUAL]
    what = [case_words(c, [*(n for n in usual if c[n] != USUAL[n]), *differ]) for c in table.to_dict("records")]
    who = names + (", " + table["device"]).where(several, "")
    return table.assign(what=what, who=who)


def views(study: Study) -> Iterator[View]:
    """Every choice as data, the one of most machines first."""
    table = prepared(study)
    used = {USED[0]: chief(table[table["reference"]]), USED[1]: chief(table[table["reference"] | table["agreed"]])}
    keys = ["what", "image_px", "batch_size"]
    good = used[USED[0]].dropna(subset=["images_per_s"]).drop_duplicates([*keys, "machine"])
    weights = {key: weight(group) for key, group in good.groupby(keys)}
    order = sorted(weights, key=weights.__getitem__, reverse=True)
    for what, px in dict.fromkeys((what, px) for what, px, _ in order):
        sizes = [n for w, x, n in order if (w, x) == (what, px)]
        for name, cases in used.items():
            own = cases[(cases["what"] == what) & (cases["image_px"] == px)].to_dict("records")
            for measure in MEASURES:
                known = measured(own, measure)
                for size in [*sizes, *[BEST] * (len({row["batch_size"] for row in known}) > 1)]:
                    here = first_of_each(free(known, size, name))
                    failed = [row for row in own if row["batch_size"] == size and pd.isna(row["images_per_s"])]
                    if here:
                        lost = first_of_each([*here, *failed])[len(here) :]
                        yield view(here, (what, f"{px} px", str(size), name), measure, lost)


def free(rows: list[Row], size: object, used: str) -> Iterator[Row]:
    """Those of this batch size, or of all; of machines alone that were measured in more ways than one there."""
    here = [row for row in rows if size in (BEST, row["batch_size"])]
    sizes = Counter(who for who, _ in {(row["who"], row["batch_size"]) for row in here})
    tuned = {row["who"] for row in here if not row["reference"]}
    return (r for r in here if (r["who"] in tuned if used == USED[1] else size != BEST or sizes[r["who"]] > 1))


def first_of_each(rows: Iterable[Row]) -> list[Row]:
    """Of each machine the first of these."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["who"], row)
    return list(found.values())


def block(every: list[View]) -> HTML:
    """All choices as data for the page's script; and the first as it stands where no script runs."""
    if not every:
        return HTML("")
    axes = [[name, list(dict.fromkeys(one["at"][i] for one in every))] for i, name in enumerate(AXES)]
    text = html.clean(json.dumps({"axes": axes, "views": every}, separators=(",", ":"), ensure_ascii=False))
    text = re.sub("[<>&\u2028\u2029]", lambda m: f"\\u{ord(m[0]):04x}", text)  # they could end the element, or a line
    data = f'<section id="choice" hidden></section><script id="views" type="application/json">{text}</script>'
    beside = [pair[0] if pair else "" for pair in every[0]["pairs"][0] or []]
    rows = [(row[0], row[2], told, row[3]) for row, told in zip_longest(every[0]["rows"], beside, fillvalue="")]
    table = pd.DataFrame(rows, columns=["machine", every[0]["heading"], "of the first", "runs"])
    first = html.table(table, f"95 % intervals; {every[0]['holm']} at once (Holm)").data
    first += html.sentence(every[0]["says"]).data + html.sentence(f"`{every[0]['command']}` measures it.", "note").data
    return HTML(f'<div id="standing">{first}</div>{data}')
