"""Heat, fans, power, clocks and load once a second, by a process: a thread would share the measured program's lock."""

import json
import os
import select
import signal
import sys
import tempfile
import time
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

from siliconbench.machine import tools
from siliconbench.machine.sources import apple, nvml, system
from siliconbench.machine.sources.source import CHANNELS, SILENT, Reading, Source, absence, plausible
from siliconbench.record.schema import Channel, Telemetry

SOURCES: dict[str, tuple[type[Source], ...]] = {  # of each system, the preferred first
    "darwin": (apple.Macmon, apple.Actop, system.System),
    "linux": (nvml.Nvml, system.Hwmon, system.Rapl, system.System),
}  # fmt: skip
FELT = [name for name in CHANNELS if name.endswith(("temperature_c", "_rpm", "_w")) or name == "fan_percent"]
COMMAND = (sys.executable, "-m", "siliconbench.machine.sampler")
GRACE_S = 5.0  # for a sampler to leave by itself
NONE_HERE = {
    "cpu_temperature_c": "no sensor of the CPU is shown (usual in a virtual machine)", "fan_rpm": "no fan is shown",
    "fan_percent": "this GPU has no fan of its own", "battery_percent": "no battery is to be seen",
}  # fmt: skip
NOWHERE = {
    "system_w": "no program can tell it here: it takes a meter at the wall",
    "gpu_memory_used_bytes": "the GPU shares the machine's memory", "thermal_pressure": "this system has no such level",
}  # fmt: skip


def opened(uuid: str = "") -> tuple[list[Source], dict[str, str]]:
    """The sources that are to be had, and for each other one the reason, with what to install. uuid: of torch's GPU."""
    sources, absent = list[Source](), dict[str, str]()
    for kind in SOURCES.get(tools.PLATFORM, SOURCES["linux"]):
        try:
            sources.append(nvml.Nvml(uuid) if kind is nvml.Nvml else kind())
        except Exception as error:
            absent[kind.name] = absence(error, kind.package)
    return sources, absent


def sampled(source: Source) -> Reading | str:
    """What a source gives now that can be true, and the reasons for what it doesn't; one reason if it fails."""
    try:
        given = source.read()
    except Exception as error:
        return absence(error, source.package)
    return {k: plausible(v, *CHANNELS[k]) for k, v in given.items() if v is not None}


def feels(uuid: str = "") -> bool:
    """Whether a source here tells a temperature, a fan or a power now; one that opens and has yet to speak counts."""
    sources, _ = opened(uuid)
    told = [sampled(source) for source in sources]
    for source in sources:
        source.close()
    return any(isinstance(said, str) or any(isinstance(said.get(name), float) for name in FELT) for said in told)


def main(interval_s: float, uuid: str = "") -> None:
    """Prints a JSON line a sample, on a fixed schedule; the last when stdin closes or speaks, or the parent is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent = os.getppid()
    sources, absent = opened(uuid)
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
            source.close()


class Sampler:
    """Samples every interval_s seconds until stop(), in a process of its own. It never raises: stop() tells why.

    uuid: the GPU that torch uses, as torch calls it; empty: the first that CUDA_VISIBLE_DEVICES names."""

    # Its stdin is a leash: when that closes, it ends its tools and leaves. Its stdout is a file without a name.
    def __init__(self, interval_s: float = 1.0, uuid: str = "") -> None:
        self.interval_s, self.said, self.trouble = interval_s, b"", ""
        self.child: Popen[bytes] | None = None
        try:
            self.file, argv = tempfile.TemporaryFile(), (*COMMAND, str(interval_s), uuid)  # noqa: SIM115
            self.child = Popen(argv, stdin=PIPE, stdout=self.file, stderr=DEVNULL, start_new_session=True)
        except OSError as error:
            self.trouble = f"it could not be started: {type(error).__name__}"

    def settle(self, most_s: float) -> None:
        """Returns when each source has spoken, or after so many seconds."""
        end_s = time.monotonic() + most_s
        while self.child and self.child.poll() is None and time.monotonic() < end_s:
            line = tools.tried(lambda: json.loads(os.pread(self.file.fileno(), 2**20, 0).splitlines()[-1]))
            if isinstance(line, dict) and "t" in line and SILENT not in line.values():
                return
            time.sleep(0.1)

    def stop(self, zero_s: float = 0.0, idle_until_s: float = 0.0, cooling_from_s: float = 0.0) -> Telemetry:
        """The record's section, the same when asked again; all times, in seconds, from zero_s, a perf_counter()."""
        if self.child:
            if self.child.poll() is not None:
                self.trouble = f"it ended by itself, with {self.child.returncode}"
            try:
                self.child.communicate(b"stop", timeout=GRACE_S)
            except (TimeoutExpired, OSError):
                self.trouble = self.trouble or "it did not answer and was ended"
            tools.end(self.child)
            with self.file:
                self.file.seek(0)
                self.said = self.file.read()
            self.child = None
        samples = telemetry(self.said, self.interval_s, zero_s, self.trouble)
        return samples.model_copy(update={"idle_until_s": idle_until_s, "cooling_from_s": cooling_from_s})


def telemetry(printed: bytes, interval_s: float, zero_s: float, trouble: str = "") -> Telemetry:
    """The record's section of what a sampler printed; of more than 20,000 samples every second or third is kept."""
    lines = [line for text in printed.splitlines() if isinstance(line := tools.tried(json.loads, text), dict)]
    rows = [line for line in lines if tools.finite(line.get("t")) is not None]
    thin = 1 + len(rows) // 20_000
    head: Reading = {"versions": {}, "absent": {}} | next(iter(lines), {})
    given = {name: channel(name, head, rows[::thin]) for name in CHANNELS}
    trouble = trouble or ("" if rows else "it ended before its first sample")
    unknown = {name: why for name, why in (*given.items(), ("sampler", trouble)) if isinstance(why, str) and why}
    times = [round(row["t"] - zero_s, 4) for row in rows[::thin]]
    channels = {name: what for name, what in given.items() if isinstance(what, Channel)}
    shown: Reading = {"interval_s": interval_s * thin, "idle_until_s": 0.0, "cooling_from_s": 0.0, "time_s": times}
    return Telemetry(**shown, channels=channels, unknown=unknown)


def channel(name: str, head: Reading, rows: list[Reading]) -> Channel | str:
    """A channel from one source, a maximum before a mean, else the preferred; or the reason why there is none."""
    known, reasons = list[Channel](), list[str]()
    for kind in (kind for kind in SOURCES.get(tools.PLATFORM, SOURCES["linux"]) if name in kind.gives):
        cells = [cell.get(name) if isinstance(cell := row.get(kind.name), dict) else cell for row in rows]
        values = [None if isinstance(cell, str) else cell for cell in cells]
        version = tools.clean(str(head["versions"].get(kind.name))) or "unknown"
        if any(value is not None for value in values):
            shown = {"values": values, "source": kind.name, "version": version, "statistic": kind.gives[name]}
            known.append(Channel.model_validate(shown))
        said = [head["absent"].get(kind.name), *(cell for cell in reversed(cells) if isinstance(cell, str))]
        reasons.append(f"{kind.name}: {next(filter(None, said), NONE_HERE.get(name, 'it gives none here'))}")
    reason = "; ".join(reasons) or NOWHERE.get(name, "nothing on this system tells it")
    return min(known, key=lambda c: c.statistic != "max") if known else reason


if __name__ == "__main__":
    main(float((*sys.argv, "1")[1]), "".join(sys.argv[2:3]))
