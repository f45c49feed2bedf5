"""What this machine is, its power state and its software; nothing that tells whose it is."""

import json
import math
import os
import platform
import plistlib
import re
import time
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import psutil

from siliconbench import paths
from siliconbench.machine import naming, tools
from siliconbench.machine.sources import nvml
from siliconbench.machine.tools import Pairs, clean, content, gpu, matched, number, section, text_of, tool, tried
from siliconbench.record.host import Gpu, Level, Machine, State

PRESSURE = ("nominal", "moderate", "heavy", "trapping", "sleeping")  # libkern/OSThermalNotification.h
CORES = ("hw.physicalcpu", "hw.logicalcpu")
LEVELS = {"Performance": "cpu_core", "Efficiency": "cpu_atom"}  # of a hybrid chip, by the kernel's folder
EMPTY_NAMES = "to be filled|system product name|default string|not specified|system manufacturer"  # of board makers


def machine(slug: str = "", uuid: str = "") -> Machine:
    """Chip, cores, GPUs, memory and system; its own name unless one is given, or its chip's where none can be kept.
    Spawns tools.

    uuid: of the GPU that was measured, as torch calls it, which then is the first of the GPUs."""
    pairs = mac_facts() if tools.PLATFORM == "darwin" else linux_facts(uuid)
    known = section(Machine, pairs | {"arch": (platform.machine(), "Python does not know")}, slug=slug or "machine")
    return known if slug else known.model_copy(update={"slug": tried(naming.own, known) or naming.of_chip(known)})


def state() -> State:
    """The power and load at this moment. Spawns tools: not for a timed region."""
    pairs = mac_state() if tools.PLATFORM == "darwin" else linux_state()
    return section(State, {**pairs, "load_1m": (tried(lambda: os.getloadavg()[0]), "the system tells no load")})


def asleep_s() -> float | None:
    """Seconds that the system has been suspended since its start, by a clock that runs on then and one that does not,
    neither of which anybody sets: Linux's clock_gettime(2), macOS's clock_gettime(3). None where there are none."""
    for running, standing in (("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"), ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW")):
        if hasattr(time, running) and hasattr(time, standing):
            return time.clock_gettime(getattr(time, running)) - time.clock_gettime(getattr(time, standing))
    return None


def cpu_seconds() -> tuple[float, float]:
    """Seconds of all cores since the start of the system: busy (not waiting for a disk: proc(5)), and in all."""
    times = psutil.cpu_times()
    total = sum(times[:8])  # user to steal; what comes after, a guest's, is in user already
    if tools.PLATFORM == "darwin":  # a core that is parked counts no idle time there
        return total - times.idle, time.monotonic() * (os.cpu_count() or 1)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def versions() -> dict[str, Any]:
    """The versions of what runs here, without importing it; None is explained in `unknown`."""
    values = {"commit": (commit(), "this is no git checkout, or git can't read it")}
    for name in ("torch", "torchvision"):
        values[name] = (tried(metadata.version, name), "it is not installed as a package")
    values["siliconbench"] = (matched(r'^version = "([\w.]+)"', content(paths.ROOT, "pyproject.toml")) or "unknown", "")
    return tools.explained({**values, "python": (platform.python_version(), "")})


def commit() -> str | None:
    """The last commit of code or notebooks (records change no figure), +changes if they differ; None: no checkout."""
    if not (paths.ROOT / ".git").exists():
        return None
    git, code = ("git", "-C", str(paths.ROOT)), ("--", "src", "notebooks")
    name = matched(r"^([0-9a-f]{40})$", text_of(tool(*git, "log", "-1", "--format=%H", *code)))
    return name and name[:12] + ("+changes" if tool(*git, "status", "--porcelain", *code) else "")


def linux_facts(uuid: str = "") -> Pairs:
    """The facts on Linux, each with the reason that counts if it is None."""
    kinds = [(name, physical(cpu_list(content(tools.SYS, "devices", file, "cpus")))) for name, file in LEVELS.items()]
    usable, affinity = usable_cores(), tried(lambda: os.sched_getaffinity(0)) or set[int]()  # macOS has no affinity
    cores = min(physical(affinity) or tried(psutil.cpu_count, False) or usable, usable)
    gpus, driver, why = nvidia(uuid)
    limits = [number(text, 10**15) for text in cgroup("memory.max")]  # less where a control group allows less
    memory = min((n for n in (tried(lambda: psutil.virtual_memory().total), *limits) if n), default=None)
    dmi = tools.SYS / "class" / "dmi" / "id"
    names = [content(dmi, "sys_vendor"), content(dmi, "product_name"), content(tools.PROC, "device-tree", "model")]
    model = " ".join(name for name in names if name and not re.search(EMPTY_NAMES, name, re.IGNORECASE)) or None
    pattern = r"(?i)^model name\s*:\s*(.+)$"
    chip = matched(pattern, content(tools.PROC, "cpuinfo")) or matched(pattern, text_of(tool("lscpu")))
    return {
        "chip": (chip, "neither /proc/cpuinfo nor lscpu names the chip"),
        "model": (model, "the firmware names no model (usual in a virtual machine or container)"),
        "cores": (cores, "the system tells no number of cores"),
        "logical_cores": (usable, "the system tells no number of processors"),
        "core_levels": ([Level(name=name, cores=n) for name, n in kinds if n], ""),
        "gpus": (gpus, why),
        "memory_bytes": (memory, "/proc/meminfo could not be read"),
        "os": ((tried(platform.freedesktop_os_release) or {}).get("PRETTY_NAME"), "there is no /etc/os-release"),
        "os_build": (platform.release(), "Python does not know"),
        "driver": (driver, why),
        "smt": ({"1": True, "0": False}.get(content(tools.SYS, "devices/system/cpu/smt/active")), "Linux shows no SMT"),
        "container": (container(), "it shows no sign of one, but its first process is no system's"),
        "wsl": ("microsoft" in platform.release().lower(), ""),
        "rosetta": ("VirtualApple" in (chip or ""), ""),  # Linux on a Mac, its x86 programs translated
    }


def container() -> bool | None:
    """Whether this is a container, by what the engines leave in one; None where nothing tells."""
    top, first = tools.PROC.parent, content(tools.PROC, "1", "comm")
    signs = [(top / name).exists() for name in (".dockerenv", "run/.containerenv", "run/systemd/container")]
    signs += [bool(os.environ.get(name)) for name in ("container", "KUBERNETES_SERVICE_HOST")]
    signs += [bool(re.search("docker|kubepods|containerd|libpod|lxc", content(tools.PROC, "1", "cgroup")))]
    signs += [bool(re.search(r"(?m)^(\S+ ){4}/ .* - overlay ", content(tools.PROC, "self", "mountinfo")))]
    return True if any(signs) else False if first.startswith(("systemd", "init")) else None


def cpu_list(text: str) -> set[int]:
    """The processors in a list such as 0-3,8."""
    ranges = re.findall(r"\b(\d{1,5})(?:-(\d{1,5}))?\b", text)
    return {cpu for first, last in ranges for cpu in range(int(first), int(last or first) + 1)}


def physical(cpus: Iterable[int]) -> int:
    """How many cores these processors are: hyper-threads of one core count once, 0 if the system doesn't tell."""
    files = [f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list" for cpu in cpus]
    return len({content(tools.SYS, file) for file in files} - {""})


def usable_cores() -> int:
    """How many logical processors this process may use: by its affinity and its control groups' quotas, rounded up."""
    from loky import cpu_count  # by affinity, outermost group and LOKY_MAX_CPU_COUNT; takes 0.2 s to import

    limits = [re.fullmatch(r"(\d{1,15}) ([1-9]\d{0,14})", text) for text in cgroup("cpu.max")]
    quotas = [max(1, math.ceil(int(m[1]) / int(m[2]))) for m in limits if m]
    return min([tried(cpu_count) or os.cpu_count() or 1, *quotas])


def cgroup(name: str) -> list[str]:
    """This file of the process's control group and of each one above it; none where cgroup v2 isn't in use."""
    top = tools.SYS / "fs" / "cgroup"
    own = top / (matched(r"^0::/(.*)$", content(tools.PROC, "self", "cgroup")) or "")
    return [text for folder in (own, *own.parents) if folder.is_relative_to(top) and (text := content(folder, name))]


def nvidia(uuid: str) -> tuple[list[Gpu] | None, str | None, str]:
    """The NVIDIA GPUs by NVML, the driver, and the reason for what is None."""
    there = (tools.PROC / "driver" / "nvidia" / "version").exists()
    try:
        return *nvml.gpus(uuid), "NVML does not tell"
    except ImportError:
        why = f"NVML can't be asked: {tools.pip('nvidia-ml-py')}"
    except Exception as error:
        why = f"no NVIDIA driver answers ({clean(type(error).__name__)})"
    return None if there else [], None, why


def linux_state() -> Pairs:
    """The state on Linux, each value with the reason that counts if it is None."""
    cell: Any = tried(psutil.sensors_battery)
    policy = tools.SYS / "devices" / "system" / "cpu" / "cpu0" / "cpufreq"
    governor, scaling = content(policy, "scaling_governor"), content(policy, "scaling_driver")
    governed = f"{governor} ({scaling})" if governor and scaling else governor
    plugged = getattr(cell, "power_plugged", None)
    no_battery = "no battery is to be seen: a desktop, a server or a virtual machine"
    return {
        "power_source": (None if plugged is None else "mains" if plugged else "battery", no_battery),
        "battery_percent": (tried(lambda: min(100.0, max(0.0, float(cell.percent)))), no_battery),
        "power_mode": (content(tools.SYS / "firmware/acpi/platform_profile"), "the firmware offers no power modes"),
        "governor": (governed or None, "the system shows no governor (usual in a virtual machine)"),
        "thermal_pressure": (None, "Linux has no such level"),
        "swap_used_bytes": (tried(lambda: int(psutil.swap_memory().used)), "the swap could not be read"),
        "free_memory_bytes": (tried(lambda: int(psutil.virtual_memory().available)), "the memory could not be read"),
    }


def killed_for_memory() -> int:
    """How many processes the system has ended for want of memory so far; 0 where it keeps no count."""
    counts = matched(r"^oom_kill (\d{1,15})$", "\n".join(cgroup("memory.events")[:1]) or content(tools.PROC, "vmstat"))
    return int(counts or 0)


def sysctl(name: str) -> str | None:
    """One value of the kernel's, None if this system doesn't know it."""
    return text_of(tool("sysctl", "-n", name)) or None


def mac_facts() -> Pairs:
    """The facts on macOS, each with the reason that counts if it is None."""
    shown = tried(gpus, tool("system_profiler", "SPDisplaysDataType", "-json", timeout_s=20.0))
    plist = tool("ioreg", "-arc", "IOPlatformDevice", "-k", "product-name") or b""
    product = tried(lambda: text_of(plistlib.loads(plist)[0]["product-name"]))
    folders = [f"hw.perflevel{i}" for i in range(number(sysctl("hw.nperflevels"), 8) or 0)]  # an M6 has three
    kinds = [{"name": clean(sysctl(f"{at}.name")), "cores": number(sysctl(f"{at}.physicalcpu"))} for at in folders]
    levels = tried(lambda: [Level.model_validate(kind) for kind in kinds]) or None
    version, cores, logical = text_of(tool("sw_vers", "-productVersion")), *map(number, map(sysctl, CORES))
    translated = {"1": True, "0": False}.get(sysctl("sysctl.proc_translated") or "")
    return {
        "chip": (sysctl("machdep.cpu.brand_string"), "sysctl gave no machdep.cpu.brand_string"),
        "model": (product, "ioreg gave no product-name"),
        "cores": (cores, "sysctl gave no hw.physicalcpu"),
        "logical_cores": (logical, "sysctl gave no hw.logicalcpu"),
        "core_levels": (levels, "sysctl gave no names and counts for hw.perflevel0 and on"),
        "gpus": (shown, "system_profiler gave no list of displays"),
        "memory_bytes": (number(sysctl("hw.memsize"), 10**15), "sysctl gave no hw.memsize"),
        "os": (f"macOS {version}" if version else None, "sw_vers gave no version"),
        "os_build": (text_of(tool("sw_vers", "-buildVersion")), "sw_vers gave no build"),
        "driver": (None, "on macOS the driver is part of the system"),
        "smt": (logical > cores if logical and cores else None, "sysctl gave no numbers of cores"),
        "container": (False, ""),
        "wsl": (False, ""),
        "rosetta": (translated, "sysctl gave no sysctl.proc_translated: an Intel Mac has no Rosetta"),
    }


def gpus(printed: bytes) -> list[Gpu]:
    """The GPUs in system_profiler's JSON; raises on what is none."""
    shown, why = json.loads(printed)["SPDisplaysDataType"], "it shares the memory of the machine"
    return [gpu(clean(str(g.get("sppci_model"))), number(g.get("sppci_cores")), None, why, mig=False) for g in shown]


def mac_state() -> Pairs:
    """The state on macOS, each value with the reason that counts if it is None."""
    source, percent = battery(text_of(tool("pmset", "-g", "batt")))
    said = text_of(tool("notifyutil", "-g", "com.apple.system.thermalpressurelevel"))
    pressure = tried(lambda: PRESSURE[int(matched(r"^com\.apple\.system\.thermalpressurelevel (\d)$", said) or "")])
    swap = megabytes(matched(r"\bused = (\S+M)\b", sysctl("vm.swapusage") or ""))
    return {
        "power_source": (source, "pmset named no source of power"),
        "battery_percent": (percent, "pmset showed no battery"),
        "power_mode": (power_mode(text_of(tool("pmset", "-g"))), "pmset showed no power mode"),
        "governor": (None, "macOS has no governor"),
        "thermal_pressure": (pressure, "notifyutil gave no thermal pressure level"),
        "swap_used_bytes": (swap, "sysctl gave no vm.swapusage"),
        "free_memory_bytes": (tried(vm_free, text_of(tool("vm_stat"))), "vm_stat gave no free pages"),
    }


def battery(pmset: str) -> tuple[str | None, float | None]:
    """The power source and the battery's per cent in `pmset -g batt`, None for what it doesn't say."""
    source = {"AC Power": "mains", "Battery Power": "battery"}.get(matched(r"^Now drawing from '([^']+)'", pmset) or "")
    percent = matched(r"InternalBattery.*\s(\d{1,3})%", pmset)
    return source, float(percent) if percent and int(percent) <= 100 else None


def power_mode(pmset: str) -> str | None:
    """The power mode in `pmset -g`: powermode where a Mac has High Power, else lowpowermode; None if it has neither."""
    mode = matched(r"^\s*powermode\s+([012])\s*$", pmset) or matched(r"^\s*lowpowermode\s+([01])\s*$", pmset)
    return ("automatic", "low power", "high power")[int(mode)] if mode else None


def megabytes(text: str | None) -> int | None:
    """Bytes of a text such as 1024.50M (or 1024,50M, in some languages), None for another."""
    value = tried(float, (text or "").rstrip("M").replace(",", "."))
    return int(value * 2**20) if value is not None and 0 <= value < 1e9 else None


def vm_free(vm_stat: str) -> int:
    """Bytes free or soon to be had (inactive) in vm_stat's pages; raises on what is none."""
    size = int(matched(r"page size of (\d{1,9}) bytes", vm_stat) or "")
    pages = sum(int(matched(rf"^Pages {kind}:\s+(\d{{1,9}})\.", vm_stat) or "") for kind in ("free", "inactive"))
    return min(size * pages, 10**15)
