"""What a run is asked to measure, the sweep that it belongs to, and why it failed."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from siliconbench.record import axes
from siliconbench.record.fields import Model, Positive, Text, one_of


class Case(Model):
    """What is asked for. workers None is auto; image_px None, before the run, is the model's own."""

    model: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    device: Annotated[str, one_of(axes.DEVICES)]
    precision: Annotated[str, one_of(axes.PRECISIONS)] = "fp32"
    memory_format: Annotated[str, one_of(axes.LAYOUTS)] = "contiguous"
    compile: bool = False
    mode: Annotated[str, one_of(axes.MODES)] = "inference"
    input: Annotated[str, one_of(axes.INPUTS)] = "fast"
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    num_images: Annotated[int, Field(ge=1, le=10**9)] = 1000
    min_seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 10.0
    minutes: Annotated[float, Field(ge=0, le=1440, allow_inf_nan=False)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 2021
    image_px: Annotated[int, Field(ge=8, le=4096)] | None = None

    @property
    def reference(self) -> bool:
        """Whether this is the class that is compared across machines: fp32, eager, default layout, inference."""
        own = (self.precision, self.memory_format, self.compile, self.mode)
        return own == ("fp32", "contiguous", False, "inference")


class Sweep(Model):
    """The `make image` that a run belongs to: its name (time and knobs), its number of runs, which of them this is."""

    id: Annotated[str, StringConstraints(pattern=r"^20\d{6}T\d{6}Z-[0-9a-f]{10}$")]
    runs: Positive
    order: Positive


class Error(Model):
    """Why a run failed."""

    kind: Literal["out_of_memory", "killed", "worker", "unsupported", "skipped", "failed"]
    message: Text
