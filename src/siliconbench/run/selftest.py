"""Whether a run can be trusted: synchronization, outputs, neighbours, its end, its roofline (Williams et al. 2009)."""

import os
import resource
import time
from functools import lru_cache, partial
from statistics import median
from typing import Any, Literal, NamedTuple

import psutil
import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from siliconbench.machine.facts import cpu_seconds
from siliconbench.machine.tools import section, tried
from siliconbench.record.axes import DEVICES, PRECISIONS
from siliconbench.record.schema import Kernel, Limits, Outputs, Pass, Proof, Synchronization
from siliconbench.run import models
from siliconbench.run.images import finisher
from siliconbench.run.passes import Bench
from siliconbench.run.timing import Call, Clock, block, nothing
from siliconbench.run.vision import uncompiled

IMAGES = 16  # fixed ones, for the comparison of outputs
IN_FLOAT64 = 4  # of them: on a CPU that takes two to four times as long
QUEUE_S = 0.005  # of work, at least, when the wait is put to the test
PRODUCTS = (256, 512, 1024, 2048, 4096, 8192)  # n x n by n x n
TURNS, LOOPS = 100_000, 40  # of a loop of a millisecond or two, and how often it runs
CONVOLUTIONS = ((16, 128, 28), (16, 256, 14), (64, 256, 28), (64, 512, 28), (128, 1024, 14))  # images, channels, px


class Beside(NamedTuple):
    """What went on beside a pass: the share of all processors' time that others took, and the seconds of a fixed loop
    on one core, time after time, before it and after it: uneven where another machine of the same host shares the
    core, of which no count tells."""

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
    """The forward pass at the run's end: when, in seconds of the run, those of its blocks, the kernel's share of CPU
    time, page faults of an image."""

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
    kind, batch = DEVICES[bench.device.type], bench.ready_batch
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
        idle_s, read_s = reads(lambda: torch.mm(square, square), bench.synchronize, lambda: out.flatten()[0].item())
    not_needed = "not needed: the CPU is never behind"
    return section(Synchronization, {
        "steps": (steps, ""), "synchronized_s": (median(once_s), ""), "launched_s": (median(launched_s), ""),
        "idle_read_s": (idle_s, not_needed), "read_s": (read_s, not_needed),
        "event_s": (median(event_s) if events else None, "only CUDA's events are relied on"),
    })  # fmt: skip


def precision_proof(bench: Bench) -> list[Proof]:
    """A product and a 3x3 convolution of random numbers by the run's device, dtype, layout and flags, and in float64.

    Both take the operands as this dtype has them, so what differs is the arithmetic: largest difference over largest
    value. TF32, fp16 and bf16 lose low bits that fp32 keeps. What is no finite number differs by 1e18."""
    random, (dtype, layout) = torch.Generator().manual_seed(1), models.form(bench.case)
    allowed, found = PRECISIONS[bench.case.precision].proof, list[Proof]()
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
    kind = PRECISIONS[precision]
    dtype, arithmetic = getattr(torch, kind.rounded), torch.float64 if kind.rounded == "float64" else torch.float32
    images = images[:IN_FLOAT64] if arithmetic == torch.float64 else images
    with torch.inference_mode():
        wanted = model(images).double()
        rounded = model.to(dtype).to(arithmetic)(images.to(dtype).to(arithmetic)).double()
    own = float((rounded - wanted).abs().max() / wanted.std())
    return float(f"{min(kind.times * own, kind.most):.2g}") if own < 1e18 else kind.most


@lru_cache(maxsize=8)
def expected(model: str, seed: int, px: int, precision: str) -> tuple[torch.Tensor, float]:
    """What the fixed images give on the CPU in fp32, and how far from it this precision's outputs may lie."""
    there, finish = models.build(model, seed), finisher(torch.device("cpu"), torch.float32, torch.contiguous_format, px)
    images = finish(models.patterns(IMAGES, px, seed=2))
    with torch.inference_mode():
        wanted = there(images)
    return wanted, tolerance(there, images, precision)


def outputs(bench: Bench) -> Outputs | None:
    """Fixed images through the model here and, in fp32, on the CPU; None where here is that very computation."""
    case, cpu = bench.case, torch.device("cpu")
    if case.mode == "train" or (bench.device == cpu and case.reference):
        return None
    images = models.patterns(IMAGES, case.image_px or 224, seed=2)
    few = bench.device == cpu and not case.compile
    size = min(case.batch_size, IMAGES) if few else case.batch_size  # elsewhere the very kernels that were timed
    whole = -IMAGES // size * -size  # repeats fill the last batch: fewer would compile anew
    batches = images[torch.arange(whole) % IMAGES].split(size)
    wanted, allowed = expected(case.model, case.seed, images.shape[-1], case.precision)
    with torch.inference_mode():
        got = torch.cat([bench.call(bench.finish(part)).float().cpu() for part in batches])[:IMAGES]
    difference = float((got - wanted).abs().max() / wanted.std())  # relative to the scatter of the CPU's output
    finite = difference == difference and difference < 1e18  # NaN is not within the tolerance
    return Outputs(
        images=IMAGES, largest_difference=difference if finite else None, tolerance=allowed,
        top1_agreement=float((got.argmax(1) == wanted.argmax(1)).float().mean()), agree=difference <= allowed,
        image_scatter=float(wanted.std(0).mean() / wanted.std()),
        unknown={} if finite else {"largest_difference": "an output was not a finite number"},
    )  # fmt: skip


def repeat(bench: Bench, forward: Pass) -> Repeat:
    """The forward pass once more, at the run's end: three of its blocks, or one that takes long.

    Memory that is given back to the system and fetched anew for each batch costs a CPU up to half of its speed: hence
    the page faults and the kernel's share of this process's CPU time (getrusage(2))."""
    steps, batch = forward.block_images // bench.case.batch_size, bench.ready_batch
    blocks = 3 if median(forward.block_s) < 1 else 1
    start_s, before = time.perf_counter() - bench.zero_s, resource.getrusage(resource.RUSAGE_SELF)
    seconds = [block(lambda: bench.call(batch), bench.synchronize, steps) for _ in range(blocks)]
    after = resource.getrusage(resource.RUSAGE_SELF)
    kinds = ("ru_utime", "ru_stime", "ru_minflt", "ru_majflt")
    user, system, minor, major = (getattr(after, kind) - getattr(before, kind) for kind in kinds)
    share = system / (user + system) if user + system else None
    return Repeat(start_s, seconds, share, (minor + major) / (blocks * forward.block_images))


def work_per_image(bench: Bench) -> tuple[float, float]:
    """Floating-point operations of one image, 2 per multiply-add, by torch's FlopCounterMode on the plain model, and
    the least bytes moved for it: its share of the weights read, each layer's output written and read.

    Of convolutions, matrix products and attention; a training step counts three times (forward, and backward twice)."""
    moved, few, counter = list[int](), bench.ready_batch[:2].to("meta"), FlopCounterMode(display=False)
    state = dict(bench.model.named_parameters()) | dict(bench.model.named_buffers())
    shapes = {name: tensor.to("meta") for name, tensor in state.items()}  # nothing is computed: the same on any device

    def count(layer: torch.nn.Module, _input: Any, output: Any) -> None:
        moved.append(2 * output.nbytes if isinstance(output, torch.Tensor) and not list(layer.children()) else 0)

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one fused call would not be counted
    with uncompiled(), register_module_forward_hook(count), torch.no_grad(), counter:
        torch.func.functional_call(bench.model, shapes, (few,))
    torch.backends.mha.set_fastpath_enabled(fused)
    flop, weights = counter.get_total_flops() / len(few), sum(p.nbytes for p in bench.model.parameters())
    return flop * (3 if bench.case.mode == "train" else 1), weights / bench.case.batch_size + sum(moved) / len(few)


def kernels(bench: Bench) -> list[Kernel]:
    """The rate of dense kernels on random data in the case's precision: matrix products and 3x3 convolutions by size.

    Each is the median of three; a row of sizes ends with the first that takes a tenth of a second (less where
    MIN_SECONDS is under ten). Both kinds, since either may be the faster: matrix products reach half of what
    convolutions do on AMD's processors, and a convolution may need fewer products than are counted (Winograd)."""
    random = partial(torch.randn, device=bench.device, dtype=bench.ready_batch.dtype)
    convolve = partial(torch.nn.functional.conv2d, padding=1)
    products = [(f"matmul {n}", (n, n), (n, n), torch.mm, 2 * n**3) for n in PRODUCTS]
    filters = [(f"conv3x3 {n}x{c}x{px}x{px}", (n, c, px, px), (c, c, 3, 3), convolve, 18 * n * c * c * px * px)
               for n, c, px in CONVOLUTIONS]  # fmt: skip
    rates = []
    for row in (products, filters):
        for name, left, right, kernel, flop in row:
            call = torch.inference_mode()(partial(kernel, random(left), random(right)))
            steps = max(1, min(1000, round(0.02 / (block(call, bench.synchronize, 2) / 2))))
            seconds = median(block(call, bench.synchronize, steps) for _ in range(3)) / steps
            rates.append(Kernel(name=name, flop_per_s=flop / seconds))
            if seconds > min(0.1, bench.case.min_seconds / 100):
                break
    return rates


def limits(bench: Bench, images_per_s: float) -> Limits:
    """How near the model alone (images_per_s) comes to the device's peak, and which roof is the lower one for it."""
    (flop, moved), rates = work_per_image(bench), kernels(bench)
    source = torch.arange(32.0 * 2**20, device=bench.device)  # random numbers would take a CPU longer than the copies
    target = torch.empty_like(source)
    copy_s = median(block(lambda: target.copy_(source), bench.synchronize, 3) / 3 for _ in range(3))
    bandwidth = 2 * source.nbytes / copy_s  # of a large copy on the device: each byte is read, and written
    peak = max(kernel.flop_per_s for kernel in rates)
    return Limits(
        flop_per_image=flop, kernels=rates, peak_flop_per_s=peak, copy_bytes_per_s=bandwidth, bytes_per_image=moved,
        utilization=flop * images_per_s / peak, roof="compute" if flop / peak >= moved / bandwidth else "bandwidth",
    )  # fmt: skip
