"""What a sweep measures: its cases, their order, and what is left of one that was cut off.

A record on disk is the only sign that a run is done, so a sweep needs no memory of its own: the same command finds
its records and measures the rest.
"""

import hashlib
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siliconbench.knobs import KNOBS, Given, WrongKnob
from siliconbench.machine.facts import versions
from siliconbench.record import store
from siliconbench.record.schema import Case, Machine, Record, Sweep

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

    def sweep(self, order: int) -> Sweep:
        """The record's section on the sweep, for its run of this order (from 1); runs are those planned by then."""
        return Sweep(id=self.sweep_id, runs=len(self.runs), order=order)

    def done(self) -> dict[int, Record]:
        """The records that this sweep has already, by their order in it."""
        return {r.sweep.order: r for r in good(self.results / self.machine.slug) if r.sweep.id == self.sweep_id}


def cases(given: Given, device: str) -> list[Case]:
    """Every case that the knobs ask for, the product of their lists; BATCH_SIZE=auto begins at 1."""
    lists = {knob.field: given[name] if knob.many else [given[name]] for name, knob in KNOBS.items() if knob.field}
    lists |= {"batch_size": [size or 1 for size in given["BATCH_SIZE"]], "device": [device]}
    return [Case(**dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]


def shuffled(cases: list[Case], repeats: int, seed: int) -> Runs:
    """Each case once in a seeded random order, then once again in another, `repeats` times: so slow drifts of the
    machine fall on all cases alike (Abedi and Brecht 2017, randomised interleaved trials)."""
    rng = random.Random(seed)
    return [(case, repeat) for repeat in range(1, repeats + 1) for case in rng.sample(cases, len(cases))]


def asked(case: Case, **changes: Any) -> Case:
    """What a case asks for, before a run gave it its image size; with changes."""
    return case.model_copy(update={"image_px": None} | changes)


def planned(given: Given, device: str, machine: Machine, search: str, further: Further) -> Plan:
    """The sweep that the knobs ask for: the interrupted one if there is one, else a new one with its first stage.

    The same command on the same versions has the same key, the last ten letters of its id; search names one that goes
    by stages. WrongKnob where the machine's folder holds the records of another.
    """
    every, results = cases(given, device), store.folder_at(given["RESULTS"])
    refuse_another(results / machine.slug, machine)
    parts = [c.model_dump_json() for c in every] + [str(given["REPEATS"]), machine.slug, str(versions()), search]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
    interrupted = None if given["FRESH"] else unfinished(results / machine.slug, key, further)
    runs = shuffled(every, given["REPEATS"], given["SEED"])
    return Plan(interrupted or f"{store.now()}-{key}", machine, results, runs, given["TELEMETRY"])


def unfinished(folder: Path, key: str, further: Further) -> str | None:
    """The id of the newest sweep of this key that has runs or a stage to go, or None."""
    alike = [r for r in good(folder) if r.sweep.id.endswith(key)]
    newest = max((r.sweep.id for r in alike), default=None)
    mine = sorted((r for r in alike if r.sweep.id == newest), key=lambda r: r.sweep.order)
    return newest if mine and (len(mine) < max(r.sweep.runs for r in mine) or further(mine)) else None


def good(folder: Path) -> list[Record]:
    """The valid records of one machine's folder."""
    return [r for _, r in store.read(folder.parent, folder.name) if isinstance(r, Record)]


def refuse_another(folder: Path, machine: Machine) -> None:
    """WrongKnob where the records in the folder are another machine's. The last one decides: memory can be added."""
    last = max(good(folder), key=lambda r: r.created, default=None)
    there, here = (f"{m.chip}, {m.cores} cores" for m in (last.machine if last else machine, machine))
    if there != here:
        differ = f"{folder} holds another machine's records ({there}; here {here})"
        raise WrongKnob(f"{differ}: give this one a name of its own with MACHINE=")
