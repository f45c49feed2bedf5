"""What the system itself tells by psutil, and Intel's and AMD's processors by their counters."""

import ctypes
import os
import time
from pathlib import Path
from typing import ClassVar

import psutil

from siliconbench.machine import tools
from siliconbench.machine.facts import cpu_seconds
from siliconbench.machine.sources.source import Absent, Reading, Source, Unwrapped
from siliconbench.machine.tools import content, highest, tried

CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")  # acpitz and the like are not the CPU's
POWERCAP = Path("/sys/class/powercap")


class System(Source):
    """Load, swap, battery, and what sensors Linux shows. psutil fails in parts on macOS 27: each part is guarded."""

    name = "psutil"
    gives: ClassVar = {
        "cpu_temperature_c": "max", "fan_rpm": "max", "cpu_clock_mhz": "mean", "cpu_load": "mean",
        "swap_used_bytes": "reading", "battery_percent": "reading", "memory_pressure": "reading",
    }  # fmt: skip

    def __init__(self) -> None:
        self.version, self.last = psutil.__version__, tried(cpu_seconds)

    def read(self) -> Reading:
        """What psutil tells now; the load is the share of all cores busy since the last reading, or the one before."""
        then, now, load = self.last, tried(cpu_seconds), None
        if then and now and now[1] - then[1] >= 0.25 * (os.cpu_count() or 1):  # too few ticks of the clock tell none
            load = min(1.0, max(0.0, (now[0] - then[0]) / (now[1] - then[1])))
        self.last = now if load is not None or then is None else then
        linux = tools.PLATFORM != "darwin"  # on a Mac cpu_freq is nominal, and there are no sensors
        sensors = tried(lambda: psutil.sensors_temperatures()) or {} if linux else {}
        return {
            "cpu_temperature_c": highest(sensor.current for chip in CPU_CHIPS for sensor in sensors.get(chip, [])),
            "fan_rpm": tried(lambda: highest(f.current for fans in psutil.sensors_fans().values() for f in fans)),
            "cpu_clock_mhz": tried(lambda: psutil.cpu_freq().current) if linux else None,
            "cpu_load": load,
            "swap_used_bytes": tried(lambda: psutil.swap_memory().used),
            "battery_percent": tried(lambda: psutil.sensors_battery().percent),
            "memory_pressure": None if linux else tried(memory_pressure),
        }


def memory_pressure() -> int:
    """How short of memory a Mac's kernel is, by sysctlbyname(3): it compresses what is held long before it swaps."""
    level, size, name = ctypes.c_int(), ctypes.c_size_t(4), b"kern.memorystatus_vm_pressure_level"
    if ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(level), ctypes.byref(size), None, ctypes.c_size_t(0)):
        raise OSError(name)
    return level.value


AMDGPU = {  # what this driver of a GPU gives: channel: its statistic, file, the units of the file in one of ours
    "gpu_temperature_c": ("max", "temp[12]_input", 1e3), "gpu_w": ("reading", "power1_[ai]*", 1e6),
    "gpu_clock_mhz": ("reading", "freq1_input", 1e6), "fan_rpm": ("max", "fan*_input", 1.0),
    "gpu_utilization": ("reading", "device/gpu_busy_percent", 100.0),
    "gpu_memory_used_bytes": ("reading", "device/mem_info_vram_used", 1.0),
}  # fmt: skip


class Hwmon(Source):
    """A GPU among the sensors that Linux shows: the first by the driver amdgpu (Documentation/gpu/amdgpu and hwmon of
    the kernel). Of an APU (its metrics have revision 2 or later: kgd_pp_interface.h) it tells the package's power."""

    name, version = "hwmon", "amdgpu"
    gives: ClassVar = {channel: kind for channel, (kind, *_) in AMDGPU.items()} | {"package_w": "reading"}

    def __init__(self) -> None:
        there = sorted((tools.SYS / "class" / "hwmon").glob("hwmon*"))
        if not (found := [folder for folder in there if content(folder, "name") == self.version]):
            raise Absent(f"no GPU of these drivers is among the sensors: {self.version}")
        self.folder = found[0]
        self.shared = (tried(lambda: (self.folder / "device/gpu_metrics").read_bytes()[2]) or 0) >= 2  # of an APU

    def read(self) -> Reading:
        """What the files hold now, the highest where a channel has many."""
        given: Reading = {}
        for channel, (_, files, units) in AMDGPU.items():
            raw = [tried(float, content(file)) for file in self.folder.glob(files)]
            given[channel] = None if (most := highest(raw)) is None else most / units
        return given | {"gpu_w": None, "package_w": given["gpu_w"]} if self.shared else given


class Rapl(Source):
    """Intel's and AMD's counters of the processor packages: microjoules that wrap (Linux, power/powercap)."""

    name, part, version = "RAPL", "package", "powercap"
    gives: ClassVar = {"package_w": "sum"}

    def __init__(self) -> None:
        zones = [zone for zone in POWERCAP.glob("intel-rapl:*") if content(zone, "name").startswith("package")]
        if not zones:
            raise Absent("the system shows no RAPL counters (usual in a virtual machine or container)")
        if not all(os.access(zone / "energy_uj", os.R_OK) for zone in zones):
            raise Absent("RAPL may be read by root only (since Linux 5.10, against a side channel)")
        self.zones = [(z / "energy_uj", int((z / "max_energy_range_uj").read_text()), Unwrapped()) for z in zones]
        self.last = (time.perf_counter(), self.joules())

    def joules(self) -> float:
        """Joules since the start, over all packages."""
        return sum(total(int(file.read_text()), span) for file, span, total in self.zones) / 1e6

    def read(self) -> Reading:
        """The mean watts since the last reading."""
        then, self.last = self.last, (time.perf_counter(), self.joules())
        return {"package_w": (self.last[1] - then[1]) / (self.last[0] - then[0])}
