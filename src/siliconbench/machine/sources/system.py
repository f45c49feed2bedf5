"""What the system itself tells, by psutil."""

import os
from typing import ClassVar

import psutil

from siliconbench.machine import tools
from siliconbench.machine.facts import cpu_seconds
from siliconbench.machine.sources.source import Reading, Source
from siliconbench.machine.tools import highest, tried


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
        return {
            "cpu_temperature_c": tried(cpu_heat) if linux else None,
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


def cpu_heat() -> float | None:
    """The hottest of the CPU's own sensors in degrees Celsius; acpitz and the like are not the CPU's."""
    sensors = psutil.sensors_temperatures()
    chips = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
    return highest(sensor.current for chip in chips for sensor in sensors.get(chip, []))
