"""What the system itself tells by psutil, Intel's and AMD's processors by their counters, an NVIDIA GPU by NVML."""

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import psutil

from siliconbench.machine import tools
from siliconbench.machine.facts import cpu_seconds
from siliconbench.machine.sources.source import BUSY, NO_WATTS, Absent, Counter, Reading, Source, hundredth
from siliconbench.machine.tools import content, highest, tried

CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")  # acpitz and the like are not the CPU's
POWERCAP = Path("/sys/class/powercap")


class System(Source):
    """Load, swap, battery, and what sensors Linux shows. psutil fails in parts on macOS 27: each part is guarded."""

    name = "psutil"
    gives: ClassVar = {
        "cpu_temperature_c": "max", "fan_rpm": "max", "cpu_clock_mhz": "mean", "cpu_load": "mean",
        "swap_used_bytes": "reading", "battery_percent": "reading",
    }  # fmt: skip

    def __init__(self) -> None:
        self.version, self.last = psutil.__version__, tried(cpu_seconds)

    def read(self) -> Reading:
        """What psutil tells now; the load is the share of all cores busy since the last reading."""
        now = tried(cpu_seconds)
        load = share(self.last, now)
        self.last = now if load is not None or self.last is None else self.last
        linux = tools.PLATFORM != "darwin"  # on a Mac cpu_freq is nominal, and there are no sensors
        sensors = tried(lambda: psutil.sensors_temperatures()) or {} if linux else {}
        return {
            "cpu_temperature_c": highest(sensor.current for chip in CPU_CHIPS for sensor in sensors.get(chip, [])),
            "fan_rpm": tried(lambda: highest(f.current for fans in psutil.sensors_fans().values() for f in fans)),
            "cpu_clock_mhz": tried(lambda: psutil.cpu_freq().current) if linux else None,
            "cpu_load": load,
            "swap_used_bytes": tried(lambda: psutil.swap_memory().used),
            "battery_percent": tried(lambda: psutil.sensors_battery().percent),
        }


def share(then: tuple[float, float] | None, now: tuple[float, float] | None) -> float | None:
    """The busy share between two cpu_seconds(), None without both or with too few ticks of the clock between them."""
    if then is None or now is None or now[1] - then[1] < 0.25 * (os.cpu_count() or 1):
        return None
    return min(1.0, max(0.0, (now[0] - then[0]) / (now[1] - then[1])))


class Rapl(Source):
    """The energy counters of the processor packages: microjoules that wrap (Linux, power/powercap)."""

    name = "RAPL"
    gives: ClassVar = {"package_energy_j": "sum", "package_w": "sum"}

    def __init__(self) -> None:
        zones = [zone for zone in POWERCAP.glob("intel-rapl:*") if content(zone, "name").startswith("package")]
        if not zones:
            raise Absent("the system shows no RAPL counters (usual in a virtual machine or container)")
        if not all(os.access(zone / "energy_uj", os.R_OK) for zone in zones):
            raise Absent("RAPL may be read by root only (since Linux 5.10, against a side channel)")
        self.version, self.last = "powercap", (0.0, 0.0)
        self.zones = [(z / "energy_uj", int((z / "max_energy_range_uj").read_text()), Counter()) for z in zones]
        self.read()

    def read(self) -> Reading:
        """Joules since the start over all packages, and the mean watts since the last reading."""
        joules = sum(count(int(file.read_text()), span) for file, span, count in self.zones) / 1e6
        then, self.last = self.last, (time.perf_counter(), joules)
        return {"package_energy_j": joules, "package_w": (joules - then[1]) / (self.last[0] - then[0])}


class Nvml(Source):
    """The GPU that this process would use, by NVIDIA's library. Each call is guarded by itself: many GPUs lack some."""

    name, package = "NVML", "nvidia-ml-py"
    gives: ClassVar = {
        "gpu_temperature_c": "reading", "gpu_w": "reading", "gpu_clock_mhz": "reading", "memory_clock_mhz": "reading",
        "gpu_energy_j": "reading", "gpu_utilization": "reading", "gpu_memory_used_bytes": "reading",
        "throttle_bits": "reading", "fan_percent": "max",
    }  # fmt: skip

    def __init__(self) -> None:
        self.nvml = import_module("pynvml")
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()  # a number or a UUID
        try:
            self.nvml.nvmlInit()
            if first.isdecimal():
                self.gpu = self.nvml.nvmlDeviceGetHandleByIndex(int(first))
            elif first.startswith(("GPU-", "MIG-")):
                self.gpu = self.nvml.nvmlDeviceGetHandleByUUID(first)
            else:
                raise Absent("CUDA_VISIBLE_DEVICES names no GPU")
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
            "gpu_utilization": used,
            "gpu_memory_used_bytes": getattr(ask("nvmlDeviceGetMemoryInfo"), "used", None),
            "throttle_bits": ask("nvmlDeviceGetCurrentClocksThrottleReasons") if bits is None else bits,
            "fan_percent": highest(ask("nvmlDeviceGetFanSpeed_v2", k) for k in range(ask("nvmlDeviceGetNumFans") or 0)),
        }
