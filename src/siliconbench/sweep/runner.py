"""`make image`: the cases of one sweep, each run by papermill in a fresh kernel, and what becomes of those that fail.

The record on disk is what tells that a run is done. So a sweep that was cut off needs no memory of its own: the same
command finds its records and runs the rest.
"""

import dataclasses
import hashlib
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from nbclient.exceptions import DeadKernelError
from papermill import PapermillExecutionError

from siliconbench import paths
from siliconbench.analysis import cases as case_table
from siliconbench.machine import facts as machine_facts
from siliconbench.record import schema, store
from siliconbench.record.schema import Case, Record, Software
from siliconbench.run import device as devices
from siliconbench.sweep import batch_size, failure, kernel, terminal
from siliconbench.sweep.terminal import Bar

Runs = list[tuple[Case, int]]

Further = Callable[[list[Record]], Runs]  # the runs of the next stage, told by the records of those before it


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one `make image` is to measure: its runs in order, and where their records go."""

    sweep_id: str
    slug: str
    results: Path
    runs: Runs
    telemetry: bool

    def sweep(self, order: int) -> dict[str, Any]:
        """The record's word on the sweep, for the run in this place (from 1); runs are those planned by then."""
        return {"id": self.sweep_id, "runs": len(self.runs), "order": order}


def cases(given: dict[str, Any], device: Any) -> list[Case]:
    """Every case of the sweep: models x batch sizes (auto: from 1) x precisions x layouts x compile x mode."""
    lists = [given[k] for k in ("IMAGE_MODEL", "BATCH_SIZE", "PRECISION", "LAYOUT", "COMPILE", "MODE")]
    return [
        Case(
            model=model, batch_size=batch or 1, precision=precision, memory_format=layout, compile=compiled, mode=mode,
            device=device, input=given["INPUT"], workers=given["WORKERS"], num_images=given["NUM_IMAGES"],
            min_seconds=given["MIN_SECONDS"], minutes=given["MINUTES"], seed=given["SEED"],
        )
        for model, batch, precision, layout, compiled, mode in itertools.product(*lists)
    ]  # fmt: skip


def shuffled(cases: list[Case], repeats: int, seed: int) -> Runs:
    """Each case once in a seeded random order, then once again in another, `repeats` times: so slow drifts of the
    machine fall on all cases alike (Abedi and Brecht 2017, randomised interleaved trials)."""
    rng, order = random.Random(seed), Runs()
    for repeat in range(1, repeats + 1):
        order += [(case, repeat) for case in rng.sample(cases, len(cases))]
    return order


def key(cases: list[Case], repeats: int, slug: str, search: str = "") -> str:
    """Ten letters that name what is asked for: the same command on the same versions has the same key."""
    told = [c.model_dump_json() for c in cases] + [str(repeats), slug, str(machine_facts.versions()), search]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:10]


def whole(_records: list[Record]) -> Runs:
    """No further runs: the next stage of a sweep that knows all its runs at its start."""
    return []


def doubled(given: dict[str, Any]) -> Further:
    """The next stage of BATCH_SIZE=auto: twice the batch size, for each setting whose speed still rises."""
    return lambda records: shuffled(batch_size.larger(records), given["REPEATS"], given["SEED"])


def plan(given: dict[str, Any], device: str, facts: dict[str, Any], search: str = "", further: Further = whole) -> Plan:
    """The sweep that the knobs ask for: the interrupted one if there is one, else a new one.

    One that goes by stages is named by its search and knows the runs of its first stage only.
    """
    slug = given["MACHINE"] or machine_facts.slug(facts)
    all_cases = cases(given, device)
    name = key(all_cases, given["REPEATS"], slug, search)
    results = store.place(given["RESULTS"])
    runs = shuffled(all_cases, given["REPEATS"], given["SEED"])
    interrupted = None if given["FRESH"] else unfinished(results / slug, name, further)
    return Plan(interrupted or f"{store.now()}-{name}", slug, results, runs, given["TELEMETRY"])


def unfinished(folder: Path, name: str, further: Further = whole) -> str | None:
    """The id of the newest sweep of this key that has runs or a stage to go, or None."""
    found = [r for r in good(folder) if r.sweep.id.endswith(name)]
    newest = max((r.sweep.id for r in found), default=None)
    mine = sorted((r for r in found if r.sweep.id == newest), key=lambda r: r.sweep.order)
    return newest if mine and (len(mine) < max(r.sweep.runs for r in mine) or further(mine)) else None


def good(folder: Path) -> Iterator[Record]:
    """The valid records of one machine's folder."""
    return (r for _, r in store.read(folder.parent, folder.name) if isinstance(r, Record))


def done(plan: Plan) -> dict[int, Record]:
    """The records that this sweep has already, by their place in it."""
    return {r.sweep.order: r for r in good(plan.results / plan.slug) if r.sweep.id == plan.sweep_id}


def another_machine(folder: Path, facts: dict[str, Any]) -> str | None:
    """Why the records in the folder are not of this machine, or None. The last one decides: memory can be added."""
    last = max(good(folder), key=lambda r: r.created, default=None)
    if last is None or (last.machine.chip, last.machine.cores) == (facts["chip"], facts["cores"]):
        return None
    there = f"{last.machine.chip}, {last.machine.cores} cores"
    return f"{folder} holds another machine's records ({there}; here {facts['chip']}, {facts['cores']} cores)"


def run(plan: Plan, order: int, progress: Bar) -> Record:
    """The record of one run, measured in a fresh kernel; of a run that fails, a record that says so."""
    case, repeat = plan.runs[order - 1]
    created = store.now()
    path = plan.results / plan.slug / store.file_name(case, created, repeat)
    executed = paths.RUNS / plan.slug / f"{path.stem}.ipynb"
    told = case.model_dump(exclude={"image_px"}) | {
        "sweep": plan.sweep(order), "repeat": repeat, "created": created, "machine": plan.slug,
        "telemetry": plan.telemetry, "results": str(plan.results.resolve()),
    }  # fmt: skip
    killed_before = machine_facts.killed_for_memory()
    try:
        kernel.execute(paths.NOTEBOOKS / "measure.ipynb", executed, told, progress)
        return store.load(path)
    except (PapermillExecutionError, DeadKernelError, OSError, RuntimeError, ValueError) as error:
        return failed(plan, order, created, failure.reason(error, machine_facts.killed_for_memory() > killed_before))


def failed(plan: Plan, order: int, created: str, error: dict[str, str]) -> Record:
    """The record, written, of a run that failed or was not tried."""
    case, repeat = plan.runs[order - 1]
    result = Record.model_validate(
        {
            "schema": 1, "status": "failed", "error": error, "created": created, "sweep": plan.sweep(order),
            "repeat": repeat, "case": case, "machine": machine_facts.facts() | {"slug": plan.slug},
            "software": schema.filled(Software, machine_facts.versions(), "the run failed before it was asked"),
        }
    )  # fmt: skip
    store.write(result, plan.results)
    return result


def too_large(case: Case, records: list[Record]) -> int | None:
    """The batch size at which this very case, batch size aside, ran out of memory in this sweep; None if it did not."""
    same = {"batch_size": 0, "image_px": None}
    sizes = [
        r.case.batch_size
        for r in records
        if r.error
        and r.error.kind == "out_of_memory"
        and r.case.model_copy(update=same) == case.model_copy(update=same)
    ]
    return min(sizes, default=None)


def measure(plan: Plan, out: TextIO) -> list[Record]:
    """The records of all the plan's runs, each told in a line as its run ends."""
    have = {order: r for order, r in done(plan).items() if order <= len(plan.runs)}
    bar = Bar(len(plan.runs), len(have))
    for order, (case, _) in enumerate(plan.runs, 1):
        if order in have:
            continue
        limit = too_large(case, list(have.values()))
        if limit is not None and case.batch_size >= limit:
            why = {"kind": "skipped", "message": f"not tried: batch size {limit} ran out of memory"}
            have[order] = failed(plan, order, store.now(), why)
        else:
            have[order] = run(plan, order, bar)
        bar.close_run(terminal.line(have[order]), out)
    bar.bar.close()
    return [have[k] for k in sorted(have)]


def stages(plan: Plan, further: Further, out: TextIO) -> list[Record]:
    """The records of a sweep that goes by stages: each says what the next one measures, until nothing is left."""
    records = measure(plan, out)
    while more := further(records):
        plan = dataclasses.replace(plan, runs=plan.runs + more)
        records = measure(plan, out)
    return records


def advice(records: list[Record]) -> list[str]:
    """For each setting of BATCH_SIZE=auto why its batch sizes end, and then which one to use."""
    groups = batch_size.settings(records).items()
    told = [f"{terminal.setting(setting)}: {batch_size.ends(mine)}." for setting, mine in groups]
    return told + case_table.batch_advice(case_table.cases(case_table.runs(records)))


def make_image(given: dict[str, Any], page: Callable[[str, Path], str]) -> int:
    """The exit status of a whole sweep, from its header to its page."""
    start, facts, device = time.perf_counter(), machine_facts.facts(), devices.choose(given["USE_GPU"]).type
    auto = given["BATCH_SIZE"] == [None]
    further = doubled(given) if auto else whole
    this = plan(given, device, facts, "auto" if auto else "", further)
    if why := another_machine(this.results / this.slug, facts):
        print(f"make image: {why}: give this one a name of its own with MACHINE=", file=sys.stderr)
        return 2
    print(
        *terminal.header(given, this.slug, facts["chip"], device, len(this.runs), len(done(this)), this.sweep_id),
        sep="\n",
        flush=True,
    )
    records = stages(this, further, sys.stdout)
    print(*terminal.headline(records), *(advice(records) if auto else []), sep="\n")
    shown = page(this.slug, this.results)
    print(f"{shown} ({terminal.minutes(time.perf_counter() - start)})")
    memory = ("out_of_memory", "skipped") if auto else ()  # auto looks for the end of memory: to find it is no failure
    return 1 if any(r.error and r.error.kind not in memory for r in records) else 0
