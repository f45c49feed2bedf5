"""Whether a run can be trusted: synchronization, outputs, neighbours, its end, its roofline (Williams et al. 2009)."""

import resource
import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from siliconbench.machine.facts import cpu_seconds
from siliconbench.record.axes import DEVICES, PRECISIONS
from siliconbench.record.schema import Kernel, Limits, Outputs, Pass, Synchronization
from siliconbench.run import models
from siliconbench.run.images import finisher
from siliconbench.run.passes import Bench
from siliconbench.run.timing import block, nothing

IMAGES = 16  # fixed ones, for the comparison of outputs
PRODUCTS = (256, 512, 1024, 2048, 4096, 8192)  # n x n by n x n
CONVOLUTIONS = ((16, 128, 28), (16, 256, 14), (64, 256, 28), (64, 512, 28), (128, 1024, 14))  # images, channels, px


class Neighbours:
    """How much of all processors' time other programs take while this one works: started, then asked."""

    def __init__(self) -> None:
        self.start = (*cpu_seconds(), time.process_time())

    def share(self) -> float:
        """The share taken since the start, 0 to 1."""
        busy, total, own = (b - a for a, b in zip(self.start, (*cpu_seconds(), time.process_time()), strict=True))
        return min(1.0, max(0.0, busy - own) / total) if total > 0 else 0.0


@dataclass(frozen=True)
class Repeat:
    """The forward pass at the run's end: seconds of its blocks, the kernel's share of CPU time, faults of an image."""

    block_s: list[float]
    system_share: float | None
    page_faults_per_image: float


def synchronization(bench: Bench) -> Synchronization:
    """The same steps timed synchronized and not, and twice the steps over once (1.9 to 2.1 if synchronizing works).

    Each the median of three. On the CPU one image at a time will do, unless the model is compiled: it would be again.
    """
    few = not DEVICES[bench.device.type].accelerator and not bench.case.compile
    step, synchronize = partial(bench.call, bench.ready_batch[:1] if few else bench.ready_batch), bench.synchronize
    steps = max(1, round(min(0.2, bench.case.min_seconds / 20) / (block(step, synchronize, 2) / 2)))
    once_s, twice_s, launched_s = list[float](), list[float](), list[float]()
    for _ in range(3):
        once_s.append(block(step, synchronize, steps))
        twice_s.append(block(step, synchronize, 2 * steps))  # it ends synchronized
        launched_s.append(block(step, nothing, steps))
    return Synchronization(
        steps=steps, synchronized_s=median(once_s), launched_s=median(launched_s),
        twice_over_once=median(twice / once for once, twice in zip(once_s, twice_s, strict=True)),
    )  # fmt: skip


def outputs(bench: Bench) -> Outputs | None:
    """Fixed images through the model here and, in fp32, on the CPU; None where here is that very computation."""
    case, cpu = bench.case, torch.device("cpu")
    if case.mode == "train" or (bench.device == cpu and case.reference):
        return None
    images = torch.stack([bench.images[i] for i in range(IMAGES)])
    whole = -IMAGES // case.batch_size * -case.batch_size  # repeats fill the last batch: fewer would compile anew
    batches = images[torch.arange(whole) % IMAGES].split(case.batch_size)
    there, finish = models.build(case.model, case.seed), finisher(cpu, torch.float32, torch.contiguous_format)
    with torch.inference_mode():
        wanted = torch.cat([there(finish(part)) for part in images.split(16)])
        got = torch.cat([bench.call(bench.finish(part)).float().cpu() for part in batches])[:IMAGES]
    difference = float((got - wanted).abs().max() / wanted.std())  # relative to the scatter of the CPU's output
    tolerance = PRECISIONS[case.precision].tolerance  # NaN is not within it
    finite = difference == difference and difference < 1e18
    return Outputs(
        images=IMAGES, largest_difference=difference if finite else None, tolerance=tolerance,
        top1_agreement=float((got.argmax(1) == wanted.argmax(1)).float().mean()), agree=difference <= tolerance,
        unknown={} if finite else {"largest_difference": "an output was not a finite number"},
    )  # fmt: skip


def repeat(bench: Bench, forward: Pass) -> Repeat:
    """The forward pass once more, at the run's end: three of its blocks, or one that takes long.

    Memory that is given back to the system and fetched anew for each batch costs a CPU up to half of its speed: hence
    the page faults and the kernel's share of this process's CPU time (getrusage(2)).
    """
    steps, batch = forward.block_images // bench.case.batch_size, bench.ready_batch
    blocks = 3 if median(forward.block_s) < 1 else 1
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = [block(lambda: bench.call(batch), bench.synchronize, steps) for _ in range(blocks)]
    after = resource.getrusage(resource.RUSAGE_SELF)
    kinds = ("ru_utime", "ru_stime", "ru_minflt", "ru_majflt")
    user, system, minor, major = (getattr(after, kind) - getattr(before, kind) for kind in kinds)
    share = system / (user + system) if user + system else None
    return Repeat(seconds, share, (minor + major) / (blocks * forward.block_images))


def flop_per_image(bench: Bench) -> float:
    """Floating-point operations of one image, 2 per multiply-add, by torch's FlopCounterMode on the plain model.

    Of convolutions, matrix products and attention; a training step counts three times (forward, and backward twice).
    """
    train, counter = bench.case.mode == "train", FlopCounterMode(display=False)
    few = bench.ready_batch[: 2 if train else 1]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one fused call would not be counted
    with torch.no_grad(), counter:
        bench.model(few)
    torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / len(few) * (3.0 if train else 1.0)


def bytes_per_image(bench: Bench) -> float:
    """The least bytes moved for one image: its share of the weights read, each layer's output written and read."""
    moved, few = list[int](), bench.ready_batch[:2]

    def count(layer: torch.nn.Module, _input: Any, output: Any) -> None:
        moved.append(2 * output.nbytes if isinstance(output, torch.Tensor) and not list(layer.children()) else 0)

    with register_module_forward_hook(count), torch.no_grad():
        bench.model(few)
    weights = sum(p.nbytes for p in bench.model.parameters())
    return weights / bench.case.batch_size + sum(moved) / len(few)


def kernels(bench: Bench) -> list[Kernel]:
    """The rate of dense kernels on random data in the case's precision: matrix products and 3x3 convolutions by size.

    Each is the median of three; a row of sizes ends with the first that takes a tenth of a second (less where
    MIN_SECONDS is under ten). Both kinds, since either may be the faster: matrix products reach half of what
    convolutions do on AMD's processors, and a convolution may need fewer multiplications than are counted (Winograd).
    """
    random = partial(torch.randn, device=bench.device, dtype=bench.ready_batch.dtype)
    convolve = partial(torch.nn.functional.conv2d, padding=1)
    products = [(f"matmul {n}", (n, n), (n, n), torch.mm, 2 * n**3) for n in PRODUCTS]
    filters = [
        (f"conv3x3 {n}x{c}x{px}x{px}", (n, c, px, px), (c, c, 3, 3), convolve, 18 * n * c * c * px * px)
        for n, c, px in CONVOLUTIONS
    ]
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
    flop, moved, rates = flop_per_image(bench), bytes_per_image(bench), kernels(bench)
    source = torch.randn(32 * 2**20, device=bench.device)
    target = torch.empty_like(source)
    copy_s = median(block(lambda: target.copy_(source), bench.synchronize, 3) / 3 for _ in range(3))
    bandwidth = 2 * source.nbytes / copy_s  # of a large copy on the device: each byte is read, and written
    peak = max(kernel.flop_per_s for kernel in rates)
    return Limits(
        flop_per_image=flop, kernels=rates, peak_flop_per_s=peak, copy_bytes_per_s=bandwidth, bytes_per_image=moved,
        utilization=flop * images_per_s / peak, roof="compute" if flop / peak >= moved / bandwidth else "bandwidth",
    )  # fmt: skip
