"""The data loader: an endless stream of batches, and how many worker processes feed the model best."""

import math
import multiprocessing
import time
from functools import partial

from torch.utils.data import DataLoader

from siliconbench.machine.facts import usable_cores
from siliconbench.record.axes import DEVICES
from siliconbench.record.schema import Tried, Workers
from siliconbench.run import timing
from siliconbench.run.passes import Bench, Stream
from siliconbench.run.timing import Call

WORTH = 0.02  # a loader that costs less than 2 % of the time is left in the main process
BETTER = 1.02  # more workers must bring more than 2 % to be worth having


def stream(bench: Bench, workers: int, start_method: str | None = None) -> Stream:
    """An endless stream of whole batches, uint8 or float32 (N, 3, H, W), made by so many worker processes (0: by this).

    One iterator serves a whole run: its workers stay, and no pass pays for their start. The loader must be dropped
    (`del`) for the workers to leave. start_method None is the platform's own: fork on Linux, spawn on macOS. The memory
    is pinned where the device copies from it.
    """
    return iter(DataLoader(
        bench.images, bench.case.batch_size, num_workers=workers, pin_memory=DEVICES[bench.device.type].copies_beside,
        drop_last=True, persistent_workers=workers > 0, multiprocessing_context=start_method if workers else None,
    ))  # fmt: skip


def quick_rate(bench: Bench, step: Call, skip: int, least_s: float = 1.0) -> float:
    """Images per second of a step in a hurry: after `skip` steps that don't count, three steps and least_s seconds."""
    timing.block(step, bench.synchronize, skip)
    start, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - start < least_s:
        step()
        steps += 1
    bench.synchronize()
    return steps * bench.case.batch_size / (time.perf_counter() - start)


def candidates(alone: float, needed: float, on_cpu: bool, cores: int) -> list[int]:
    """Which numbers of workers are worth a try, from the images/s that one process makes alone and that are needed."""
    if on_cpu and needed < WORTH * alone:
        return [0]
    most = max(1, cores if on_cpu else cores - 1)
    enough = math.ceil(1.3 * needed / alone)  # a worker brings less than a process alone: its batches are sent
    tries = {min(most, enough), min(most, 2 * enough)}
    return sorted(tries | ({0} if on_cpu or enough <= 1 else {max(1, most // 2)} if len(tries) == 1 else set()))


def feed(bench: Bench, needed: float) -> tuple[Stream, Workers]:
    """The stream that feeds the model best, and how it was found: WORKERS as asked, or the best of a few tried.

    needed is what the model takes, in images per second. Of numbers within 2 % of the best, the smallest wins.
    """
    used, streams, rates = bench.case.workers, dict[int, Stream](), dict[int, float]()
    if used is None:
        streams[0] = stream(bench, 0)
        alone = quick_rate(bench, partial(next, streams[0]), 1, 0.5)
        tries = candidates(alone, needed, not DEVICES[bench.device.type].accelerator, usable_cores())
        for number in tries if len(tries) > 1 else []:
            source = streams[number] = streams.get(number) or stream(bench, number)
            step = bench.whole(partial(next, source))  # skipped: the batches that the workers have ready
            rates[number] = quick_rate(bench, step, 2 * number + 1)
        used = min((n for n, r in rates.items() if r * BETTER >= max(rates.values())), default=tries[0])
    tried = [Tried(workers=n, images_per_s=[r]) for n, r in rates.items()]
    start_method = multiprocessing.get_start_method() if used else "none"
    found = Workers(used=used, start_method=start_method, tried=tried, chosen_in=None)
    return streams.get(used) or stream(bench, used), found
