"""The facts and the state of a Mac from its documented tools, of Linux from files, and of tools that misbehave."""

import itertools
import json
import os
import re
import sys
import time
import tomllib
import types
from collections import namedtuple

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconbench import paths
from siliconbench.machine import facts as machine_facts
from siliconbench.machine import tools as asked
from siliconbench.record.host import Gpu, Machine, State
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
FACTS = "slug chip model cores logical_cores core_levels gpus memory_bytes os os_build arch driver "
FACTS += "smt container wsl rosetta unknown"
STATE = (
    "power_source battery_percent power_mode governor thermal_pressure "
    "load_1m swap_used_bytes free_memory_bytes unknown"
)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder with the tools of a Mac, first on the PATH of a machine that believes it is one."""
    folder = mac.install(tmp_path / "bin")
    monkeypatch.setattr(asked, "PLATFORM", "darwin")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An empty Linux: write(path, text) fills /proc and /sys."""
    monkeypatch.setattr(asked, "PLATFORM", "linux")
    monkeypatch.setattr(asked, "PROC", tmp_path / "proc")
    monkeypatch.setattr(asked, "SYS", tmp_path / "sys")

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


def fits(facts, state):
    """Whether a record takes them: each None explained, names clean, numbers possible."""
    Machine.model_validate(facts)
    State.model_validate(state)
    assert set(facts) == set(FACTS.split()) and set(state) == set(STATE.split())


def test_a_mac(tools):
    facts, state = machine_facts.machine().model_dump(), machine_facts.state().model_dump()
    fits(facts, state)
    assert facts["chip"] == "Apple M3 Pro"
    assert facts["model"] == "MacBook Pro (14-inch, Nov 2024)"
    assert (facts["cores"], facts["logical_cores"], facts["memory_bytes"]) == (11, 11, 25769803776)
    assert facts["core_levels"] == [{"name": "Performance", "cores": 5}, {"name": "Efficiency", "cores": 6}]
    assert [(g["name"], g["cores"], g["memory_bytes"]) for g in facts["gpus"]] == [("Apple M2 Pro", 19, None)]
    assert (facts["os"], facts["os_build"]) == ("macOS 26.1", "25B78")
    assert set(facts["unknown"]) == {"driver"}
    assert (facts["smt"], facts["container"], facts["wsl"], facts["rosetta"]) == (False, False, False, False)
    assert (state["power_source"], state["battery_percent"], state["power_mode"]) == ("battery", 78, "low power")
    assert (state["thermal_pressure"], state["swap_used_bytes"]) == ("heavy", int(1024.5 * 2**20))
    assert state["free_memory_bytes"] == 16384 * (12345 + 55555)
    assert set(state["unknown"]) == {"governor"}
    assert re.fullmatch("apple-m3-pro-[a-z0-9]{4}", facts["slug"])


def test_no_secret_of_the_mac_is_kept(tools):
    told = json.dumps([machine_facts.machine().model_dump(), machine_facts.state().model_dump()])
    assert not [secret for secret in mac.SECRETS if secret in told]


@pytest.mark.parametrize("broken", mac.BROKEN)
@pytest.mark.parametrize("name", LOST)
def test_a_broken_tool_costs_its_own_facts_only(tools, monkeypatch, name, broken):
    monkeypatch.setitem(asked.tool.__kwdefaults__, "timeout_s", 0.03 if name == "sysctl" else 0.1)
    monkeypatch.setattr(machine_facts, "tool", lambda *argv, timeout_s=0.0, ask=asked.tool: ask(*argv))
    mac.tool(tools, name, mac.BROKEN[broken])
    start = time.monotonic()
    facts, state = machine_facts.machine().model_dump(), machine_facts.state().model_dump()
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
        patch.setattr(asked, "PLATFORM", "darwin")
        patch.setattr(machine_facts, "tool", prints)
        fits(machine_facts.machine().model_dump(), machine_facts.state().model_dump())


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
    assert machine_facts.state().model_dump()["thermal_pressure"] == expected


def install_all(folder, broken):
    """None; all that a Mac has, its tools and its Python packages, each as documented or broken in a way of its own."""
    tools, site = mac.install(folder / "bin"), folder / "site"
    mac.install_macmon(tools)
    mac.install_actop(site, *(["{"] if broken else []))
    mac.install_zeus(site)
    patience = "tools.tool.__kwdefaults__['timeout_s'] = 1.0\n" if broken else ""  # for the tool that hangs; else 5 s
    (site / "sitecustomize.py").write_text(
        f"from siliconbench.machine import tools\ntools.PLATFORM = 'darwin'\n{patience}"
    )
    for name, way in broken.items():
        mac.tool(tools, name, mac.BROKEN[way])


WAYS = {"sysctl": "is mangled", "ioreg": "dies", "system_profiler": "floods", "pmset": "is empty", "sw_vers": "fails",
        "notifyutil": "hangs", "vm_stat": "leaves a child behind"}  # fmt: skip


@pytest.mark.parametrize("broken", [WAYS], ids=["broken tools"])
def test_make_image_on_a_mac_from_its_tools_to_its_page(tmp_path, broken):
    install_all(tmp_path, broken)
    if broken:
        flood = f"exec yes '{json.dumps(mac.MACMON)[:-9]}'"
        mac.tool(tmp_path / "bin", "macmon", f'[ "$1" = --version ] && echo "macmon 0.8.2" && exit 0\n{flood}')
    own = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path / "site")}
    done = make_image(tmp_path, USE_GPU="0", MIN_SECONDS="0.5", **own)
    assert done.returncode == 0, done.stderr
    (path,), (page,) = (tmp_path / "reports" / "mine").glob("*/*.json"), (tmp_path / "reports").glob("*.html")
    told, text = path.read_text(), page.read_text("utf-8")
    assert json.loads(told)["status"] == "ok"
    assert not [secret for secret in mac.SECRETS if secret in told + text]
    shown = ["MacBook Pro (14-inch, Nov 2024)", "macOS 26.1 25B78", "99 °C (CPU), 1,200 rpm"]
    shown += ["battery, low power", ">heavy<"]
    assert [words in text for words in shown] == [not broken] * 5
    assert ("actop: it printed what is no JSON" in text) == bool(broken)


def test_a_mac_without_any_tool(tmp_path, monkeypatch):
    monkeypatch.setattr(asked, "PLATFORM", "darwin")
    monkeypatch.setattr(machine_facts, "tool", lambda *argv, **_: None)
    facts, state = machine_facts.machine().model_dump(), machine_facts.state().model_dump()
    fits(facts, state)
    assert facts["chip"] is None and state["power_source"] is None
    assert facts["slug"]


def test_three_levels_of_cores(tools):
    levels = ["Super 2", "Performance 4", "Efficiency 6"]
    cases = "".join(f"'-n hw.perflevel{i}.name') echo {n.split()[0]};; '-n hw.perflevel{i}.physicalcpu') echo "
                    f"{n.split()[1]};;\n" for i, n in enumerate(levels))  # fmt: skip
    mac.tool(tools, "sysctl", f"case \"$*\" in '-n hw.nperflevels') echo 3;;\n{cases} esac")
    assert [
        f"{level['name']} {level['cores']}" for level in machine_facts.machine().model_dump()["core_levels"]
    ] == levels


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
    (machine_facts.battery(text), machine_facts.power_mode(text), machine_facts.megabytes(text))
    assert isinstance(machine_facts.cpu_list(text[:50]), set)
    assert asked.tried(machine_facts.vm_free, text) in (None, 0)
    assert asked.number(text) is None or 1 <= asked.number(text) <= 10**6
    assert asked.clean(text) is None or NAME.fullmatch(asked.clean(text))


@given(st.data())
def test_parsers_take_any_cut_or_changed_output(data):
    output = data.draw(st.sampled_from((mac.IOREG, json.dumps(mac.SYSTEM_PROFILER).encode(), mac.VM_STAT.encode())))
    at, new = data.draw(st.integers(0, len(output))), data.draw(st.binary(max_size=4))
    for changed in (output[:at], output[:at] + new + output[at + len(new) :]):
        gpus = asked.tried(machine_facts.gpus, changed) or []
        free = asked.tried(machine_facts.vm_free, changed.decode("utf-8", "replace"))
        assert all(Gpu.model_validate(gpu) for gpu in (g.model_dump() for g in gpus))
        assert free is None or 0 <= free <= 10**15


def test_clean():
    assert asked.clean("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz") == "Intel(R) Core(TM) i7-8700 CPU 3.20GHz"
    assert asked.clean("<b>x</b>") == "b x /b"
    assert asked.clean("  __-é") is asked.clean("") is asked.clean(None) is None
    assert asked.clean("a" * 63 + " b") == "a" * 63


def test_this_machine():
    facts, state = machine_facts.machine().model_dump(), machine_facts.state().model_dump()
    fits(facts, state)
    assert facts["cores"] <= facts["logical_cores"] == machine_facts.usable_cores()
    assert state["load_1m"] is not None and state["free_memory_bytes"] > 0


def offered(monkeypatch, processors):
    """Makes the system offer so many processors, none of them taken away by this machine's own limits."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr("loky.backend.context._cpu_count_cgroup", lambda most: most)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)


def test_a_quota_of_two_processors_on_64_is_two_for_everybody(files, monkeypatch):
    offered(monkeypatch, 64)
    files("proc/self/cgroup", "0::/\n")
    assert machine_facts.usable_cores() == 64
    files("sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert machine_facts.usable_cores() == machine_facts.machine().logical_cores == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_processor_may_use_one():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from siliconbench.machine import facts; m = facts.machine(); print(facts.usable_cores(), m.cores)"
    assert asked.tool(sys.executable, "-c", code, timeout_s=30.0) == b"1 1\n"


LINUX = "user nice system idle iowait irq softirq steal guest guest_nice"


@pytest.mark.parametrize(("fields", "values", "expected"), [
    (LINUX, (700, 50, 30, 900, 100, 1, 2, 3, 600, 40), (786, 1786)),  # 600 of the 700 are a virtual machine's
    ("user nice system idle", (700, 50, 30, 900), (780, 1680)),  # macOS
])  # fmt: skip
def test_a_busy_guest_is_busy_time(monkeypatch, fields, values, expected):
    times = namedtuple("scputimes", fields)(*values)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)
    assert machine_facts.cpu_seconds() == expected


def test_linux_from_its_files(files, monkeypatch):
    offered(monkeypatch, 4)
    files("proc/cpuinfo", "processor : 0\nmodel name\t: Intel(R) Core(TM) i7-12700\n")
    files("sys/class/dmi/id/sys_vendor", "LENOVO\n")
    files("sys/class/dmi/id/product_name", "ThinkPad X1")
    for cpu, siblings in enumerate(("0-1", "0-1", "2", "3")):
        files(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", siblings)
    files("sys/devices/cpu_core/cpus", "0-1\n")
    files("sys/devices/cpu_atom/cpus", "2-3\n")
    facts = machine_facts.machine().model_dump()
    assert (facts["chip"], facts["model"]) == ("Intel(R) Core(TM) i7-12700", "LENOVO ThinkPad X1")
    assert (facts["cores"], facts["logical_cores"]) == (3, 4)
    assert facts["core_levels"] == [{"name": "Performance", "cores": 1}, {"name": "Efficiency", "cores": 2}]


def test_a_container_offers_what_its_group_allows(files, monkeypatch):
    offered(monkeypatch, 8)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 8)
    files("proc/self/cgroup", "0::/a/b\n")
    files("sys/fs/cgroup/a/b/memory.max", "max\n")
    files("sys/fs/cgroup/a/memory.max", "1000000000\n")
    files("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n")
    files("sys/fs/cgroup/cpu.max", "max 100000\n")
    facts = machine_facts.machine().model_dump()
    assert (facts["cores"], facts["logical_cores"], facts["memory_bytes"]) == (3, 3, 10**9)


def test_a_mangled_group_limits_nothing(files):
    files("proc/self/cgroup", "0::/../..\n")
    files("sys/fs/cgroup/cpu.max", "0 0")
    files("sys/fs/cgroup/memory.max", "-5")
    facts = machine_facts.machine().model_dump()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert facts["memory_bytes"] == memory and facts["cores"] >= 1


def test_state_of_a_laptop_on_linux(files, monkeypatch):
    cell = types.SimpleNamespace(percent=55.5, power_plugged=False)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: cell, raising=False)
    files("sys/firmware/acpi/platform_profile", "low-power\n")
    files("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    files("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n")
    state = machine_facts.state().model_dump()
    assert (state["power_source"], state["battery_percent"], state["power_mode"]) == ("battery", 55.5, "low-power")
    assert state["governor"] == "powersave (intel_pstate)"


def test_psutil_that_fails_is_no_trouble(files, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("host_statistics64(HOST_VM_INFO64): (ipc/mig) array not large enough")

    for name in ("virtual_memory", "swap_memory", "sensors_battery", "cpu_count"):
        monkeypatch.setattr(psutil, name, fail, raising=False)
    monkeypatch.setattr(os, "getloadavg", fail)
    fits(machine_facts.machine().model_dump(), machine_facts.state().model_dump())
    assert machine_facts.state().model_dump()["unknown"]["swap_used_bytes"]


def test_an_nvidia_gpu(files, nvml):
    facts = machine_facts.machine().model_dump()
    fits(facts, machine_facts.state().model_dump())
    gpu = facts["gpus"][0]
    assert (gpu["name"], gpu["cores"], gpu["memory_bytes"]) == ("Tesla T4", None, 15_843_721_216)
    assert facts["driver"] == "570.86.15" and re.fullmatch("tesla-t4-[a-z0-9]{4}", facts["slug"])


@pytest.mark.parametrize(("path", "text", "expected"), [
    ("proc/1/comm", "systemd\n", False),
    ("proc/1/comm", "init(Ubuntu)\n", False),
    ("proc/1/comm", "bash\n", None),
    (".dockerenv", "", True),
    ("run/.containerenv", "", True),
    ("run/systemd/container", "lxc", True),
    ("proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice\n", True),
    ("proc/self/mountinfo", "22 1 0:21 / /proc rw\n637 436 0:51 / / rw - overlay overlay rw\n", True),
    ("proc/self/mountinfo", "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 29 0:9 / /snap rw - overlay a rw\n", None),
])  # fmt: skip
def test_a_container_by_what_its_engine_leaves(files, monkeypatch, path, text, expected):
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    files(path, text)
    machine = machine_facts.machine()
    assert machine.container is expected and bool(machine.unknown.get("container")) == (expected is None)


@pytest.mark.parametrize(("release", "chip", "wsl", "rosetta"), [
    ("6.1.0-18-amd64", "AMD EPYC", False, False),
    ("5.15.167.4-microsoft-standard-WSL2", "AMD EPYC", True, False),
    ("6.10.14-linuxkit", "VirtualApple @ 2.50GHz", False, True),
])  # fmt: skip
def test_linux_within_another_system(files, monkeypatch, release, chip, wsl, rosetta):
    monkeypatch.setattr(machine_facts.platform, "release", lambda: release)
    files("proc/cpuinfo", f"model name : {chip}\n")
    machine = machine_facts.machine()
    assert (machine.wsl, machine.rosetta) == (wsl, rosetta)


@pytest.mark.parametrize(("text", "expected"), [("1\n", True), ("0\n", False), ("", None), ("off", None)])
def test_two_threads_a_core_on_linux(files, text, expected):
    files("sys/devices/system/cpu/smt/active", text)
    assert machine_facts.machine().smt is expected


@pytest.mark.parametrize(("translated", "logical", "rosetta", "smt"), [
    ("0", "11", False, False), ("1", "11", True, False), ("", "22", None, True), ("nonsense", "", None, None),
])  # fmt: skip
def test_two_threads_a_core_and_rosetta_on_a_mac(tools, translated, logical, rosetta, smt):
    told = {"sysctl.proc_translated": translated, "hw.physicalcpu": "11", "hw.logicalcpu": logical}
    cases = "".join(f"'-n {key}') echo '{value}';;\n" for key, value in told.items())
    mac.tool(tools, "sysctl", f'case "$*" in {cases} esac')
    machine = machine_facts.machine()
    assert (machine.rosetta, machine.smt, machine.container, machine.wsl) == (rosetta, smt, False, False)


CLOCKS = (("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"), ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW"))


@pytest.mark.parametrize(("running", "standing"), CLOCKS, ids=["Linux", "macOS"])
def test_sleep_is_where_two_clocks_part(monkeypatch, running, standing):
    clock = types.SimpleNamespace(clock_gettime=lambda name: {"runs": 1060.0, "stands": 1000.0}[name])
    setattr(clock, running, "runs")
    setattr(clock, standing, "stands")
    monkeypatch.setattr(machine_facts, "time", clock)
    assert machine_facts.asleep_s() == 60
    monkeypatch.setattr(machine_facts, "time", types.SimpleNamespace())
    assert machine_facts.asleep_s() is None


def test_an_nvidia_gpu_without_its_library_is_unknown_not_none(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine_facts.machine().model_dump()["gpus"] == []
    files("proc/driver/nvidia/version", "NVRM version: 570")
    facts = machine_facts.machine().model_dump()
    assert facts["gpus"] is None and "pip install nvidia-ml-py" in facts["unknown"]["gpus"]


def test_a_tool_is_bounded_in_time_and_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, script in (("hang", "sleep 60"), ("flood", "exec yes")):
        mac.tool(tmp_path, name, script)
        start = time.monotonic()
        assert asked.tool(name, timeout_s=0.5) is None
        assert time.monotonic() - start < 1.5
    mac.tool(tmp_path, "holder", "sleep 60 & echo out")
    start = time.monotonic()
    assert asked.tool("holder", timeout_s=5.0) == b"out\n" and time.monotonic() - start < 2, "its child holds nobody up"
    assert asked.tool("printf", "a\\0b") == b"a\0b"
    assert asked.tool("no such tool") is asked.tool("false") is asked.tool("a\0b") is None


def test_a_tool_leaves_no_child(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    mac.tool(tmp_path, "parent", f"sleep 60 & echo $! > '{tmp_path}/pid'; wait")
    asked.tool("parent", timeout_s=0.5)
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
    with (paths.ROOT / "pyproject.toml").open("rb") as file:  # it runs from its source, installed or not
        assert told["siliconbench"] == tomllib.load(file)["project"]["version"]
    assert machine_facts.versions() == told and machine_facts.killed_for_memory() >= 0


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert machine_facts.commit() is None
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b")

    def committed(folder: str) -> str | None:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a").write_text(folder)
        assert None not in (asked.tool(*git, "add", "."), asked.tool(*git, "commit", "-m", folder))
        return machine_facts.commit()

    asked.tool(*git, "init")
    code = committed("src")
    assert code and committed("reports") == code, "records were committed, the code is the same"
    (tmp_path / "src" / "a").write_text("b")
    assert machine_facts.commit() == f"{code}+changes"
    assert committed("notebooks") != code


def test_importing_does_no_work():
    code = "import sys; from siliconbench.machine import doctor, facts, sampler; print('torch' in sys.modules)"
    assert asked.tool(sys.executable, "-c", code, timeout_s=20.0) == b"False\n"
