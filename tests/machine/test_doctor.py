"""What the doctor says, and when it calls a machine unfit: by hand, on a Mac of fake tools, and here."""

import getpass
import re
import subprocess
import sys

import pytest

from siliconbench import paths
from siliconbench.machine import doctor, tools
from siliconbench.machine import facts as machine_facts
from siliconbench.machine import sampler as samplers
from siliconbench.record.host import Level, State
from siliconbench.record.schema import Telemetry, filled
from tests.machine import mac

STATE = {
    "power_source": "mains", "battery_percent": 100.0, "power_mode": "automatic", "governor": None,
    "thermal_pressure": "nominal", "load_1m": 0.4, "swap_used_bytes": 0, "free_memory_bytes": 16 * 2**30,
    "unknown": {"governor": "macOS has no governor"},
}  # fmt: skip


def made(statistic: str = "max", **channels: object) -> Telemetry:
    """Three samples of these channels, each by a source named made up."""
    return Telemetry.model_validate(
        {
            "interval_s": 1.0,
            "idle_until_s": 0.0,
            "cooling_from_s": 0.0,
            "time_s": [0.0, 1.0, 2.0],
            "channels": {
                name: {"values": list(values), "source": "made up", "version": "1.2", "statistic": statistic}
                for name, values in channels.items()
            },
            "unknown": {
                "system_w": "macmon: macmon 0.8 or later is needed (not installed): brew install macmon",
                "ane_w": "macmon: macmon 0.8 or later is needed (not installed): brew install macmon",
            },
        }
    )


QUIET = made(cpu_load=[None, 0.02, 0.03], swap_used_bytes=[5e8] * 3, cpu_temperature_c=[45.0] * 3)


def test_a_quiet_machine_is_fit():
    assert doctor.unfit(State(**STATE), QUIET, 8) == []
    assert doctor.unfit(State(**STATE), made(cpu_load=[None] * 3), 8) == []


def test_an_unknown_state_is_no_doubt():
    assert doctor.unfit(State(**filled(State, {}, "it is not known")), QUIET, None) == []


@pytest.mark.parametrize(("state", "sample", "word"), [
    ({"power_source": "battery"}, {}, "plug it in"),
    ({"power_mode": "low power"}, {}, "in low power mode: plug it in, choose automatic"),
    ({"power_mode": "low-power"}, {}, "in low-power mode: plug it in, choose"),
    ({"governor": "powersave (acpi-cpufreq)", "unknown": {}}, {}, "cpupower frequency-set -g performance"),
    ({"thermal_pressure": "heavy"}, {}, "thermal pressure is heavy: let it cool"),
    ({"load_1m": 5.0}, {}, "wait a minute"),
    ({"free_memory_bytes": 2**30}, {}, "1.0 GiB of memory"),
    ({}, {"cpu_load": [None, 0.4, 0.6]}, "50 % of the CPU"),
    ({}, {"gpu_utilization": [0.5, 0.5, 0.5]}, "50 % of the GPU"),
    ({}, {"swap_used_bytes": [1e9, 1e9, 2e9]}, "swapping now"),
    ({}, {"cpu_temperature_c": [80.0, 85.0, 90.0]}, "CPU temperature is 90 C"),
    ({}, {"gpu_temperature_c": [80.0] * 3}, "GPU temperature is 80 C"),
])  # fmt: skip
def test_each_doubt_comes_alone_and_says_what_to_do(state, sample, word):
    (doubt,) = doctor.unfit(State(**STATE | state), made(**sample), 8)
    assert word in doubt and ":" in doubt


def test_a_mac_is_short_of_memory_by_its_kernels_word_not_by_what_is_free():
    low = State(**STATE | {"free_memory_bytes": 2**30})
    assert doctor.unfit(low, made(memory_pressure=[1, 1, 1]), 8) == []
    (doubt,) = doctor.unfit(State(**STATE), made(memory_pressure=[1, 1, 2]), 8)
    assert "of memory are free" in doubt


@pytest.mark.parametrize("governor", ["powersave (intel_pstate)", "powersave (amd-pstate-epp)", "performance", None])
def test_a_pstate_driver_follows_the_load_whatever_it_is_called(governor):
    assert doctor.unfit(State(**STATE | ({"governor": governor, "unknown": {}} if governor else {})), QUIET, 8) == []


def test_a_mean_over_sensors_is_hot_sooner():
    warm = {"cpu_temperature_c": [60.0] * 3}
    assert doctor.unfit(State(**STATE), made("max", **warm), 8) == []
    assert "60 C" in doctor.unfit(State(**STATE), made("mean", **warm), 8)[0]


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("memory_bytes", 24 * 2**30, "24.0 GiB"),
    ("cpu_temperature_c", 61.25, "61.25 C"),
    ("fan_rpm", 6012.0, "6012 rpm"),
    ("cpu_load", 0.256, "26 %"),
    ("package_w", 12.3456, "12.35 W"),
    ("cores", 8, "8"),
    ("gpus", [], "none"),
    ("gpus", [tools.gpu("A", 1, None, "?"), tools.gpu("B", None, None, "?")], "A, 1 cores, B"),
    ("core_levels", [Level(name="Performance", cores=5)], "5 Performance"),
])  # fmt: skip
def test_shown(name, value, expected):
    assert doctor.shown(name, value) == expected


def test_spoken():
    names = ["cpu_temperature_c", "ane_w", "swap_used_bytes", "gpu_clock_mhz", "thermal_pressure", "fan_rpm"]
    assert [doctor.spoken(name) for name in names] == [
        "CPU temperature", "ANE power", "Swap used", "GPU clock", "Thermal pressure", "Fan",
    ]  # fmt: skip


def test_the_report_of_a_mac(tmp_path, monkeypatch):
    folder = mac.install(tmp_path / "bin")
    mac.install_macmon(folder)
    monkeypatch.setattr(tools, "PLATFORM", "darwin")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(samplers, "COMMAND", mac.launcher(folder))
    sampler = samplers.Sampler(0.1)
    mac.heard(sampler, '"fan_rpm": 1200')
    facts, state, sample = machine_facts.machine(), machine_facts.state(), sampler.stop()
    text = doctor.report(facts, state, sample)
    for words in ("This machine: apple-m3-pro-", "MacBook Pro (14-inch, Nov 2024)", "5 Performance, 6 Efficiency",
                  "macmon 0.8.2", "System power             5.8", "pip install actop", "plug it in"):  # fmt: skip
        assert words in re.sub(r"\n\s+", " ", text) or words in text, words
    assert all(len(line) <= 100 and line.isascii() for line in text.splitlines())
    assert not [secret for secret in mac.SECRETS if secret in text]


def test_the_report_says_what_to_install_once():
    text = doctor.report(machine_facts.machine(), State(**STATE), QUIET)
    assert text.count("brew install macmon") == 1 and "System power, ANE power" in text
    assert text.endswith("Is it fit to be measured now?\n  yes")


def test_here_as_make_doctor_calls_it():
    run = subprocess.run([sys.executable, "-m", "siliconbench", "doctor"], capture_output=True, text=True, timeout=30)
    fit = run.stdout.rstrip().endswith("\n  yes")
    assert run.returncode == (0 if fit else 1) and run.stderr == ""
    assert "psutil" in run.stdout and "What it cannot tell" in run.stdout


def test_a_report_to_send_has_what_the_tools_printed_and_nothing_personal(tmp_path, monkeypatch, capsys):
    folder = mac.install(tmp_path / "bin")
    mac.install_macmon(folder)
    monkeypatch.setattr(tools, "PLATFORM", "darwin")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(samplers, "COMMAND", mac.launcher(folder))
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    monkeypatch.setattr(tools, "HEARD", {})
    monkeypatch.setattr(getpass, "getuser", lambda: "nominal")  # a word that one of the tools prints
    monkeypatch.setenv("REPORT", "1")
    doctor.main()
    text = (tmp_path / "doctor.txt").read_text("utf-8")
    for words in ("$ sysctl -n machdep.cpu.brand_string", "Apple M3 Pro", "$ pmset -g batt", "'Battery Power'",
                  "$ system_profiler SPDisplaysDataType -json", '"sppci_cores"', '"fan_rpm": 1200'):  # fmt: skip
        assert words in text, words
    assert not [secret for secret in mac.SECRETS if secret in text] and "nominal" not in text.lower()
    assert "doctor.txt: read it, then send it" in capsys.readouterr().out
