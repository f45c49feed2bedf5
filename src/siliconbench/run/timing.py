"""Warm up, time, stop: the loop behind each rate.

It imports no torch. The step, the call that synchronizes the device and the clock are handed in, so the same loop times
an accelerator, a data loader or a fake clock in a test. A device runs behind the program that feeds it: a clock read
without synchronizing times the launch, not the work. So each block ends by synchronizing, then the clock is read.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

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
    """How long a pass lasts: at least so many images and seconds; least_s = 0: just the images, in whole batches.

    The warm-up has three times warm_s (None: least_s), and a second, to settle: two windows of blocks that agree.
    """

    least_images: int = 1
    least_s: float = 10.0
    warm_s: float | None = None
    window: int = 5

    @property
    def block_s(self) -> float:
        """The seconds that a block should take."""
        return min(BLOCK_S, max(self.least_s, 1.0) / BLOCKS)


@dataclass(frozen=True)
class WarmUp:
    """How long the warm-up took, the steps that fill one block, the raw blocks, and whether they settled."""

    seconds: float
    steps: int
    block_s: list[float]
    settled: bool


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
    """Whether the last two windows of blocks agree to within 1 %, or to within their own noise if that is more.

    The noise comes from differences of neighbours, which a trend hardly moves: for normal blocks their median is
    0.954 standard deviations, and a median of w values has a standard error of 1.25 / sqrt(w) of them.
    """
    if len(block_s) < 2 * window:
        return False
    y = [math.log(s) for s in block_s[-2 * window :]]
    noise = 1.05 * median(abs(b - a) for a, b in pairwise(y)) * 1.25 * math.sqrt(2 / window)
    return abs(median(y[window:]) - median(y[:window])) <= max(AGREE, noise)


def warm_up(step: Call, synchronize: Call, lengths: Lengths, clock: Clock = time.perf_counter) -> WarmUp:
    """The warm-up of one pass: by time, and verified by two windows that agree.

    A block that ends in under half its time is made larger and the count starts anew: so a first step that compiles
    for a minute neither decides the size of the blocks nor counts as settled.
    """
    warm_s = lengths.least_s if lengths.warm_s is None else lengths.warm_s
    least_s, most_s = min(2.0, warm_s / 5), 3 * warm_s + 1
    start, steps, times = clock(), 1, list[float]()
    while (clock() - start < most_s and len(times) < MOST_BLOCKS) or not times:
        times.append(block(step, synchronize, steps, clock))
        if times[-1] < lengths.block_s / 2:
            steps = max(steps + 1, int(steps * min(10, lengths.block_s / max(times[-1], 1e-9))))
            times.clear()
            continue
        wide = max(2, min(lengths.window, math.ceil(WINDOW_S / times[-1])))
        if clock() - start >= least_s and settled(times, wide):
            return WarmUp(clock() - start, steps, times, True)
    return WarmUp(clock() - start, steps, times, False)


def timed(
    step: Call,
    synchronize: Call,
    batch_size: int,
    lengths: Lengths = Lengths(),
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
    report: Report = nothing,
) -> Pass:
    """One pass: warmed up, then timed block by block until it is as long as asked; start_s is the clock's.

    step() handles one batch of batch_size images. report is called between blocks, outside the time that counts.
    A pass of very many blocks joins them in pairs, and goes on with blocks of twice the size.
    """
    warm, least = warm_up(step, synchronize, lengths, clock), lengths
    steps = warm.steps if least.least_s else fitting(math.ceil(least.least_images / batch_size), warm.steps)
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
        images=images, seconds=total, images_per_s=images / total, block_images=steps * batch_size, block_s=times,
        start_s=start, cpu_s=cpu_s, warm_up_s=warm.seconds, warm_up_block_s=warm.block_s, settled=warm.settled,
    )  # fmt: skip


def fitting(total: int, most: int) -> int:
    """The largest divisor of total that is at most most: equal blocks that add up to exactly total steps."""
    return max(n for n in range(1, min(total, most) + 1) if total % n == 0)


def requests(
    step: Call, synchronize: Call, least_s: float = 10.0, most: int = 1000, clock: Clock = time.perf_counter
) -> list[float]:
    """The seconds of each request, one at a time and each synchronized, for least_s seconds or most requests.

    A closed loop: the next request starts when the last is done, so this is service time, not time in a queue.
    """
    start, times = clock(), [block(step, synchronize, 1, clock)]
    while clock() - start < least_s and len(times) < most:
        times.append(block(step, synchronize, 1, clock))
    return times
