"""How near a run comes to its device's limits: the roofline (Williams et al. 2009)."""

import copy
import re
from contextlib import suppress
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from siliconbench.record import schema, store
from siliconbench.run import passes, timing, vision, zoo

HEAVY = r"fft|lstm|gru|rnn|grid_sampler|cdist|linalg"  # operators of arithmetic that torch's counter leaves out
PRODUCTS = (256, 512, 1024, 2048, 4096, 8192)  # n x n by n x n
CONVOLUTIONS = ((16, 128, 28), (16, 256, 14), (64, 256, 28), (64, 512, 28), (128, 1024, 14))  # images, channels, px


class Operators(TorchDispatchMode):
    """Notes the operators that torch's counter knows nothing of, but for torch's own element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.uncounted = set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket)
        if func.overloadpacket not in flop_registry and (not name.startswith("aten") or re.search(HEAVY, name)):
            self.uncounted.add(name)
        return func(*args, **(kwargs or {}))


def work_per_image(bench: passes.Bench) -> tuple[float, float, list[str]]:
    """Floating-point operations of one image, 2 per multiply-add, by torch's FlopCounterMode on the plain model; the
    least bytes moved for it: its share of the weights read, each layer's output written and read; what is not counted.

    Of convolutions, matrix products and attention; a training step counts three times (forward, and backward twice)."""
    one, seen, held = bench.ready_batch[:1], Operators(), (*bench.model.parameters(), *bench.model.buffers())

    def count(layer: torch.nn.Module, _input: Any, output: Any) -> None:
        moved.extend(2 * leaf.nbytes for leaf in zoo.leaves(output) if not list(layer.children()))

    fused, training = torch.backends.mha.get_fastpath_enabled(), bench.model.training
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one fused call would not be counted
    # On meta nothing is computed. What looks at its own numbers needs them; a CPU has done one image before meta loads.
    for batch in (one,) if one.is_cpu else (one.to("meta"), one):
        moved, counter = list[int](), FlopCounterMode(display=False)
        with vision.uncompiled(), suppress(Exception), register_module_forward_hook(count), torch.no_grad():
            hollow = {id(x): x.to("meta") for x in held if batch.is_meta}
            model = copy.deepcopy(bench.model, hollow) if batch.is_meta else bench.model.eval()
            with seen, counter, sdpa_kernel(SDPBackend.MATH):
                model(batch)
            break
    bench.model.train(training)
    torch.backends.mha.set_fastpath_enabled(fused)
    flop, weights = counter.get_total_flops(), sum(p.nbytes for p in bench.model.parameters())
    return flop * (3 if training else 1), weights / bench.case.batch_size + sum(moved), sorted(seen.uncounted)


def kernels(bench: passes.Bench) -> list[schema.Kernel]:
    """The rate of dense kernels on random data in the case's precision: matrix products and 3x3 convolutions by size.

    Each is the median of three (of seconds: one); a row of sizes ends with the first that takes a tenth of a second, or
    less. Either may be the faster: products reach half of it on AMD's CPUs, convolutions may need fewer (Winograd)."""
    random = partial(torch.randn, device=bench.device, dtype=bench.ready_batch.dtype)
    convolve = partial(torch.nn.functional.conv2d, padding=1)
    products = [(f"matmul {n}", (n, n), (n, n), torch.mm, 2 * n**3) for n in PRODUCTS]
    filters = [(f"conv3x3 {n}x{c}x{px}x{px}", (n, c, px, px), (c, c, 3, 3), convolve, 18 * n * c * c * px * px)
               for n, c, px in CONVOLUTIONS]  # fmt: skip
    rates = []
    for row in (products, filters):
        for name, left, right, kernel, flop in row:
            call = torch.inference_mode()(partial(kernel, random(left), random(right)))
            block = partial(timing.block, call, bench.synchronize)
            _, once_s = block(1), block(1)  # the first loads what the kernel needs
            steps = max(1, min(1000, round(0.02 / once_s)))
            seconds = once_s if once_s > 1 else median(block(steps) for _ in range(3)) / steps
            rates.append(schema.Kernel(name=name, flop_per_s=flop / seconds))
            if seconds > min(0.1, bench.case.min_seconds / 100):
                break
    return rates


def limits(bench: passes.Bench, images_per_s: float) -> schema.Limits:
    """How near the model alone (images_per_s) comes to the device's peak, and which roof is the lower one for it."""
    (flop, moved, uncounted), rates = work_per_image(bench), kernels(bench)
    source = torch.arange(32.0 * 2**20, device=bench.device)  # random numbers would take a CPU longer than the copies
    target = torch.empty_like(source)
    copy_s = median(timing.block(lambda: target.copy_(source), bench.synchronize, 3) / 3 for _ in range(3))
    bandwidth = 2 * source.nbytes / copy_s  # of a large copy on the device: each byte is read, and written
    peak = max(kernel.flop_per_s for kernel in rates)
    unknown = {} if flop else dict.fromkeys(("flop_per_image", "utilization", "roof"), "no operator of it is counted")
    return schema.Limits(
        unknown=unknown, uncounted=[store.plain(name) for name in uncounted][:16], flop_per_image=flop or None,
        kernels=rates, peak_flop_per_s=peak, copy_bytes_per_s=bandwidth, bytes_per_image=moved or None,
        utilization=flop * images_per_s / peak if flop else None,
        roof=None if not flop else "compute" if flop / peak >= moved / bandwidth else "bandwidth",
    )  # fmt: skip
