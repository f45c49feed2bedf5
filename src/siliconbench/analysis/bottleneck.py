"""Which part of a run limits its throughput: what the parts allow, the suspect, and what the experiment says of it."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from siliconbench.analysis import stats, words
from siliconbench.record.schema import Checks

Ceilings = Mapping[str, float | None]  # images/s of forward, copy and input, each alone; None: there is none
STANDS_OUT = 1.10  # a ceiling is measured to a few per cent: closer ones are not told apart
BATCHES = 10  # neighbouring blocks are alike: so many means of them are compared


class Overlap(NamedTuple):
    """How a run overlaps its parts. cores: logical processors, threads: the model's. What an image costs the main
    process itself: launch_s to launch its work on a device, taken_s to take it over from the loader's processes."""

    overlapped: bool
    workers: int
    device_is_cpu: bool
    cores: int = 1
    threads: int = 1
    launch_s: float = 0.0
    copy_stream: bool = False  # the copy has a stream of its own
    taken_s: float = 0.0
    physical: int | None = None  # cores, where some run two threads; None: as many as cores

    def whole_cores(self, threads: int) -> float:
        """The cores that so many threads keep busy: the second thread of a core counts half."""
        busy, physical = min(threads, self.cores), self.physical or self.cores
        return min(busy, physical) + max(0, busy - physical) / 2


def resources(ceilings: Ceilings, overlap: Overlap) -> dict[str, dict[str, float]]:
    """Seconds per image that each part takes of each resource, by its name; the fullest resource sets the pace."""
    stats.logs([c for c in ceilings.values() if c is not None] or [1.0], "ceiling")
    s = {part: 1 / c for part, c in ceilings.items() if c is not None}
    workers, copy_stream = overlap.workers, overlap.copy_stream
    if not overlap.overlapped or (overlap.device_is_cpu and not workers):
        return {"one after the other": s}
    own = {"input": overlap.taken_s} if overlap.taken_s and "input" in s else {}
    if overlap.device_is_cpu:
        threads = {"forward": overlap.threads, "copy": overlap.threads, "input": workers}
        share = {part: overlap.whole_cores(threads[part]) / overlap.whole_cores(overlap.cores) for part in s}
        ways = {"main process": {part: s[part] for part in ("copy", "forward") if part in s} | own}
        ways |= {"loader processes": {part: s[part] for part in ("input",) if part in s}}
        return {k: v for k, v in ways.items() if v} | {"the cores, shared": {part: s[part] * share[part] for part in s}}
    fed = ["input"] if copy_stream else ["input", "copy"]
    uses = {"main process": [], "loader processes": ["input"]} if workers else {"main process": fed}
    uses |= {"bus": ["copy"], "device": ["forward"]} if copy_stream else {"device": ["copy", "forward"]}
    ways = {name: {part: s[part] for part in parts if part in s} for name, parts in uses.items()}
    ways["main process"] |= own if workers else {}
    ways["main process"] |= {"forward": overlap.launch_s} if overlap.launch_s and "forward" in s else {}
    return {name: parts for name, parts in ways.items() if parts}


def allowed_rate(ceilings: Ceilings, overlap: Overlap) -> tuple[float, str]:
    """The end-to-end images/s that the parts allow, and the part that binds: the largest on the fullest resource.
    One after the other, 1/E is the sum of 1/C. Overlapped on an accelerator, the device holds copy and forward, or
    the bus holds the copy; the main process holds its launches, what taking batches over from workers costs it and,
    with no workers, input, and a copy that blocks it. On the CPU with workers, the main process takes a batch over,
    copies and computes, and together an image takes threads/forward + min(workers, cores)/input core-seconds, where a
    core's second thread counts half: 0.79 to 1.09 of that was measured on 2 cores. After Mohan et al., VLDB 2021."""
    fullest = max(resources(ceilings, overlap).values(), key=lambda parts: sum(parts.values()))
    if not fullest:
        return math.inf, "balanced"
    return 1 / sum(fullest.values()), max(fullest, key=lambda part: fullest[part])


def suspect(ceilings: Ceilings, measured: float, overlap: Overlap) -> str:
    """The part whose removal would raise the allowed rate most, 10 % beyond any other's, else "balanced".
    A hint, for the experiment to test. A measured rate 10 % above the part's own ceiling refutes it: "balanced"."""
    parts = [part for part, c in ceilings.items() if c is not None]
    without = {part: allowed_rate({**ceilings, part: None}, overlap)[0] for part in parts}
    first, *others = sorted(parts, key=lambda part: -without[part])
    close = others and without[first] < STANDS_OUT * without[others[0]]
    return "balanced" if close or measured > STANDS_OUT * (ceilings[first] or math.inf) else first


def feeding(cores: int, loaded: float, taken: float, shared: bool) -> str:
    """How many cores load so many images/s, how many it would take (shared: beside the model's); empty if enough."""
    have, beside = "1 core loads" if cores == 1 else f"{cores} cores load", " beside the model's" if shared else ""
    rates = f"{words.significant(loaded)} images/s; the model takes {words.significant(taken)}"
    return f"{have} {rates}: it would take {math.ceil(cores * taken / loaded)} cores{beside}." if loaded < taken else ""


def experiment_answer(with_part: ArrayLike, without_part: ArrayLike) -> Literal["confirmed", "refuted", "can't tell"]:
    """Whether the rest runs faster once the part is cached data, by the rates of blocks in order. Confirmed: beyond
    interval and margin. Refuted: the ratio's upper bound is within it. Can't tell: neither, or one block on a side."""
    rates = [np.exp(stats.logs(np.ravel(side))) for side in (with_part, without_part)]
    before, after = ([part.mean() for part in np.array_split(x, min(BATCHES, x.size))] for x in rates)
    found = stats.compare(before, after)
    if found.word == "faster":
        return "confirmed"
    return "refuted" if found.high is not None and found.high < 1 + stats.MARGIN else "can't tell"


def concluded(checks: Checks | None) -> str | None:
    """The bottleneck that a record shows: "balanced" where its experiment does not confirm the part, else the part."""
    if checks and checks.experiment and not checks.experiment.confirmed:
        return "balanced"
    return checks.bottleneck if checks else None
