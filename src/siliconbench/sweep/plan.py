"""What a sweep measures: cases, order, where BATCH_SIZE=auto ends; a run is done only if its record is on disk."""

import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from siliconbench.analysis import stats, verdict
from siliconbench.knobs import KNOBS, Given, WrongKnob
from siliconbench.machine.facts import versions
from siliconbench.record import store
from siliconbench.record.schema import Case, Machine, Record

T = TypeVar("T")
Runs = list[tuple[Case, int]]  # each case with the number of its repeat
Further = Callable[[list[Record]], Runs]  # the runs of the next stage, by the records of those before it


class Plan(NamedTuple):
    """The runs of one sweep in order, the machine that they run on, and where their records go."""

    sweep_id: str
    machine: Machine
    results: Path
    runs: Runs
    telemetry: bool
    done: dict[int, Record]  # the records that it has already, by their order in it

    def known(self, order: int, created: str) -> dict[str, Any]:
        """What a record says of its place in the sweep: the run's order (from 1), of the runs planned by then."""
        sweep = {"id": self.sweep_id, "runs": len(self.runs), "order": order}
        return {"sweep": sweep, "repeat": self.runs[order - 1][1], "created": created}


def cases(given: Given, device: str) -> list[Case]:
    """Every case that the knobs ask for, the product of their lists; BATCH_SIZE=auto begins at 1."""
    lists = {knob.field: given[name] if knob.many else [given[name]] for name, knob in KNOBS.items() if knob.field}
    lists |= {"batch_size": [size or 1 for size in given["BATCH_SIZE"]], "device": [device]}
    return [Case(**dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]


def shuffled(cases: Sequence[T], repeats: int, seed: int) -> list[tuple[T, int]]:
    """Each case once in a seeded random order, then once again in another, `repeats` times: so slow drifts of the
    machine fall on all cases alike (Abedi and Brecht 2017, randomised interleaved trials)."""
    rng = random.Random(seed)
    return [(case, repeat) for repeat in range(1, repeats + 1) for case in rng.sample(cases, len(cases))]


def asked(case: Case, **changes: Any) -> Case:
    """What a case asks for, before a run gave it its image size; with changes."""
    return case.model_copy(update={"image_px": None} | changes)


def planned(given: Given, device: str, machine: Machine, search: str, further: Further) -> Plan:
    """The sweep that the knobs ask for: the newest of its key if it has runs or a stage to go, else a new one. The key,
    which ends its id, is of the command, the versions and `search`, the name of one by stages. WrongKnob where the last
    record in the machine's folder is another machine's; its memory may differ, it can be added."""
    every, results = cases(given, device), store.folder_at(given["RESULTS"])
    found = [r for _, r in store.read(results, machine.slug) if isinstance(r, Record)]
    last = max(found, key=lambda r: r.created, default=None)
    there, here = (f"{m.chip}, {m.cores} cores" for m in (last.machine if last else machine, machine))
    if there != here:
        differ = f"{results / machine.slug} holds another machine's records ({there}; here {here})"
        raise WrongKnob(f"{differ}: give this one a name of its own with MACHINE=")
    parts = [c.model_dump_json() for c in every] + [str(given["REPEATS"]), machine.slug, str(versions()), search]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
    newest = max((r.sweep.id for r in found if r.sweep.id.endswith(key) and not given["FRESH"]), default="")
    mine = sorted((r for r in found if r.sweep.id == newest), key=lambda r: r.sweep.order)
    interrupted = mine and (len(mine) < max(r.sweep.runs for r in mine) or further(mine))
    sweep_id, done = (newest, mine) if interrupted else (f"{store.now()}-{key}", [])
    runs, have = shuffled(every, given["REPEATS"], given["SEED"]), {r.sweep.order: r for r in done}
    return Plan(sweep_id, machine, results, runs, given["TELEMETRY"], have)


def settings(records: list[Record]) -> dict[Case, list[Record]]:
    """The records by what was asked for, batch size aside."""
    keys = [asked(r.case, batch_size=1) for r in records]
    return {key: [r for r, own in zip(records, keys, strict=True) if own == key] for key in dict.fromkeys(keys)}


def larger(records: list[Record]) -> list[Case]:
    """Each setting at twice its largest batch size, unless it ends there."""
    rising = {c: mine for c, mine in settings(records).items() if not ends(mine)}
    return [asked(c, batch_size=2 * max(r.case.batch_size for r in mine)) for c, mine in rising.items()]


def rates(records: list[Record]) -> list[float]:
    """Images per second, end to end, of the runs that succeeded with the right outputs."""
    right = [r for r in records if r.checks and (r.checks.outputs is None or r.checks.outputs.agree)]
    return [r.passes.end_to_end.images_per_s for r in right if r.passes and r.passes.end_to_end]


def short_of_memory(records: list[Record]) -> str | None:
    """In words, what says that the memory does not hold this batch size, or None."""
    if any(r.error and r.error.kind == "out_of_memory" for r in records):
        return "memory ends"
    swap = max((r.memory.swap_growth_bytes or 0 for r in records if r.memory), default=0)
    return "swapping starts" if swap > verdict.SWAP_BYTES else None


def ends(records: list[Record]) -> str | None:
    """Why the batch sizes of one setting need double no further, in words; None while they should. It is memory,
    swapping, or two in a row (one may dip) no faster than the best before: beyond the interval, or 5 % by one run."""
    sizes = sorted({r.case.batch_size for r in records})
    speeds = {size: rates([r for r in records if r.case.batch_size == size]) for size in sizes}
    last = sizes[-1]
    if short := short_of_memory([r for r in records if r.case.batch_size == last]):
        return f"{short} at batch size {last}"
    if not speeds[last]:
        return f"no run succeeded at batch size {last}"
    if last >= 65536:
        return f"{last} images a batch are the most that is tried"
    if len(sizes) < 3:
        return None
    *before, previous, _ = sizes
    best = max(before, key=lambda size: stats.interval(speeds[size]).mean if speeds[size] else 0.0)
    changes = [stats.compare(speeds[best], speeds[late]) for late in (previous, last)]
    rises = any(change.ratio > 1.05 if change.low is None else change.low > 1 for change in changes)
    return None if rises else f"neither {previous} nor {last} images a batch are faster than {best}"
