"""Heat, fans, power, clocks and load once a second, from a process of its own, while a run is measured.

A thread would share the interpreter lock of the measured program; a process shares nothing but a few milliseconds of
a core. The parent holds the sampler's stdin as a leash: when that closes, whatever the reason, the sampler ends
its tools and leaves. Its stdout is a file without a name, so nothing stays behind either.
"""

import json
import math
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module, metadata
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, ClassVar

import psutil

from siliconbench import machine
from siliconbench.machine import tried

Reading = dict[str, Any]  # channel: a number, or the reason why there is none, or None
Points = list[tuple[float, float]]  # seconds since the run's zero, and the value

COMMAND = (sys.executable, "-m", "siliconbench.telemetry")
ACTOP = (sys.executable, "-m", "actop.actop", "--json", "--interval", "1", "--samples", "0")
BREW = Path("/opt/homebrew/bin")
POWERCAP = Path("/sys/class/powercap")
MOST_BYTES = 2**20  # of a tool's output at a time
MOST_SAMPLES = 20_000
SILENCE_S = 3.5  # of a tool that prints a line a second
GRACE_S = 5.0  # for a sampler to leave by itself
BUSY = 0.05  # a share of busy time from which 0 W can't be true
NO_WATTS = "0 W under load: this system does not publish the counter"
THERMAL_BITS = 0x20 | 0x40  # nvmlClocksEventReasonSwThermalSlowdown, ...HwThermalSlowdown (NVML manual)
HOT_C, HOT_MEAN_C = 80.0, 60.0  # of the hottest sensor; of a mean over sensors, which lies 15 to 30 degrees below it
CLOCK_FELL = 0.05
SERIOUS = 2  # of NSProcessInfo.thermalState; 1 (fair) was read 367 of 367 times on a machine that was well

# fmt: off
CHANNELS = {  # and what can be true of each: anything outside is no reading
    "cpu_temperature_c": (1, 150), "gpu_temperature_c": (1, 150), "fan_rpm": (0, 50_000), "fan_percent": (0, 200),
    "cpu_w": (0, 20_000), "gpu_w": (0, 20_000), "ane_w": (0, 20_000), "package_w": (0, 20_000), "system_w": (0, 20_000),
    "cpu_clock_mhz": (1, 20_000), "gpu_clock_mhz": (1, 20_000), "memory_clock_mhz": (1, 20_000),
    "gpu_energy_j": (0, 1e12), "package_energy_j": (0, 1e12),
    "gpu_utilisation": (0, 1), "gpu_memory_used_bytes": (0, 1e15), "throttle_bits": (0, 2**32),
    "thermal_pressure": (0, 4), "cpu_load": (0, 1), "swap_used_bytes": (0, 1e15), "battery_percent": (0, 100),
}
# fmt: on
NONE_HERE = {
    "cpu_temperature_c": "no sensor of the CPU is shown (usual in a virtual machine)",
    "fan_rpm": "no fan is shown",
    "fan_percent": "this GPU has no fan of its own",
    "battery_percent": "no battery is to be seen",
}
NOWHERE = {
    "system_w": "no program can tell it here: it takes a meter at the wall",
    "gpu_memory_used_bytes": "the GPU shares the machine's memory",
    "thermal_pressure": "this system has no such level",
}


class Absent(Exception):
    """A source is not to be had here, or has stopped answering; the message says why and what to do."""


def finite(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18  # NaN is not below it
    return float(value) if known else None


def pick(record: Any, *keys: str) -> float | None:
    """The finite number under these keys of nested dicts, None if there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return finite(record)


def hundredth(percent: float | None) -> float | None:
    """A share of 1 from one of 100, None for None."""
    return None if percent is None else percent / 100


def heat(value: float | None) -> float | str | None:
    """A temperature by Apple's sensors, or the reason why it is none: a gated sensor reads exactly 40.0."""
    if value is None or value == 40.0:
        return value and "exactly 40.0 C: the sensors are gated"
    return value if value >= 15 else "below 15 C: no valid sensor"


def mended(reading: Reading, cpu_busy: float | None) -> Reading:
    """A Mac's readings with a reason for each that can't be true: a gated sensor's, and 0 W of a part that is busy."""
    loads = {"cpu_w": cpu_busy, "gpu_w": reading["gpu_utilisation"]}
    dead = {name for name, load in loads.items() if reading[name] == 0 and (load or 0) > BUSY}
    dead |= ({"package_w"} if dead else set()) | ({"ane_w"} if "cpu_w" in dead else set())
    heats = {name: heat(reading[name]) for name in ("cpu_temperature_c", "gpu_temperature_c")}
    return reading | heats | dict.fromkeys(dead, NO_WATTS)


def highest(values: Iterable[Any]) -> float | None:
    """The highest of those values that are numbers, None without any."""
    return max((v for v in map(finite, values) if v is not None), default=None)


def statistics(**channels: str) -> dict[str, str]:
    """For each channel, named in one text per statistic, the statistic that a source gives of it."""
    return {channel: statistic for statistic, names in channels.items() for channel in names.split()}


class Psutil:
    """Load, swap, battery, and what sensors Linux shows. psutil fails in parts on macOS 27: each part is guarded."""

    name = "psutil"
    gives: ClassVar = statistics(
        max="cpu_temperature_c fan_rpm", mean="cpu_clock_mhz cpu_load", reading="swap_used_bytes battery_percent"
    )

    def __init__(self) -> None:
        self.version, self.last = psutil.__version__, tried(cpu_seconds)

    def read(self) -> Reading:
        """What psutil tells now; the load is the share of all cores busy since the last reading."""
        now = tried(cpu_seconds)
        load = share(self.last, now)
        self.last = now if load is not None or self.last is None else self.last
        linux = machine.PLATFORM != "darwin"  # on a Mac cpu_freq is nominal, and there are no sensors
        return {
            "cpu_temperature_c": tried(cpu_heat) if linux else None,
            "fan_rpm": tried(lambda: highest(f.current for fans in psutil.sensors_fans().values() for f in fans)),
            "cpu_clock_mhz": tried(lambda: psutil.cpu_freq().current) if linux else None,
            "cpu_load": load,
            "swap_used_bytes": tried(lambda: psutil.swap_memory().used),
            "battery_percent": tried(lambda: psutil.sensors_battery().percent),
        }


def cpu_seconds() -> tuple[float, float]:
    """Seconds of all cores since the start of the system: busy, and in all."""
    times = psutil.cpu_times()
    total = sum(times[:8])  # what Linux counts beyond these (guest) it counts twice
    return total - times.idle - getattr(times, "iowait", 0.0), total


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


class Counter:
    """A counter that never falls: from 0 on, with what it lost when it wrapped at span, or began anew, added."""

    def __init__(self) -> None:
        self.last: float | None = None
        self.total = 0.0

    def __call__(self, raw: float, span: float = 0.0) -> float:
        step = raw - (raw if self.last is None else self.last)
        self.total += step if step >= 0 else step + span if step + span >= 0 else raw
        self.last = raw
        return self.total


class Nvml:
    """The GPU that this process would use, by NVIDIA's library. Each call is guarded by itself: many GPUs lack some."""

    name = "NVML"
    gives: ClassVar = statistics(
        max="fan_percent",
        reading="gpu_temperature_c gpu_w gpu_clock_mhz memory_clock_mhz gpu_energy_j gpu_utilisation "
        "gpu_memory_used_bytes throttle_bits",
    )

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


class Rapl:
    """The energy counters of the processor packages: microjoules that wrap (Linux, power/powercap)."""

    name = "RAPL"
    gives: ClassVar = statistics(sum="package_energy_j package_w")

    def __init__(self) -> None:
        zones = [zone for zone in POWERCAP.glob("intel-rapl:*") if machine.content(zone, "name").startswith("package")]
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


class Stream:
    """A tool that prints a JSON object a line as long as it lives: read without waiting, ended with us."""

    def __init__(self, parse: Callable[[Any], Reading], *argv: str) -> None:
        devnull = subprocess.DEVNULL
        self.child = subprocess.Popen(argv, stdin=devnull, stdout=subprocess.PIPE, stderr=devnull)
        assert self.child.stdout is not None
        self.pipe = self.child.stdout.fileno()
        os.set_blocking(self.pipe, False)
        self.parse, self.rest, self.newest, self.heard_s = parse, b"", b"", time.monotonic()

    def line(self) -> Any:
        """The newest whole line, parsed; Absent when the tool has ended, is silent for long, or prints nonsense.

        A tool that floods fills its pipe and waits: no more than a megabyte is read each time.
        """
        with suppress(BlockingIOError):
            for _ in range(MOST_BYTES // 65536):
                if not (part := os.read(self.pipe, 65536)):
                    raise Absent("it ended by itself")
                self.rest = (self.rest + part)[-MOST_BYTES:]
        *lines, self.rest = self.rest.split(b"\n")
        if lines:
            self.newest, self.heard_s = lines[-1], time.monotonic()
        if time.monotonic() - self.heard_s > SILENCE_S:
            raise Absent("it does not answer")
        if (parsed := tried(json.loads, self.newest)) is None and self.newest:
            raise Absent("it printed what is no JSON")
        return parsed

    def read(self) -> Reading:
        """What the tool last said, in our units."""
        return self.parse(self.line())

    def close(self) -> None:
        """None; the tool is ended, gently at first."""
        self.child.terminate()
        try:
            self.child.wait(0.5)
        except subprocess.TimeoutExpired:
            self.child.kill()


def from_macmon(line: Any) -> Reading:
    """One line of macmon in our units. system_w no larger than the chip's own watts is not the whole system's."""
    fans = line.get("fans") if isinstance(line, dict) else None
    chip, system = pick(line, "all_power"), pick(line, "sys_power")
    blind = system is not None and system <= (chip or 0)
    reading = {
        "cpu_temperature_c": pick(line, "temp", "cpu_temp_avg"),
        "gpu_temperature_c": pick(line, "temp", "gpu_temp_avg"),
        "fan_rpm": highest(pick(fan, "rpm") for fan in fans) if isinstance(fans, list) else None,
        "cpu_w": pick(line, "cpu_power"),
        "gpu_w": pick(line, "gpu_power"),
        "ane_w": pick(line, "ane_power"),
        "package_w": chip,
        "system_w": "macmon could not read it: no more than the chip's own watts" if blind else system,
        "cpu_clock_mhz": pick(line, "pcpu_freq_mhz"),
        "gpu_clock_mhz": pick(line, "gpu_freq_mhz"),
        "gpu_utilisation": pick(line, "gpu_active_ratio"),
        "swap_used_bytes": pick(line, "memory", "swap_usage"),
    }
    return mended(reading, pick(line, "cpu_active_ratio"))


class Macmon(Stream):
    """Power of the whole Mac, fans, clocks, and the mean over its sensors (macmon 0.8 or later; metrics.rs)."""

    name = "macmon"
    gives: ClassVar = statistics(
        max="fan_rpm",
        mean="cpu_temperature_c gpu_temperature_c cpu_clock_mhz",
        sum="package_w",
        reading="cpu_w gpu_w ane_w system_w gpu_clock_mhz gpu_utilisation swap_used_bytes",
    )

    def __init__(self) -> None:
        places = (str(BREW / "macmon"), shutil.which("macmon"))
        answers = {p: machine.text_of(machine.tool(p, "--version", timeout_s=2.0)) for p in places if p}
        found = [(p, m) for p, said in answers.items() if (m := re.fullmatch(r"macmon (\d+)\.(\d+)[\w.+-]*", said))]
        path, version = next(((p, m) for p, m in found if (int(m[1]), int(m[2])) >= (0, 8)), (None, None))
        if not (path and version):
            trap = "this one is older, or another program of that name" if shutil.which("macmon") else "not installed"
            raise Absent(f"macmon 0.8 or later is needed ({trap}): brew install macmon")
        self.version = version[0].removeprefix("macmon ")
        super().__init__(from_macmon, path, "pipe", "-i", "1000", "--soc-info")


def from_actop(line: Any) -> Reading:
    """One line of actop in our units; thermal_pressure is 0 nominal, 1 fair, 2 serious, 3 critical."""
    known = line if isinstance(line, dict) else {}
    fans, level = known.get("fan_rpms"), known.get("thermal_state")
    levels = ("Nominal", "Fair", "Serious", "Critical")
    reading = {
        "cpu_temperature_c": pick(line, "cpu_temp_c"),
        "gpu_temperature_c": pick(line, "gpu_temp_c"),
        "fan_rpm": highest(fans) if isinstance(fans, list) and known.get("fan_available") is True else None,
        "cpu_w": pick(line, "cpu_watts"),
        "gpu_w": pick(line, "gpu_watts"),
        "ane_w": pick(line, "ane_watts"),
        "package_w": pick(line, "package_watts"),
        "cpu_clock_mhz": pick(line, "pcpu_freq_mhz"),
        "gpu_clock_mhz": pick(line, "gpu_freq_mhz"),
        "gpu_utilisation": hundredth(pick(line, "gpu_util_pct")),
        "thermal_pressure": levels.index(level) if level in levels else None,
    }
    return mended(reading, hundredth(highest((pick(line, "ecpu_util_pct"), pick(line, "pcpu_util_pct")))))


class Actop(Stream):
    """The hottest sensors of a Mac, which macmon averages away; and power, clocks and fans where macmon is absent."""

    name = "actop"
    gives: ClassVar = statistics(
        max="cpu_temperature_c gpu_temperature_c fan_rpm",
        mean="cpu_clock_mhz",
        sum="package_w",
        reading="cpu_w gpu_w ane_w gpu_clock_mhz gpu_utilisation thermal_pressure",
    )

    def __init__(self) -> None:
        self.version = metadata.version("actop")
        super().__init__(from_actop, *ACTOP)


class Zeus:
    """Apple's energy counters by zeus-apple-silicon: one window after another, added up."""

    name = "zeus"
    gives: ClassVar = statistics(sum="package_energy_j", reading="gpu_energy_j")

    def __init__(self) -> None:
        self.monitor = import_module("zeus_apple_silicon").AppleEnergyMonitor()
        self.version = metadata.version("zeus-apple-silicon")
        self.total: list[float | None] = [0.0, 0.0, 0.0]
        self.monitor.begin_window("siliconbench", restart=True)

    def read(self) -> Reading:
        """Joules since the start; the package is CPU, GPU and ANE, as in macmon's sum."""
        window = self.monitor.end_window("siliconbench")
        self.monitor.begin_window("siliconbench", restart=True)
        spent_mj = [finite(getattr(window, part, None)) for part in ("cpu_total_mj", "gpu_mj", "ane_mj")]
        pairs = zip(self.total, spent_mj, strict=True)
        self.total = [None if old is None or mj is None else old + mj / 1000 for old, mj in pairs]
        cpu, gpu, ane = self.total  # a CPU that reads this has spent something
        return {
            "gpu_energy_j": gpu,
            "package_energy_j": cpu + gpu + (ane or 0) if cpu and gpu is not None else NO_WATTS,
        }


Source = Psutil | Nvml | Rapl | Macmon | Actop | Zeus


def kinds() -> tuple[type[Source], ...]:
    """The sources of this system, in order of preference."""
    return (Macmon, Actop, Zeus, Psutil) if machine.PLATFORM == "darwin" else (Nvml, Rapl, Psutil)


def opened() -> tuple[list[Source], dict[str, str]]:
    """The sources that are to be had, and for each other one the reason, with what to install."""
    sources, absent = list[Source](), dict[str, str]()
    for kind in kinds():
        try:
            sources.append(kind())
        except Absent as error:
            absent[kind.name] = str(error)
        except ImportError as error:
            package = {"Nvml": "nvidia-ml-py", "Zeus": "zeus-apple-silicon"}.get(kind.__name__, "actop")
            absent[kind.name] = f"{error.name or package} is not installed: pip install {package}"
        except Exception as error:
            absent[kind.name] = f"it failed: {type(error).__name__}"
    return sources, absent


def sampled(source: Source) -> Reading | str:
    """What a source gives now that can be true, and the reasons for what it doesn't; one reason if it fails."""
    try:
        given = source.read()
    except Absent as error:
        return str(error)
    except Exception as error:
        return f"it failed: {type(error).__name__}"
    return {k: plausible(v, *CHANNELS[k]) for k, v in given.items() if v is not None}


def plausible(value: Any, low: float, high: float) -> float | str:
    """The value as a number, or the reason why it is none; a reason stays one."""
    number = finite(value)
    known = number is not None and low <= number <= high
    return value if isinstance(value, str) else round(number or 0.0, 4) if known else "a value that can't be true"


def main(interval_s: float) -> None:
    """None; samples onto stdout, a JSON line each, until stdin closes or says something, or the parent is gone.

    The schedule is fixed, so late samples don't make later ones late; one more is taken when told to stop.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent = os.getppid()
    sources, absent = opened()
    try:
        print(json.dumps({"versions": {s.name: s.version for s in sources}, "absent": absent}), flush=True)
        start, number, stopping = time.perf_counter(), 0, False
        while not stopping:
            left_s = start + number * interval_s - time.perf_counter()
            stopping = bool(select.select([0], [], [], max(0.0, left_s))[0]) or os.getppid() != parent
            now = time.perf_counter()
            print(json.dumps({"t": now, **{s.name: sampled(s) for s in sources}}), flush=True)
            number = max(number, int((now - start) / interval_s)) + 1
    finally:
        for source in sources:
            if isinstance(source, Stream):
                source.close()


class Sampler:
    """A sampler under way, in a process of its own. It never raises: what goes wrong is told when it is stopped."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s, self.said, self.trouble = interval_s, b"", ""
        try:
            self.file = tempfile.TemporaryFile()  # noqa: SIM115
            self.child: subprocess.Popen[bytes] | None = subprocess.Popen(
                [*COMMAND, str(interval_s)],
                stdin=subprocess.PIPE,
                stdout=self.file,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self.child, self.trouble = None, f"it could not be started: {type(error).__name__}"

    def stop(self, zero: float = 0.0) -> dict[str, Any]:
        """The record's section, its times in seconds since zero (a time.perf_counter()); the same when asked again."""
        if self.child:
            if self.child.poll() is not None:
                self.trouble = f"it ended by itself, with {self.child.returncode}"
            self._end(self.child)
            with self.file:
                self.file.seek(0)
                self.said = self.file.read()
            self.child = None
        return section(self.said, self.interval_s, zero, self.trouble)

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        try:
            child.communicate(b"stop", timeout=GRACE_S)
        except (subprocess.TimeoutExpired, OSError):
            self.trouble = self.trouble or "it did not answer and was ended"
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # its tools, too
        child.wait()


def start(interval_s: float = 1.0) -> Sampler:
    """A sampler of this machine, once every interval_s seconds, until it is stopped or this process ends."""
    return Sampler(interval_s)


def section(said: bytes, interval_s: float, zero: float, trouble: str = "") -> dict[str, Any]:
    """The record's section, of what a sampler said; of more than 20,000 samples every second, or third, ... is kept."""
    lines = [line for text in said.splitlines() if isinstance(line := tried(json.loads, text), dict)]
    rows = [line for line in lines if finite(line.get("t")) is not None]
    thin = 1 + len(rows) // MOST_SAMPLES
    head: dict[str, Any] = {"versions": {}, "absent": {}} | next(iter(lines), {})
    told = {name: channel(name, head, rows[::thin]) for name in CHANNELS}
    trouble = trouble or ("" if rows else "it ended before its first sample")
    return {
        "interval_s": interval_s * thin,
        "time_s": [round(row["t"] - zero, 4) for row in rows[::thin]],
        "channels": {name: found for name, found in told.items() if isinstance(found, dict)},
        "unknown": {name: found for name, found in told.items() if isinstance(found, str)}
        | ({"sampler": trouble} if trouble else {}),
    }


def channel(name: str, head: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | str:
    """A channel from one source, a maximum before a mean, else the preferred; or the reason why there is none."""
    found, reasons = list[dict[str, Any]](), list[str]()
    for kind in (kind for kind in kinds() if name in kind.gives):
        cells = [cell.get(name) if isinstance(cell := row.get(kind.name), dict) else cell for row in rows]
        values = [None if isinstance(cell, str) else cell for cell in cells]
        version = machine.clean(str(head["versions"].get(kind.name))) or "not told"
        if any(value is not None for value in values):
            found.append({"values": values, "source": kind.name, "version": version, "statistic": kind.gives[name]})
        said = [head["absent"].get(kind.name), *(cell for cell in reversed(cells) if isinstance(cell, str))]
        reasons.append(f"{kind.name}: {next(filter(None, said), NONE_HERE.get(name, 'it gives none here'))}")
    reason = "; ".join(reasons) or NOWHERE.get(name, "nothing on this system tells it")
    return min(found, key=lambda c: c["statistic"] != "max") if found else reason


def points(section: dict[str, Any], name: str, start_s: float = -math.inf, end_s: float = math.inf) -> Points:
    """The times and values of a channel from start_s to end_s, without those that are unknown."""
    values = section["channels"].get(name, {}).get("values", [])
    pairs = zip(section["time_s"], values, strict=False)
    return [(t, v) for t, v in pairs if v is not None and start_s <= t <= end_s]


def window(section: dict[str, Any], start_s: float, end_s: float) -> dict[str, dict[str, float]]:
    """Mean, peak, first and last value of every channel that has any from start_s to end_s."""
    found = {name: [v for _, v in points(section, name, start_s, end_s)] for name in section["channels"]}
    return {k: {"mean": fmean(v), "peak": max(v), "first": v[0], "last": v[-1]} for k, v in found.items() if v}


def covered(section: dict[str, Any], name: str, start_s: float, end_s: float) -> Points:
    """A channel from exactly start_s to end_s, its ends interpolated; empty where over three intervals are unknown."""
    near = points(section, name)
    before = [p for p in near if p[0] <= start_s][-1:]
    after = [p for p in near if p[0] >= end_s][:1]
    line = before + [p for p in near if start_s < p[0] < end_s] + after
    gaps = [b[0] - a[0] for a, b in pairwise(line)]
    if not (before and after and start_s < end_s) or max(gaps) > 3.5 * section["interval_s"]:
        return []
    first, last = between(line[0], line[1], start_s), between(line[-2], line[-1], end_s)
    return [(start_s, first), *line[1:-1], (end_s, last)]


def between(a: tuple[float, float], b: tuple[float, float], t: float) -> float:
    """The value at t on the line through two points."""
    return a[1] + (b[1] - a[1]) * (t - a[0]) / (b[0] - a[0])


def energy_j(section: dict[str, Any], name: str, start_s: float, end_s: float) -> float | None:
    """Joules from start_s to end_s, by a counter or the trapezoids under a power; None with too little coverage.

    A counter (gpu_energy_j, package_energy_j) moves in steps: 0.1 s with NVML, about 2 s for Apple's CPU. So it counts
    from 2 s on, there from 30 s; in a shorter window the power of the same part does (Yang et al., arXiv 2312.02741).
    """
    if name.endswith("_energy_j"):
        slow = name == "package_energy_j" and section["channels"].get(name, {}).get("source") == Zeus.name
        line = covered(section, name, start_s, end_s) if end_s - start_s >= (30 if slow else 2) else []
        if line:
            return line[-1][1] - line[0][1]
        name = name.replace("_energy_j", "_w")
    line = covered(section, name, start_s, end_s)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(line)) if line else None


def derive(section: dict[str, Any], start_s: float, end_s: float, images: int) -> dict[str, Any]:
    """Energy, watts and images per joule from start_s to end_s, and which joules they are; unknown is None, explained.

    The whole system where it can be told; else the part that did the work: an NVIDIA GPU that was busy, or the
    package (on a Mac with its GPU). Battery: percentage points per 1000 images, told from two points on.
    """
    joules_of, joules, power = worked(section, start_s, end_s)
    seen = window(section, start_s, end_s)
    charge = seen.get("battery_percent")
    fell = charge["first"] - charge["last"] if charge else None
    values = {
        "images_per_j": images / joules if joules else None,
        "joules_of": joules_of,
        "mean_w": joules / (end_s - start_s) if joules else None,
        "peak_w": seen.get(power, {}).get("peak"),
        "energy_j": joules,
        "battery_percent_per_1000_images": 1000 * fell / images if fell and fell >= 2 and images else None,
    }
    no_joules = "no source of energy covers this time: see telemetry.unknown"
    reasons = dict.fromkeys(values, no_joules) | {"peak_w": "no source of power covers this time"}
    reasons["battery_percent_per_1000_images"] = (
        "no battery is to be seen" if fell is None else "the battery fell by less than 2 %: too little to tell"
    )
    return values | {"unknown": {k: reasons[k] for k, v in values.items() if v is None}}


def worked(section: dict[str, Any], start_s: float, end_s: float) -> tuple[str | None, float | None, str]:
    """Whose joules they are, how many, and the channel of the power: the widest part that holds all that worked."""
    channels = section["channels"]
    nvidia = any(channels.get(name, {}).get("source") == Nvml.name for name in ("gpu_energy_j", "gpu_w"))
    used = window(section, start_s, end_s).get("gpu_utilisation", {"mean": 1.0})["mean"] > 0.02
    parts = [("whole system", "system_w", "system_w")]
    parts += [] if nvidia and used else [("package", "package_energy_j", "package_w")]
    parts += [("GPU", "gpu_energy_j", "gpu_w")] if used else []
    for whose, name, power in parts:
        if (joules := energy_j(section, name, start_s, end_s)) is not None and joules > 0:
            return whose, joules, power
    return None, None, parts[-1][2]


def heat_witness(
    section: dict[str, Any], start_s: float, end_s: float, state_before: dict[str, Any], state_after: dict[str, Any]
) -> str | None:
    """One plain sentence that names a second witness of throttling, None if there is none.

    Witnesses: NVML's thermal bits, thermal pressure above nominal, a clock that fell by more than 5 % while hot.
    """
    bits = [int(v) & THERMAL_BITS for _, v in points(section, "throttle_bits", start_s, end_s)]
    if any(bits):
        return f"the GPU held its clock down for heat in {sum(map(bool, bits))} of {len(bits)} samples"
    for when, state in (("after", state_after), ("before", state_before)):
        if (level := state.get("thermal_pressure")) not in (None, "nominal"):
            return f"the thermal pressure was {level} {when} the run"
    if any(v >= SERIOUS for _, v in points(section, "thermal_pressure", start_s, end_s)):
        return "the system called its thermal state serious during the run"
    return fallen_clock(section, start_s, end_s, "GPU", "gpu_utilisation") or fallen_clock(
        section, start_s, end_s, "CPU", "cpu_load"
    )


def fallen_clock(section: dict[str, Any], start_s: float, end_s: float, part: str, load: str) -> str | None:
    """A sentence where the clock of a part fell by over 5 % while it was hot, None where it did not.

    First against last fifth of the samples in which the part was at least half as busy as at its peak: an idle part
    clocks down without any heat. Fifteen such samples at least.
    """
    loads = dict(points(section, load, start_s, end_s))
    clocks = points(section, f"{part.lower()}_clock_mhz", start_s, end_s)
    busy = [v for t, v in clocks if loads.get(t, 0) >= max(0.5 * max(loads.values()), BUSY)]
    channel, heats = f"{part.lower()}_temperature_c", window(section, start_s, end_s)
    if len(busy) < 15 or channel not in heats:
        return None
    limit = HOT_MEAN_C if section["channels"][channel]["statistic"] == "mean" else HOT_C
    first, last, peak = median(busy[: len(busy) // 5]), median(busy[-(len(busy) // 5) :]), heats[channel]["peak"]
    if peak < limit or last >= (1 - CLOCK_FELL) * first:
        return None
    return f"the {part} clock fell from {first:.0f} to {last:.0f} MHz at up to {peak:.0f} C"


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
