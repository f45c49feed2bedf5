"""A record as a run leaves it, for tests of what is done with records. Its figures are made up and say so."""

from typing import Any


def state() -> dict[str, Any]:
    """The machine before or after a run."""
    nothing = ("battery_percent", "power_mode", "governor", "thermal_pressure", "power_source")
    return {
        **dict.fromkeys(nothing),
        "load_1m": 0.5,
        "swap_used_bytes": 0,
        "free_memory_bytes": 10**10,
        "unknown": dict.fromkeys(nothing, "this test has none"),
    }


def timed(images_per_s: float, images: int = 40, blocks: int = 5, start_s: float = 0.0) -> dict[str, Any]:
    """A pass of equal blocks at this rate."""
    seconds = images / images_per_s
    return {
        "images": images,
        "seconds": seconds,
        "images_per_s": images_per_s,
        "block_images": images // blocks,
        "block_s": [seconds / blocks] * blocks,
        "start_s": start_s,
        "cpu_s": seconds,
        "warm_up_s": 2.0,
        "warm_up_block_s": [0.5] * 4,
        "settled": True,
    }


def sample(images_per_s: float = 100.0, **case: Any) -> dict[str, Any]:
    """One run that is ok; other fields of the case by name."""
    why = "this test has none"
    return {
        "schema": 1,
        "status": "ok",
        "error": None,
        "created": "20261123T140000Z",
        "sweep": {"id": "20261123T140000Z-0123456789", "runs": 1, "order": 1},
        "repeat": 1,
        "case": {"model": "resnet18", "batch_size": 8, "device": "cpu", "image_px": 224} | case,
        "machine": {
            "slug": "amd-epyc-2-cores",
            "chip": "AMD EPYC",
            "model": None,
            "cores": 2,
            "logical_cores": 2,
            "core_levels": [],
            "gpus": [],
            "memory_bytes": 24 * 2**30,
            "os": "Debian GNU/Linux 12",
            "os_build": "6.1",
            "arch": "x86_64",
            "driver": None,
            "unknown": {"model": why, "driver": why},
        },
        "software": {
            "siliconbench": "0.1.0",
            "commit": None,
            "python": "3.11.7",
            "torch": "2.15.0",
            "torchvision": "0.29.2",
            "device_name": None,
            "device_memory_bytes": None,
            "cuda": None,
            "cudnn": None,
            "threads": 2,
            "interop_threads": 2,
            "tf32_matmul": False,
            "tf32_convolution": False,
            "cudnn_benchmark": False,
            "unknown": dict.fromkeys(("commit", "device_name", "device_memory_bytes", "cuda", "cudnn"), why),
        },
        "passes": {
            "forward": timed(images_per_s * 1.1),
            "copy": None,
            "input": timed(images_per_s * 20),
            "end_to_end": timed(images_per_s),
            "unknown": {"copy": why},
        },
        "latency": {"request_images": 8, "request_s": [0.08, 0.09, 0.1], "build_s": 0.3, "first_forward_s": 0.5},
        "limits": {
            "flop_per_image": 3.6e9,
            "kernels": [{"name": "matmul 512", "flop_per_s": 5e11}],
            "peak_flop_per_s": 5e11,
            "copy_bytes_per_s": 2e10,
            "bytes_per_image": 1e7,
            "utilisation": 3.6e9 * images_per_s / 5e11,
            "binds": "compute",
        },
        "memory": {
            "peak_device_bytes": None,
            "peak_process_bytes": 10**9,
            "swap_growth_bytes": 0,
            "unknown": {"peak_device_bytes": why},
        },
        "telemetry": None,
        "checks": {
            "wall_s": 60.0,
            "before": state(),
            "after": state(),
            "workers": {"used": 0, "start_method": "none", "tried": []},
            "busy": 0.99,
            "stolen": 0.0,
            "again_block_s": [0.1],
            "system_share": 0.02,
            "faults_per_image": 3.5,
            "compiled": None,
            "allowed_images_per_s": images_per_s * 1.02,
            "holds_back": "forward",
            "cause": None,
            "waiting": {"steps": 3, "waited_s": 0.2, "launched_s": 0.2, "twice_over_once": 2.0},
            "outputs": None,
            "unknown": {"cause": why, "outputs": why, "compiled": why},
        },
        "verdict": {"word": "clean", "reasons": []},
        "unknown": {"telemetry": "TELEMETRY=0"},
    }


def samples(idle_until_s: float, cooling_from_s: float, end_s: int, **channels: Any) -> dict[str, Any]:
    """A telemetry section, one sample a second from -5 to end_s; each channel a function of the second."""
    times = list(range(-5, end_s + 1))
    return {
        "interval_s": 1.0,
        "idle_until_s": idle_until_s,
        "cooling_from_s": cooling_from_s,
        "time_s": [float(t) for t in times],
        "channels": {
            name: {"values": [read(t) for t in times], "source": "macmon", "version": "0.8", "statistic": "max"}
            for name, read in channels.items()
        },
        "unknown": {},
    }
