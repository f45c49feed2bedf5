"""An NVIDIA GPU by NVIDIA's library NVML: the one that torch uses, found by its UUID, as the two count differently."""

import os
from importlib import import_module
from typing import Any, ClassVar

from siliconbench.machine.sources.source import BUSY, NO_WATTS, Absent, Reading, Source, Unwrapped, absence, hundredth
from siliconbench.machine.tools import clean, finite, gpu, highest, tried
from siliconbench.record.host import Gpu

NOT_SUPPORTED = 3  # nvmlReturn_t


class Nvml(Source):
    """Heat, power, clocks and load of one GPU; Absent or ImportError says why it is not to be had. It is also the
    counter of that GPU's joules. Each call is guarded by itself: many GPUs lack some."""

    name, package, part = "NVML", "nvidia-ml-py", "GPU"
    gives: ClassVar = {
        "gpu_temperature_c": "reading", "gpu_w": "reading", "gpu_clock_mhz": "reading", "memory_clock_mhz": "reading",
        "gpu_utilization": "reading", "gpu_memory_used_bytes": "reading", "throttle_bits": "reading",
        "fan_percent": "max",
    }  # fmt: skip

    def __init__(self, uuid: str = "", at: int | None = None) -> None:
        self.nvml, self.total = import_module("pynvml"), Unwrapped()
        try:
            self.nvml.nvmlInit()
            self.gpu = self.found(uuid) if at is None else self.nvml.nvmlDeviceGetHandleByIndex(at)
        except self.nvml.NVMLError as error:
            raise Absent(f"no NVIDIA GPU answers ({error})") from None
        self.version = f"driver {tried(self.nvml.nvmlSystemGetDriverVersion)}"

    def found(self, uuid: str) -> Any:
        """The handle of the GPU with torch's UUID; without one, the first that CUDA_VISIBLE_DEVICES names."""
        by_uuid = self.nvml.nvmlDeviceGetHandleByUUID
        if uuid:
            handles = [handle for kind in ("GPU", "MIG") if (handle := tried(by_uuid, f"{kind}-{uuid}")) is not None]
            if not handles:
                raise Absent("NVML knows no GPU by the UUID that torch gives")
            return handles[0]
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()  # a number or a UUID
        if not first.isdecimal() and not first.startswith(("GPU-", "MIG-")):
            raise Absent("CUDA_VISIBLE_DEVICES names no GPU")
        return self.nvml.nvmlDeviceGetHandleByIndex(int(first)) if first.isdecimal() else by_uuid(first)

    def ask(self, name: str, *more: Any) -> Any:
        """What one call of the library gives, None where this GPU or driver has it not."""
        return tried(lambda: getattr(self.nvml, f"nvmlDeviceGet{name}")(self.gpu, *more))

    def joules(self) -> float:
        """Joules since the first reading; Absent where this GPU has no counter (before Volta, and a part of one)."""
        if (millijoules := self.ask("TotalEnergyConsumption")) is None:
            raise Absent("this GPU tells no energy")
        return self.total(millijoules / 1000)

    def read(self) -> Reading:
        """What NVML tells now, in our units."""
        power, memory, bits = self.ask("PowerUsage"), self.ask("MemoryInfo"), self.ask("CurrentClocksEventReasons")
        used, heat_c = hundredth(getattr(self.ask("UtilizationRates"), "gpu", None)), self.ask("TemperatureV", 0)
        dead = power == 0 and (used or 0) > BUSY
        return {
            "gpu_temperature_c": self.ask("Temperature", 0) if heat_c is None else heat_c,  # 0: of the GPU itself
            "gpu_w": NO_WATTS if dead else None if power is None else power / 1000,
            "gpu_clock_mhz": self.ask("ClockInfo", 1),  # 1: of the multiprocessors
            "memory_clock_mhz": self.ask("ClockInfo", 2),
            "gpu_utilization": used,
            "gpu_memory_used_bytes": getattr(memory, "used", None),
            "throttle_bits": self.ask("CurrentClocksThrottleReasons") if bits is None else bits,
            "fan_percent": highest(self.ask("FanSpeed_v2", k) for k in range(self.ask("NumFans") or 0)),
        }


def neighbours(uuid: str, own: set[int], since_us: int) -> int | str:
    """How many processes but these own ones computed on torch's GPU since then (microseconds of the epoch), or why that
    can't be told. Where the driver doesn't tell who was busy, each that holds the GPU for computing counts."""
    try:
        ask = Nvml(uuid).ask
    except Exception as error:
        return absence(error, Nvml.package)
    pids = {process.pid for process in ask("ComputeRunningProcesses") or []}
    if not pids & own:
        return "NVML does not show this process itself (usual in a container), so it may hide others"
    busy = ask("ProcessUtilization", since_us) if pids - own else None
    return len(pids - own if busy is None else (pids - own) & {sample.pid for sample in busy if sample.smUtil > 0})


def gpus(uuid: str = "") -> tuple[list[Gpu], str | None]:
    """All NVIDIA GPUs, the one with torch's UUID first, and the driver; raises what the library raises."""
    nvml: Any = import_module("pynvml")
    nvml.nvmlInit()
    devices = [Nvml(at=i) for i in range(nvml.nvmlDeviceGetCount())]
    devices.sort(key=lambda device: device.ask("UUID") != f"GPU-{uuid}")
    return [described(device) for device in devices], tried(nvml.nvmlSystemGetDriverVersion)


def described(device: Nvml) -> Gpu:
    """One GPU as NVML has it: of its link the best generation, as an idle one slows down, and the width at present."""
    ask = device.ask
    try:
        mig: bool | None = bool(device.nvml.nvmlDeviceGetMigMode(device.gpu)[0])
    except Exception as error:
        mig = False if getattr(error, "value", None) == NOT_SUPPORTED else None
    return gpu(
        clean(ask("Name")), ask("NumGpuCores") or None, tried(lambda: ask("MemoryInfo").total) or None,
        "NVML does not tell", max_clock_mhz=finite(ask("MaxClockInfo", 1)),
        max_memory_clock_mhz=finite(ask("MaxClockInfo", 2)),
        power_limit_w=tried(lambda: ask("EnforcedPowerLimit") / 1000),
        power_limit_default_w=tried(lambda: ask("PowerManagementDefaultLimit") / 1000),
        pcie_generation=ask("MaxPcieLinkGeneration") or None, pcie_width=ask("CurrPcieLinkWidth") or None, mig=mig,
    )  # fmt: skip
