"""The facts and the state of a Mac from its documented tools, of Linux from files, and of tools that misbehave."""

import itertools
import json
import os
import re
import sys
import time
import types

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconbench.machine import facts as machine_facts
from siliconbench.record.schema import Gpu, Machine, State
from tests.conftest import make_image
from tests.machine import mac

LOST = {
    "sysctl": ("chip", "cores", "core_levels", "memory_bytes", "swap_used_bytes"),
    "ioreg": ("model",),
    "system_profiler": ("gpus",),
    "pmset": ("power_source", "battery_percent", "power_mode"),
    "notifyutil": ("thermal_pressure",),
    "sw_vers": ("os_build",),
    "vm_stat": ("free_memory_bytes",),
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ .,()+/-]{0,63}")
FACTS = "chip model cores logical_cores core_levels gpus memory_bytes os os_build arch driver unknown"
STATE = (
    "power_source battery_percent power_mode governor thermal_pressure "
    "load_1m swap_used_bytes free_memory_bytes unknown"
)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder with the tools of a Mac, first on the PATH of a machine that believes it is one."""
    folder = mac.install(tmp_path / "bin")
    monkeypatch.setattr(machine_facts, "PLATFORM", "darwin")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An empty Linux: write(path, text) fills /proc and /sys."""
    monkeypatch.setattr(machine_facts, "PLATFORM", "linux")
    monkeypatch.setattr(machine_facts, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine_facts, "SYS", tmp_path / "sys")

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


def fits(facts, state):
    """Whether a record takes them: each None explained, names clean, numbers possible."""
    Machine.model_validate(facts | {"slug": machine_facts.slug(facts)})
    State.model_validate(state)
    assert list(facts) == FACTS.split() and list(state) == STATE.split()


def test_a_mac(tools):
    facts, state = machine_facts.facts(), machine_facts.state()
    fits(facts, state)
    assert facts["chip"] == "Apple M3 Pro"
    assert facts["model"] == "MacBook Pro (14-inch, Nov 2024)"
    assert (facts["cores"], facts["logical_cores"], facts["memory_bytes"]) == (11, 11, 25769803776)
    assert facts["core_levels"] == [{"name": "Performance", "cores": 5}, {"name": "Efficiency", "cores": 6}]
    assert [(g["name"], g["cores"], g["memory_bytes"]) for g in facts["gpus"]] == [("Apple M2 Pro", 19, None)]
    assert (facts["os"], facts["os_build"]) == ("macOS 26.1", "25B78")
    assert set(facts["unknown"]) == {"driver"}
    assert (state["power_source"], state["battery_percent"], state["power_mode"]) == ("battery", 78, "low power")
    assert (state["thermal_pressure"], state["swap_used_bytes"]) == ("heavy", int(1024.5 * 2**20))
    assert state["free_memory_bytes"] == 16384 * (12345 + 55555)
    assert set(state["unknown"]) == {"governor"}
    assert machine_facts.slug(facts) == "m3-pro-macbook-pro"


def test_no_secret_of_the_mac_is_kept(tools):
    told = json.dumps([machine_facts.facts(), machine_facts.state()])
    assert not [secret for secret in mac.SECRETS if secret in told]


@pytest.mark.parametrize("broken", mac.BROKEN)
@pytest.mark.parametrize("name", LOST)
def test_a_broken_tool_costs_its_own_facts_only(tools, monkeypatch, name, broken):
    monkeypatch.setitem(machine_facts.tool.__kwdefaults__, "timeout_s", 0.03 if name == "sysctl" else 0.1)
    monkeypatch.setattr(machine_facts, "tool", lambda *argv, timeout_s=0.0, ask=machine_facts.tool: ask(*argv))
    mac.tool(tools, name, mac.BROKEN[broken])
    start = time.monotonic()
    facts, state = machine_facts.facts(), machine_facts.state()
    assert time.monotonic() - start < 4
    fits(facts, state)
    told = facts | state | {"unknown": facts["unknown"] | state["unknown"]}
    for lost in LOST[name]:
        assert told[lost] is None and told["unknown"][lost]


DOCUMENTED = (
    mac.IOREG, json.dumps(mac.SYSTEM_PROFILER).encode(), mac.BATTERY.encode(), mac.PMSET.encode(),
    mac.PRESSURE.encode(), mac.VM_STAT.encode(), *(value.encode() for value in mac.SYSCTL.values()), b"26.1", b"25B78",
)  # fmt: skip


@settings(deadline=None)
@given(st.data())
def test_whatever_the_tools_of_a_mac_print_fits_a_record(data):
    """Each prints its own output or another's, whole, cut, changed in the middle, of any bytes, or nothing at all."""

    def prints(*_, **__):
        output = data.draw(st.one_of(st.none(), st.sampled_from(DOCUMENTED), st.just(b"9" * 5000), st.binary()))
        at, new = data.draw(st.integers(0, 200)), data.draw(st.binary(max_size=3))
        cut = data.draw(st.booleans())
        return output and (output[:at] if cut else output[:at] + new + output[at + len(new) :])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine_facts, "PLATFORM", "darwin")
        patch.setattr(machine_facts, "tool", prints)
        fits(machine_facts.facts(), machine_facts.state())


@pytest.mark.parametrize(("printed", "expected"), [
    (mac.PRESSURE, "heavy"),
    (mac.PRESSURE.replace("2", "0"), "nominal"),
    (mac.PRESSURE.replace("2", "7"), None),
    (mac.PRESSURE.replace("2", "-1"), None),
    (mac.PRESSURE.replace("2", "9" * 30), None),
    (mac.PRESSURE[:-2], None),
    ("com.apple.system.another 2", None),
    ("notifyutil: Zugriff verweigert", None),
])  # fmt: skip
def test_thermal_pressure(tools, printed, expected):
    mac.tool(tools, "notifyutil", mac.printing(tools, "notifyutil", printed))
    assert machine_facts.state()["thermal_pressure"] == expected


def install_all(folder, broken):
    """None; all that a Mac has, its tools and its Python packages, each as documented or broken in a way of its own."""
    tools, site = mac.install(folder / "bin"), folder / "site"
    mac.install_macmon(tools)
    mac.install_actop(site, *(["{"] if broken else []))
    mac.install_zeus(site)
    (site / "sitecustomize.py").write_text("from siliconbench.machine import facts\nfacts.PLATFORM = 'darwin'\n")
    for name, way in broken.items():
        mac.tool(tools, name, mac.BROKEN[way])


WAYS = {"sysctl": "is mangled", "ioreg": "dies", "system_profiler": "floods", "pmset": "is empty", "sw_vers": "fails",
        "notifyutil": "hangs", "vm_stat": "leaves a child behind"}  # fmt: skip


@pytest.mark.parametrize("broken", [{}, WAYS], ids=["sound tools", "broken tools"])
def test_make_image_on_a_mac_from_its_tools_to_its_page(tmp_path, broken):
    install_all(tmp_path, broken)
    if broken:
        flood = f"exec yes '{json.dumps(mac.MACMON)[:-9]}'"
        mac.tool(tmp_path / "bin", "macmon", f'[ "$1" = --version ] && echo "macmon 0.8.2" && exit 0\n{flood}')
    own = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path / "site")}
    done = make_image(tmp_path, USE_GPU="0", MIN_SECONDS="0.3" if broken else "2.5", **own)
    assert done.returncode == 0, done.stderr
    (path,), (page,) = (tmp_path / "reports" / "data").glob("*/*.json"), (tmp_path / "reports").glob("*.html")
    told, text = path.read_text(), page.read_text("utf-8")
    assert json.loads(told)["status"] == "ok"
    assert not [secret for secret in mac.SECRETS if secret in told + text]
    shown = ["MacBook Pro (14-inch, Nov 2024)", "macOS 26.1 25B78", "99 °C (CPU), 1,200 rpm, 6 W (whole system)"]
    shown += ["battery, low power", ">heavy<"]
    assert [words in text for words in shown] == [not broken] * 5
    assert ("actop: it printed what is no JSON" in text) == bool(broken)


def test_a_mac_without_any_tool(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_facts, "PLATFORM", "darwin")
    monkeypatch.setattr(machine_facts, "tool", lambda *argv, **_: None)
    facts, state = machine_facts.facts(), machine_facts.state()
    fits(facts, state)
    assert facts["chip"] is None and state["power_source"] is None
    assert machine_facts.slug(facts)


def test_three_levels_of_cores(tools):
    levels = ["Super 2", "Performance 4", "Efficiency 6"]
    cases = "".join(f"'-n hw.perflevel{i}.name') echo {n.split()[0]};; '-n hw.perflevel{i}.physicalcpu') echo "
                    f"{n.split()[1]};;\n" for i, n in enumerate(levels))  # fmt: skip
    mac.tool(tools, "sysctl", f"case \"$*\" in '-n hw.nperflevels') echo 3;;\n{cases} esac")
    assert [f"{level['name']} {level['cores']}" for level in machine_facts.facts()["core_levels"]] == levels


@pytest.mark.parametrize(("text", "expected"), [
    (mac.BATTERY, ("battery", 78)),
    ("Now drawing from 'AC Power'\n", ("mains", None)),
    ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged; 0:00 remaining", ("mains", 100)),
    ("Now drawing from 'UPS Power'\n", (None, None)),
    (mac.BATTERY[:40], ("battery", None)),
    (mac.BATTERY.replace("78%", "780%"), ("battery", None)),
    ("", (None, None)),
])  # fmt: skip
def test_battery(text, expected):
    assert machine_facts.battery(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    (mac.PMSET, "low power"),
    (" lowpowermode         1\n", "low power"),
    (" lowpowermode         0\n", "automatic"),
    (" powermode 2\n lowpowermode 1\n", "high power"),
    (" powermode 7\n", None),
    (" powermode\n", None),
    ("", None),
])  # fmt: skip
def test_power_mode(text, expected):
    assert machine_facts.power_mode(text) == expected


def test_another_language_writes_a_comma():
    assert machine_facts.megabytes("1024,50M") == machine_facts.megabytes("1024.50M") == int(1024.5 * 2**20)
    assert machine_facts.megabytes("nan") is machine_facts.megabytes("1e300M") is machine_facts.megabytes("") is None


junk = st.one_of(st.text(), st.binary().map(lambda b: b.decode("utf-8", "replace")), st.just("9" * 5000))


@given(junk)
def test_parsers_take_any_text(text):
    (
        machine_facts.battery(text),
        machine_facts.power_mode(text),
        machine_facts.megabytes(text),
        machine_facts.cpu_list(text[:50]),
    )
    assert machine_facts.tried(machine_facts.vm_free, text) in (None, 0)
    assert machine_facts.number(text) is None or 1 <= machine_facts.number(text) <= 10**6
    assert machine_facts.clean(text) is None or NAME.fullmatch(machine_facts.clean(text))
    facts = {"chip": machine_facts.clean(text), "cores": 2, "model": None, "gpus": None, "driver": None}
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,47}", machine_facts.slug(facts))


@given(st.data())
def test_parsers_take_any_cut_or_changed_output(data):
    output = data.draw(st.sampled_from((mac.IOREG, json.dumps(mac.SYSTEM_PROFILER).encode(), mac.VM_STAT.encode())))
    at, new = data.draw(st.integers(0, len(output))), data.draw(st.binary(max_size=4))
    for changed in (output[:at], output[:at] + new + output[at + len(new) :]):
        product = machine_facts.tried(machine_facts.product_name, changed)
        gpus = machine_facts.tried(machine_facts.mac_gpus, changed) or []
        free = machine_facts.tried(machine_facts.vm_free, changed.decode("utf-8", "replace"))
        assert product is None or isinstance(product, str)
        assert all(Gpu.model_validate(gpu) for gpu in gpus)
        assert free is None or 0 <= free <= 10**15


@pytest.mark.parametrize(("facts", "expected"), [
    ({"chip": "AMD EPYC", "cores": 2}, "amd-epyc-2-cores"),
    ({"chip": "Apple M1 Max", "cores": 10, "model": "Mac Studio (2022)", "gpus": [{"name": "Apple M1 Max"}]},
     "m1-max-mac-studio"),
    ({"chip": "Intel(R) Xeon(R)", "cores": 8, "gpus": [{"name": "NVIDIA H200"}], "driver": "570"}, "nvidia-h200"),
    ({"chip": "x", "gpus": [{"name": "Tesla T4"}], "driver": "570.1"}, "nvidia-tesla-t4"),
    ({"chip": "Intel(R) Core(TM) i7-8700 CPU 3.20GHz", "cores": 6}, "intel-core-i7-8700-cpu-3-20ghz-6-cores"),
    ({"chip": "x" * 64, "cores": 128}, "x" * 38 + "-128-cores"),
    ({"chip": None, "arch": "aarch64", "cores": None}, "aarch64"),
    ({"chip": "(TM)"}, "machine"),
    ({}, "machine"),
])  # fmt: skip
def test_slug(facts, expected):
    assert machine_facts.slug(facts) == expected and len(expected) <= 48


def test_clean():
    assert machine_facts.clean("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz") == "Intel(R) Core(TM) i7-8700 CPU 3.20GHz"
    assert machine_facts.clean("<b>x</b>") == "b x /b"
    assert machine_facts.clean("  __-é") is machine_facts.clean("") is machine_facts.clean(None) is None
    assert machine_facts.clean("a" * 63 + " b") == "a" * 63


def test_this_machine():
    facts, state = machine_facts.facts(), machine_facts.state()
    fits(facts, state)
    assert facts["cores"] <= facts["logical_cores"] == len(os.sched_getaffinity(0))
    assert state["load_1m"] is not None and state["free_memory_bytes"] > 0


def test_linux_from_its_files(files, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    files("proc/cpuinfo", "processor : 0\nmodel name\t: Intel(R) Core(TM) i7-12700\n")
    files("sys/class/dmi/id/sys_vendor", "LENOVO\n")
    files("sys/class/dmi/id/product_name", "ThinkPad X1")
    for cpu, siblings in enumerate(("0-1", "0-1", "2", "3")):
        files(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", siblings)
    files("sys/devices/cpu_core/cpus", "0-1\n")
    files("sys/devices/cpu_atom/cpus", "2-3\n")
    facts = machine_facts.facts()
    assert (facts["chip"], facts["model"]) == ("Intel(R) Core(TM) i7-12700", "LENOVO ThinkPad X1")
    assert (facts["cores"], facts["logical_cores"]) == (3, 4)
    assert facts["core_levels"] == [{"name": "Performance", "cores": 1}, {"name": "Efficiency", "cores": 2}]


def test_a_container_offers_what_its_group_allows(files, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 8)
    files("proc/self/cgroup", "0::/a/b\n")
    files("sys/fs/cgroup/a/b/memory.max", "max\n")
    files("sys/fs/cgroup/a/memory.max", "1000000000\n")
    files("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n")
    files("sys/fs/cgroup/cpu.max", "max 100000\n")
    facts = machine_facts.facts()
    assert (facts["cores"], facts["logical_cores"], facts["memory_bytes"]) == (3, 3, 10**9)


def test_a_mangled_group_limits_nothing(files):
    files("proc/self/cgroup", "0::/../..\n")
    files("sys/fs/cgroup/cpu.max", "0 0")
    files("sys/fs/cgroup/memory.max", "-5")
    facts = machine_facts.facts()
    assert facts["memory_bytes"] == psutil.virtual_memory().total and facts["cores"] >= 1


def test_state_of_a_laptop_on_linux(files, monkeypatch):
    cell = types.SimpleNamespace(percent=55.5, power_plugged=False)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: cell, raising=False)
    files("sys/firmware/acpi/platform_profile", "low-power\n")
    files("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    files("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n")
    state = machine_facts.state()
    assert (state["power_source"], state["battery_percent"], state["power_mode"]) == ("battery", 55.5, "low-power")
    assert state["governor"] == "powersave (intel_pstate)"


def test_psutil_that_fails_is_no_trouble(files, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("host_statistics64(HOST_VM_INFO64): (ipc/mig) array not large enough")

    for name in ("virtual_memory", "swap_memory", "sensors_battery", "cpu_count"):
        monkeypatch.setattr(psutil, name, fail, raising=False)
    monkeypatch.setattr(os, "getloadavg", fail)
    fits(machine_facts.facts(), machine_facts.state())
    assert machine_facts.state()["unknown"]["swap_used_bytes"]


class FakeNvml(types.ModuleType):
    """NVML with one GPU that does not tell its cores."""

    NVMLError = RuntimeError

    def nvmlInit(self): ...
    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlSystemGetDriverVersion(self):
        return "570.86.15"

    def nvmlDeviceGetName(self, _):
        return "NVIDIA H200"

    def nvmlDeviceGetMemoryInfo(self, _):
        return types.SimpleNamespace(total=150_754_820_096)

    def nvmlDeviceGetNumGpuCores(self, _):
        raise RuntimeError("Not Supported")


def test_an_nvidia_gpu(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("pynvml"))
    facts = machine_facts.facts()
    fits(facts, machine_facts.state())
    (gpu,) = facts["gpus"]
    assert (gpu["name"], gpu["cores"], gpu["memory_bytes"]) == ("NVIDIA H200", None, 150_754_820_096)
    assert facts["driver"] == "570.86.15" and machine_facts.slug(facts) == "nvidia-h200"


def test_an_nvidia_gpu_without_its_library_is_unknown_not_none(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine_facts.facts()["gpus"] == []
    files("proc/driver/nvidia/version", "NVRM version: 570")
    facts = machine_facts.facts()
    assert facts["gpus"] is None and "pip install nvidia-ml-py" in facts["unknown"]["gpus"]


def test_a_tool_is_bounded_in_time_and_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, script in (("hang", "sleep 60"), ("flood", "exec yes"), ("holder", "sleep 60 & echo out")):
        mac.tool(tmp_path, name, script)
        start = time.monotonic()
        assert machine_facts.tool(name, timeout_s=0.5) is None
        assert time.monotonic() - start < 1.5
    assert machine_facts.tool("printf", "a\\0b") == b"a\0b"
    assert machine_facts.tool("no such tool") is machine_facts.tool("false") is machine_facts.tool("a\0b") is None


def test_a_tool_leaves_no_child(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    mac.tool(tmp_path, "parent", f"sleep 60 & echo $! > '{tmp_path}/pid'; wait")
    machine_facts.tool("parent", timeout_s=0.5)
    pid = int((tmp_path / "pid").read_text())
    for _ in itertools.takewhile(lambda _: alive(pid), range(50)):
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_versions_fit_a_record():
    told = machine_facts.versions()
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["commit"] or told["unknown"]["commit"]
    assert machine_facts.versions() == told and machine_facts.killed_for_memory() >= 0


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_facts, "ROOT", tmp_path)
    assert machine_facts.commit() is None
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b")

    def committed(folder: str) -> str | None:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a").write_text(folder)
        assert None not in (machine_facts.tool(*git, "add", "."), machine_facts.tool(*git, "commit", "-m", folder))
        return machine_facts.commit()

    machine_facts.tool(*git, "init")
    code = committed("src")
    assert code and committed("reports") == code, "records were committed, the code is the same"
    (tmp_path / "src" / "a").write_text("b")
    assert machine_facts.commit() == f"{code}+changes"
    assert committed("notebooks") != code


def test_importing_does_no_work():
    code = "import sys; from siliconbench.machine import doctor, facts, sampler; print('torch' in sys.modules)"
    assert machine_facts.tool(sys.executable, "-c", code, timeout_s=20.0) == b"False\n"
