"""Warm up, time, stop: the loop behind each rate. It imports no torch: step, synchronization and clock are handed in.

A device runs behind the program that feeds it: a clock read without synchronizing times the launch, not the work. The
model alone is timed in blocks, and the device synchronized at the edges of each. To wait for it there would cost a
whole its overlap (n steps take h + n d instead of n max(h, d)): so a stream is never drained before its end, and its
rate is that of the steps that completed between two completions."""

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Any, cast

from IPython.display import HTML, display

from siliconbench.record.schema import STOCK, Pass

BLOCK_S = 0.5  # to synchronize once at the edge costs nothing beside it, and ten seconds still give twenty blocks
BLOCKS = 20  # a pass shorter than ten seconds has shorter blocks, not fewer
MOST_BLOCKS = 86_400  # blocks of half a second up to twelve hours; a record holds 100,000
AGREE = 0.01  # two warm-up windows within 1 % of one another are settled
WINDOW_S = 2.5  # a window must span seconds: clocks and caches take that long to move
WARM_S = 30.0  # a device that has not settled by then is timed as it is, and that is said
CPU_WARM_S = 3 * WINDOW_S  # or its pass's length: of two windows a single look would fail by noise one time in three
QUICK_S = 1.0  # a pass that may be no longer is a quick look, as those of `make best`
JUDGED_S = 0.5  # a pass that may be shorter is not prolonged by a warm-up of seconds
LONGER = 3  # times its length that a pass goes on for that

Call = Callable[[], object]
Clock = Callable[[], float]
Wait = Callable[[], float | None]  # returns when a step is complete; the time of that, where it knows better than we do
Report = Callable[[float], object]  # takes the share done, 0 to 1


@dataclass(frozen=True)
class Lengths:
    """How long a pass lasts, at least (least_s 0: just the images, in whole batches); warm_s: it warms up until it is
    steady, for so long at most; 0: only until the size of its blocks is found. called_s: what the call before it took;
    if that is longer than a quick look, it was the warm-up, and a step is a block."""

    least_images: int = 1
    least_s: float = 10.0
    warm_s: float = WARM_S
    called_s: float = 0.0

    @property
    def block_s(self) -> float:
        """The seconds that a block should last."""
        return min(BLOCK_S, max(self.least_s, 1.0) / BLOCKS)


def nothing(*_: object) -> None:
    """Nothing: waits for what is never behind, and takes a report that nobody asked for."""


@dataclass(frozen=True)
class Flow:
    """How the steps of a stream end. mark, given what a step returned, gives the call that waits for it (by default it
    was complete): made after `lag` more steps, which so bounds how far the program runs ahead; drain waits for all of
    them, after the pass. Batches may come in rounds of round_steps, one from each worker: counting spans whole rounds.
    stock gives how many lay ready before the last was taken."""

    mark: Callable[[object], Wait] = lambda _: nothing
    lag: int = 0
    drain: Call = nothing
    round_steps: int = 1
    stock: Callable[[], int] = int


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
    """The steps that fill a block, and a Pass's fields on the warm-up: verified by two windows of seconds that agree.

    A block that ends in under half its time is made larger and all starts anew: so a first step that compiles for a
    minute neither decides the size of the blocks nor counts as settled. Fewer than four blocks can't be judged."""
    judged = lengths.warm_s > 0 and lengths.least_s >= JUDGED_S
    most_s = lengths.warm_s if judged else min(lengths.warm_s, lengths.least_s)
    start, steps, times, agree = clock(), 1, list[float](), False
    since, warm = start, lengths.called_s > lengths.least_s > 0 and lengths.least_s <= QUICK_S
    while not warm and (not times or (not agree and clock() - since < most_s)):
        times.append(block(step, synchronize, steps, clock))
        if times[-1] < lengths.block_s / 2:
            steps = max(steps + 1, int(steps * min(10, lengths.block_s / max(times[-1], 1e-9))))
            times, since = [], clock()
            continue
        agree = judged and settled(times, max(2, math.ceil(WINDOW_S / median(times))))
    told = agree if judged and len(times) >= 4 else None
    return steps, {"warm_up_s": clock() - start, "warm_up_block_s": times, "settled": told}


def timed(
    step: Call, synchronize: Call, batch_size: int, lengths: Lengths = Lengths(),
    clock: Clock = time.perf_counter, cpu_clock: Clock = time.process_time, report: Report = nothing,
) -> Pass:  # fmt: skip
    """One pass: warmed up, then timed block by block until it is as long as asked; start_s is the clock's.

    step() handles one batch of batch_size images. report is called between blocks, outside the time that counts.
    A pass of very many blocks joins them in pairs, and goes on with blocks of twice the size."""
    (steps, warm), least = warm_up(step, synchronize, lengths, clock), lengths
    start, times, cpu_s, images, total = clock(), list[float](), 0.0, 0, 0.0
    while images < least.least_images or total < least.least_s or not times:
        if len(times) == MOST_BLOCKS:
            times, steps = [a + b for a, b in zip(times[::2], times[1::2], strict=True)], 2 * steps
        left = max(1, math.ceil((least.least_images - images) / batch_size))
        before, count = cpu_clock(), steps if least.least_s else min(steps, left)
        times.append(block(step, synchronize, count, clock))
        cpu_s += cpu_clock() - before
        images, total = images + count * batch_size, total + times[-1]
        report(min(1.0, images / least.least_images, total / (least.least_s or 1e-9)))
    size = min(images, steps * batch_size)
    return Pass(
        images=images, seconds=total, images_per_s=images / total, block_images=size,
        last_block_images=images - size * (len(times) - 1),
        block_s=times, start_s=start, cpu_s=cpu_s, stock_images=0, **warm,
    )  # fmt: skip


def cut(edges: list[float], every: int, steps: int, round_steps: int, block_s: float) -> tuple[int, list[float]]:
    """The steps of a block, and the seconds of each: a stream cut after the fact into blocks of about block_s.

    edges: when it began, when each `every`-th step was complete, and the last of the steps. Blocks are whole rounds
    where shorter ones would show the bursts in which workers deliver: some of those took no time, others all of it."""
    step_s = (edges[-1] - edges[0]) / steps
    for unit in (every, every * math.ceil(round_steps / every)):
        size = unit * max(1, round(block_s / (unit * step_s)), math.ceil(steps / (unit * MOST_BLOCKS)))
        at = [*range(0, steps, size), steps]
        times = [b - a for a, b in pairwise(edges[math.ceil(n / every)] for n in at)]
        whole = times[: steps // size] or times
        if min(whole) >= fmean(whole) / 2:
            break
    return size, times


def completions(step: Call, flow: Flow, clock: Clock) -> Iterator[float]:
    """When each step of an endless stream was complete; flow.lag steps are under way at any time."""
    under_way = deque[Wait]()
    while True:
        while len(under_way) <= flow.lag:
            under_way.append(flow.mark(step()))
        at = under_way.popleft()()
        yield clock() if at is None else at


def streamed(
    step: Call, flow: Flow, batch_size: int, lengths: Lengths = Lengths(),
    clock: Clock = time.perf_counter, cpu_clock: Clock = time.process_time, report: Report = nothing,
) -> Pass:  # fmt: skip
    """One pass that is never drained: the steps that completed between two completions, over the seconds between them.

    It runs untimed for a round and a fifth of its length (2 s at most), and the timed stretch follows without a break.
    It ends after whole rounds, and goes on for up to three times its length while the loader's stock fell by more than
    1 % of what was counted; stock_images is by how much. Times are the waits' own, else the clock's."""
    begun, least, ends = clock(), lengths, completions(step, flow, clock)
    now, skipped, due = next(ends), 1, 0.0
    while skipped % flow.round_steps or now - begun < min(2.0, least.least_s / 5):
        now, skipped = next(ends), skipped + 1
    start, cpu, stock, edges, every, end, used = now, cpu_clock(), flow.stock(), [now], 1, math.inf, 0
    for steps, now in enumerate(ends, 1):
        if steps % every == 0:
            edges.append(now)
        if len(edges) > 2 * MOST_BLOCKS:
            edges, every = edges[::2], 2 * every
        if now >= due:
            report(min(1.0, steps * batch_size / least.least_images, (now - start) / (least.least_s or 1e-9)))
            due = now + 0.25
        if steps % flow.round_steps or steps * batch_size < least.least_images or now - start < least.least_s:
            continue
        end, used = min(end, start + LONGER * (now - start)), max(0, stock - flow.stock())
        if used <= STOCK * steps or now >= end:
            break
    cpu_s = cpu_clock() - cpu
    flow.drain()
    report(1.0)
    edges += [now] if steps % every else []
    size, times = cut(edges, every, steps, flow.round_steps, least.block_s)
    return Pass(
        images=steps * batch_size, seconds=now - start, images_per_s=steps * batch_size / (now - start),
        block_images=min(size, steps) * batch_size, last_block_images=((steps - 1) % size + 1) * batch_size,
        block_s=times, start_s=start, cpu_s=cpu_s, warm_up_s=start - begun, warm_up_block_s=[], settled=None,
        stock_images=used * batch_size,
    )  # fmt: skip


def requests(
    step: Call, synchronize: Call, least_s: float = 10.0, least: int = 1, most: int = 1000,
    clock: Clock = time.perf_counter, warm: bool = False,
) -> list[float]:  # fmt: skip
    """The seconds of each request, for least_s seconds and `least` requests, or `most`: one after the other, unqueued.
    Before them, unless all is warm, some uncounted ones: three, or one of 0.1 s, for a tenth as long (1 s at most)."""
    start, few, took_s = clock(), 0, 0.0
    while not warm and (few < (3 if took_s < 0.1 else 1) or clock() - start < min(1.0, least_s / 10)):
        took_s, few = block(step, synchronize, 1, clock), few + 1
    start, times = clock(), list[float]()
    while not times or ((clock() - start < least_s or len(times) < least) and len(times) < most):
        times.append(block(step, synchronize, 1, clock))
    return times


class Progress:
    """Tells how far a run is: for each part, progress(part) is the call that reports the share done of it (0 to 1).

    One bar, in the notebook's cell that works; lines of JSON on stderr where SILICONBENCH_PROGRESS is 1.
    Four times a second and the last, with the seconds left of the run once those of its parts are known (expected, in
    order), and of these those of the search for loader processes, which other runs of its case will not have."""

    def __init__(self) -> None:
        self.expected, self.start, self.bar = dict[str, float](), time.monotonic(), cast(Any, None)

    def left_s(self, part: str, done: float) -> dict[str, float]:
        """The seconds left of each part when this share of one is done, by their names; empty where that is unknown."""
        names = list(self.expected)
        rest = names[names.index(part) :] if part in names else []
        return {name: self.expected[name] * (1 - done if name == part else 1) for name in rest}

    def __call__(self, part: str) -> Report:
        """The call that reports the share done of this part; it has reported 0 already."""
        lines, due = os.environ.get("SILICONBENCH_PROGRESS") == "1", 0.0
        self.end()
        self.bar = bar = None if lines else display(HTML(""), display_id=True)

        def report(done: float) -> None:
            nonlocal due
            if (now := time.monotonic()) < due and done < 1:
                return
            due, left_s, spent_s = now + 0.25, self.left_s(part, done), now - self.start
            left = sum(left_s.values()) if left_s else None
            search_s, value = left_s.get("loader processes", 0.0), spent_s / (spent_s + left) if left else 0.0
            if lines:
                told = {"part": part, "done": round(done, 4), "left_s": left, "search_s": search_s}
                print(json.dumps(told), file=sys.stderr, flush=True)
            elif bar:
                words = f"{part}, {left:.0f} s left" if left else part
                bar.update(HTML(f'<progress value="{value:.3f}"></progress> {words}'))

        report(0.0)
        return report

    def end(self) -> None:
        """Takes the bar away."""
        if self.bar:
            self.bar.update(HTML(""))
