"""What a source of samples is, the channels there are, and what can be true of each."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from siliconbench.machine import tools

Reading = dict[str, Any]  # channel: a number, or the reason why there is none, or None
BUSY = 0.05  # a share of busy time from which 0 W can't be true
SILENT = "it has not spoken yet"
NO_WATTS = "0 W under load: this system does not publish the counter"
CHANNELS = {  # anything outside these limits is no reading
    "cpu_temperature_c": (1, 150), "gpu_temperature_c": (1, 150), "fan_rpm": (0, 50_000), "fan_percent": (0, 200),
    "cpu_w": (0, 20_000), "gpu_w": (0, 20_000), "ane_w": (0, 20_000), "package_w": (0, 20_000), "system_w": (0, 20_000),
    "cpu_clock_mhz": (1, 20_000), "gpu_clock_mhz": (1, 20_000), "memory_clock_mhz": (1, 20_000),
    "gpu_utilization": (0, 1), "gpu_memory_used_bytes": (0, 1e15), "throttle_bits": (0, 2**32),
    "thermal_pressure": (0, 4), "cpu_load": (0, 1), "swap_used_bytes": (0, 1e15), "battery_percent": (0, 100),
    "memory_pressure": (1, 4),  # of a Mac's kernel: 1 normal, 2 warning, 4 critical
}  # fmt: skip


class Absent(Exception):
    """A source is not to be had here, or has stopped answering; the message says why and what to do."""


def absence(error: Exception, package: str) -> str:
    """In words, why a source could not be opened, with what to install where that helps."""
    if isinstance(error, ImportError):
        return f"{error.name or package} is not installed: {tools.pip(package)}"
    return str(error) if isinstance(error, Absent) else f"it failed: {type(error).__name__}"


class Source(ABC):
    """One origin of samples; to make one is to open it: Absent or ImportError says why it is not to be had."""

    name: ClassVar[str]  # as records show it
    package: ClassVar[str] = ""  # what pip installs for it
    gives: ClassVar[dict[str, str]]  # channel: its statistic
    version: str

    @abstractmethod
    def read(self) -> Reading:
        """What it tells now, in the units of the channels; Absent when it has stopped answering."""

    def close(self) -> None:  # noqa: B027
        """Ends what it started."""


def hundredth(percent: float | None) -> float | None:
    """A share of 1 from one of 100, None for None."""
    return None if percent is None else percent / 100


def plausible(value: Any, low: float, high: float) -> float | str:
    """The value as a number, or the reason why it is none; a reason stays one."""
    number = tools.finite(value)
    known = number is not None and low <= number <= high
    return value if isinstance(value, str) else round(number or 0.0, 4) if known else "a value that can't be true"


class Unwrapped:
    """A counter that never falls: from 0 on, with what it lost when it wrapped at span, or began anew, added."""

    last: float | None = None
    total = 0.0

    def __call__(self, raw: float, span: float = 0.0) -> float:
        step = raw - (raw if self.last is None else self.last)
        self.total += step if step >= 0 else step + span if step + span >= 0 else raw
        self.last = raw
        return self.total
