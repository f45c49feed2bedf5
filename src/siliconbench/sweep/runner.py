"""Measures a plan's runs, each by papermill in a fresh kernel; `make image` from its header to its page; `make suite`,
the fixed protocol that everybody runs, and its two figures to quote."""

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from papermill import PapermillExecutionError

from siliconbench import paths
from siliconbench.analysis import advice, answer, cases, suite, words
from siliconbench.knobs import Given, Stopped
from siliconbench.machine import facts, tuning
from siliconbench.record import fields, named, protocol, store
from siliconbench.record.schema import Record
from siliconbench.sweep import failure, kernel, terminal
from siliconbench.sweep.plan import Further, Plan, device_type, ends, onward, planned, settings

Page = Callable[[str, Path], str]  # renders a machine's page: its slug and the folder of records, the page's path


def parameters(plan: Plan, order: int, created: str, records: Iterable[Record]) -> dict[str, Any]:
    """What a run is told: its case, its place in the sweep, the loader processes that its case's first run chose."""
    case = plan.runs[order - 1].case
    mine = (r for r in records if r.case.asked() == case and not r.sweep.search)  # a look loads nothing: it chose none
    used = [(r.sweep.order, r.checks.workers.used) for r in mine if r.checks]
    chosen = dict(zip(("chosen_in", "chosen_workers"), min(used), strict=True)) if used and case.workers is None else {}
    where = {"machine": plan.machine.slug, "telemetry": plan.telemetry, "results": str(plan.results.resolve())}
    asked_for = {"model": named.word(case.source, case.model, here=True)}
    return case.model_dump(include={*fields.PARAMETERS}) | asked_for | plan.known(order, created) | chosen | where


def run(plan: Plan, order: int, records: Iterable[Record], progress: terminal.Bar) -> Record:
    """The record of one run, measured in a fresh kernel after these; of a run that fails, a record that says so.
    Stopped where what it leaves can't be written: its repetition would fare no better."""
    created, slug, (case, repeat, search) = store.now(), plan.machine.slug, plan.runs[order - 1]
    path = plan.results / slug / store.file_name(case, created, repeat)
    killed_before, executed = facts.killed_for_memory(), paths.RUNS / slug / f"{path.stem}.ipynb"
    given = parameters(plan, order, created, records)
    try:
        if search:
            under_our_lock = {"SILICONBENCH_PROGRESS": "1"} | tuning.variables(given)
            told = json.dumps(given | {"case": case.model_dump(), "request": plan.request})
            kernel.child("look", told, env=under_our_lock)
        else:
            kernel.execute(paths.NOTEBOOKS / "measure.ipynb", executed, given, progress)
        return store.load(path)
    except (PapermillExecutionError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, PapermillExecutionError) and error.ename == Stopped.__name__:
            raise Stopped(error.evalue) from None
        if isinstance(error, OSError) and error.errno in store.FULL:
            raise Stopped(f"{executed} can't be written ({error.strerror}): make room, then `make` goes on") from None
        ended = facts.killed_for_memory() > killed_before or failure.beyond(case, records)
        return failure.failed(plan, order, created, failure.reason(error, ended))


def stages(plan: Plan, further: Further, sentences: Callable[[list[Record]], list[str]], page: Page) -> list[Record]:
    """The records of a sweep, stage by stage until none is left. Prints a line a run, then the sentences, the page."""
    have, records, more = dict(plan.done), list[Record](), plan.runs
    while more:
        orders = range(1, len(plan.runs) + 1)
        bar = terminal.Bar(plan.runs, have)
        for order in (o for o in orders if o not in have):
            bar.start_run(order)
            mine = list(have.values())
            why = failure.too_large(plan.runs[order - 1].case, mine)
            have[order] = failure.failed(plan, order, store.now(), why) if why else run(plan, order, mine, bar)
            bar.close_run(terminal.line(have[order]))
        bar.close()
        records = [have[order] for order in orders]
        more = further(records)
        plan = plan._replace(runs=plan.runs + more)
    print(*sentences(records), sep="\n")
    print(page(plan.machine.slug, plan.results), f"({terminal.minutes(time.time() - psutil.Process().create_time())})")
    return records


def ending(machine: str, results: Path, auto: bool, records: list[Record]) -> list[str]:
    """What a sweep ends with: its figures, for each setting of BATCH_SIZE=auto why its batch sizes end and which one to
    use; then, as its page has it, the bottleneck and what to believe, the next step and the machine's place."""
    why = [f"{terminal.setting(setting)}: {ends(mine)}." for setting, mine in settings(records).items()]
    why += advice.batch_advice(cases.cases(cases.runs(records)))
    every = (r for _, r in store.read_all([results, paths.DATA]) if isinstance(r, Record))
    _, belief, step, place = answer.answer(answer.Asked(cases.runs(every), machine))
    return [*terminal.headline(records), *(why if auto else []), belief, f"{step} {place}"]


def measured(given: Given, page: Page) -> list[Record]:
    """The records of the sweep that the knobs ask for, from its header to its page."""
    auto = given["BATCH_SIZE"] == [None]
    used, machine = device_type(given["USE_GPU"]), facts.machine(given["MACHINE"])
    further = partial(onward, given["REPEATS"], given["SEED"], auto)
    plan = planned(given, used, machine, "auto" if auto else given.get("SUITE", ""), further)
    print(*terminal.header(given, plan), sep="\n", flush=True)
    return stages(plan, further, partial(ending, plan.machine.slug, plan.results, auto), page)


def make_image(given: Given, page: Page) -> int:
    """The exit status of `make image`: 0 all is well, 1 runs failed; that auto finds the memory's end is no failure."""
    auto, errors = given["BATCH_SIZE"] == [None], [r.error for r in measured(given, page) if r.error]
    return int(any(not (auto and error.kind in ("out_of_memory", "skipped")) for error in errors))


def quote(records: list[Record]) -> list[str]:
    """The line to quote and its intervals, of one sweep of the suite; or the one that says why it has no figure."""
    runs = cases.runs(records)
    found, name = suite.figures(cases.cases(runs)), runs["chip"].iat[-1]
    if found["why"].any():
        return [f"{protocol.NAME}: incomplete, no figure: {found['why'].iat[0]}."]
    spans = ", ".join(f"{f.figure} {words.span_words(f.images_per_s, f.low, f.high)}" for f in found.itertuples())
    head = f"{protocol.NAME}: {suite.quoted(found)} ({name}, torch {found['torch'].iat[0]})"
    return [head, f"95 %: {spans.replace(words.THIN, ',')}. The model alone: {suite.quoted(found, 'forward')}."]


def make_suite(given: Given, page: Page) -> int:
    """The exit status of `make suite`: 1 where a run failed, or no knob was changed and there is no figure."""
    custom = [f"A custom run, by {', '.join(given['CHANGED'])}: it gives no figures of {protocol.NAME}."]
    fixed = f"{protocol.NAME}: {', '.join(protocol.MODELS)}, batch 1 and 64; on a CPU the last takes most of the time."
    print(*custom if given["CHANGED"] else [fixed])
    records = measured(given, page)
    print(*(lines := custom if given["CHANGED"] else quote(records)), sep="\n")
    return int(any(r.error for r in records) or not (given["CHANGED"] or lines[1:]))
