"""The device that does the work: chosen, refused, described, its memory. What its type is able to stands in axes."""

import os
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from siliconbench.machine.tools import content, explained, matched, tried
from siliconbench.record import axes, store

# What changes arithmetic or threads, by the start of its name; an address or a device's number is none of it.
TELLING = ("ONEDNN_", "DNNL_", "MKL_", "OMP_", "KMP_", "GOMP_", "PYTORCH_", "TORCHINDUCTOR_", "MIOPEN_", "ROCBLAS_",
           "HIPBLASLT_", "CUBLAS_", "CUBLASLT_", "CUDNN_", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
           "CUDA_LAUNCH_BLOCKING", "HIP_LAUNCH_BLOCKING", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # fmt: skip
UNTRUE = {  # what makes of fp32 something else, unless it has this value
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT", "DNNL_DEFAULT_FPMATH_MODE": "STRICT", "NVIDIA_TF32_OVERRIDE": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0", "MKL_BLAS_COMPUTE_MODE": "STANDARD", "HIPBLASLT_ALLOW_TF32": "0",
    "CUBLAS_EMULATE_SINGLE_PRECISION": "0", "PYTORCH_MPS_FAST_MATH": "0",
}  # fmt: skip


class Peak(NamedTuple):
    """The most bytes held: by torch's allocator on the device, by the process; and why the first is None."""

    device_bytes: int | None
    process_bytes: int
    why: str


def choose(use_gpu: bool) -> torch.device:
    """The accelerator if one is there and asked for, of a type that axes.DEVICES knows; else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True) if use_gpu else None
    return torch.device(found.type if found and found.type in axes.DEVICES else "cpu")


def refusal(device: torch.device, reference: bool, own: bool = False) -> str | None:
    """Why the reference class may not be measured here, or None. An own model may lean on the CPU: that is no rank."""
    name, macos = axes.DEVICES[device.type].fallback, platform.mac_ver()[0].partition(".")[0]
    if device.type == "mps" and macos.isdecimal() and 10 < int(macos) < 15:
        return f"torch's Metal needs macOS 15 or later, and this is {macos}: USE_GPU=0 measures the CPU"
    if reference and name and not own and os.environ.get(name, "0").strip() not in ("", "0"):
        return f"{name} lets the CPU do part of the work in silence, so the figure would not be the GPU's: unset it"
    for name, true in UNTRUE.items() if reference else ():
        if (value := os.environ.get(name, "")) and value.upper() != true:
            return f"{name}={store.plain(value)} can make fp32 something less: unset it"
    return None


def lacks(device: torch.device, precision: str) -> str | None:
    """Why the device can't do this precision, or None. TF32 is a mode of NVIDIA's tensor cores from Ampere on."""
    amd, nvidia = (device.type == "cuda" and bool(torch.version.hip) == hip for hip in (True, False))
    if not axes.PRECISIONS[precision].tf32 or (nvidia and torch.cuda.get_device_capability(device) >= (8, 0)):
        return None
    needed = "GPUs, and this torch works an AMD GPU by HIP" if amd else "GPUs from Ampere on"
    return f"{precision} is a mode of NVIDIA {needed}: choose fp32, fp16 or bf16 here"


def environment() -> dict[str, str]:
    """The variables that are set and change arithmetic or threads, 64 at most; of a path only that it is one."""
    known = {name: value for name, value in sorted(os.environ.items()) if value and name.startswith(TELLING)}
    fit = [name for name in known if re.fullmatch(r"[A-Z0-9_]{1,64}", name)][:64]
    return {name: "(a path)" if re.search(r"[/\\~@]", known[name]) else store.plain(known[name]) for name in fit}


def architecture(device: torch.device) -> str | None:
    """What its code is compiled for: sm_90, or gfx942 under HIP, of a CPU AVX2 or AVX512; None: torch tells none."""
    if device.type != "cuda":
        return torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None
    found = torch.cuda.get_device_properties(device)
    return found.gcnArchName.split(":")[0] if torch.version.hip else f"sm_{found.major}{found.minor}"


def describe(device: torch.device, model_fingerprint: str) -> dict[str, Any]:
    """The device as torch sees it, the threads and flags as read back, and in `unknown` why the rest is None."""
    kind, module, on_cuda = axes.DEVICES[device.type], getattr(torch, device.type), device.type == "cuda"
    name = getattr(module, "get_device_name", lambda _: kind.title)(device) if kind.accelerator else None
    memory = tried(lambda: int(module.get_device_properties(device).total_memory))
    memory = memory or tried(lambda: int(module.recommended_max_memory()))  # on MPS: Metal's advice
    flags = {
        "threads": torch.get_num_threads(), "interop_threads": torch.get_num_interop_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32, "tf32_convolution": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark, "environment": environment(),
        "model_fingerprint": model_fingerprint,
    }  # fmt: skip
    no_cuda = "this torch is built for HIP, not for CUDA" if torch.version.hip else "the device is not CUDA"
    return flags | explained({
        "device_name": (name, "torch gives the CPU no name: see machine.chip"),
        "device_memory_bytes": (memory, "this device has no memory of its own that torch can tell"),
        "cuda": (torch.version.cuda if on_cuda else None, no_cuda),
        "cudnn": (str(torch.backends.cudnn.version()) if on_cuda and not torch.version.hip else None, no_cuda),
        "hip": (torch.version.hip, "this torch is not built for HIP"),
        "device_arch": (architecture(device), "torch tells none of this device"),
    })  # fmt: skip


def reset_peak(device: torch.device) -> None:
    """Sets the peaks that peak_memory() tells back to what is held now, where the system can (proc(5): clear_refs)."""
    tried(Path("/proc/self/clear_refs").write_text, "5")
    if axes.DEVICES[device.type].accelerator:
        tried(torch.accelerator.reset_peak_memory_stats)


def peak_memory(device: torch.device) -> Peak:
    """The most bytes held since reset_peak(): of the process its resident set, on macOS since its start."""
    known = int(matched(r"^VmHWM:\s+(\d{1,12}) kB$", content("/proc/self/status")) or 0)
    per_unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux
    process = known * 1024 or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit
    if not axes.DEVICES[device.type].accelerator:
        return Peak(None, process, "the CPU is the device: see peak_process_bytes")
    held = torch.mps.driver_allocated_memory() if device.type == "mps" else 0  # by Metal, not in torch's tensors
    peak = tried(torch.accelerator.max_memory_allocated)  # the MPS allocator of torch before 2.13 keeps none
    return Peak(None if peak is None else max(held, peak), process, "this torch keeps no peak for this device")
