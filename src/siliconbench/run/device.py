"""Choose, name and wait for the device that does the work. The only module that names cuda, mps, xpu or cpu."""

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

import torch


def choose(use_gpu: bool) -> torch.device:
    """The accelerator if one is there and asked for (CUDA, MPS or XPU), else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True) if use_gpu else None
    return torch.device(found.type if found else "cpu")


def waiter(device: torch.device) -> Callable[[], None]:
    """The call that returns once the device has done all it was given; on the CPU there is nothing to wait for."""
    return (lambda: None) if device.type == "cpu" else torch.accelerator.synchronize


def beside(device: torch.device, make: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """The call that makes the next batch ready while the device still works on the last one.

    On CUDA on a stream of its own: the copy from pinned memory runs beside the model, which waits for its batch only.
    Elsewhere make itself.
    """
    if device.type != "cuda":
        return make
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()

    def step() -> torch.Tensor:
        with torch.cuda.stream(side):
            batch = make()
        main.wait_stream(side)
        batch.record_stream(main)  # its memory is not handed out again before the model is done with it
        return batch

    return step


def refusal(device: torch.device, reference: bool) -> str | None:
    """Why the reference class may not be measured here, or None."""
    if reference and device.type == "mps" and os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        return (
            "PYTORCH_ENABLE_MPS_FALLBACK=1 lets the CPU do part of the work in silence, so the figure would not be "
            "the GPU's: unset it"
        )
    return None


def true_fp32(tf32: bool = False) -> None:
    """None; float32 means float32 for convolutions and matrix products alike, or TF32 for both when asked for."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def describe(device: torch.device) -> dict[str, Any]:
    """The device as torch sees it, the threads and flags as read back, and what could not be told."""
    facts: dict[str, Any] = {
        "device_name": device_name(device),
        "device_memory_bytes": device_memory_bytes(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "cudnn": str(torch.backends.cudnn.version()) if device.type == "cuda" else None,
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
    """The accelerator's own name, None where torch gives none."""
    if device.type in ("cuda", "xpu"):
        return str(getattr(torch, device.type).get_device_name(device))
    return "Apple GPU (Metal)" if device.type == "mps" else None


def device_memory_bytes(device: torch.device) -> int | None:
    """The accelerator's memory in bytes (on MPS the working set that Metal recommends), None on the CPU."""
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).get_device_properties(device).total_memory)
    return int(torch.mps.recommended_max_memory()) if device.type == "mps" else None


def peak_memory(device: torch.device) -> dict[str, Any]:
    """The most memory held so far, in bytes: peak_device_bytes by torch's allocator, peak_process_bytes resident."""
    per_unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit
    try:
        peak = torch.accelerator.max_memory_allocated() if device.type != "cpu" else None
        why = "the CPU is the device: see peak_process_bytes"
    except RuntimeError:  # the MPS allocator of torch before 2.13 keeps no peak
        peak, why = None, "this torch keeps no peak for this device"
    return {
        "peak_device_bytes": peak,
        "peak_process_bytes": process,
        "unknown": {} if peak is not None else {"peak_device_bytes": why},
    }


def lacks(device: torch.device, precision: str) -> str | None:
    """Why the device can't do this precision, or None. TF32 is a mode of NVIDIA's tensor cores from Ampere on."""
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        return "tf32 is a mode of NVIDIA GPUs from Ampere on: choose fp32, fp16 or bf16 here"
    return None
