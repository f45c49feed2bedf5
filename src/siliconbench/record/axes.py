"""The axes of a case: every value that one can take, and what follows from it. A new value is one entry here."""

from typing import NamedTuple


class Precision(NamedTuple):
    """A precision. The tolerance is two to five times what the tests' models show; a wrong kernel gives 1 and more."""

    dtype: str  # torch's name
    tolerance: float  # the largest difference to the CPU's fp32 output, over the scatter of that output
    tf32: bool = False
    searched_on: tuple[str, ...] = ()  # the device types on which `make best` tries it


class DeviceType(NamedTuple):
    """A device type of torch, and what it is called."""

    title: str
    accelerator: bool = True
    copies_beside: bool = False  # whether copies to it come from pinned memory on a stream of their own
    fallback: str = ""  # the environment's variable that, at 1, lets the CPU do a part of it in silence


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
MODEL_SOURCES = ("torchvision", "timm", "own")
METHOD = 2  # the version of how is measured: figures of two methods are never ranked together
