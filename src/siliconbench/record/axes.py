"""The axes of a case: every value that one can take, and what follows from it. A new value is one entry here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """A precision: torch's name of its dtype, and how its outputs are judged.

    tolerance: the largest difference to the CPU's fp32 output, over the scatter of that output; twice to five times
    what was seen on the models of the tests (a wrong kernel gives 1 and more). searched_on: where `make best` tries it.
    """

    dtype: str
    tolerance: float
    tf32: bool = False
    searched_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceType:
    """A device type of torch: what it is called, whether copies to it come from pinned memory on a stream beside.

    fallback: the variable of the environment that lets the CPU do part of its work in silence when it is 1.
    """

    title: str
    accelerator: bool = True
    copies_beside: bool = False
    fallback: str = ""


PRECISIONS = {
    "fp32": Precision("float32", 1e-2),
    "tf32": Precision("float32", 5e-2, tf32=True, searched_on=("cuda",)),
    "fp16": Precision("float16", 5e-2, searched_on=("cuda", "mps", "xpu")),
    "bf16": Precision("bfloat16", 4e-1, searched_on=("cpu", "cuda", "mps", "xpu")),
}
DEVICES = {
    "cpu": DeviceType("CPU", accelerator=False),
    "cuda": DeviceType("NVIDIA GPU", copies_beside=True),
    "mps": DeviceType("Apple GPU (Metal)", fallback="PYTORCH_ENABLE_MPS_FALLBACK"),
    "xpu": DeviceType("Intel GPU"),
}
LAYOUTS = {"contiguous": "contiguous_format", "channels_last": "channels_last"}  # torch's names
MODES = ("inference", "train")
INPUTS = ("fast", "original")
