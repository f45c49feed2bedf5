"""The passes of one run: the bench is set up once, then each pass times one part of the same work."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from siliconbench.record.axes import DEVICES, PRECISIONS
from siliconbench.record.schema import Case, Compiled, Latency, Pass, Passes
from siliconbench.run import models, timing
from siliconbench.run.device import beside, lacks, refusal, synchronizer, true_fp32
from siliconbench.run.images import Images, finisher
from siliconbench.run.timing import Call, Lengths, Report, nothing

Stream = Iterator[torch.Tensor]  # of batches in the host's memory


class Refused(RuntimeError):
    """The case can't be measured here as it was asked for; the message says why."""


@dataclass(frozen=True)
class Bench:
    """A model on its device, ready to be timed, and the images for it. start_s of a pass counts from zero_s."""

    case: Case
    device: torch.device
    model: torch.nn.Module
    call: Callable[[torch.Tensor], torch.Tensor]
    finish: Callable[[torch.Tensor], torch.Tensor]
    synchronize: Callable[[], None]
    zero_s: float
    build_s: float
    first_forward_s: float
    graphs: int  # that torch.compile made for the first call

    @cached_property
    def images(self) -> Images:
        """The data set of this case."""
        return Images(self.case.input, self.case.seed, self.case.image_px or 224)

    @cached_property
    def host_batch(self) -> torch.Tensor:
        """One batch in the host's memory, as the loader gives it; the same 64 images repeated where it is larger."""
        few = [self.images[i] for i in range(min(64, self.case.batch_size))]
        batch = torch.stack(few)[torch.arange(self.case.batch_size) % len(few)]
        return batch.pin_memory() if DEVICES[self.device.type].copies_beside else batch

    @cached_property
    def ready_batch(self) -> torch.Tensor:
        """The same batch on the device, ready for the model."""
        return self.finish(self.host_batch)

    def ahead(self, next_batch: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        """The call that makes the next batch ready on the device, beside the model where the device can do that."""
        return beside(self.device, lambda: self.finish(next_batch()))

    def timed(
        self,
        step: Call,
        report: Report = nothing,
        least_images: int = 1,
        least_s: float | None = None,
        warm_s: float | None = None,
        window: int = 5,
    ) -> Pass:
        """One pass, at least least_s (None: MIN_SECONDS) long; its start counts from the run's zero."""
        lengths = Lengths(least_images, self.case.min_seconds if least_s is None else least_s, warm_s, window)
        result = timing.timed(step, self.synchronize, self.case.batch_size, lengths, report=report)
        return result.model_copy(update={"start_s": result.start_s - self.zero_s})


def set_up(case: Case) -> Bench:
    """The bench of a case: its model built, on the device, called once. Refused where the case can't be had here."""
    zero_s, device = time.perf_counter(), torch.device(case.device)
    why = refusal(device, case.reference) or lacks(device, case.precision)
    if why := why or (models.no_compiler(device) if case.compile else None):
        raise Refused(why)
    true_fp32(tf32=PRECISIONS[case.precision].tf32)
    case = case.model_copy(update={"image_px": models.image_px(case.model)})
    model = models.prepared(models.build(case.model, case.seed, case.mode), case)
    call, finish = models.stepper(model, case.mode), finisher(device, *models.form(case))
    build_s = time.perf_counter() - zero_s
    bench = Bench(case, device, model, call, finish, synchronizer(device), zero_s, build_s, 0.0, 0)
    ready = bench.ready_batch
    first_s = timing.block(lambda: call(ready), bench.synchronize, 1)
    return replace(bench, first_forward_s=first_s, graphs=models.graphs_compiled() if case.compile else 0)


def compiled(bench: Bench) -> Compiled | None:
    """What torch.compile took: the seconds of the first call, and how often it compiled since; None without it."""
    if not bench.case.compile:
        return None
    return Compiled(seconds=bench.first_forward_s, recompiles=models.graphs_compiled() - bench.graphs)


def forward(bench: Bench, report: Report = nothing) -> Pass:
    """The pass of the model alone: its batch lies on the device already."""
    batch = bench.ready_batch
    return bench.timed(lambda: bench.call(batch), report)


def copy(bench: Bench, report: Report = nothing) -> Pass | None:
    """The pass from the host's memory to a batch ready on the device; None where nothing is left to do."""
    batch = bench.host_batch
    return None if bench.finish(batch) is batch else bench.timed(lambda: bench.finish(batch), report, window=2)


def load(bench: Bench, stream: Stream, report: Report = nothing) -> Pass:
    """The pass of the loader alone: each batch made, preprocessed, collated and handed over."""
    return bench.timed(lambda: next(stream), report, window=2)


def end_to_end(bench: Bench, stream: Stream, report: Report = nothing) -> Pass:
    """The pass of the whole, as a user's program would run it: at least NUM_IMAGES images, MINUTES minutes."""
    case, ready = bench.case, bench.ahead(lambda: next(stream))
    least_s = max(case.min_seconds, 60 * case.minutes)
    return bench.timed(lambda: bench.call(ready()), report, case.num_images, least_s, warm_s=case.min_seconds)


def together(forward: Pass, copy: Pass | None, load: Pass, end_to_end: Pass) -> Passes:
    """The record's section of the four passes."""
    unknown = {} if copy else {"copy": "the batch is where the model is"}
    return Passes(forward=forward, copy_=copy, input=load, end_to_end=end_to_end, unknown=unknown)


def latency(bench: Bench, report: Report = nothing) -> Latency:
    """The raw seconds of requests, a batch at a time from the host's memory to the model's output; cold start apart."""
    batch, case = bench.host_batch, bench.case
    seconds = timing.requests(lambda: bench.call(bench.finish(batch)), bench.synchronize, case.min_seconds)
    report(1.0)
    return Latency(
        request_images=case.batch_size, request_s=seconds, build_s=bench.build_s,
        first_forward_s=bench.first_forward_s,
    )  # fmt: skip
