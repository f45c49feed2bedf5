"""The passes of one run: the bench is set up once, then each pass times one part of the same work."""

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from tqdm import tqdm

from siliconbench.record.schema import Case
from siliconbench.run import device as devices
from siliconbench.run import images, models, timing
from siliconbench.run.images import Pictures
from siliconbench.run.timing import Call

Report = Callable[[float], object]

WORTH = 0.02  # a loader that costs less than 2 % of the time is left in the main process

BETTER = 1.02  # more workers must bring more than 2 % to be worth having


class Refused(RuntimeError):
    """The case can't be measured here as it was asked for; the message says why."""


@dataclass(frozen=True)
class Bench:
    """A model on its device, ready to be timed, and the pictures for it. start_s of a pass counts from zero_s."""

    case: Case
    device: torch.device
    model: torch.nn.Module
    call: Callable[[torch.Tensor], torch.Tensor]
    finish: Callable[[torch.Tensor], torch.Tensor]
    wait: Callable[[], None]
    zero_s: float
    build_s: float
    first_forward_s: float
    graphs: int  # that torch.compile made for the first call

    @cached_property
    def pictures(self) -> Pictures:
        """The data set of this case."""
        return Pictures(self.case.input, self.case.seed, self.case.image_px or 224)

    @cached_property
    def host_batch(self) -> torch.Tensor:
        """One batch in the host's memory, as the loader gives it; 64 pictures over again where it is larger."""
        few = [self.pictures[i] for i in range(min(64, self.case.batch_size))]
        batch = torch.stack(few)[torch.arange(self.case.batch_size) % len(few)]
        return batch.pin_memory() if self.device.type == "cuda" else batch

    @cached_property
    def ready_batch(self) -> torch.Tensor:
        """The same batch on the device, ready for the model."""
        return self.finish(self.host_batch)

    def stream(self, workers: int) -> Iterator[torch.Tensor]:
        """An endless stream of batches made by so many worker processes."""
        return images.batches(self.pictures, self.case.batch_size, workers, self.device.type == "cuda")

    def timed(self, step: Call, report: Report = timing.nothing, **options: Any) -> dict[str, Any]:
        """One pass as the record keeps it: at least MIN_SECONDS long, its start counted from the run's zero."""
        options = {"least_s": self.case.min_seconds, **options}
        result = timing.timed(step, self.wait, self.case.batch_size, report=report, **options)
        return asdict(replace(result, start_s=result.start_s - self.zero_s))


def set_up(case: Case) -> Bench:
    """The bench of a case: its model built, on the device, called once. Refused where the case can't be had here."""
    zero = time.perf_counter()
    device = torch.device(case.device)
    reason = devices.refusal(device, case.reference) or devices.lacks(device, case.precision)
    if reason := reason or (models.no_compiler(device) if case.compile else None):
        raise Refused(reason)
    devices.true_fp32(tf32=case.precision == "tf32")
    case = case.model_copy(update={"image_px": models.image_px(case.model)})
    model = models.build(case.model, case.seed, case.mode)
    model = models.place(model, device, case.precision, case.memory_format, case.compile)
    finish = images.finisher(device, models.DTYPES[case.precision], models.LAYOUTS[case.memory_format])
    call, wait = models.stepper(model, case.mode), devices.waiter(device)
    bench = Bench(case, device, model, call, finish, wait, zero, time.perf_counter() - zero, 0.0, 0)
    ready = bench.ready_batch
    first = timing.block(lambda: call(ready), wait, 1)
    return replace(bench, first_forward_s=first, graphs=models.graphs_compiled() if case.compile else 0)


def compiled(bench: Bench) -> dict[str, Any] | None:
    """What torch.compile took: the seconds of the first call, and how often it compiled again since; None without."""
    if not bench.case.compile:
        return None
    return {"seconds": bench.first_forward_s, "recompiles": models.graphs_compiled() - bench.graphs}


def forward(bench: Bench, report: Report = timing.nothing) -> dict[str, Any]:
    """The pass of the model alone: its batch lies on the device already."""
    batch = bench.ready_batch
    return bench.timed(lambda: bench.call(batch), report)


def copy(bench: Bench, report: Report = timing.nothing) -> dict[str, Any] | None:
    """The pass from the host's memory to a batch ready on the device; None where nothing is left to do."""
    batch = bench.host_batch
    if bench.finish(batch) is batch:
        return None
    return bench.timed(lambda: bench.finish(batch), report, window=2)


def load(bench: Bench, stream: Iterator[torch.Tensor], report: Report = timing.nothing) -> dict[str, Any]:
    """The pass of the loader alone: each batch made, preprocessed, collated and handed over."""
    return bench.timed(lambda: next(stream), report, window=2)


def end_to_end(bench: Bench, stream: Iterator[torch.Tensor], report: Report = timing.nothing) -> dict[str, Any]:
    """The pass of the whole, as a user's program would run it: at least NUM_IMAGES images, MINUTES minutes."""
    least = {"least_images": bench.case.num_images, "least_s": max(bench.case.min_seconds, 60 * bench.case.minutes)}
    ready = devices.beside(bench.device, lambda: bench.finish(next(stream)))
    return bench.timed(lambda: bench.call(ready()), report, warm_s=bench.case.min_seconds, **least)


def latency(bench: Bench, report: Report = timing.nothing) -> dict[str, Any]:
    """The raw seconds of requests, a batch at a time from the host's memory to the model's output; cold start apart."""
    batch = bench.host_batch
    seconds = timing.requests(lambda: bench.call(bench.finish(batch)), bench.wait, bench.case.min_seconds)
    report(1.0)
    return {
        "request_images": bench.case.batch_size,
        "request_s": seconds,
        "build_s": bench.build_s,
        "first_forward_s": bench.first_forward_s,
    }


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quick_rate(bench: Bench, step: Call, skip: int, least_s: float = 1.0) -> float:
    """Images per second of a step in a hurry: after `skip` steps that don't count, three steps and least_s seconds."""
    timing.block(step, bench.wait, skip)
    start, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - start < least_s:
        step()
        steps += 1
    bench.wait()
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


def feed(bench: Bench, needed: float) -> tuple[Iterator[torch.Tensor], dict[str, Any]]:
    """The stream that feeds the model best, and how it was found: WORKERS as asked, or the best of a few tried.

    needed is what the model takes, in images per second. Of numbers within 2 % of the best, the smallest wins.
    """
    asked, alone = bench.case.workers, bench.stream(0)
    if asked is not None:
        return bench.stream(asked), {"used": asked, "start_method": start_method(asked), "tried": []}
    rate = quick_rate(bench, lambda: next(alone), 1, 0.5)
    tries = candidates(rate, needed, bench.device.type == "cpu", cores())
    streams, rates = {0: alone}, dict[int, float]()
    for workers in tries if len(tries) > 1 else []:
        streams[workers] = streams.get(workers) or bench.stream(workers)
        rates[workers] = whole_rate(bench, streams[workers], workers)
    used = min((w for w, r in rates.items() if r * BETTER >= max(rates.values())), default=tries[0])
    tried = [{"workers": w, "images_per_s": r} for w, r in rates.items()]
    return streams.get(used) or bench.stream(used), {"used": used, "start_method": start_method(used), "tried": tried}


def whole_rate(bench: Bench, stream: Iterator[torch.Tensor], workers: int) -> float:
    """Images per second end to end in a hurry, once the batches that the workers had ready are used up."""
    ready = devices.beside(bench.device, lambda: bench.finish(next(stream)))
    return quick_rate(bench, lambda: bench.call(ready()), 2 * workers + 1)


def start_method(workers: int) -> str:
    """How worker processes start here: fork, spawn or forkserver; none without any."""
    return multiprocessing.get_start_method() if workers else "none"


def progress(part: str, start: float, end: float) -> Report:
    """A bar for one part of the run, on stderr: whoever runs the notebook reads its per cent of the whole run."""
    bar = tqdm(total=100, desc=part, bar_format="{desc} {percentage:.0f}% {bar:20}")

    def report(done: float) -> None:
        bar.n = round(100 * (start + (end - start) * done))
        bar.refresh()

    report(0.0)
    return report
