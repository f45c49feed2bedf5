"""Heat, fans, power, clocks and load once a second, from a process of its own, while a run is measured.

A thread would share the interpreter lock of the measured program; a process shares nothing but a few milliseconds of
a core. The parent holds the sampler's stdin as a leash: when that closes, whatever the reason, the sampler ends
its tools and leaves. Its stdout is a file without a name, so nothing stays behind either.
"""

import json
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
from pathlib import Path
from typing import Any, ClassVar

import psutil

from siliconbench.machine import facts

Reading = dict[str, Any]  # channel: a number, or the reason why there is none, or None

COMMAND = (sys.executable, "-m", "siliconbench.machine.sampler")

ACTOP = (sys.executable, "-m", "actop.actop", "--json", "--interval", "1", "--samples", "0")

BREW = Path("/opt/homebrew/bin")

POWERCAP = Path("/sys/class/powercap")

MOST_BYTES = 2**20  # of a tool's output at a time

MOST_SAMPLES = 20_000

SILENCE_S = 3.5  # of a tool that prints a line a second

GRACE_S = 5.0  # for a sampler to leave by itself

BUSY = 0.05  # a share of busy time from which 0 W can't be true

NO_WATTS = "0 W under load: this system does not publish the counter"

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
        self.version, self.last = psutil.__version__, facts.tried(cpu_seconds)

    def read(self) -> Reading:
        """What psutil tells now; the load is the share of all cores busy since the last reading."""
        now = facts.tried(cpu_seconds)
        load = share(self.last, now)
        self.last = now if load is not None or self.last is None else self.last
        linux = facts.PLATFORM != "darwin"  # on a Mac cpu_freq is nominal, and there are no sensors
        return {
            "cpu_temperature_c": facts.tried(cpu_heat) if linux else None,
            "fan_rpm": facts.tried(lambda: highest(f.current for fans in psutil.sensors_fans().values() for f in fans)),
            "cpu_clock_mhz": facts.tried(lambda: psutil.cpu_freq().current) if linux else None,
            "cpu_load": load,
            "swap_used_bytes": facts.tried(lambda: psutil.swap_memory().used),
            "battery_percent": facts.tried(lambda: psutil.sensors_battery().percent),
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
        self.version, self.energy = f"driver {facts.tried(self.nvml.nvmlSystemGetDriverVersion)}", Counter()

    def ask(self, name: str, *more: Any) -> Any:
        """What one call of the library gives, None where this GPU or driver has it not."""
        return facts.tried(lambda: getattr(self.nvml, name)(self.gpu, *more))

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
        zones = [zone for zone in POWERCAP.glob("intel-rapl:*") if facts.content(zone, "name").startswith("package")]
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
        if (parsed := facts.tried(json.loads, self.newest)) is None and self.newest:
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
        answers = {p: facts.text_of(facts.tool(p, "--version", timeout_s=2.0)) for p in places if p}
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
    return (Macmon, Actop, Zeus, Psutil) if facts.PLATFORM == "darwin" else (Nvml, Rapl, Psutil)


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
    lines = [line for text in said.splitlines() if isinstance(line := facts.tried(json.loads, text), dict)]
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
        version = facts.clean(str(head["versions"].get(kind.name))) or "not told"
        if any(value is not None for value in values):
            found.append({"values": values, "source": kind.name, "version": version, "statistic": kind.gives[name]})
        said = [head["absent"].get(kind.name), *(cell for cell in reversed(cells) if isinstance(cell, str))]
        reasons.append(f"{kind.name}: {next(filter(None, said), NONE_HERE.get(name, 'it gives none here'))}")
    reason = "; ".join(reasons) or NOWHERE.get(name, "nothing on this system tells it")
    return min(found, key=lambda c: c["statistic"] != "max") if found else reason


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
