"""What processors of Intel and AMD tell of their energy."""

import os
import time
from pathlib import Path
from typing import ClassVar

from siliconbench.machine.sources.source import Absent, Counter, Reading, Source
from siliconbench.machine.tools import content

POWERCAP = Path("/sys/class/powercap")


class Rapl(Source):
    """The energy counters of the processor packages: microjoules that wrap (Linux, power/powercap)."""

    name, platform = "RAPL", "linux"
    gives: ClassVar = {"package_energy_j": "sum", "package_w": "sum"}

    def __init__(self) -> None:
        zones = [zone for zone in POWERCAP.glob("intel-rapl:*") if content(zone, "name").startswith("package")]
        if not zones:
            raise Absent("the system shows no RAPL counters (usual in a virtual machine or container)")
        if not all(os.access(zone / "energy_uj", os.R_OK) for zone in zones):
            raise Absent("RAPL may be read by root only (since Linux 5.10, against a side channel)")
        self.version, self.last = "powercap", (0.0, 0.0)
        self.zones = [(zone / "energy_uj", microjoules(zone / "max_energy_range_uj"), Counter()) for zone in zones]
        self.read()

    def read(self) -> Reading:
        """Joules since the start over all packages, and the mean watts since the last reading."""
        joules = sum(count(microjoules(file), span) for file, span, count in self.zones) / 1e6
        then, self.last = self.last, (time.perf_counter(), joules)
        return {"package_energy_j": joules, "package_w": (joules - then[1]) / (self.last[0] - then[0])}


def microjoules(file: Path) -> float:
    """The number in a file; OSError or ValueError where there is none."""
    return float(int(file.read_text()))
