"""The device that does the work: chosen, named, synchronized, its memory. What its type is able to stands in axes."""

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

import torch

from siliconbench.record.axes import DEVICES, PRECISIONS


def choose(use_gpu: bool) -> torch.device:
    """The accelerator if one is there and asked for, of a type that axes.DEVICES knows; else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True) if use_gpu else None
    return torch.device(found.type if found and found.type in DEVICES else "cpu")


def synchronizer(device: torch.device) -> Callable[[], None]:
    """The call that returns once the device has done all it was given; on the CPU there is nothing to wait for."""
    return torch.accelerator.synchronize if DEVICES[device.type].accelerator else lambda: None


def beside(device: torch.device, make: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """The call that makes the next batch ready while the device still works on the last one.

    Where the type's copies run beside the model, on a stream of their own: the model waits for its batch only.
    Elsewhere make itself.
    """
    if not DEVICES[device.type].copies_beside:
        return make
    module = getattr(torch, device.type)
    side, main = module.Stream(), module.current_stream()

    def step() -> torch.Tensor:
        with module.stream(side):
            batch = make()
        main.wait_stream(side)
        batch.record_stream(main)  # its memory is not handed out again before the model is done with it
        return batch

    return step


def refusal(device: torch.device, reference: bool) -> str | None:
    """Why the reference class may not be measured here, or None."""
    name = DEVICES[device.type].fallback
    if not (reference and name and os.environ.get(name) == "1"):
        return None
    return f"{name}=1 lets the CPU do part of the work in silence, so the figure would not be the GPU's: unset it"


def lacks(device: torch.device, precision: str) -> str | None:
    """Why the device can't do this precision, or None. TF32 is a mode of NVIDIA's tensor cores from Ampere on."""
    if not PRECISIONS[precision].tf32:
        return None
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return None
    return f"{precision} is a mode of NVIDIA GPUs from Ampere on: choose fp32, fp16 or bf16 here"


def true_fp32(tf32: bool = False) -> None:
    """Makes float32 mean float32 for convolutions and matrix products alike, or TF32 for both when asked for."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def describe(device: torch.device) -> dict[str, Any]:
    """The device as torch sees it, the threads and flags as read back, and in `unknown` why the rest is None."""
    cuda = device.type == "cuda"
    facts: dict[str, Any] = {
        "device_name": device_name(device),
        "device_memory_bytes": device_memory_bytes(device),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": str(torch.backends.cudnn.version()) if cuda else None,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolution": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    reasons = {
        "device_name": "torch gives the CPU no name: see machine.chip",
        "device_memory_bytes": "this device has no memory of its own that torch can tell",
        "cuda": "the device is not CUDA",
        "cudnn": "the device is not CUDA",
    }
    return facts | {"unknown": {k: why for k, why in reasons.items() if facts[k] is None}}


def device_name(device: torch.device) -> str | None:
    """The accelerator's own name, its type's title where torch gives none; None for the CPU."""
    if not DEVICES[device.type].accelerator:
        return None
    own = getattr(getattr(torch, device.type), "get_device_name", None)
    return str(own(device)) if own else DEVICES[device.type].title


def device_memory_bytes(device: torch.device) -> int | None:
    """The accelerator's memory in bytes (on MPS the working set that Metal recommends), None where torch can't tell."""
    module = getattr(torch, device.type)
    if hasattr(module, "get_device_properties"):
        return int(module.get_device_properties(device).total_memory)
    return int(module.recommended_max_memory()) if hasattr(module, "recommended_max_memory") else None


def peak_memory(device: torch.device) -> tuple[int | None, int, str]:
    """The most bytes held so far: by torch's allocator on the device, by the process; and why the first is None."""
    per_unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit
    if not DEVICES[device.type].accelerator:
        return None, process, "the CPU is the device: see peak_process_bytes"
    try:
        return torch.accelerator.max_memory_allocated(), process, ""
    except RuntimeError:  # the MPS allocator of torch before 2.13 keeps no peak
        return None, process, "this torch keeps no peak for this device"
