"""A record as a run leaves it, for tests of what is done with records. Its figures are made up and say so."""

import itertools
from typing import Any

from siliconbench.record import protocol
from siliconbench.record.schema import PARTS, Record

MADE = itertools.count()


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
        "last_block_images": images // blocks,
        "block_s": [seconds / blocks] * blocks,
        "start_s": start_s,
        "cpu_s": seconds,
        "warm_up_s": 2.0 + next(MADE) / 1e9,  # no two measurements are alike to the last digit
        "warm_up_block_s": [0.5] * 4,
        "settled": True,
        "stock_images": 0,
    }


def sample(images_per_s: float = 100.0, **case: Any) -> dict[str, Any]:
    """One run that is ok; other fields of the case by name."""
    why = "this test has none"
    return {
        "schema": 2,
        "method": 2,
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
            "smt": True,
            "container": False,
            "wsl": False,
            "rosetta": None,
            "unknown": {"model": why, "driver": why, "rosetta": why},
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
            "hip": None,
            "device_arch": None,
            "environment": {},
            "model_fingerprint": "3fa57287149b",  # of resnet50
            "unknown": dict.fromkeys(
                ("commit", "device_name", "device_memory_bytes", "cuda", "cudnn", "hip", "device_arch"), why
            ),
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
            "utilization": 3.6e9 * images_per_s / 5e11,
            "roof": "compute",
        },
        "memory": {
            "peak_device_bytes": None,
            "peak_process_bytes": 10**9,
            "swap_growth_bytes": 0,
            "unknown": {"peak_device_bytes": why},
        },
        "telemetry": None,
        "energy": None,
        "checks": {
            "wall_s": 60.0,
            "before": state(),
            "after": state(),
            "workers": {"used": 0, "start_method": "none", "tried": [], "chosen_in": None},
            "cpu_share": 0.99,
            "others_share": 0.0,
            "end_to_end_others_share": 0.0,
            "slept_s": 0.0,
            "gpu_neighbours": None,
            "repeat_block_s": [0.1],
            "system_share": 0.02,
            "page_faults_per_image": 3.5,
            "compiled": None,
            "allowed_images_per_s": images_per_s * 1.02,
            "bottleneck": "forward",
            "experiment": None,
            "synchronization": {
                "steps": 3,
                "synchronized_s": 0.2,
                "launched_s": 0.2,
                "idle_read_s": None,
                "read_s": None,
                "event_s": None,
                "unknown": dict.fromkeys(("idle_read_s", "read_s", "event_s"), why),
            },
            "precision": [{"operation": "product", "difference": 1e-7, "allowed": 1e-5, "proved": True}],
            "outputs": None,
            "unknown": dict.fromkeys(("experiment", "outputs", "compiled", "gpu_neighbours"), why),
        },
        "verdict": {"word": "clean", "reasons": [], "disturbed": False},
        "unknown": {"telemetry": "TELEMETRY=0", "energy": "TELEMETRY=0"},
    }


def older() -> dict[str, Any]:
    """One run as siliconbench 0.1 left it, as far as is told apart: a record of schema 1, with words of then."""
    data = sample() | {"schema": 1}
    del data["method"], data["energy"]
    return data | {"checks": {"stolen": 0.0, "cause": None}, "verdict": {"word": "clean", "reasons": []}}


def lost(message: str = "no room", kind: str = "out_of_memory", **case: Any) -> dict[str, Any]:
    """One run that failed, by default for want of memory."""
    failed = {"status": "failed", "error": {"kind": kind, "message": message}, "unknown": {}}
    return sample(**case) | failed | dict.fromkeys(PARTS)


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


def suite(speed: float = 1.0, day: int = 1, runs: int = 3, slug: str = "epyc", **edits: Any) -> list[Record]:
    """A complete sweep of the suite: each model at 10, 20 and 40 times the speed, at batch 64 ten times that, each run
    1 % beside the last. `edits`: of the record's data, a function by the case's model and batch size (resnet50_64)."""
    records = []
    for case in protocol.cases("cpu"):
        for n in range(runs):
            rate = 10 * speed * 2 ** protocol.MODELS.index(case.model) * (10 if case.batch_size == 64 else 1)
            data = sample(rate * (1 + (n - 1) / 100), **case.model_dump() | {"image_px": 224})
            data |= {"repeat": n + 1, "created": f"202611{day:02d}T14{len(records):02d}00Z"}
            data["machine"] |= {"slug": slug}
            order = {"runs": 6 * runs, "order": len(records) + 1, "suite": protocol.NAME}
            data["sweep"] = {"id": f"202611{day:02d}T140000Z-0123456789"} | order
            for name in ("every", f"{case.model}_{case.batch_size}"):
                edits.get(name, lambda _: None)(data)
            records.append(Record.model_validate(data))
    return records
