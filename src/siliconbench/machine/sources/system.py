"""What the system itself tells by psutil, and Intel's and AMD's processors by their counters."""

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


class Packages:
    """Intel's and AMD's counters of the processor packages: microjoules that wrap (Linux, power/powercap)."""

    name, part = "RAPL", "package"

    def __init__(self) -> None:
        zones = [zone for zone in POWERCAP.glob("intel-rapl:*") if content(zone, "name").startswith("package")]
        if not zones:
            raise Absent("the system shows no RAPL counters (usual in a virtual machine or container)")
        if not all(os.access(zone / "energy_uj", os.R_OK) for zone in zones):
            raise Absent("RAPL may be read by root only (since Linux 5.10, against a side channel)")
        self.zones = [(z / "energy_uj", int((z / "max_energy_range_uj").read_text()), Unwrapped()) for z in zones]
        self.joules()

    def joules(self) -> float:
        """Joules since the start, over all packages."""
        return sum(total(int(file.read_text()), span) for file, span, total in self.zones) / 1e6


class Rapl(Source):
    """The power of the processor packages, by those counters."""

    name = "RAPL"
    gives: ClassVar = {"package_w": "sum"}

    def __init__(self) -> None:
        self.packages, self.version = Packages(), "powercap"
        self.last = (time.perf_counter(), 0.0)

    def read(self) -> Reading:
        """The mean watts since the last reading."""
        then, self.last = self.last, (time.perf_counter(), self.packages.joules())
        return {"package_w": (self.last[1] - then[1]) / (self.last[0] - then[0])}
