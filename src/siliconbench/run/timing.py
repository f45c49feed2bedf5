"""Warm up, time, stop: the loop that every figure here comes from.

It imports no torch. The step, the wait for the device and the clock are handed in, so the same loop times an
accelerator, a data loader or a fake clock in a test. A device runs behind the program that feeds it: a clock read
without waiting times the launch, not the work. So each block ends with the wait, and only then is the clock read.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

BLOCK_S = 0.5  # one wait at the edge costs nothing beside it, and ten seconds still give twenty blocks

BLOCKS = 20  # a pass shorter than ten seconds has shorter blocks, not fewer

AGREE = 0.01  # two warm-up windows within 1 % of one another are settled

WINDOW_S = 2.5  # a window must span seconds: clocks and caches take that long to move

Call = Callable[[], object]

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timed:
    """One timed pass: equal blocks of block_images, the raw seconds of each, and the warm-up apart."""

    images: int
    seconds: float
    images_per_s: float
    block_images: int
    block_s: list[float]
    start_s: float  # the clock at the first block
    cpu_s: float  # of this process, all threads, within the blocks
    warm_up_s: float
    warm_up_block_s: list[float]
    settled: bool


@dataclass(frozen=True)
class WarmUp:
    """How long the warm-up took, the steps that fill one block, the raw blocks, and whether they settled."""

    seconds: float
    steps: int
    block_s: list[float]
    settled: bool


def nothing(*_: object) -> None:
    """None: the wait of a device that is never behind, and the report nobody asked for."""


def block(step: Call, wait: Call, steps: int, clock: Clock = time.perf_counter) -> float:
    """The seconds of one block: from an idle device to an idle device."""
    wait()
    start = clock()
    for _ in range(steps):
        step()
    wait()
    return clock() - start


def settled(block_s: list[float], window: int) -> bool:
    """Whether the last two windows of blocks agree to within 1 %, or to within their own noise if that is more.

    The noise comes from differences of neighbours, which a trend hardly moves: for normal blocks their median is
    0.954 standard deviations, and a median of w values has a standard error of 1.25 / sqrt(w) of them.
    """
    if len(block_s) < 2 * window:
        return False
    y = [math.log(s) for s in block_s[-2 * window :]]
    noise = 1.05 * median(abs(b - a) for a, b in pairwise(y)) * 1.25 * math.sqrt(2 / window)
    return abs(median(y[window:]) - median(y[:window])) <= max(AGREE, noise)


def warm_up(
    step: Call,
    wait: Call,
    block_s: float = BLOCK_S,
    window: int = 5,
    least_s: float = 2.0,
    most_s: float = 30.0,
    clock: Clock = time.perf_counter,
) -> WarmUp:
    """The warm-up of one pass: by time (least_s to most_s), and verified by two windows that agree.

    A block that ends in under half its time is made larger and the count starts anew: so a first step that compiles
    for a minute neither decides the size of the blocks nor counts as settled.
    """
    start, steps, times = clock(), 1, list[float]()
    while clock() - start < most_s or not times:
        times.append(block(step, wait, steps, clock))
        if times[-1] < block_s / 2:
            steps = max(steps + 1, int(steps * min(10, block_s / max(times[-1], 1e-9))))
            times.clear()
            continue
        wide = max(2, min(window, math.ceil(WINDOW_S / times[-1])))
        if clock() - start >= least_s and settled(times, wide):
            return WarmUp(clock() - start, steps, times, True)
    return WarmUp(clock() - start, steps, times, False)


def timed(
    step: Call,
    wait: Call,
    batch_size: int,
    least_images: int = 1,
    least_s: float = 10.0,
    window: int = 5,
    warm_s: float | None = None,
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
    report: Callable[[float], object] = nothing,
) -> Timed:
    """One pass: warmed up, then timed block by block until both least_images and least_s are reached.

    step() handles one batch of batch_size images. least_s = 0 times exactly least_images, rounded up to whole batches.
    The warm-up has three times warm_s (else least_s), and a second, to settle.
    report(done) hears the share done, between blocks, outside the time that counts.
    """
    size = min(BLOCK_S, max(least_s, 1.0) / BLOCKS)
    warm_s = least_s if warm_s is None else warm_s
    warm = warm_up(step, wait, size, window, min(2.0, warm_s / 5), 3 * warm_s + 1, clock)
    steps = warm.steps if least_s else fitting(math.ceil(least_images / batch_size), warm.steps)
    start, times, cpu_s, images = clock(), list[float](), 0.0, 0
    while images < least_images or sum(times) < least_s or not times:
        before = cpu_clock()
        times.append(block(step, wait, steps, clock))
        cpu_s += cpu_clock() - before
        images += steps * batch_size
        report(min(1.0, images / least_images, sum(times) / (least_s or 1e-9)))
    total = sum(times)
    return Timed(
        images,
        total,
        images / total,
        steps * batch_size,
        times,
        start,
        cpu_s,
        warm.seconds,
        warm.block_s,
        warm.settled,
    )


def fitting(total: int, most: int) -> int:
    """The largest divisor of total that is at most most: equal blocks that add up to exactly total steps."""
    return max(n for n in range(1, min(total, most) + 1) if total % n == 0)


def requests(
    step: Call, wait: Call, least_s: float = 10.0, most: int = 1000, clock: Clock = time.perf_counter
) -> list[float]:
    """The seconds of each request, one at a time and each waited for, for least_s seconds or most requests.

    A closed loop: the next request starts when the last is done, so this is service time, not time in a queue.
    """
    start, times = clock(), [block(step, wait, 1, clock)]
    while clock() - start < least_s and len(times) < most:
        times.append(block(step, wait, 1, clock))
    return times
