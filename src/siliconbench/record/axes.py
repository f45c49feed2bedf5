"""The axes of a case: every value that one can take, and what follows from it. A new value is one entry here."""

from typing import NamedTuple


class Precision(NamedTuple):
    """A precision, and how far its outputs may be from the CPU's in fp32, over the scatter of those.

    The tolerance is `times` what the model itself makes of rounding its weights and images to this precision on the
    CPU (fp32: of float64 against fp32), at most `most`. Over 16 models in emulated fp16, bf16 and TF32 that factor was
    0.9 to 2.2; unrelated outputs differ by 5.5 and more. TF32 is 400 to 5,600 times fp32's own difference.
    proof: what a product may differ from float64, over the largest value; fp32 1e-6, ten bits 2e-4 (fp16 may add up
    in fp16).
    """

    dtype: str  # torch's name
    times: float
    most: float
    proof: float
    rounded: str  # the dtype that weights and images are rounded to, to learn the model's own difference
    tf32: bool = False
    searched_on: tuple[str, ...] = ()  # the device types on which `make best` tries it


class DeviceType(NamedTuple):
    """A device type of torch, and what it is called."""

    title: str
    accelerator: bool = True
    copies_beside: bool = False  # whether copies to it come from pinned memory on a stream of their own
    fallback: str = ""  # the environment's variable that, at 1, lets the CPU do a part of it in silence


PRECISIONS = {
    "fp32": Precision("float32", 20, 5e-4, 2e-5, "float64"),
    "tf32": Precision("float32", 5, 1.0, 4e-3, "float16", tf32=True, searched_on=("cuda",)),  # ten bits, as fp16
    "fp16": Precision("float16", 5, 1.0, 4e-3, "float16", searched_on=("cuda", "mps", "xpu")),
    "bf16": Precision("bfloat16", 5, 3.0, 3e-2, "bfloat16", searched_on=("cpu", "cuda", "mps", "xpu")),
}
DEVICES = {
    "cpu": DeviceType("CPU", accelerator=False),
    "cuda": DeviceType("NVIDIA GPU", copies_beside=True),
    "mps": DeviceType("Apple GPU (Metal)", fallback="PYTORCH_ENABLE_MPS_FALLBACK"),
    "xpu": DeviceType("Intel GPU"),
}
LAYOUTS = {"contiguous": "contiguous_format", "channels_last": "channels_last"}  # torch's names
MODES = ("inference", "train")
ALLOCATORS = ("system", "tuned")
COMPILE_MODES = ("reduce-overhead", "max-autotune")  # torch's names; beside them False and True, its default mode
INPUTS = ("fast", "original", "jpeg", "jpeg-device-resize", "jpeg-device", "folder")  # see run.images.WAYS
MODEL_SOURCES = ("torchvision", "timm", "own")
METHOD = 2  # the version of how is measured: figures of two methods are never ranked together
