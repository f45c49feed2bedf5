"""analysis.bottleneck"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from siliconbench.analysis import stats

Ceilings = Mapping[str, float | None]  # images/s of forward, copy and input, each alone; None: there is none

HOLDS_BACK = 1.10  # a ceiling is measured to a few per cent: closer ones are not told apart


def resources(
    ceilings: Ceilings,
    overlapped: bool,
    workers: int,
    device_is_cpu: bool,
    cores: int = 1,
    threads: int = 1,
    launch_s: float = 0.0,
    beside: bool = False,
) -> dict[str, dict[str, float]]:
    """Seconds per image that each part takes of each resource, by its name; the fullest resource sets the pace.

    beside: the copy runs on a stream of its own. launch_s: what launching the model costs the main process an image.
    """
    stats._logs([c for c in ceilings.values() if c is not None] or [1.0], "ceiling")
    s = {part: 1 / c for part, c in ceilings.items() if c is not None}
    if not overlapped or (device_is_cpu and not workers):
        return {"one after the other": s}
    if device_is_cpu:
        share = {"forward": threads / cores, "input": min(workers, cores) / cores}
        return {f"{part} alone": {part: s[part]} for part in s} | {
            "the cores, shared": {part: s[part] * share.get(part, 1.0) for part in s}
        }
    uses = {"main process": [] if workers else ["input"], "loader processes": ["input"] if workers else []}
    uses |= {"bus": ["copy"], "device": ["forward"]} if beside else {"device": ["copy", "forward"]}
    if not workers and not beside:
        uses["main process"].append("copy")
    ways = {name: {part: s[part] for part in parts if part in s} for name, parts in uses.items()}
    ways["main process"] |= {"forward": launch_s} if launch_s and "forward" in s else {}
    return {name: parts for name, parts in ways.items() if parts}


def allowed_rate(
    ceilings: Ceilings,
    overlapped: bool,
    workers: int,
    device_is_cpu: bool,
    cores: int = 1,
    threads: int = 1,
    launch_s: float = 0.0,
    beside: bool = False,
) -> tuple[float, str]:
    """The end-to-end images/s that the parts allow, and the part that binds: the largest on the fullest resource.

    One after the other, 1/E is the sum of 1/C. Overlapped on an accelerator, the device holds copy and forward, or
    the bus holds the copy; the main process holds its launches and, with no workers, input, and a copy that blocks it.
    On the CPU with workers, no part beats its own ceiling, and together an image takes threads/forward + min(workers,
    cores)/input core-seconds of the cores: in eight tries on 2 cores, 0.79 to 1.09 of that was measured. By resource,
    after Mohan et al., VLDB 2021.
    """
    found = resources(ceilings, overlapped, workers, device_is_cpu, cores, threads, launch_s, beside).values()
    fullest = max(found, key=lambda parts: sum(parts.values()))
    if not fullest:
        return math.inf, "balanced"
    return 1 / sum(fullest.values()), max(fullest, key=lambda part: fullest[part])


def what_holds_back(
    ceilings: Ceilings,
    measured: float,
    overlapped: bool,
    workers: int,
    device_is_cpu: bool,
    cores: int = 1,
    threads: int = 1,
    launch_s: float = 0.0,
    beside: bool = False,
) -> str:
    """The part whose removal would raise the allowed rate most, 10 % beyond any other's, else "balanced".

    A hint, for confirmed() to test. A measured rate 10 % above the part's own ceiling refutes it: "balanced".
    """
    parts = [part for part, c in ceilings.items() if c is not None]
    without = {
        part: allowed_rate(
            {**ceilings, part: None}, overlapped, workers, device_is_cpu, cores, threads, launch_s, beside
        )[0]
        for part in parts
    }
    first, *others = sorted(parts, key=lambda part: -without[part])
    if others and without[first] < HOLDS_BACK * without[others[0]]:
        return "balanced"
    return "balanced" if measured > HOLDS_BACK * (ceilings[first] or math.inf) else first


def _batch_means(rates: ArrayLike) -> list[float]:
    x = np.exp(stats._logs(rates))
    return [float(part.mean()) for part in np.array_split(x, min(10, x.size))]


def confirmed(with_stage: ArrayLike, with_cached_stage: ArrayLike) -> bool:
    """Whether blocks run faster with the stage replaced by cached data: beyond the margin and the interval.

    Rates of blocks of one run, in order. Neighbours are alike, so up to ten batch means a side are compared.
    """
    return stats.compare(_batch_means(with_stage), _batch_means(with_cached_stage)).word == "faster"
