"""Macs of which public sources show what the tools print: what is made of it, and that unlike ones are kept apart."""

import json
import platform
import re

import pytest
import torch

from siliconbench.machine import doctor, facts, naming, sampler, tools
from siliconbench.machine.sources import apple
from siliconbench.pages import compare, ranking, tables
from siliconbench.record import share, store
from siliconbench.record.host import Machine, State
from siliconbench.record.schema import Record, Telemetry, filled
from siliconbench.run import device
from tests import samples
from tests.machine import mac, macs

P, E, S = "Performance", "Efficiency", "Super"
KNOWN = {  # chip, cores, kinds of core, GPU and its cores, memory in GiB, macOS; None: no source shows it
    "m1-air-7": ("Apple M1", 8, [(P, 4), (E, 4)], ("Apple M1", 7), 8, "14.4.1"),
    "m1-max-24": ("Apple M1 Max", 10, None, ("Apple M1 Max", 24), 64, "15.7.3"),
    "m1-max-32": ("Apple M1 Max", 10, None, ("Apple M1 Max", 32), 64, "26.6"),
    "m2-ultra": ("Apple M2 Ultra", None, None, ("Apple M2 Ultra", 60), 64, "27.0"),
    "m4-pro-14": ("Apple M4 Pro", 14, [(P, 10), (E, 4)], ("Apple M4 Pro", 20), 64, "26.5.2"),
    "m5-max": ("Apple M5 Max", 18, [(S, 6), (P, 12)], ("Apple M5 Max", 40), 128, "27.0.1"),
    "m6": ("Apple M6", 12, [(S, 2), (P, 4), (E, 6)], None, 32, "27.0.1"),
    "macbook-neo": (None, None, None, ("Apple A18 Pro", 5), 8, "26.5.1"),
}
UNSEEN = Telemetry(**filled(Telemetry, {"interval_s": 1.0, "idle_until_s": 0.0, "cooling_from_s": 0.0,
                                        "time_s": [], "channels": {}}, "it was not asked"))  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The machine and the state that are made of what is shown, by the Mac's name; asked once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tools, "PLATFORM", "darwin")
        found = {}
        for name in macs.NAMES:
            patch.setenv("PATH", f"{macs.install(tmp_path_factory.mktemp('mac') / 'bin', name)}:/usr/bin:/bin")
            found[name] = facts.machine(name), facts.state()
        return found


@pytest.fixture
def become(tmp_path, monkeypatch):
    """become(name): from then on this machine believes it is that Mac; the folder of its tools."""

    def install(name):
        folder = macs.install(tmp_path / name, name)
        monkeypatch.setattr(tools, "PLATFORM", "darwin")
        monkeypatch.setattr(apple, "BREW", folder)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder

    return install


def record(machine: Machine, rate: float, **software: object) -> Record:
    """A run of resnet50 on that Mac's GPU, with the name that torch 2.15 has for it."""
    data = samples.sample(rate, model="resnet50", batch_size=64, device="mps") | {"machine": machine.model_dump()}
    data["software"] |= {"device_name": "Apple GPU (Metal)"} | software
    data["software"]["unknown"] = {k: why for k, why in data["software"]["unknown"].items() if k != "device_name"}
    return Record.model_validate(data)


def test_every_folder_is_expected_and_says_where_it_is_from():
    assert sorted(KNOWN) == macs.NAMES
    for name in macs.NAMES:
        text = (macs.HERE / name / "README.md").read_text("utf-8")
        assert all(f"`{path.name}`" in text for path in (macs.HERE / name).iterdir() if path.name != "README.md")
        for file in ("sysctl", "sw_vers"):
            assert (macs.HERE / name / file).read_text("utf-8").startswith("# "), "each value stands below its source"


@pytest.mark.parametrize("name", macs.NAMES)
def test_what_is_shown_is_known_and_the_rest_has_a_reason(known, name):
    machine, state = known[name]
    chip, cores, levels, gpu, gib, version = KNOWN[name]
    assert (machine.chip, machine.cores, machine.os) == (chip, cores, f"macOS {version}")
    assert machine.memory_bytes == gib * 2**30
    assert levels == (machine.core_levels and [(level.name, level.cores) for level in machine.core_levels])
    assert (machine.gpus and [(found.name, found.cores) for found in machine.gpus]) == (gpu and [gpu])
    assert state.power_source == ("mains" if macs.shown(name, "pmset-batt") else None)
    for part in (machine, state):
        assert all(part.unknown[field] for field, value in part if value is None)
    told = json.dumps([machine.model_dump(), state.model_dump()])
    assert "fd626d62" not in told, "a display's serial number"


@pytest.mark.parametrize("name", macs.NAMES)
def test_its_name_begins_with_its_chip(known, name):
    chip = KNOWN[name][0]
    begins = naming.of_chip(known[name][0])
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", begins)
    assert chip is None or begins == chip.lower().replace(" ", "-")


@pytest.mark.parametrize("name", ["macbook-neo"])
def test_a_mac_without_a_chips_name_is_known_by_its_gpus(known, name):
    machine = known[name][0]
    assert naming.of_chip(machine) == "apple-a18-pro" and machine.title.startswith("Apple A18 Pro")


@pytest.mark.parametrize("name", [n for n in macs.NAMES if KNOWN[n][3]])
def test_the_shown_name_has_the_gpus_cores(known, name):
    machine = known[name][0]
    assert f"{KNOWN[name][3][1]} GPU cores" in machine.title and f"{KNOWN[name][4]} GiB" in machine.title


@pytest.mark.parametrize("name", macs.NAMES)
def test_the_doctor_says_what_it_is_and_why_the_rest_is_unknown(known, name):
    report = doctor.report(*known[name], UNSEEN)
    lines = {line[2:22].strip(): line[23:] for line in report.splitlines() if line.startswith("  ")}
    chip, cores, levels, gpu, gib, version = KNOWN[name]
    assert lines["Chip"] == chip or (chip is None and lines["Chip"].startswith("unknown: sysctl gave no"))
    assert lines["Cores"] == str(cores) or (cores is None and lines["Cores"].startswith("unknown: sysctl gave no"))
    assert lines["GPU"].startswith(gpu[0] if gpu else "unknown: system_profiler")
    assert lines["Memory"] == f"{gib:.1f} GiB" and lines["System"] == f"macOS {version}"
    assert not levels or lines["Kinds of core"] == ", ".join(f"{n} {kind}" for kind, n in levels)
    assert all(len(line) <= 100 and line.isascii() for line in report.splitlines())


@pytest.mark.parametrize("name", [n for n in macs.NAMES if KNOWN[n][3]])
def test_the_doctor_says_the_gpus_cores(known, name):
    gpu = [line for line in doctor.fields(known[name][0]) if line.startswith("  GPU  ")]
    assert f"{KNOWN[name][3][1]} cores" in gpu[0]


@pytest.mark.parametrize("name", macs.NAMES)
def test_the_doctor_leaves_out_what_no_mac_has(known, name):
    report = doctor.report(*known[name], UNSEEN)
    assert "GPU driver" not in report and "Governor" not in report


def test_unlike_macs_are_not_one_chip(known, tmp_path):
    for rate, name in enumerate(macs.NAMES, 1):
        store.write(record(known[name][0], 100.0 * rate), tmp_path / "data")
    study = ranking.gather(tmp_path / "data")
    lines = compare.health(study)
    assert len(lines) == len(macs.NAMES) and not [
        line for line in lines if "others run" in line or "other runs" in line
    ]
    for _, cores in filter(None, (expected[3] for expected in KNOWN.values())):
        assert len([line for line in lines if f", {cores} cores;" in line]) == 1
    assert len(ranking.ranking(study)) == len(macs.NAMES)


def test_macs_that_are_alike_are_one_chip(known, tmp_path):
    machine = known["m1-max-32"][0]
    for number in range(3):
        other = machine.model_copy(update={"slug": f"another-{number}"})
        store.write(record(other, 100.0 + number), tmp_path / "data")
    lines = compare.health(ranking.gather(tmp_path / "data"))
    assert len(lines) == 3 and all("Apple M1 Max, 32 cores" in line and "2 others run" in line for line in lines)


@pytest.mark.parametrize("name", ["m6"])
def test_a_mac_whose_gpu_is_unknown_is_of_its_own_chip(known, tmp_path, name):
    store.write(record(known[name][0], 100.0), tmp_path / "data")
    (line,) = compare.health(ranking.gather(tmp_path / "data"))
    assert KNOWN[name][0] in line and "Apple GPU (Metal)" not in line


@pytest.mark.parametrize("name", ["m1-max-24"])
def test_a_mac_of_other_gpu_cores_is_another_machine(known, tmp_path, name):
    store.write(record(known[name][0].model_copy(update={"slug": "mine"}), 100.0), tmp_path / "data")
    told = share.another(tmp_path / "data", known["m1-max-32"][0].model_copy(update={"slug": "mine"}))
    assert told and "24" in told and "32" in told


@pytest.mark.parametrize("name", [n for n in macs.NAMES if KNOWN[n][3]])
def test_the_card_has_the_gpus_cores(known, name):
    card = tables.card([record(known[name][0], 100.0)]).set_index("what")["value"]
    assert f"{KNOWN[name][3][1]} cores" in card["GPU"]


def test_the_card_says_what_is_known_of_the_cores(known):
    card = tables.card([record(known["m5-max"][0], 100.0)]).set_index("what")["value"]
    assert card["cores"] == "18 (6 Super, 12 Performance)" and card["memory"] == "128 GiB"
    assert "cores" not in tables.card([record(known["macbook-neo"][0], 100.0)])["what"].tolist()


@pytest.mark.parametrize("name", macs.NAMES)
def test_the_gpu_is_refused_before_macos_15_only(monkeypatch, name):
    version = macs.values(name, "sw_vers")["ProductVersion"]
    monkeypatch.setattr(platform, "mac_ver", lambda *_: (version, ("", "", ""), "arm64"))
    for variable in ("PYTORCH_ENABLE_MPS_FALLBACK", *device.UNTRUE):
        monkeypatch.delenv(variable, raising=False)
    why = device.refusal(torch.device("mps"), True)
    assert ("macOS 15" in (why or "") and "USE_GPU=0" in why) if int(version.split(".")[0]) < 15 else why is None


# The one captured line of macmon, of a desktop whose GPU is drawing it at its lowest clock.

CAPTURED = [name for name in macs.NAMES if macs.shown(name, "macmon.json")]


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_line_of_macmon_is_read(known, name):
    machine, line = known[name][0], json.loads(macs.shown(name, "macmon.json"))
    found = apple.from_macmon(line)
    assert found["fan_rpm"] == 2514 and found["system_w"] == pytest.approx(18.95, abs=0.01)
    assert found["gpu_w"] == pytest.approx(1.13, abs=0.01) and found["gpu_clock_mhz"] == 388
    assert line["memory"]["ram_total"] == machine.memory_bytes


@pytest.mark.parametrize("name", CAPTURED)
def test_a_gpu_that_draws_the_desktop_is_not_busy(known, name):
    found, state = apple.from_macmon(json.loads(macs.shown(name, "macmon.json"))), filled(State, {}, "it is not known")
    channel = {"values": [found["gpu_utilization"]] * 3, "source": "macmon", "version": "0.8.0", "statistic": "reading"}
    seen = UNSEEN.model_dump() | {"time_s": [0.0, 1.0, 2.0], "channels": {"gpu_utilization": channel}}
    assert doctor.unfit(State(**state), Telemetry.model_validate(seen), known[name][0].cores) == []


@pytest.mark.parametrize("name", CAPTURED)
def test_a_tool_that_has_yet_to_speak_counts(become, name):
    become(name)
    assert sampler.feels()


@pytest.mark.parametrize("name", CAPTURED)
def test_the_sampler_samples_it(become, monkeypatch, name):
    monkeypatch.setattr(sampler, "COMMAND", mac.launcher(become(name)))
    running = sampler.Sampler(0.1)
    mac.heard(running, '"fan_rpm": 2514')
    channels = running.stop().channels
    assert channels["system_w"].source == "macmon" and channels["system_w"].version == "0.8.0"
    assert channels["cpu_temperature_c"].statistic == "mean"
