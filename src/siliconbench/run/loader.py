"""The data loader: an endless stream of batches, and how many worker processes feed the model best."""

import math
import multiprocessing
import time

import torch
from torch.utils.data import DataLoader

from siliconbench.machine.facts import usable_cores
from siliconbench.record.axes import DEVICES
from siliconbench.record.schema import Tried, Workers
from siliconbench.run import timing
from siliconbench.run.images import Images
from siliconbench.run.passes import Bench, Stream
from siliconbench.run.timing import Call

WORTH = 0.02  # a loader that costs less than 2 % of the time is left in the main process
BETTER = 1.02  # more workers must bring more than 2 % to be worth having


def batches(images: Images, batch_size: int, workers: int, pin: bool, start_method: str | None = None) -> Stream:
    """An endless stream of whole batches, uint8 or float32 (N, 3, H, W), made by so many worker processes (0: by this).

    One iterator serves a whole run: its workers stay, and no pass pays for their start. The loader must be dropped
    (`del`) for the workers to leave. start_method None is the platform's own: fork on Linux, spawn on macOS.
    """
    loader: DataLoader[torch.Tensor] = DataLoader(
        images, batch_size, num_workers=workers, pin_memory=pin, drop_last=True, persistent_workers=workers > 0,
        multiprocessing_context=start_method if workers else None,
    )  # fmt: skip
    return iter(loader)


def stream(bench: Bench, workers: int) -> Stream:
    """The bench's stream of batches, in pinned memory where the device copies from it."""
    return batches(bench.images, bench.case.batch_size, workers, DEVICES[bench.device.type].copies_beside)


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
    """Which numbers of workers are worth a try, given what one process makes alone and what the model takes (images/s).

    A worker brings less than a process alone (its batches are sent), hence the 1.3.
    """
    if on_cpu and needed < WORTH * alone:
        return [0]
    most = max(1, cores if on_cpu else cores - 1)
    enough = math.ceil(1.3 * needed / alone)
    tries = {min(most, enough), min(most, 2 * enough)}
    return sorted(tries | ({0} if on_cpu or enough <= 1 else {max(1, most // 2)} if len(tries) == 1 else set()))


def feed(bench: Bench, needed: float) -> tuple[Stream, Workers]:
    """The stream that feeds the model best, and how it was found: WORKERS as asked, or the best of a few tried.

    needed is what the model takes, in images per second. Of numbers within 2 % of the best, the smallest wins.
    """
    if (asked := bench.case.workers) is not None:
        return stream(bench, asked), workers(asked)
    alone = stream(bench, 0)
    rate = quick_rate(bench, lambda: next(alone), 1, 0.5)
    tries = candidates(rate, needed, not DEVICES[bench.device.type].accelerator, usable_cores())
    streams, rates = {0: alone}, dict[int, float]()
    for number in tries if len(tries) > 1 else []:
        streams[number] = streams.get(number) or stream(bench, number)
        rates[number] = whole_rate(bench, streams[number], number)
    used = min((n for n, r in rates.items() if r * BETTER >= max(rates.values())), default=tries[0])
    return streams.get(used) or stream(bench, used), workers(used, rates)


def whole_rate(bench: Bench, stream: Stream, workers: int) -> float:
    """Images per second end to end in a hurry, once the batches that the workers had ready are used up."""
    ready = bench.ahead(lambda: next(stream))
    return quick_rate(bench, lambda: bench.call(ready()), 2 * workers + 1)


def workers(used: int, rates: dict[int, float] | None = None) -> Workers:
    """The record's section of so many workers: how they start here (none without any), and the rates of those tried."""
    tried = [Tried(workers=n, images_per_s=r) for n, r in (rates or {}).items()]
    return Workers(used=used, start_method=multiprocessing.get_start_method() if used else "none", tried=tried)
