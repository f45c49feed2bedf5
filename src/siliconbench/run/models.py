"""The model under test: by name, seeded random weights (nothing is downloaded), in the class that was asked for."""

import hashlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from siliconbench.record import axes, schema
from siliconbench.run.images import BatchCall, finisher
from siliconbench.run.timing import Call, nothing
from siliconbench.run.zoo import SOURCES, Built, Loss, Pixels, classify, own_loss

CALIBRATION = (16, 96)  # images, px: a second or less; at 224 px it takes two to five times as long and gains nothing


def patterns(count: int, px: int, seed: int) -> torch.Tensor:
    """Fixed images with structure, uint8 (count, 3, px, px): in each channel a gradient and three soft blobs. Images of
    noise are alike once they are pooled: a model's outputs for them hardly differ."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, px)] * 2, indexing="ij")
    levels = torch.rand(count, 3, 6, 1, 1, generator=random) * 2 - 1
    images = levels[:, :, 0] + levels[:, :, 1] * x + levels[:, :, 2] * y
    for blob in range(3):
        at_x, at_y, size = (torch.rand(3, count, 1, 1, 1, generator=random) * 2 - 1).unbind()
        bump = torch.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * (0.1 + 0.4 * size.abs()) ** 2))
        images = images + 2 * levels[:, :, 3 + blob] * bump
    return ((images + 2) * 64).clamp(0, 255).to(torch.uint8)


def calibrate(model: torch.nn.Module, pixels: Pixels) -> None:
    """Sets each new batch norm's mean and variance to what it sees of fixed images; leaves the rest as it is.

    Without it what a layer gives shrinks or grows from layer to layer, to 1e-10 or to 1e7: the outputs of two images
    are then the same in any precision, or no number in fp16."""
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats and not norm.num_batches_tracked]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None  # the mean over all batches, here one
    finish = finisher(torch.device("cpu"), torch.float32, torch.contiguous_format, *pixels)
    try:
        with torch.no_grad():
            model(finish(patterns(CALIBRATION[0], pixels.px, seed=1))) if norms else None
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.eval().momentum = momentum


def build(case: schema.Case) -> Built:
    """The model in float32 on the CPU, in evaluation or training mode; the same weights for the same seed. Biases are
    zero (a random one says nothing, and drowns the image in alexnet), batch norms calibrated."""
    torch.manual_seed(case.seed)
    built = SOURCES[case.source](case.model, case.asked_px)
    model = built.model.eval()
    for part in model.modules() if built.fresh else ():
        if isinstance(part, torch.nn.Linear) and not part.weight.any():
            torch.nn.init.normal_(part.weight, std=0.02)  # a head of zeros (ViT) gives zeros: nothing to compare
        if isinstance(part, torch.nn.Linear | torch.nn.Conv2d) and part.bias is not None:
            torch.nn.init.zeros_(part.bias)
    if case.mode == "train":  # batch norms take each batch's own mean and variance
        model.train()
        note = ("It has no loss(output): the mean of its floating outputs trains it.",)
        return built._replace(notes=note) if built.loss is own_loss and not hasattr(model, "loss") else built
    try:
        calibrate(model, built.pixels._replace(px=CALIBRATION[1]))
    except Exception:  # it takes images of its own size only, or says why it takes none
        calibrate(model, built.pixels)
    return built


def flags() -> dict[str, object]:
    """What a module may change for all of torch, as it is now."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return {"cudnn.benchmark": cudnn.benchmark, "cudnn.deterministic": cudnn.deterministic,
            "cudnn.allow_tf32": cudnn.allow_tf32, "matmul.allow_tf32": products.allow_tf32,
            "threads": torch.get_num_threads(), "default dtype": torch.get_default_dtype(),
            "gradients": torch.is_grad_enabled(), "deterministic": torch.are_deterministic_algorithms_enabled(),
            }  # fmt: skip


def fingerprint(model: torch.nn.Module) -> str:
    """Twelve hex digits for the architecture: SHA-256 of the names and shapes of its weights and buffers."""
    lines = [f"{name} {tuple(value.shape)}\n" for name, value in model.state_dict().items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


def form(case: schema.Case) -> tuple[torch.dtype, torch.memory_format]:
    """Torch's dtype and memory format of the case's precision and layout."""
    return getattr(torch, axes.PRECISIONS[case.precision].dtype), getattr(torch, axes.LAYOUTS[case.memory_format])


def prepared(model: torch.nn.Module, case: schema.Case) -> torch.nn.Module:
    """The model on the case's device, cast (not autocast) to its precision, laid out and compiled as asked."""
    dtype, layout = form(case)
    model = model.to(device=torch.device(case.device), dtype=dtype).to(memory_format=layout)
    mode = case.compile if isinstance(case.compile, str) else None
    return torch.compile(model, mode=mode) if case.compile else model  # type: ignore[return-value]


def no_compiler(device: torch.device) -> str | None:
    """Why torch.compile can't work for this device, or None. For the CPU it writes C++ that includes Python.h."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        return f"torch.compile needs a C++ compiler on the CPU: install {Path(compiler).name}, or COMPILE=0"
    if device.type == "cpu" and not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "torch.compile needs Python.h on the CPU: install Python's headers (python3-dev), or COMPILE=0"
    return None


def graphs_compiled() -> int:
    """How many graphs torch.compile has compiled in this process so far, by its own counters."""
    from torch._dynamo.utils import counters  # nothing public counts them, and to import it takes seconds

    return int(counters["stats"]["unique_graphs"])


def stepper(model: torch.nn.Module, mode: str, begin: Call = nothing, loss: Loss = classify) -> BatchCall:
    """The call that takes a ready batch to the output or, in training, through SGD by this loss to the loss.
    begin: called before each. An output is of use until the next call: CUDA graphs then overwrite it."""
    if mode != "train":
        return torch.inference_mode()(lambda batch: (begin(), model(batch))[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(batch: torch.Tensor) -> torch.Tensor:
        begin()
        optimizer.zero_grad()
        error = loss(model, batch)
        error.backward()
        optimizer.step()
        return error

    return step
