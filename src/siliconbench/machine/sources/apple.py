"""What a Mac with Apple silicon tells: two tools that print a line a second, and Apple's energy counters."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import Any, ClassVar

from siliconbench.machine.sources.source import BUSY, NO_WATTS, SILENT, Absent, Reading, Source, hundredth
from siliconbench.machine.tools import MOST_BYTES, clean, finite, highest, text_of, tool, tried

BREW = Path("/opt/homebrew/bin")
FIRST_S, SILENCE_S = 20.0, 3.5  # before the first line of a tool that prints one a second, and after it
MACMON = {  # channel: its statistic, and the keys under which a line of macmon has it
    "cpu_temperature_c": ("mean", "temp", "cpu_temp_avg"), "gpu_temperature_c": ("mean", "temp", "gpu_temp_avg"),
    "cpu_clock_mhz": ("max", "pcpu_cores"), "gpu_clock_mhz": ("reading", "gpu_freq_mhz"),
    "cpu_w": ("reading", "cpu_power"), "gpu_w": ("reading", "gpu_power"), "ane_w": ("reading", "ane_power"),
    "fan_rpm": ("max", "fans"), "package_w": ("sum", "all_power"), "system_w": ("reading", "sys_power"),
    "gpu_utilization": ("reading", "gpu_scaled_ratio"), "swap_used_bytes": ("reading", "memory", "swap_usage"),
}  # fmt: skip
ACTOP = {  # the same of actop
    "cpu_temperature_c": ("max", "cpu_temp_c"), "gpu_temperature_c": ("max", "gpu_temp_c"),
    "cpu_clock_mhz": ("max", "pcpu_freq_mhz"), "gpu_clock_mhz": ("reading", "gpu_freq_mhz"),
    "cpu_w": ("reading", "cpu_watts"), "gpu_w": ("reading", "gpu_watts"), "ane_w": ("reading", "ane_watts"),
    "package_w": ("sum", "package_watts"), "gpu_utilization": ("reading", "gpu_util_pct"),
    "fan_rpm": ("max", "fan_rpms"), "thermal_pressure": ("reading", "thermal_state"),
}  # fmt: skip
LEVELS = ("Nominal", "Fair", "Serious", "Critical")  # thermal_pressure from 0 on, as actop has it
NO_HEAT = {40.0: "exactly 40.0 C: the sensors are gated", 0.0: "0 C: no sensor answers (macOS 27 withholds some)"}


def pick(record: Any, *keys: str) -> float | None:
    """The finite number under these keys of nested dicts, None if there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return finite(record)


def mended(reading: Reading, cpu_busy: float | None) -> Reading:
    """A Mac's readings with a reason for each that can't be true: a gated sensor's, and 0 W of a part that is busy."""
    loads = {"cpu_w": cpu_busy, "gpu_w": reading["gpu_utilization"]}
    dead = {name for name, load in loads.items() if reading[name] == 0 and (load or 0) > BUSY}
    dead |= ({"package_w"} if dead else set()) | ({"ane_w"} if "cpu_w" in dead else set())
    heats = {name: c for name in ("cpu_temperature_c", "gpu_temperature_c") if (c := reading[name]) is not None}
    false = {name: NO_HEAT.get(c, "below 15 C: no valid sensor") for name, c in heats.items() if c < 15 or c in NO_HEAT}
    return reading | false | dict.fromkeys(dead, NO_WATTS)


class Stream(Source):
    """A tool that prints a JSON object a line as long as it lives: read without waiting, ended with us."""

    def __init__(self, parse: Callable[[Any], Reading], *argv: str) -> None:
        self.child = Popen(argv, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
        assert self.child.stdout is not None
        self.pipe = self.child.stdout.fileno()
        os.set_blocking(self.pipe, False)
        self.parse, self.rest, self.newest, self.heard_s = parse, b"", b"", time.monotonic()

    def read(self) -> Reading:
        """The newest whole line in our units; Absent if the tool has ended, is silent for long, or prints nonsense."""
        with suppress(BlockingIOError):
            for _ in range(MOST_BYTES // 65536):  # a tool that floods fills its pipe and waits
                if not (part := os.read(self.pipe, 65536)):
                    raise Absent(f"it ended by itself{self.words(', after ')}")
                self.rest = (self.rest + part)[-MOST_BYTES:]
        *lines, self.rest = self.rest.split(b"\n")
        if lines:
            self.newest, self.heard_s = lines[-1], time.monotonic()
        if time.monotonic() - self.heard_s > (SILENCE_S if self.newest else FIRST_S):
            raise Absent("it does not answer")
        if not self.newest:
            raise Absent(SILENT)
        if (parsed := tried(json.loads, self.newest)) is None:
            raise Absent(f"it printed what is no JSON{self.words(': ')}")
        return self.parse(parsed)

    def words(self, before: str) -> str:
        """The beginning of its newest line, if any, after these words: in a record, hence without paths."""
        said = clean(re.sub(r"\S*[/\\@]\S*", " ", text_of(self.newest)))
        return before + said if said and not said.startswith("{") else ""

    def close(self) -> None:
        """Ends the tool, gently at first."""
        self.child.terminate()
        with suppress(TimeoutExpired):
            self.child.wait(0.5)
        self.child.kill()  # no signal to one that has been waited for


def from_macmon(line: Any) -> Reading:
    """One line of macmon in our units. system_w no larger than the chip's own watts is not the whole system's."""
    reading: Reading = {name: pick(line, *keys) for name, (_, *keys) in MACMON.items()}
    fans, cores = (line.get(name) if isinstance(line, dict) else None for name in ("fans", "pcpu_cores"))
    at_work = [core for core in cores if (pick(core, "active_ratio") or 0) > BUSY] if isinstance(cores, list) else []
    reading["cpu_clock_mhz"] = highest(pick(core, "freq_mhz") for core in at_work)  # an idle core has 0
    if reading["gpu_utilization"] is None:
        reading["gpu_utilization"] = pick(line, "gpu_usage_ratio")  # as macmon 0.8.0 calls it
    reading["fan_rpm"] = highest(pick(fan, "rpm") for fan in fans) if isinstance(fans, list) else None
    if reading["system_w"] is not None and reading["system_w"] <= (reading["package_w"] or 0):
        reading["system_w"] = "macmon could not read it: no more than the chip's own watts"
    return mended(reading, pick(line, "cpu_active_ratio"))


class Macmon(Stream):
    """Power of the whole Mac, fans, clocks, and the mean over its sensors (macmon 0.8 or later; metrics.rs)."""

    name = "macmon"
    gives: ClassVar = {channel: statistic for channel, (statistic, *_) in MACMON.items()}

    def __init__(self) -> None:
        paths = (str(BREW / "macmon"), shutil.which("macmon"))
        answers = {p: text_of(tool(p, "--version", timeout_s=2.0)) for p in paths if p}
        known = [(p, m) for p, said in answers.items() if (m := re.fullmatch(r"macmon (\d+)\.(\d+)[\w.+-]*", said))]
        path, version = next(((p, m) for p, m in known if (int(m[1]), int(m[2])) >= (0, 8)), (None, None))
        if not (path and version):
            trap = "this one is older, or another program of that name" if shutil.which("macmon") else "not installed"
            raise Absent(f"macmon 0.8 or later is needed ({trap}): brew install macmon")
        self.version = version[0].removeprefix("macmon ")
        super().__init__(from_macmon, path, "pipe", "-i", "1000", "--soc-info")


def from_actop(line: Any) -> Reading:
    """One line of actop in our units; thermal_pressure is 0 nominal, 1 fair, 2 serious, 3 critical."""
    reading: Reading = {name: pick(line, *keys) for name, (_, *keys) in ACTOP.items()}
    known = line if isinstance(line, dict) else {}
    fans, level = known.get("fan_rpms"), known.get("thermal_state")
    reading["fan_rpm"] = highest(fans) if isinstance(fans, list) and known.get("fan_available") is True else None
    reading["thermal_pressure"] = LEVELS.index(level) if level in LEVELS else None
    reading["gpu_utilization"] = hundredth(reading["gpu_utilization"])
    return mended(reading, hundredth(highest((pick(line, "ecpu_util_pct"), pick(line, "pcpu_util_pct")))))


class Actop(Stream):
    """The hottest sensors of a Mac, which macmon averages away; and power, clocks and fans where macmon is absent."""

    name = package = "actop"
    gives: ClassVar = {channel: statistic for channel, (statistic, *_) in ACTOP.items()}

    def __init__(self) -> None:
        self.version = metadata.version("actop")
        super().__init__(from_actop, sys.executable, "-m", "actop.actop", "--json", "--interval", "1", "--samples", "0")


class Zeus:
    """Apple's own counters by zeus-apple-silicon, of the GPU or the package: one window after another, added up."""

    name = "zeus"

    def __init__(self, part: str) -> None:
        self.monitor = import_module("zeus_apple_silicon").AppleEnergyMonitor()
        self.part, self.total = part, 0.0
        self.monitor.begin_window("siliconbench", restart=True)

    def joules(self) -> float:
        """Joules since the start, the package being CPU, GPU and ANE; Absent where this system publishes none."""
        window = self.monitor.end_window("siliconbench")
        self.monitor.begin_window("siliconbench", restart=True)
        cpu, gpu, ane = (finite(getattr(window, name, None)) for name in ("cpu_total_mj", "gpu_mj", "ane_mj"))
        if gpu is None or (self.part == "package" and cpu is None):
            raise Absent("this system does not publish the counter")
        self.total += (gpu if self.part == "GPU" else gpu + (cpu or 0) + (ane or 0)) / 1000
        return self.total
