"""Whether a run can be trusted: synchronization, outputs, neighbours, its end."""

import os
import resource
import time
from functools import lru_cache, partial
from statistics import median
from typing import Any, Literal, NamedTuple

import psutil
import torch

from siliconbench.machine.facts import cpu_seconds
from siliconbench.machine.tools import Pairs, finite, section, tried
from siliconbench.record import axes, store
from siliconbench.record.schema import Case, Outputs, Pass, Proof, Synchronization
from siliconbench.run import models, zoo
from siliconbench.run.images import finisher
from siliconbench.run.passes import Bench
from siliconbench.run.timing import Call, Clock, block, nothing

IMAGES = 16  # fixed ones, for the comparison of outputs
PLAIN = {"batch_size": 1, "device": "cpu", "memory_format": "contiguous", "compile": False, "allocator": "system",
         "threads": None, "image_px": None}  # fmt: skip
IN_FLOAT64 = 4  # of them: on a CPU that takes two to four times as long
QUEUE_S = 0.005  # of work, at least, when the wait is put to the test
TURNS, LOOPS = 100_000, 40  # of a loop of a millisecond or two, and how often it runs


class Beside(NamedTuple):
    """What went on beside a pass: the share of all processors' time that others took, and the seconds of fixed loops
    before it and after it: uneven where another machine of the same host shares the core, which no count tells."""

    share: float
    core_s: list[list[float]]


class Neighbours:
    """What others do while this process and its children work: started before a pass, asked after it."""

    def __init__(self) -> None:
        self.loops, self.start = fixed_loops(), (*cpu_seconds(), own_cpu_s())

    def seen(self) -> Beside:
        """What others did since the start."""
        busy, total, own = (b - a for a, b in zip(self.start, (*cpu_seconds(), own_cpu_s()), strict=True))
        taken = min(1.0, max(0.0, busy - own) / total) if total > 0 else 0.0
        return Beside(taken, [self.loops, fixed_loops()])


def fixed_loops() -> list[float]:
    """The seconds of a fixed loop on one core, time after time, a tenth of a second in all."""
    return [block(partial(sum, range(TURNS)), nothing, 1) for _ in range(LOOPS)]


def own_cpu_s() -> float:
    """CPU seconds of this process and its children so far; of ended ones, too (times(2); psutil has 0 on macOS)."""
    children = psutil.Process().children(recursive=True)  # each may end before it is asked
    return sum(os.times()[:4]) + sum(sum((tried(child.cpu_times) or ())[:4]) for child in children)


class Repeat(NamedTuple):
    """The forward pass at the run's end: its start and blocks in seconds, the kernel's share of CPU time, faults."""

    start_s: float
    block_s: list[float]
    system_share: float | None
    page_faults_per_image: float


def reads(work: Call, synchronize: Call, read: Call, clock: Clock = time.perf_counter) -> tuple[float, float]:
    """The seconds (medians of five) of reading one output value: of an idle device, and after work and the wait for it.
    work() hands over a piece of work; as many as keep the device busy for 5 ms, at most 512. read() itself waits for
    all work: if synchronize() did, too, it takes no longer than of an idle device."""
    pieces, behind_s = 1, 0.0
    while behind_s < QUEUE_S and pieces < 512:
        pieces *= 2
        read()
        for _ in range(pieces):
            work()
        start = clock()
        read()
        behind_s = clock() - start
    idle_s, after_s = list[float](), list[float]()
    for _ in range(5):
        idle_s.append(block(read, nothing, 1, clock))
        for _ in range(pieces):
            work()
        synchronize()
        after_s.append(block(read, nothing, 1, clock))
    return median(idle_s), median(after_s)


def synchronization(bench: Bench) -> Synchronization:
    """Two steps timed until they are launched and until they are done (medians of nine), and whether that wait works.

    On an accelerator one value of an output is read of an idle device and after work and a wait; on CUDA the same steps
    are timed by its own events. The CPU is never behind: there one image is timed once."""
    kind, batch = axes.DEVICES[bench.device.type], bench.ready_batch
    few = not kind.accelerator and not bench.case.compile
    step, steps = partial(bench.call, batch[:1] if few else batch), 2
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if bench.device.type == "cuda" else []
    launched_s, once_s, event_s = list[float](), list[float](), list[float]()
    for _ in range(9 if kind.accelerator else 1):
        bench.synchronize()
        start = time.perf_counter()
        for event in events[:1]:
            event.record()
        for _ in range(steps):
            out = step()
        for event in events[1:]:
            event.record()
        launched_s.append(time.perf_counter() - start)
        bench.synchronize()
        once_s.append(time.perf_counter() - start)
        if events:
            events[1].synchronize()
            event_s.append(events[0].elapsed_time(events[1]) / 1000)
    idle_s = read_s = None
    if kind.accelerator:
        square = torch.randn(4096, 4096, device=bench.device, dtype=batch.dtype)
        work, read = partial(torch.mm, square, square), lambda: zoo.leaves(out)[0].flatten()[0].item()
        idle_s, read_s = reads(work, bench.synchronize, read)
    not_needed, own_s = "not needed: the CPU is never behind", median(event_s) if events else None
    found: Pairs = {"idle_read_s": (idle_s, not_needed), "read_s": (read_s, not_needed)}
    found["event_s"] = own_s, "only CUDA's events are relied on"
    return section(Synchronization, found, steps=steps, synchronized_s=median(once_s), launched_s=median(launched_s))


def precision_proof(bench: Bench) -> list[Proof]:
    """A product and a 3x3 convolution of random numbers by the run's device, dtype, layout and flags, and in float64.

    Both take the operands as this dtype has them, so what differs is the arithmetic: largest difference over largest
    value. TF32, fp16 and bf16 lose low bits that fp32 keeps. What is no finite number differs by 1e18."""
    random, (dtype, layout) = torch.Generator().manual_seed(1), models.form(bench.case)
    allowed, found = axes.PRECISIONS[bench.case.precision].proof, list[Proof]()
    cases: tuple[tuple[Literal["product", "convolution"], Any, tuple[int, ...], tuple[int, ...]], ...] = (
        ("product", torch.mm, (256, 256), (256, 256)),
        ("convolution", partial(torch.nn.functional.conv2d, padding=1), (8, 64, 28, 28), (64, 64, 3, 3)),
    )
    for operation, kernel, *shapes in cases:
        operands = [torch.randn(shape, generator=random).to(dtype) for shape in shapes]
        there = [o.to(bench.device, memory_format=layout if o.dim() == 4 else torch.preserve_format) for o in operands]
        with torch.inference_mode():
            got, wanted = kernel(*there).cpu().double(), kernel(*(o.double() for o in operands))
        difference = float((got - wanted).abs().max() / wanted.abs().max())
        difference = difference if difference < 1e18 else 1e18  # NaN is not below it
        found.append(Proof(operation=operation, difference=difference, allowed=allowed, proved=difference <= allowed))
    return found


def tolerance(model: torch.nn.Module, images: torch.Tensor, precision: str) -> float:
    """How far outputs in this precision may lie from the CPU's in fp32 (see axes.Precision); the model is changed."""
    kind = axes.PRECISIONS[precision]
    dtype, arithmetic = getattr(torch, kind.rounded), torch.float64 if kind.rounded == "float64" else torch.float32
    images = images[:IN_FLOAT64] if arithmetic == torch.float64 else images
    rows = partial(zoo.by_image, count=len(images))
    with torch.inference_mode():
        wanted = rows(model(images))
        rounded = rows(model.to(dtype).to(arithmetic)(images.to(dtype).to(arithmetic)))
    own = float((rounded.double() - wanted.double()).abs().max() / wanted.double().std())  # type: ignore[union-attr]
    return float(f"{min(kind.times * own, kind.most):.2g}") if own < 1e18 else kind.most


@lru_cache(maxsize=8)
def expected(case: Case) -> tuple[torch.Tensor | None, bool, float]:
    """What the fixed images give on the CPU in fp32, whether that is classes, how far off this precision may lie."""
    built = models.build(case)
    finish = finisher(torch.device("cpu"), torch.float32, torch.contiguous_format, *built.pixels)
    images = finish(models.patterns(IMAGES, built.pixels.px, seed=2))
    with torch.inference_mode():
        wanted = zoo.by_image(out := built.model(images), IMAGES)
    classes = [leaf.dim() for leaf in zoo.leaves(out)] == [2]
    return wanted, classes, tolerance(built.model, images, case.precision) if wanted is not None else 0.0


def outputs(bench: Bench) -> Outputs | str:
    """Fixed images through the model here and, in fp32, on the CPU; or why these can't be compared."""
    case, cpu = bench.case, torch.device("cpu")
    if case.mode == "train" or (bench.device == cpu and case.reference):
        return "this is the computation that others are compared with, or it trains and its weights have changed"
    few = bench.device == cpu and not case.compile
    size = min(case.batch_size, IMAGES) if few else case.batch_size  # elsewhere the very kernels that were timed
    whole = -IMAGES // size * -size  # repeats fill the last batch: fewer would compile anew
    batches = models.patterns(IMAGES, bench.pixels.px, seed=2)[torch.arange(whole) % IMAGES].split(size)
    with torch.inference_mode():
        rows = [row.cpu() for x in batches if (row := zoo.by_image(bench.call(bench.finish(x)), size)) is not None]
    try:
        wanted, classes, allowed = expected(case.model_copy(update=PLAIN)) if rows else (None, False, 0.0)
    except Exception as error:  # an own model may take no float64
        return store.plain(f"they could not be compared: {error}")
    if wanted is None:
        return "its outputs are lists of what it found, which a sort decides: there is no number for each image"
    got = torch.cat(rows)[:IMAGES]
    difference = float((got - wanted).abs().max() / wanted.std())  # relative to the scatter of the CPU's output
    same = float((got.argmax(1) == wanted.argmax(1)).float().mean()) if classes else None
    found: Pairs = {"largest_difference": (finite(difference), "an output was not a finite number")}
    found["top1_agreement"] = same, "its outputs are no classes"
    scatter = float(wanted.std(0).mean() / wanted.std())
    return section(Outputs, found, images=IMAGES, tolerance=allowed, agree=difference <= allowed, image_scatter=scatter)


def used() -> tuple[float, float, int]:
    """CPU seconds of this process in its own code and in the kernel's, and its page faults so far (getrusage(2))."""
    told = resource.getrusage(resource.RUSAGE_SELF)
    return told.ru_utime, told.ru_stime, told.ru_minflt + told.ru_majflt


def repeated(start_s: float, block_s: list[float], images: int, *ends: tuple[float, float, int]) -> Repeat:
    """Blocks of so many images between two readings of what was used.

    Memory that is given back to the system and fetched anew for each batch costs a CPU up to half of its speed: hence
    the page faults and the kernel's share of this process's CPU time."""
    user, system, faults = (b - a for a, b in zip(*ends, strict=True))
    return Repeat(start_s, block_s, system / (user + system) if user + system else None, faults / images)


def repeat(bench: Bench, forward: Pass) -> Repeat:
    """The forward pass once more, at the run's end: three of its blocks, or one that takes long."""
    steps, batch = forward.block_images // bench.case.batch_size, bench.ready_batch
    blocks = 3 if median(forward.block_s) < 1 else 1
    start_s, before = time.perf_counter() - bench.zero_s, used()
    seconds = [block(lambda: bench.call(batch), bench.synchronize, steps) for _ in range(blocks)]
    return repeated(start_s, seconds, blocks * forward.block_images, before, used())
