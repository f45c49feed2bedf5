"""The device that does the work: chosen, refused, described, its memory. What its type is able to stands in axes."""

import os
import resource
import sys
from typing import Any

import torch

from siliconbench.machine.tools import explained
from siliconbench.record.axes import DEVICES, PRECISIONS


def choose(use_gpu: bool) -> torch.device:
    """The accelerator if one is there and asked for, of a type that axes.DEVICES knows; else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True) if use_gpu else None
    return torch.device(found.type if found and found.type in DEVICES else "cpu")


def refusal(device: torch.device, reference: bool) -> str | None:
    """Why the reference class may not be measured here, or None."""
    name = DEVICES[device.type].fallback
    if not (reference and name and os.environ.get(name) == "1"):
        return None
    return f"{name}=1 lets the CPU do part of the work in silence, so the figure would not be the GPU's: unset it"


def lacks(device: torch.device, precision: str) -> str | None:
    """Why the device can't do this precision, or None. TF32 is a mode of NVIDIA's tensor cores from Ampere on."""
    if not PRECISIONS[precision].tf32 or (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)):
        return None
    return f"{precision} is a mode of NVIDIA GPUs from Ampere on: choose fp32, fp16 or bf16 here"


def describe(device: torch.device) -> dict[str, Any]:
    """The device as torch sees it, the threads and flags as read back, and in `unknown` why the rest is None."""
    kind, module, on_cuda, memory = DEVICES[device.type], getattr(torch, device.type), device.type == "cuda", None
    name = getattr(module, "get_device_name", lambda _: kind.title)(device) if kind.accelerator else None
    if hasattr(module, "get_device_properties"):
        memory = int(module.get_device_properties(device).total_memory)
    elif hasattr(module, "recommended_max_memory"):  # on MPS, the working set that Metal recommends
        memory = int(module.recommended_max_memory())
    flags = {
        "threads": torch.get_num_threads(), "interop_threads": torch.get_num_interop_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32, "tf32_convolution": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark, "environment": {},
    }  # fmt: skip
    return flags | explained({
        "device_name": (name, "torch gives the CPU no name: see machine.chip"),
        "device_memory_bytes": (memory, "this device has no memory of its own that torch can tell"),
        "cuda": (torch.version.cuda if on_cuda else None, "the device is not CUDA"),
        "cudnn": (str(torch.backends.cudnn.version()) if on_cuda else None, "the device is not CUDA"),
        "hip": (torch.version.hip, "this torch is not built for HIP"),
        "device_arch": (None, "not read yet"), "model_fingerprint": (None, "not read yet"),
    })  # fmt: skip


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
