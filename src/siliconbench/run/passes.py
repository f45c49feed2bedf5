"""The passes of one run: the bench is set up once, then each pass times one part of the same work.

How long: end to end at least MIN_SECONDS and NUM_IMAGES. The model alone half of MIN_SECONDS, warmed up before it: on
an accelerator for half a minute at most, on the CPU for as long as the pass or three windows; nothing after it warms up
again. Copy and data loading take a second (at most half of MIN_SECONDS), which says what share of the model's own time
theirs is; from a quarter on they then take half of MIN_SECONDS, below it proportionally less. Latency a quarter of
MIN_SECONDS, at batch size 1 the whole. MIN_SECONDS=0: each exactly NUM_IMAGES, in whole batches."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import torch

from siliconbench.knobs import Said
from siliconbench.machine.tuning import untrue
from siliconbench.record.axes import DEVICES, PRECISIONS
from siliconbench.record.schema import Case, Latency, Pass, Passes
from siliconbench.run import folder, models, timing, zoo
from siliconbench.run.device import lacks, refusal
from siliconbench.run.images import BatchCall, Images, finisher
from siliconbench.run.loader import Loader
from siliconbench.run.timing import CPU_WARM_S, WARM_S, Call, Flow, Lengths, Report, Wait, nothing

FIRST = 0  # each pass over a stream begins with this image, in every run
SHARE = 0.25  # of the model's own time, from which on a part is timed for as long as the model
SELF_TESTS_S = 6.0  # about: precision, limits, the end of the sampler; on a CPU the outputs come on top where judged
LAG = 4  # steps under way when the end of one is looked at: enough to keep a device busy, few enough for its memory


class Refused(Said):
    """The case can't be measured here as it was asked for; the message says why."""


@dataclass(frozen=True)
class Bench:
    """A model on its device, ready to be timed, and the images for it. start_s of a pass counts from zero_s."""

    case: Case
    device: torch.device
    model: torch.nn.Module  # before torch.compile
    call: BatchCall
    finish: BatchCall
    synchronize: Callable[[], None]
    zero_s: float
    build_s: float
    first_forward_s: float
    graphs: int  # that torch.compile made for the first call
    pixels: zoo.Pixels
    notes: tuple[str, ...]  # what is to be said of the model

    @cached_property
    def images(self) -> Images:
        """The data set of this case."""
        files = folder.surveyed(self.case.seed, self.case.num_images).files if self.case.folder else ()
        return Images(self.case.input, self.case.seed, *self.pixels, tuple(files))

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
        """The call that makes the next batch ready, beside the model where the device type has a stream for copies."""
        if not DEVICES[self.device.type].copies_beside:
            return lambda: self.finish(next_batch())
        module = getattr(torch, self.device.type)
        side, main = module.Stream(), module.current_stream()

        def step() -> torch.Tensor:
            with module.stream(side):
                batch = self.finish(next_batch())
            main.wait_stream(side)
            batch.record_stream(main)  # its memory is not handed out again before the model is done with it
            return batch

        return step

    def whole(self, next_batch: Callable[[], torch.Tensor]) -> Call:
        """The step of the whole: the next batch made ready, and handled by the model."""
        ready = self.ahead(next_batch)
        return lambda: self.call(ready())

    @property
    def called_s(self) -> float:
        """What the first call took, where the next will take no less than about that: the CPU has nothing to load."""
        return self.first_forward_s if self.case.device == "cpu" and not self.case.compile else 0.0

    def lengths(self, given: dict[str, Any]) -> Lengths:
        """These timing.Lengths; what is not given is as long as asked: MIN_SECONDS, or at 0 NUM_IMAGES."""
        least_s = self.case.min_seconds
        return Lengths(**{"least_s": least_s, "least_images": 1 if least_s else self.case.num_images} | given)

    def timed(self, step: Call, report: Report = nothing, **lengths: Any) -> Pass:
        """One pass in blocks, the device synchronized at the edges of each; its start counts from the run's zero."""
        result = timing.timed(step, self.synchronize, self.case.batch_size, self.lengths(lengths), report=report)
        return result.model_copy(update={"start_s": result.start_s - self.zero_s})

    def marks(self) -> Callable[[object], Wait]:
        """The call that marks all that the model was given so far by an event of the device, and gives the wait for it.

        The times are the device's own from event to event: the program looks at the first ones late, when it has run
        ahead, and a start that is late makes a rate too high."""
        event_of, last, now = getattr(torch, self.device.type).Event, list[Any](), 0.0

        def mark(_: object) -> Wait:
            event = event_of(enable_timing=True, blocking=True)  # blocking: else the wait would keep a core busy
            event.record()

            def wait() -> float:
                nonlocal now
                event.synchronize()
                now = now + last.pop().elapsed_time(event) / 1000 if last else time.perf_counter()
                last.append(event)
                return now

            return wait

        return mark

    def streamed(
        self, step: Call, source: Loader | None, report: Report = nothing, on_device: bool = True, **lengths: Any
    ) -> Pass:
        """One pass that is never drained; source: the loader that the step takes its batches from, the FIRST one on.

        on_device: a step is complete when the device is done with it, else when it returns. Where copies go beside the
        model, an event tells that. Elsewhere the copy of a batch has waited for the step before when it returns, so the
        program's clock tells; to read an earlier output would wait for all since: such a device (MPS) has one queue."""
        device, loader = DEVICES[self.device.type], source or Loader(iter(()))
        loader.jump(FIRST)
        flow = Flow(drain=self.synchronize, round_steps=max(1, loader.workers), stock=lambda: loader.stock)
        flow = replace(flow, mark=self.marks(), lag=LAG) if device.copies_beside and on_device else flow
        result = timing.streamed(step, flow, self.case.batch_size, self.lengths(lengths), report=report)
        return result.model_copy(update={"start_s": result.start_s - self.zero_s})


def refuse(case: Case) -> torch.device:
    """The device of a case; Refused where the case can't be had here."""
    device = torch.device(case.device)
    why = refusal(device, case.reference, case.source == "own")
    why = why or lacks(device, case.precision) or untrue(case.allocator)
    if case.input == "jpeg-device" and device.type != "cuda":
        why = "jpeg-device decodes on CUDA alone, as torchvision does: INPUT=jpeg"
    if why := why or (models.no_compiler(device) if case.compile else None):
        raise Refused(why)
    return device


def set_up(case: Case) -> Bench:
    """The bench of a case: its model built, on the device, called once; Refused, as by refuse()."""
    zero_s, device = time.perf_counter(), refuse(case)
    found = models.flags()
    built = models.build(case)
    changed = [f"{name} {found[name]} to {now}" for name, now in models.flags().items() if now != found[name]]
    said = (f"What makes the model changed torch's own flags: {', '.join(changed)}.",)
    notes = built.notes + said * bool(changed)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    if case.threads or torch.get_num_threads() != found["threads"]:
        torch.set_num_threads(case.threads or cast(int, found["threads"]))
    tf32 = PRECISIONS[case.precision].tf32  # else float32 means float32, for convolutions and matrix products alike
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    case = case.model_copy(update={"image_px": built.pixels.px})
    model = models.prepared(built.model, case)
    graphs = device.type == "cuda" and isinstance(case.compile, str)  # both modes make CUDA graphs
    begin = torch.compiler.cudagraph_mark_step_begin if graphs else nothing
    dtype, layout = models.form(case)
    finish = finisher(device, dtype, layout, *built.pixels)
    call = models.stepper(model, case.mode, begin, built.loss)
    build_s = time.perf_counter() - zero_s
    synchronize = torch.accelerator.synchronize if DEVICES[device.type].accelerator else nothing
    plain = getattr(model, "_orig_mod", model)
    bench = Bench(case, device, plain, call, finish, synchronize, zero_s, build_s, 0.0, 0, built.pixels, notes)
    first_s = timing.block(partial(call, bench.ready_batch), synchronize, 1)
    return replace(bench, first_forward_s=first_s, graphs=models.graphs_compiled() if case.compile else 0)


def forward(bench: Bench, report: Report = nothing) -> Pass:
    """The pass of the model alone: its batch lies on the device already."""
    least_s = bench.case.min_seconds / 2
    warm_s = WARM_S if DEVICES[bench.device.type].accelerator else max(CPU_WARM_S, min(WARM_S, least_s))
    step = partial(bench.call, bench.ready_batch)
    return bench.timed(step, report, least_s=least_s, warm_s=warm_s, called_s=bench.called_s)


def part(bench: Bench, model: Pass, timed: Callable[[float], Pass]) -> Pass:
    """The pass of a part of the work, timed for at least so many seconds, as its share of the model's own time asks."""
    most_s = bench.case.min_seconds / 2
    first = timed(min(1.0, most_s))
    least_s = most_s * min(1.0, model.images_per_s / first.images_per_s / SHARE)
    return first if first.seconds >= least_s else timed(least_s)


def copy(bench: Bench, model: Pass, report: Report = nothing) -> Pass | None:
    """The pass from the host's memory to a batch ready on the device; None where nothing is left to do."""
    batch = bench.host_batch
    if bench.finish(batch) is batch:
        return None
    return part(bench, model, lambda s: bench.timed(lambda: bench.finish(batch), report, least_s=s, warm_s=0.0))


def load(bench: Bench, model: Pass, stream: Loader, report: Report = nothing) -> Pass:
    """The pass of the loader alone, from delivery to delivery: each batch made, preprocessed, collated, handed over."""
    timed = partial(bench.streamed, partial(next, stream), stream, report, on_device=False)
    return part(bench, model, lambda least_s: timed(least_s=least_s))


def end_to_end(bench: Bench, stream: Loader, report: Report = nothing) -> Pass:
    """The pass of the whole, as a user's program would run it: at least NUM_IMAGES images, MINUTES minutes."""
    case, step = bench.case, bench.whole(partial(next, stream))
    least_s = max(case.min_seconds, 60 * case.minutes)
    return bench.streamed(step, stream, report, least_images=case.num_images, least_s=least_s)


def expected(bench: Bench, model: Pass, chosen: bool, rest_s: float) -> dict[str, float]:
    """About the seconds of each part after the model alone, by its rate; chosen: the loader processes are known."""
    case, accelerator = bench.case, DEVICES[bench.device.type].accelerator
    image_s, least_s = 1 / model.images_per_s, max(case.min_seconds, 60 * case.minutes)
    batch_s, short_s = case.batch_size * image_s, min(1.0, case.min_seconds / 2)
    requests_s = case.min_seconds / (1 if case.batch_size == 1 else 4)
    search_s = 9 * 1.2 * short_s if batch_s < 1 else 18 * batch_s
    return {
        "copy": short_s, "loader processes": 0.0 if chosen or case.workers is not None else search_s,
        "data loading": 1.5 * short_s,
        "end to end": max(least_s, case.num_images * image_s) + min(2.0, least_s / 5) + batch_s,
        "experiment": 1.2 * max(0.5, min(2.0, case.min_seconds / 5)) + (5 * batch_s if accelerator else 0.0),
        "latency": max(requests_s, batch_s) + min(1.0, requests_s / 10) + (3 if batch_s < 0.1 else 1) * batch_s,
        "self-tests": SELF_TESTS_S + rest_s + batch_s + (0.0 if accelerator or case.reference else 48 * image_s),
    }  # fmt: skip


def together(forward: Pass, copy: Pass | None, load: Pass, end_to_end: Pass) -> Passes:
    """The record's section of the four passes."""
    unknown = {} if copy else {"copy": "the batch is where the model is"}
    return Passes(forward=forward, copy_=copy, input=load, end_to_end=end_to_end, unknown=unknown)


def latency(bench: Bench, report: Report = nothing) -> Latency:
    """The raw seconds of requests, a batch at a time from the host's memory to the model's output; cold start apart."""
    batch, case = bench.host_batch, bench.case
    least = 1 if case.min_seconds else math.ceil(case.num_images / case.batch_size)
    least_s = case.min_seconds / (1 if case.batch_size == 1 else 4)
    warm = bench.called_s > max(1.0, least_s)  # the passes before it took many as long
    seconds = timing.requests(lambda: bench.call(bench.finish(batch)), bench.synchronize, least_s, least, warm=warm)
    report(1.0)
    cold: dict[str, Any] = {"build_s": bench.build_s, "first_forward_s": bench.first_forward_s}
    return Latency(request_images=case.batch_size, request_s=seconds, **cold)
