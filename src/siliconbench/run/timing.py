"""Warm up, time, stop: the loop behind each rate. It imports no torch: step, synchronization and clock are handed in.

A device runs behind the program that feeds it: a clock read without synchronizing times the launch, not the work. So
each block ends by synchronizing, then the clock is read.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from tqdm import tqdm

from siliconbench.record.schema import Pass

BLOCK_S = 0.5  # to synchronize once at the edge costs nothing beside it, and ten seconds still give twenty blocks
BLOCKS = 20  # a pass shorter than ten seconds has shorter blocks, not fewer
MOST_BLOCKS = 86_400  # blocks of half a second up to twelve hours; a record holds 100,000
AGREE = 0.01  # two warm-up windows within 1 % of one another are settled
WINDOW_S = 2.5  # a window must span seconds: clocks and caches take that long to move

Call = Callable[[], object]
Clock = Callable[[], float]
Report = Callable[[float], object]  # takes the share done, 0 to 1


@dataclass(frozen=True)
class Lengths:
    """How long a pass lasts, at least (least_s 0: just the images, in whole batches), its warm-up (None: as long)."""

    least_images: int = 1
    least_s: float = 10.0
    warm_s: float | None = None
    window: int = 5


def nothing(*_: object) -> None:
    """Nothing: synchronizes a device that is never behind, and takes a report that nobody asked for."""


def block(step: Call, synchronize: Call, steps: int, clock: Clock = time.perf_counter) -> float:
    """The seconds of one block: from an idle device to an idle device."""
    synchronize()
    start = clock()
    for _ in range(steps):
        step()
    synchronize()
    return clock() - start


def settled(block_s: list[float], window: int) -> bool:
    """Whether the last two windows of blocks agree to within 1 %, or to within their own noise if that is more."""
    if len(block_s) < 2 * window:
        return False
    y = [math.log(s) for s in block_s[-2 * window :]]
    # A trend hardly moves differences of neighbours: for normal blocks their median is 0.954 standard deviations, and a
    # median of w values has a standard error of 1.25 / sqrt(w) of them.
    noise = 1.05 * median(abs(b - a) for a, b in pairwise(y)) * 1.25 * math.sqrt(2 / window)
    return abs(median(y[window:]) - median(y[:window])) <= max(AGREE, noise)


def warm_up(step: Call, synchronize: Call, lengths: Lengths, clock: Clock) -> tuple[int, dict[str, Any]]:
    """The steps that fill a block, and a Pass's fields on the warm-up: by time, and verified by two windows that agree.

    A block that ends in under half its time is made larger and the count starts anew: so a first step that compiles
    for a minute neither decides the size of the blocks nor counts as settled.
    """
    warm_s = lengths.least_s if lengths.warm_s is None else lengths.warm_s
    block_s = min(BLOCK_S, max(lengths.least_s, 1.0) / BLOCKS)
    start, steps, times, agree = clock(), 1, list[float](), False
    while not agree and ((clock() - start < 3 * warm_s + 1 and len(times) < MOST_BLOCKS) or not times):
        times.append(block(step, synchronize, steps, clock))
        if times[-1] < block_s / 2:
            steps = max(steps + 1, int(steps * min(10, block_s / max(times[-1], 1e-9))))
            times.clear()
            continue
        wide = max(2, min(lengths.window, math.ceil(WINDOW_S / times[-1])))
        agree = clock() - start >= min(2.0, warm_s / 5) and settled(times, wide)
    return steps, {"warm_up_s": clock() - start, "warm_up_block_s": times, "settled": agree}


def timed(
    step: Call, synchronize: Call, batch_size: int, lengths: Lengths = Lengths(),
    clock: Clock = time.perf_counter, cpu_clock: Clock = time.process_time, report: Report = nothing,
) -> Pass:  # fmt: skip
    """One pass: warmed up, then timed block by block until it is as long as asked; start_s is the clock's.

    step() handles one batch of batch_size images. report is called between blocks, outside the time that counts.
    A pass of very many blocks joins them in pairs, and goes on with blocks of twice the size.
    """
    (steps, warm), least = warm_up(step, synchronize, lengths, clock), lengths
    if not least.least_s:
        total_steps = math.ceil(least.least_images / batch_size)
        steps = max(n for n in range(1, min(total_steps, steps) + 1) if total_steps % n == 0)
    start, times, cpu_s, images, total = clock(), list[float](), 0.0, 0, 0.0
    while images < least.least_images or total < least.least_s or not times:
        if len(times) == MOST_BLOCKS:
            times, steps = [a + b for a, b in zip(times[::2], times[1::2], strict=True)], 2 * steps
        before = cpu_clock()
        times.append(block(step, synchronize, steps, clock))
        cpu_s += cpu_clock() - before
        images, total = images + steps * batch_size, total + times[-1]
        report(min(1.0, images / least.least_images, total / (least.least_s or 1e-9)))
    return Pass(
        images=images, seconds=total, images_per_s=images / total, block_images=steps * batch_size,
        last_block_images=steps * batch_size,
        block_s=times, start_s=start, cpu_s=cpu_s, stock_images=0, **warm,
    )  # fmt: skip


def requests(
    step: Call, synchronize: Call, least_s: float = 10.0, most: int = 1000, clock: Clock = time.perf_counter
) -> list[float]:
    """The seconds of each request, for least_s seconds or `most` requests: one after the other, so none in a queue."""
    start, times = clock(), [block(step, synchronize, 1, clock)]
    while clock() - start < least_s and len(times) < most:
        times.append(block(step, synchronize, 1, clock))
    return times


def progress(part: str, start: float, end: float) -> Report:
    """The call that reports the share done (0 to 1) of a part, in which the run goes from start to end (0 to 1).

    A bar on stderr; lines of JSON there, four a second and the last, where the environment has SILICONBENCH_PROGRESS=1.
    """
    lines, due = os.environ.get("SILICONBENCH_PROGRESS") == "1", 0.0
    bar = tqdm(total=100, desc=part, bar_format="{desc} {percentage:.0f}% {bar:20}", disable=lines)

    def report(done: float) -> None:
        nonlocal due
        whole = start + (end - start) * done
        bar.n = round(100 * whole)
        bar.refresh()
        if lines and (time.monotonic() >= due or done >= 1):
            due = time.monotonic() + 0.25
            print(json.dumps({"part": part, "done": round(whole, 4)}), file=sys.stderr, flush=True)

    report(0.0)
    return report
