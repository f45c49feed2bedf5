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

from siliconbench.knobs import classifiers
from siliconbench.record.axes import LAYOUTS, PRECISIONS
from siliconbench.record.schema import Case

SLOW_TO_FILL = ("googlenet", "inception_v3")  # their own way to draw weights takes a minute, and speed depends on none


@dataclass(frozen=True)
class Source:
    """A source of models: the names it has, a model's image size and the model, and lines of Python that build it."""

    names: Callable[[], list[str]]  # imports neither torch nor the source
    image_px: Callable[[str], int]
    build: Callable[[str], torch.nn.Module]
    lines: Callable[[str], list[str]]


SOURCES = {
    "torchvision": Source(
        names=classifiers,
        image_px=lambda name: min(w.transforms().crop_size[0] for w in zoo.get_model_weights(name)),
        build=lambda name: zoo.get_model(
            name, weights=None, **({"init_weights": False} if name in SLOW_TO_FILL else {})
        ),
        lines=lambda name: [
            "from torchvision.models import get_model",
            f'model = get_model("{name}", weights=None).eval()  # weights="DEFAULT": trained ones',
        ],
    )
}


def source(name: str) -> Source:
    """The source that has this model; LookupError where none has."""
    for known in SOURCES.values():
        if name in known.names():
            return known
    raise LookupError(f"no source of models has {name}: {', '.join(SOURCES)}")


def image_px(name: str) -> int:
    """The height and width of the model's images: the smallest that its source has weights for (224 for most)."""
    return source(name).image_px(name)


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
    if device.type != "cpu":
        return None
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        return f"torch.compile needs a C++ compiler on the CPU: install {Path(compiler).name}, or COMPILE=0"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "torch.compile needs Python.h on the CPU: install Python's headers (python3-dev), or COMPILE=0"
    return None


def graphs_compiled() -> int:
    """How many graphs torch.compile has compiled in this process so far, by its own counters."""
    from torch._dynamo.utils import counters  # nothing public counts them, and to import it takes seconds

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
