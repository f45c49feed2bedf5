"""What a sweep measures: its cases, their order, and what is left of one that was cut off. A record on disk is the
only sign that a run is done, so a sweep needs no memory: the same command finds its records and measures the rest."""

import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from siliconbench.knobs import KNOBS, Given, WrongKnob
from siliconbench.machine.facts import versions
from siliconbench.record import store
from siliconbench.record.schema import Case, Machine, Record, Sweep

T = TypeVar("T")
Runs = list[tuple[Case, int]]  # each case with the number of its repeat
Further = Callable[[list[Record]], Runs]  # the runs of the next stage, by the records of those before it


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
    """The sweep that the knobs ask for: the newest of its key if it has runs or a stage to go, else a new one.

    The same command on the same versions has the same key, the last ten letters of its id; search names one that goes
    by stages. WrongKnob where the machine's folder holds the records of another.
    """
    every, results = cases(given, device), store.folder_at(given["RESULTS"])
    found = [r for _, r in store.read(results, machine.slug) if isinstance(r, Record)]
    refuse_another(results / machine.slug, found, machine)
    parts = [c.model_dump_json() for c in every] + [str(given["REPEATS"]), machine.slug, str(versions()), search]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
    newest = max((r.sweep.id for r in found if r.sweep.id.endswith(key) and not given["FRESH"]), default="")
    mine = sorted((r for r in found if r.sweep.id == newest), key=lambda r: r.sweep.order)
    interrupted = mine and (len(mine) < max(r.sweep.runs for r in mine) or further(mine))
    sweep_id, done = (newest, mine) if interrupted else (f"{store.now()}-{key}", [])
    runs, have = shuffled(every, given["REPEATS"], given["SEED"]), {r.sweep.order: r for r in done}
    return Plan(sweep_id, machine, results, runs, given["TELEMETRY"], have)


def refuse_another(folder: Path, found: list[Record], machine: Machine) -> None:
    """WrongKnob where the records found are another machine's. The last one decides: memory can be added."""
    last = max(found, key=lambda r: r.created, default=None)
    there, here = (f"{m.chip}, {m.cores} cores" for m in (last.machine if last else machine, machine))
    if there != here:
        differ = f"{folder} holds another machine's records ({there}; here {here})"
        raise WrongKnob(f"{differ}: give this one a name of its own with MACHINE=")
