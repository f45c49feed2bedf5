"""What a sweep measures: cases, order, where BATCH_SIZE=auto ends; a run is done only if its record is on disk."""

import hashlib
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.special import stdtrit

from siliconbench import paths
from siliconbench.analysis import ladder, stats, verdict
from siliconbench.knobs import KNOBS, Given, WrongKnob
from siliconbench.machine.facts import versions
from siliconbench.record import host, named, protocol, share, store
from siliconbench.record.schema import Case, Record

T = TypeVar("T")
WORTH = 0.02  # a doubling of the batch size that brings less is not worth it


class Run(NamedTuple):
    """One run: its case, which of this case's runs it is (from 1), and whether it is only a look at the model alone."""

    case: Case
    repeat: int
    search: bool = False


Runs = list[Run]
Further = Callable[[list[Record]], Runs]  # the runs of the next stage, by the records of those before it


class Plan(NamedTuple):
    """The runs of one sweep in order, the machine that they run on, and where their records go."""

    sweep_id: str
    machine: host.Machine
    results: Path
    runs: Runs
    telemetry: bool
    done: dict[int, Record]  # the records that it has already, by their order in it
    suite: str = ""  # the name of the protocol that it follows
    request: bool = False  # whether its looks time requests, too

    def known(self, order: int, created: str) -> dict[str, Any]:
        """What a record says of its place in the sweep: the run's order (from 1), of the runs planned by then."""
        run = self.runs[order - 1]
        sweep = {"id": self.sweep_id, "runs": len(self.runs), "order": order, "search": run.search, "suite": self.suite}
        return {"sweep": sweep, "repeat": run.repeat, "created": created}


def device_type(use_gpu: bool) -> str:
    """The type of the device that does the work; torch, which takes seconds to load, only to find an accelerator."""
    return import_module("siliconbench.run.device").choose(True).type if use_gpu else "cpu"


def cases(given: Given, device: str) -> list[Case]:
    """Every case that the knobs ask for, the product of their lists; BATCH_SIZE=auto is 1, NUM_IMAGES None BATCHES."""
    lists = {knob.field: given[name] if knob.many else [given[name]] for name, knob in KNOBS.items() if knob.field}
    lists |= {"batch_size": [size or 1 for size in given["BATCH_SIZE"]], "device": [device]}
    found = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    found = [case | {"num_images": case["num_images"] or protocol.BATCHES * case["batch_size"]} for case in found]
    most = max(case["num_images"] for case in found)
    run = import_module("siliconbench.run.folder") if given["INPUT"] == "folder" else None  # it loads torch
    mark = run.surveyed(given["SEED"], most).mark if run else ""
    return [Case(**case | named.named(case["model"]) | {"folder": mark}) for case in found]


def shuffled(cases: Sequence[T], repeats: int, seed: int, salt: str) -> list[T]:
    """Each case once in a random order, then in another, `repeats` times: slow drifts of the machine fall on all alike
    (Abedi and Brecht 2017, randomised interleaved trials). The salt is the sweep's id: no two sessions share one."""
    rng = random.Random(f"{seed} {salt}")
    return [case for _ in range(repeats) for case in rng.sample(cases, len(cases))]


def numbered(cases: Iterable[Case], records: list[Record], search: bool = False) -> Runs:
    """The runs of these cases in this order, each with the number that follows those its case has in the sweep."""
    had, runs = Counter(r.case.asked() for r in records), list[Run]()
    for case in cases:
        had[case] += 1
        runs += [Run(case, had[case], search)]
    return runs


def again(records: list[Record], repeats: int, seed: int) -> Runs:
    """One more run of each case with more runs disturbed from outside than it was given instead, `repeats` at most: by
    whether others disturbed them, never by how fast they were. A quick look (MIN_SECONDS under 1) is not prolonged."""
    mine = [r for r in records if r.case.min_seconds >= 1]
    lost = Counter(r.case.asked() for r in mine if r.verdict and r.verdict.disturbed)
    had = Counter(r.case.asked() for r in mine)
    short = [case for case in lost if had[case] - repeats < min(lost[case], repeats)]
    return numbered(shuffled(short, 1, seed, f"{records[0].sweep.id} {len(records)}"), records)


def planned(
    given: Given, device: str, machine: host.Machine, search: str, further: Further, looks: Sequence[Case] = ()
) -> Plan:
    """The sweep that the knobs ask for: the newest of its key if it has runs or a stage to go, else a new one. The key,
    which ends its id, is of the command, the versions and `search`, the name of one by stages; looks: the settings that
    it looks at instead. WrongKnob where the machine's name is another's, here or among the published ones."""
    every, results = list(looks) or cases(given, device), store.folder_at(given["RESULTS"])
    found = [r for _, r in store.read(results, machine.slug) if isinstance(r, Record)]
    for folder in (results, paths.DATA):
        if other := share.another(folder, machine):
            raise WrongKnob(f"MACHINE: {other}, with records in {folder}: give this one a name of its own")
    parts = [c.model_dump_json() for c in every] + [str(given["REPEATS"]), machine.slug, str(versions()), search]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
    newest = max((r.sweep.id for r in found if r.sweep.id.endswith(key) and not given["FRESH"]), default="")
    mine = sorted((r for r in found if r.sweep.id == newest), key=lambda r: r.sweep.order)
    interrupted = mine and (len(mine) < max(r.sweep.runs for r in mine) or further(mine))
    sweep_id, done = (newest, {r.sweep.order: r for r in mine}) if interrupted else (f"{store.now()}-{key}", {})
    runs = numbered(shuffled(every, given["REPEATS"], given["SEED"], sweep_id), [], bool(looks))
    suite, request = given.get("SUITE", ""), given.get("GOAL") == "latency"
    return Plan(sweep_id, machine, results, runs, given["TELEMETRY"], done, suite, request)


def settings(records: list[Record]) -> dict[Case, list[Record]]:
    """The records by what was asked for, batch size aside."""
    keys = [r.case.asked(batch_size=1) for r in records]
    return {key: [r for r, own in zip(records, keys, strict=True) if own == key] for key in dict.fromkeys(keys)}


def larger(records: list[Record]) -> list[Case]:
    """Each setting at twice its largest batch size, unless it ends there."""
    rising = {c: mine for c, mine in settings(records).items() if not ends(mine)}
    return [c.asked(batch_size=2 * max(r.case.batch_size for r in mine)) for c, mine in rising.items()]


def short_of_memory(records: list[Record]) -> str | None:
    """In words, what says that the memory does not hold this batch size, or None."""
    if any(r.error and r.error.kind == "out_of_memory" for r in records):
        return "memory ends"
    swap = max((r.memory.swap_growth_bytes or 0 for r in records if r.memory), default=0)
    channels = [r.telemetry.channels.get("memory_pressure") for r in records if r.telemetry]
    pressed = any((level or 0) >= 2 for channel in channels if channel for level in channel.values)
    return "swapping starts" if swap > verdict.SWAP_BYTES else "memory is short" if pressed else None


def level(speeds: dict[int, list[float]]) -> int:
    """How many doublings up to the last surely bring less than 2 % each, two at least; 0 where none do. By the 95 %
    interval of a line through the log rates (speeds: of each size, its runs' rates)."""
    for first in range(len(speeds) - 3, -1, -1):
        late = list(speeds.items())[first:]
        x, y = zip(*((math.log2(size), math.log(rate)) for size, rates in late for rate in rates), strict=True)
        (slope, _), ((variance, _), _) = np.polyfit(x, y, 1, cov=True)
        if slope + stdtrit(len(x) - 2, (1 + stats.LEVEL) / 2) * math.sqrt(variance) < math.log1p(WORTH):
            return len(late) - 1
    return 0


def ends(records: list[Record]) -> str | None:
    """Why the batch sizes of one setting need double no further, in words; None while they should. It is memory,
    swapping, two doublings in a row or more that surely bring less than 2 % each, or a batch longer than a pass."""
    sizes = sorted({r.case.batch_size for r in records})
    speeds = {size: ladder.rates([r for r in records if r.case.batch_size == size]) for size in sizes}
    last, least_s = sizes[-1], records[0].case.min_seconds
    if short := short_of_memory([r for r in records if r.case.batch_size == last]):
        return f"{short} at batch size {last}"
    if not speeds[last]:
        return f"no run succeeded at batch size {last}"
    if last >= 65536:
        return f"{last} images a batch are the most that is tried"
    if n := level({size: some for size, some in speeds.items() if some}):
        return f"the last {n} doublings, up to {last} images a batch, surely bring less than {100 * WORTH:.0f} % each"
    batch_s = last / stats.interval(speeds[last]).mean
    return f"a batch of {last} takes {batch_s:.1f} s, longer than MIN_SECONDS" if 0 < least_s < batch_s else None


def onward(repeats: int, seed: int, auto: bool, records: list[Record]) -> Runs:
    """The next runs of `make image`: those that stand in for disturbed ones, then with auto the next batch sizes."""
    every = larger(records) if auto else []
    return again(records, repeats, seed) or numbered(shuffled(every, repeats, seed, records[0].sweep.id), records)
