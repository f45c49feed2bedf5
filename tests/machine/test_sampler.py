"""The sampler as a process, its sources against documented and mangled outputs, and sums done by hand."""

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
import types
from contextlib import suppress

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconbench import paths
from siliconbench.machine import facts as machine_facts
from siliconbench.machine import sampler as samplers
from siliconbench.machine import tools
from siliconbench.machine.sources import apple, system
from siliconbench.machine.sources import source as sources
from siliconbench.machine.sources.apple import Actop, Macmon, Stream
from siliconbench.machine.sources.source import Absent, Unwrapped
from siliconbench.machine.sources.system import System
from siliconbench.pages import render
from siliconbench.record import store
from siliconbench.record.schema import Record, Telemetry
from tests import samples
from tests.machine import mac, nvidia

PARENT = """
import os, sys, time
from siliconbench.machine import sampler as samplers
samplers.COMMAND = {command!r}
sampler = samplers.Sampler(0.1)
print(sampler.child.pid, flush=True)
{then}
time.sleep(60)
"""
FORK = "if os.fork() == 0: time.sleep(8); os._exit(0)"


@pytest.fixture
def on_a_mac(tmp_path, monkeypatch):
    """A folder first on the PATH of a machine that believes it is a Mac; its sampler does so, too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(tools, "PLATFORM", "darwin")
    monkeypatch.setattr(apple, "BREW", folder)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(samplers, "COMMAND", mac.launcher(folder))
    return folder


def sample(seconds: float, *words: str) -> dict:
    """What a sampler leaves that has said these words, and then ran so long; checked against the record's schema."""
    sampler = samplers.Sampler(0.1)
    mac.heard(sampler, *words)
    time.sleep(seconds)
    section = sampler.stop().model_dump()
    Telemetry.model_validate(section)
    assert set(section["channels"]) | set(section["unknown"]) - {"sampler"} == set(samplers.CHANNELS)
    return section


def gone(*pids: int, within_s: float = 3.0) -> bool:
    """Whether these processes end in time."""
    end = time.monotonic() + within_s
    while (left := any(map(alive, pids))) and time.monotonic() < end:
        time.sleep(0.02)
    return not left


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def last(values: list) -> float:
    return [value for value in values if value is not None][-1]


def pids(folder) -> list[int]:
    noted = folder / "macmon.pid"
    return [int(pid) for pid in noted.read_text().split()] if noted.exists() else []


# the process


def test_a_sampler_here_keeps_the_parents_clock_and_does_not_drift():
    zero = time.perf_counter()
    sampler = samplers.Sampler(0.1)
    mac.heard(sampler, '"t"')
    time.sleep(1.2)
    end_s = time.perf_counter() - zero
    section = sampler.stop(zero).model_dump()
    times = section["time_s"]
    assert times[0] >= 0 and times == sorted(times) and times[-2] <= end_s and end_s - 0.05 <= times[-1] < end_s + 1
    late = [t - times[0] - k * 0.1 for k, t in enumerate(times[:-1])]
    assert len(times) > 5 and statistics.median(map(abs, late)) < 0.02, late
    Telemetry.model_validate(section)
    assert sampler.stop(zero).model_dump() == section


def test_a_slow_source_makes_no_drift(tmp_path, monkeypatch):
    slow = nvidia.SOURCE + "\ndef nvmlDeviceGetPowerUsage(gpu):\n    import time; time.sleep(0.06); return 1000\n"
    (tmp_path / "pynvml.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    times = sample(1.0, '"gpu_w": 1.0')["time_s"][:-1]
    assert statistics.median(abs(t - times[0] - k * 0.1) for k, t in enumerate(times)) < 0.02


def test_a_mac_from_sampler_to_section(on_a_mac, tmp_path):
    mac.install_macmon(on_a_mac)
    mac.install_actop(tmp_path / "site")
    section = sample(0.3, '"fan_rpm": 1200', "99.1")
    found = {k: (last(c["values"]), c["source"], c["version"], c["statistic"]) for k, c in section["channels"].items()}
    assert found["cpu_temperature_c"] == (99.1, "actop", "1.9.12", "max")
    assert found["gpu_temperature_c"] == (88.2, "actop", "1.9.12", "max")
    assert found["fan_rpm"] == (1200, "macmon", "0.8.2", "max")
    assert found["system_w"] == (5.8765, "macmon", "0.8.2", "reading")
    assert found["package_w"] == (0.2223, "macmon", "0.8.2", "sum")
    assert found["ane_w"][0] == 0 and found["cpu_clock_mhz"][0] == 3228 and found["gpu_utilization"][0] == 0.0215
    assert found["thermal_pressure"][:2] == (0, "actop")
    assert gone(*pids(on_a_mac))


def test_a_mac_from_its_tools_to_the_page(on_a_mac, tmp_path):
    mac.install(on_a_mac)
    mac.install_macmon(on_a_mac)
    mac.install_actop(tmp_path / "site")
    sampler = samplers.Sampler(0.1)
    mac.heard(sampler, '"fan_rpm": 1200', "99.1")
    zero = time.perf_counter()
    time.sleep(1.5)
    section = sampler.stop(zero, cooling_from_s=1.4).model_dump()
    data, facts = samples.sample(40.0, device="mps"), machine_facts.machine().model_dump()
    data["passes"]["end_to_end"] = samples.timed(40.0, start_s=0.2)  # 40 images, from 0.2 to 1.2 s
    data["checks"] |= {"before": machine_facts.state().model_dump(), "after": machine_facts.state().model_dump()}
    data |= {"machine": facts, "telemetry": section, "unknown": {"energy": "zeus: it is not installed"}}
    store.write(Record.model_validate(data), tmp_path / "data")
    given = {"machine": facts["slug"], "results": str(tmp_path / "data")}
    text = render.render(paths.NOTEBOOKS / "machine.ipynb", tmp_path / "mac.html", given).read_text("utf-8")
    assert "MacBook Pro" in text and "macOS 26.1" in text
    assert "88 °C (GPU), 1,200 rpm, 6 W (whole system, sampled)" in text
    assert not [secret for secret in mac.SECRETS if secret in text]


def test_macmon_alone_gives_a_mean_and_says_so(on_a_mac):
    mac.install_macmon(on_a_mac)
    section = sample(0.0, '"fan_rpm": 1200')
    assert section["channels"]["cpu_temperature_c"]["statistic"] == "mean"
    assert "pip install actop" in section["unknown"]["thermal_pressure"]


@pytest.mark.parametrize("version", ["macmon 0.7.2", "macmon-dashboard on http://0.0.0.0", "", "macmon 0.8.2 \xff"])
def test_another_macmon_is_not_asked(on_a_mac, version):
    mac.install_macmon(on_a_mac, version=version)
    section = sample(0.0, '"swap_used')
    assert "brew install macmon" in section["unknown"]["system_w"]
    assert not (on_a_mac / "macmon.pid").exists()


@pytest.mark.parametrize("broken", [*mac.BROKEN, "floods with lines"])
def test_a_broken_macmon_costs_its_own_channels_only(on_a_mac, broken):
    script = mac.BROKEN.get(broken, f"exec yes '{json.dumps(mac.MACMON)}'")
    mac.tool(on_a_mac, "macmon", f'[ "$1" = --version ] && echo "macmon 0.8.2" && exit 0\n{script}')
    start = time.monotonic()
    section = sample(0.1, *(["1200"] if broken == "floods with lines" else ['"t"']))
    assert time.monotonic() - start < 8
    assert "swap_used_bytes" in section["channels"] and "sampler" not in section["unknown"]
    assert ("system_w" in section["channels"]) == (broken == "floods with lines")


def test_a_macmon_that_falls_silent_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(apple, "SILENCE_S", 0.1)
    mac.tool(tmp_path, "once", f"echo '{json.dumps(mac.MACMON)}'; exec sleep 60")
    stream = Stream(apple.from_macmon, str(tmp_path / "once"))
    for _ in range(100):
        with suppress(Absent):  # until it has spoken
            given = stream.read()["system_w"]
            break
        time.sleep(0.005)
    time.sleep(0.15)
    assert given == 5.876533
    with pytest.raises(Absent, match="does not answer"):
        stream.read()
    stream.close()
    assert stream.child.wait(1)


@pytest.mark.parametrize("then", ["", FORK], ids=["alone", "with a forked child that holds the leash"])
def test_kill_9_of_the_parent_leaves_no_process(on_a_mac, then):
    mac.install_macmon(on_a_mac)
    code = PARENT.format(command=samplers.COMMAND, then=then)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    sampler = int(parent.stdout.readline())
    end = time.monotonic() + 5
    while not (started := pids(on_a_mac)) and time.monotonic() < end:
        time.sleep(0.02)
    assert started and all(map(alive, (sampler, *started)))
    parent.kill()
    parent.wait()
    assert gone(sampler, *started, within_s=1.5)
    parent.stdout.close()


def test_a_killed_sampler_gives_what_it_had(on_a_mac):
    mac.install_macmon(on_a_mac)
    sampler = samplers.Sampler(0.1)
    mac.heard(sampler, "1200")
    sampler.child.kill()
    sampler.child.wait()
    section = sampler.stop().model_dump()
    Telemetry.model_validate(section)
    assert section["time_s"] and "it ended by itself, with -9" in section["unknown"]["sampler"]
    assert gone(*pids(on_a_mac))


@pytest.mark.parametrize("command", [("/no/such/python",), (sys.executable, "-c", "1/0"), ("sh", "-c", "echo [")])
def test_a_sampler_that_never_was(monkeypatch, command):
    monkeypatch.setattr(samplers, "COMMAND", command)
    sampler = samplers.Sampler(0.1)
    time.sleep(0.2)
    section = sampler.stop().model_dump()
    Telemetry.model_validate(section)
    assert section["time_s"] == [] and section["channels"] == {} and section["unknown"]["sampler"]


def test_a_stopped_sampler_is_ended_all_the_same(monkeypatch):
    sampler = samplers.Sampler(0.1)
    mac.heard(sampler, '"t"')
    os.kill(sampler.child.pid, signal.SIGSTOP)
    monkeypatch.setattr(samplers, "GRACE_S", 0.3)
    assert "did not answer" in sampler.stop().unknown["sampler"]


def test_it_takes_no_long_while_to_leave():
    sampler = samplers.Sampler(60.0)
    mac.heard(sampler, '"t"')
    start = time.monotonic()
    assert len(sampler.stop().time_s) == 2
    assert time.monotonic() - start < 1


# the sources


@given(st.lists(st.integers(0, 999), min_size=1))
def test_a_counter_never_falls_and_wraps_exactly(steps):
    counter, raw = Unwrapped(), 500
    counter(raw)
    for step in steps:
        raw = (raw + step) % 1000
        total = counter(raw, 1000)
    assert total == sum(steps)


def test_a_counter_that_begins_anew_goes_on():
    counter = Unwrapped()
    assert [counter(raw) for raw in (100, 103, 2, 5)] == [0, 3, 5, 8]


def test_macmon_of_this_readme():
    assert apple.from_macmon(mac.MACMON) == {
        "cpu_temperature_c": 43.73614, "gpu_temperature_c": 36.95167, "fan_rpm": 1200, "cpu_w": 0.20486385,
        "gpu_w": 0.017451683, "ane_w": 0, "package_w": 0.22231553, "system_w": 5.876533, "cpu_clock_mhz": 3228,
        "gpu_clock_mhz": 461, "gpu_utilization": 0.0215, "swap_used_bytes": 2602434560,
    }  # fmt: skip


def changed(line: dict, **fields: object) -> dict:
    return {**line, **fields}


@pytest.mark.parametrize(("fields", "lost"), [
    ({"cpu_power": 0.0, "cpu_active_ratio": 0.5}, {"cpu_w", "ane_w", "package_w"}),
    ({"gpu_power": 0.0, "gpu_scaled_ratio": 0.9}, {"gpu_w", "package_w"}),
    ({"sys_power": 0.0}, {"system_w"}),
    ({"sys_power": 0.22231553}, {"system_w"}),
    ({"temp": {"cpu_temp_avg": 40.0, "gpu_temp_avg": 5.91}}, {"cpu_temperature_c", "gpu_temperature_c"}),
    ({"temp": {"cpu_temp_avg": 0.0, "gpu_temp_avg": 36.9}}, {"cpu_temperature_c"}),
    ({"temp": {"cpu_temp_avg": 500, "gpu_temp_avg": math.nan}}, {"cpu_temperature_c", "gpu_temperature_c"}),
    ({"temp": "43,7", "fans": []}, {"cpu_temperature_c", "gpu_temperature_c", "fan_rpm"}),
    ({"fans": None, "memory": [], "pcpu_cores": "1800"}, {"fan_rpm", "swap_used_bytes", "cpu_clock_mhz"}),
    ({"fans": [{"rpm": 1e300}], "gpu_freq_mhz": 10**400}, {"fan_rpm", "gpu_clock_mhz"}),
    ({"sys_power": 1e9, "gpu_scaled_ratio": True}, {"system_w", "gpu_utilization"}),
])  # fmt: skip
def test_macmon_traps(fields, lost):
    class Source:
        def read(self):
            return apple.from_macmon(changed(mac.MACMON, **fields))

    reading = samplers.sampled(Source())
    assert {k for k in Macmon.gives if not isinstance(reading.get(k), float)} == lost


@pytest.mark.parametrize(("fields", "lost"), [
    ({}, set()),
    ({"cpu_watts": 0}, {"cpu_w", "ane_w", "package_w"}),
    ({"cpu_temp_c": 0.0, "gpu_temp_c": 40.0}, {"cpu_temperature_c", "gpu_temperature_c"}),
    ({"thermal_state": "Unknown", "fan_available": False}, {"thermal_pressure", "fan_rpm"}),
    ({"thermal_state": ["Nominal"], "fan_rpms": "6012"}, {"thermal_pressure", "fan_rpm"}),
])  # fmt: skip
def test_actop_traps(fields, lost):
    reading = apple.from_actop(changed(mac.ACTOP, **fields))
    assert {k for k in Actop.gives if not isinstance(reading[k], int | float)} == lost
    assert reading["fan_rpm"] in (6012, None)


keys = st.sampled_from([*mac.MACMON, *mac.ACTOP])
numbers = st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=5))
anything = st.recursive(numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner))


@given(anything, st.sampled_from([apple.from_macmon, apple.from_actop]))
def test_any_json_gives_numbers_that_can_be_true_or_reasons(line, parse):
    for name, value in parse(line).items():
        known = sources.plausible(value, *samplers.CHANNELS[name])
        low, high = samplers.CHANNELS[name]
        assert isinstance(known, str) or low <= known <= high


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_a_section_of_any_bytes_fits_a_record(said):
    head = b'{"versions": {"psutil": "7"}, "absent": {"NVML": "no driver"}}\n'
    row = b'{"t": 5.0, "psutil": {"cpu_load": 0.5, "fan_rpm": "broken"}}\n'
    for text in (said, head + row + said, (head + row)[: len(said)]):
        assert isinstance(samplers.telemetry(text, 1.0, 0.0), Telemetry)


def test_psutil_on_linux(monkeypatch):
    heat = {"acpitz": [types.SimpleNamespace(current=99.0)],
            "coretemp": [types.SimpleNamespace(current=c) for c in (52.0, 40.0, math.nan)]}  # fmt: skip
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: heat, raising=False)
    fans = {"asus": [types.SimpleNamespace(current=3200), types.SimpleNamespace(current=0)]}
    monkeypatch.setattr(psutil, "sensors_fans", lambda: fans, raising=False)
    reading = samplers.sampled(System())
    assert (reading["cpu_temperature_c"], reading["fan_rpm"]) == (52, 3200)


def test_psutil_of_macos_27(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("(ipc/mig) array not large enough")

    for name in ("swap_memory", "cpu_times", "sensors_battery", "cpu_freq", "sensors_fans"):
        monkeypatch.setattr(psutil, name, fail, raising=False)
    assert not set(samplers.sampled(System())) - {"cpu_temperature_c"}


def test_load_is_the_busy_share_since_the_last_reading_of_enough_ticks(monkeypatch):
    cores = os.cpu_count() or 1
    told = iter([(0.0, 0.0), (0.0, 0.1 * cores), (30.0, 40.0 * cores), (30.0, 40.0 * cores), (33.0, 50.0 * cores)])
    monkeypatch.setattr(system, "cpu_seconds", lambda: next(told))
    source = System()
    loads = [source.read()["cpu_load"] for _ in range(4)]
    assert loads[0] is loads[2] is None  # too few ticks
    assert loads[1] == pytest.approx(0.75 / cores) and loads[3] == pytest.approx(0.3 / cores)


def test_many_samples_are_thinned_to_what_a_record_takes():
    rows = b"".join(b'{"t": %d, "psutil": {"cpu_load": 0.5}}\n' % k for k in range(45_000))
    section = samplers.telemetry(b'{"versions": {"psutil": "7"}, "absent": {}}\n' + rows, 1.0, 0.0).model_dump()
    Telemetry.model_validate(section)
    assert section["interval_s"] == 3 and section["time_s"][:3] == [0, 3, 6]
