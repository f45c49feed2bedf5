"""The model under test: by name, seeded random weights (nothing is downloaded), in the class that was asked for."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision.models as zoo

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

SLOW_TO_FILL = ("googlenet", "inception_v3")  # their own way to draw weights takes a minute, and speed depends on none


def image_px(name: str) -> int:
    """The height and width of the model's pictures: the smallest that torchvision has weights for (224 for most)."""
    return min(w.transforms().crop_size[0] for w in zoo.get_model_weights(name))


def build(name: str, seed: int, mode: str = "inference") -> torch.nn.Module:
    """The model in float32 on the CPU, in evaluation or training mode; the same weights for the same seed."""
    torch.manual_seed(seed)
    options: dict[str, Any] = {"init_weights": False} if name in SLOW_TO_FILL else {}
    model: torch.nn.Module = zoo.get_model(name, weights=None, **options)
    for part in model.modules():
        if isinstance(part, torch.nn.Linear) and not part.weight.any():
            torch.nn.init.normal_(part.weight, std=0.02)  # a head of zeros (ViT) gives zeros: nothing to compare
    return model.train(mode == "train")


def place(
    model: torch.nn.Module, device: torch.device, precision: str, memory_format: str, compiled: bool
) -> torch.nn.Module:
    """The model on the device, cast (not autocast) to its precision, laid out and compiled as asked."""
    model = model.to(device=device, dtype=DTYPES[precision]).to(memory_format=LAYOUTS[memory_format])
    return torch.compile(model) if compiled else model  # type: ignore[return-value]


def no_compiler(device: torch.device) -> str | None:
    """Why torch.compile can't work for this device, or None. For the CPU it writes C++ that includes Python.h."""
    if device.type != "cpu":
        return None
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        return f"torch.compile needs a C++ compiler on the CPU: install {Path(compiler).name}, or COMPILE=0"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "torch.compile needs Python.h on the CPU: install Python's headers (python3-dev), or COMPILE=0"
    return None


def graphs_compiled() -> int:
    """How many graphs torch.compile has compiled in this process so far, as its own counters tell."""
    from torch._dynamo.utils import counters  # nothing public counts them

    return int(counters["stats"]["unique_graphs"])


def stepper(model: torch.nn.Module, mode: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The call that handles one batch that is ready on the device.

    Inference: the forward pass, its output. Training: forward, backward and one step of SGD on random labels, the loss.
    """
    return _trainer(model) if mode == "train" else torch.inference_mode()(lambda batch: model(batch))


def _trainer(model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()

    def step(batch: torch.Tensor) -> torch.Tensor:
        labels = torch.randint(0, 1000, (len(batch),), device=batch.device)
        optimizer.zero_grad()
        out = model(batch)
        error: torch.Tensor = loss(getattr(out, "logits", out), labels)  # inception_v3 and googlenet add helpers
        error.backward()
        optimizer.step()
        return error

    return step
