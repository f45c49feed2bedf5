"""The model under test: by name, seeded random weights (nothing is downloaded), in the class that was asked for."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision.models as zoo
from torch.nn.functional import cross_entropy

from siliconbench.knobs import classifiers
from siliconbench.record.axes import LAYOUTS, PRECISIONS
from siliconbench.record.schema import Case

SLOW_TO_FILL = ("googlenet", "inception_v3")  # their own way to draw weights takes a minute, and speed depends on none


@dataclass(frozen=True)
class Source:
    """A source of models: its names, found without an import of it, the sides of a model's images, and the model."""

    names: Callable[[], list[str]]
    image_px: Callable[[str], int]  # the smallest that it has weights for: 224 for most
    build: Callable[[str], torch.nn.Module]


SOURCES = {
    "torchvision": Source(
        classifiers,
        lambda name: min(weights.transforms().crop_size[0] for weights in zoo.get_model_weights(name)),
        lambda name: zoo.get_model(name, weights=None, **{"init_weights": False} if name in SLOW_TO_FILL else {}),
    )
}


def source(name: str) -> Source:
    """The source that has this model; LookupError where none has."""
    for known in SOURCES.values():
        if name in known.names():
            return known
    raise LookupError(f"no source of models has {name}: {', '.join(SOURCES)}")


def build(name: str, seed: int, mode: str = "inference") -> torch.nn.Module:
    """The model in float32 on the CPU, in evaluation or training mode; the same weights for the same seed."""
    torch.manual_seed(seed)
    model = source(name).build(name)
    for part in model.modules():
        if isinstance(part, torch.nn.Linear) and not part.weight.any():
            torch.nn.init.normal_(part.weight, std=0.02)  # a head of zeros (ViT) gives zeros: nothing to compare
    return model.train(mode == "train")


def form(case: Case) -> tuple[torch.dtype, torch.memory_format]:
    """Torch's dtype and memory format of the case's precision and layout."""
    return getattr(torch, PRECISIONS[case.precision].dtype), getattr(torch, LAYOUTS[case.memory_format])


def prepared(model: torch.nn.Module, case: Case) -> torch.nn.Module:
    """The model on the case's device, cast (not autocast) to its precision, laid out and compiled as asked."""
    dtype, layout = form(case)
    model = model.to(device=torch.device(case.device), dtype=dtype).to(memory_format=layout)
    return torch.compile(model) if case.compile else model  # type: ignore[return-value]


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


def stepper(model: torch.nn.Module, mode: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The call that takes a ready batch to the output or, in training, through SGD on random labels to the loss."""
    if mode != "train":
        return torch.inference_mode()(lambda batch: model(batch))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(batch: torch.Tensor) -> torch.Tensor:
        labels = torch.randint(0, 1000, (len(batch),), device=batch.device)
        optimizer.zero_grad()
        out = model(batch)
        error: torch.Tensor = cross_entropy(getattr(out, "logits", out), labels)  # inception_v3, googlenet add helpers
        error.backward()
        optimizer.step()
        return error

    return step
