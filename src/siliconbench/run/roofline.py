"""The roofline: how near the model comes to what the device can do at all (Williams et al. 2009)."""

from functools import partial
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from siliconbench.record.schema import Kernel, Limits
from siliconbench.run.passes import Bench
from siliconbench.run.timing import Call, block

PRODUCTS = (256, 512, 1024, 2048, 4096, 8192)  # n x n by n x n
CONVOLUTIONS = ((16, 128, 28), (16, 256, 14), (64, 256, 28), (64, 512, 28), (128, 1024, 14))  # images, channels, px


def plain(model: torch.nn.Module) -> torch.nn.Module:
    """The model as it was before torch.compile."""
    return getattr(model, "_orig_mod", model)


def flop_per_image(bench: Bench) -> float:
    """Floating-point operations of one image, 2 per multiply-add, of convolutions, matrix products and attention.

    By torch's FlopCounterMode on the plain model; a training step counts three times (forward, and backward twice).
    """
    counter, few = FlopCounterMode(display=False), bench.ready_batch[: 2 if bench.case.mode == "train" else 1]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one fused call would not be counted
    with torch.no_grad(), counter:
        plain(bench.model)(few)
    torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / len(few) * (3.0 if bench.case.mode == "train" else 1.0)


def bytes_per_image(bench: Bench) -> float:
    """The least bytes moved for one image: its share of the weights read, each layer's output written and read."""
    model, moved, few = plain(bench.model), [0], bench.ready_batch[:2]

    def count(_module: Any, _input: Any, output: Any) -> None:
        moved[0] += 2 * output.nbytes if isinstance(output, torch.Tensor) else 0

    hooks = [m.register_forward_hook(count) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        model(few)
    for hook in hooks:
        hook.remove()
    weights = sum(p.nbytes for p in model.parameters())
    return weights / bench.case.batch_size + moved[0] / len(few)


def kernels(bench: Bench) -> list[Kernel]:
    """The rate of dense kernels on random data in the case's precision: matrix products and 3x3 convolutions by size.

    Each has its median of three; a row of sizes ends with the first that takes a tenth of a second (less where
    MIN_SECONDS is under ten). Both kinds, since either may be the faster: on AMD's processors the library behind matrix
    products comes to half of what the one behind convolutions does, and a convolution may do with fewer
    multiplications than are counted (Winograd).
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
            seconds = _kernel_s(call, bench.synchronize)
            rates.append(Kernel(name=name, flop_per_s=flop / seconds))
            if seconds > min(0.1, bench.case.min_seconds / 100):
                break
    return rates


def _kernel_s(call: Call, synchronize: Call) -> float:
    once = block(call, synchronize, 2) / 2
    steps = max(1, min(1000, round(0.02 / once)))
    return median(block(call, synchronize, steps) for _ in range(3)) / steps


def copy_bandwidth(bench: Bench) -> float:
    """Bytes per second of a large copy on the device, each byte counted twice: read, and written."""
    source = torch.randn(32 * 2**20, device=bench.device)
    target = torch.empty_like(source)
    seconds = median(block(lambda: target.copy_(source), bench.synchronize, 3) / 3 for _ in range(3))
    return 2 * source.nbytes / seconds


def limits(bench: Bench, images_per_s: float) -> Limits:
    """How near the model alone (images_per_s) comes to the device's peak, and which roof is the lower one for it."""
    flop, moved, rates, bandwidth = flop_per_image(bench), bytes_per_image(bench), kernels(bench), copy_bandwidth(bench)
    peak = max(kernel.flop_per_s for kernel in rates)
    return Limits(
        flop_per_image=flop, kernels=rates, peak_flop_per_s=peak, copy_bytes_per_s=bandwidth, bytes_per_image=moved,
        utilization=flop * images_per_s / peak, roof="compute" if flop / peak >= moved / bandwidth else "bandwidth",
    )  # fmt: skip
