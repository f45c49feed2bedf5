"""What an NVIDIA GPU tells."""

import os
from importlib import import_module
from typing import Any, ClassVar

from siliconbench.machine.sources.source import BUSY, NO_WATTS, Absent, Counter, Reading, Source, hundredth
from siliconbench.machine.tools import highest, tried


class Nvml(Source):
    """The GPU that this process would use, by NVIDIA's library. Each call is guarded by itself: many GPUs lack some."""

    name, platform, package = "NVML", "linux", "nvidia-ml-py"
    gives: ClassVar = {
        "gpu_temperature_c": "reading", "gpu_w": "reading", "gpu_clock_mhz": "reading", "memory_clock_mhz": "reading",
        "gpu_energy_j": "reading", "gpu_utilisation": "reading", "gpu_memory_used_bytes": "reading",
        "throttle_bits": "reading", "fan_percent": "max",
    }  # fmt: skip

    def __init__(self) -> None:
        self.nvml = import_module("pynvml")
        try:
            self.nvml.nvmlInit()
            self.gpu = chosen(self.nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
        except self.nvml.NVMLError as error:
            raise Absent(f"no NVIDIA GPU answers ({type(error).__name__})") from None
        self.version, self.energy = f"driver {tried(self.nvml.nvmlSystemGetDriverVersion)}", Counter()

    def ask(self, name: str, *more: Any) -> Any:
        """What one call of the library gives, None where this GPU or driver has it not."""
        return tried(lambda: getattr(self.nvml, name)(self.gpu, *more))

    def read(self) -> Reading:
        """What NVML tells now, in our units."""
        ask = self.ask
        power, energy = ask("nvmlDeviceGetPowerUsage"), ask("nvmlDeviceGetTotalEnergyConsumption")
        used = hundredth(getattr(ask("nvmlDeviceGetUtilizationRates"), "gpu", None))
        dead = power == 0 and (used or 0) > BUSY
        bits = ask("nvmlDeviceGetCurrentClocksEventReasons")
        heat_c = ask("nvmlDeviceGetTemperatureV", 0)  # 0: the sensor of the GPU itself
        return {
            "gpu_temperature_c": ask("nvmlDeviceGetTemperature", 0) if heat_c is None else heat_c,
            "gpu_w": NO_WATTS if dead else None if power is None else power / 1000,
            "gpu_clock_mhz": ask("nvmlDeviceGetClockInfo", 1),  # 1: of the multiprocessors
            "memory_clock_mhz": ask("nvmlDeviceGetClockInfo", 2),
            "gpu_energy_j": None if energy is None else self.energy(energy / 1000),
            "gpu_utilisation": used,
            "gpu_memory_used_bytes": getattr(ask("nvmlDeviceGetMemoryInfo"), "used", None),
            "throttle_bits": ask("nvmlDeviceGetCurrentClocksThrottleReasons") if bits is None else bits,
            "fan_percent": highest(ask("nvmlDeviceGetFanSpeed_v2", k) for k in range(ask("nvmlDeviceGetNumFans") or 0)),
        }


def chosen(nvml: Any, visible: str | None) -> Any:
    """The handle of the first GPU in CUDA_VISIBLE_DEVICES (a number or a UUID), of the first at all without it."""
    first = "0" if visible is None else visible.split(",")[0].strip()
    if first.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(first))
    if not first.startswith(("GPU-", "MIG-")):
        raise Absent("CUDA_VISIBLE_DEVICES names no GPU")
    return nvml.nvmlDeviceGetHandleByUUID(first)
