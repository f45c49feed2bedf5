"""What a sweep measures: its cases, their order, what is left of one cut off, where BATCH_SIZE=auto ends; by records on
disk alone: they are the only sign that a run is done, so the same command finds a sweep again and measures the rest."""

import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from siliconbench.analysis import stats, verdict
from siliconbench.knobs import KNOBS, Given, WrongKnob
from siliconbench.machine.facts import versions
from siliconbench.record import store
from siliconbench.record.schema import Case, Machine, Record, Sweep

T = TypeVar("T")
Runs = list[tuple[Case, int]]  # each case with the number of its repeat
Further = Callable[[list[Record]], Runs]  # the runs of the next stage, by the records of those before it
LARGEST = 65536  # images per batch
LITTLE = 1.05  # of single runs: a rise of less than 5 % is none


@dataclass(frozen=True)
class Plan:
    """The runs of one sweep in order, the machine that they run on, and where their records go."""

    sweep_id: str
    machine: Machine
    results: Path
    runs: Runs
    telemetry: bool
    done: dict[int, Record]  # the records that it has already, by their order in it

    def sweep(self, order: int) -> Sweep:
        """The record's section on the sweep, for its run of this order (from 1); runs are those planned by then."""
        return Sweep(id=self.sweep_id, runs=len(self.runs), order=order)


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
    """The sweep that the knobs ask for: the newest of its key if it has runs or a stage to go, else a new one. The same
    command on the same versions has the same key, the last ten letters of its id; search names one that goes by stages.
    WrongKnob where the machine's folder holds another's records; the last one decides: memory can be added."""
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
    groups: dict[Case, list[Record]] = {}
    for r in records:
        groups.setdefault(asked(r.case, batch_size=1), []).append(r)
    return groups


def larger(records: list[Record]) -> list[Case]:
    """Each setting at twice its largest batch size, unless it ends there."""
    rising = [mine for mine in settings(records).values() if not ends(mine)]
    largest = [max((r.case for r in mine), key=lambda c: c.batch_size) for mine in rising]
    return [asked(c, batch_size=2 * c.batch_size) for c in largest]


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
    swapping, or that two in a row are no faster, beyond the interval, than the best before them: one may be a dip."""
    sizes = sorted({r.case.batch_size for r in records})
    speeds = {size: rates([r for r in records if r.case.batch_size == size]) for size in sizes}
    last = sizes[-1]
    if short := short_of_memory([r for r in records if r.case.batch_size == last]):
        return f"{short} at batch size {last}"
    if not speeds[last]:
        return f"no run succeeded at batch size {last}"
    if last >= LARGEST:
        return f"{last} images a batch are the most that is tried"
    if len(sizes) < 3:
        return None
    *before, previous, _ = sizes
    best = max(before, key=lambda size: stats.interval(speeds[size]).mean if speeds[size] else 0.0)
    changes = [stats.compare(speeds[best], speeds[late]) for late in (previous, last)]
    rises = any(change.ratio > LITTLE if change.low is None else change.low > 1 for change in changes)
    return None if rises else f"neither {previous} nor {last} images a batch are faster than {best}"
