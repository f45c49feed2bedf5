"""What this machine is, and its power state; nothing that tells whose it is.

The system's own tools and files are asked one by one. One that is absent, hangs, dies, floods or answers nonsense
makes its fact None, with a reason, and never stops the program.
"""

import json
import math
import os
import platform
import plistlib
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import psutil

from siliconbench import paths

T = TypeVar("T")

Told = dict[str, tuple[Any, str]]  # each value with the reason that counts if it is None

PLATFORM: str = sys.platform

PROC, SYS = Path("/proc"), Path("/sys")


MOST_BYTES = 2**20  # no tool asked here prints a tenth of it

PRESSURE = ("nominal", "moderate", "heavy", "trapping", "sleeping")  # libkern/OSThermalNotification.h

EMPTY_NAMES = "to be filled|system product name|default string|not specified|system manufacturer"  # of board makers


def tried(read: Callable[..., T], *args: Any) -> T | None:
    """What read(*args) gives, None if it raises: no outside source may stop the program, whatever it does."""
    try:
        return read(*args)
    except Exception:
        return None


def tool(*argv: str, timeout_s: float = 5.0) -> bytes | None:
    """What a tool prints; None if it is absent, fails, takes longer than timeout_s or prints over a megabyte."""
    end_s = time.monotonic() + timeout_s
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin", "/usr/sbin", "/sbin"))
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C", "PATH": path},
            start_new_session=True,
        )
    except (OSError, ValueError):
        return None
    try:
        printed = _printed(child, end_s)
        return printed if child.wait(max(0.01, end_s - time.monotonic())) == 0 else None
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(child)


def _printed(child: subprocess.Popen[bytes], end_s: float) -> bytes:
    """All that a child prints; TimeoutExpired if it doesn't end in time, or prints too much."""
    assert child.stdout is not None
    printed, poll = b"", select.poll()
    poll.register(child.stdout, select.POLLIN | select.POLLHUP)
    while (left_s := end_s - time.monotonic()) > 0 and len(printed) <= MOST_BYTES:
        if poll.poll(1000 * left_s):
            if not (part := os.read(child.stdout.fileno(), 65536)):
                return printed
            printed += part
    raise subprocess.TimeoutExpired(child.args, 0)


def _end(child: subprocess.Popen[bytes]) -> None:
    """None; the child and all that it started are ended, if they aren't yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(1)
    if child.stdout:
        child.stdout.close()


def clean(text: str | None) -> str | None:
    """A name fit for a record: at most 64 plain characters, the first a letter or digit; None if nothing is left."""
    plain = re.sub(r"[^A-Za-z0-9_ .,()+/-]", " ", text or "")
    plain = re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r" +", " ", plain))
    return plain[:64].strip() or None


def number(text: str | None, most: int = 10**6) -> int | None:
    """The whole number that a text is, None unless it lies between 1 and most."""
    value = tried(int, text)
    return value if value is not None and 1 <= value <= most else None


def told(values: Told) -> dict[str, Any]:
    """The values, texts made clean, and in `unknown` the reason for each that is None."""
    given = {k: clean(v) if isinstance(v, str) else v for k, (v, _) in values.items()}
    return given | {"unknown": {k: why for k, (_, why) in values.items() if given[k] is None}}


def text_of(printed: bytes | None) -> str:
    """Printed bytes as text, empty for None and for what is no UTF-8."""
    return (tried((printed or b"").decode) or "").replace("\0", "").strip()


def content(*path: str | Path) -> str:
    """The text of a file, empty if it can't be read."""
    return text_of(tried(Path(*path).read_bytes))


def found(pattern: str, text: str) -> str | None:
    """What the pattern's group finds in a text of many lines, or None."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else None


def facts() -> dict[str, Any]:
    """What the machine is: chip, cores, GPUs, memory, system; None is explained in `unknown`. Spawns tools."""
    return told(mac_facts() if PLATFORM == "darwin" else linux_facts())


def state() -> dict[str, Any]:
    """The power and load at this moment; None is explained in `unknown`. Spawns tools: not for a timed region."""
    return told(mac_state() if PLATFORM == "darwin" else linux_state())


def sysctl(name: str) -> str | None:
    """One value of the kernel's, None if this system doesn't know it."""
    return text_of(tool("sysctl", "-n", name)) or None


def mac_facts() -> Told:
    """The facts on macOS, each with the reason that counts if it is None."""
    gpus = tried(mac_gpus, tool("system_profiler", "SPDisplaysDataType", "-json", timeout_s=20.0))
    product = tried(product_name, tool("ioreg", "-arc", "IOPlatformDevice", "-k", "product-name"))
    version = text_of(tool("sw_vers", "-productVersion"))
    return {
        "chip": (sysctl("machdep.cpu.brand_string"), "sysctl gave no machdep.cpu.brand_string"),
        "model": (product, "ioreg gave no product-name"),
        "cores": (number(sysctl("hw.physicalcpu")), "sysctl gave no hw.physicalcpu"),
        "logical_cores": (number(sysctl("hw.logicalcpu")), "sysctl gave no hw.logicalcpu"),
        "core_levels": (mac_levels(), "sysctl gave no names and counts for hw.perflevel0 and on"),
        "gpus": (gpus, "system_profiler gave no list of displays"),
        "memory_bytes": (number(sysctl("hw.memsize"), 10**15), "sysctl gave no hw.memsize"),
        "os": (f"macOS {version}" if version else None, "sw_vers gave no version"),
        "os_build": (text_of(tool("sw_vers", "-buildVersion")), "sw_vers gave no build"),
        "arch": (platform.machine(), "Python does not know"),
        "driver": (None, "on macOS the driver is part of the system"),
    }


def product_name(plist: bytes) -> str | None:
    """The marketing name in ioreg's property list; raises on what is none."""
    return text_of(plistlib.loads(plist)[0]["product-name"]) or None


def mac_levels() -> list[dict[str, Any]] | None:
    """The kinds of core, the fastest first, None unless each has a name and a count. An M6 has three."""
    levels = [
        {"name": clean(sysctl(f"hw.perflevel{i}.name")), "cores": number(sysctl(f"hw.perflevel{i}.physicalcpu"))}
        for i in range(number(sysctl("hw.nperflevels"), 8) or 0)
    ]
    return levels if levels and all(all(level.values()) for level in levels) else None


def mac_gpus(printed: bytes) -> list[dict[str, Any]]:
    """The GPUs in system_profiler's JSON; raises on what is none."""
    shown = [(clean(str(g.get("sppci_model"))), g) for g in json.loads(printed)["SPDisplaysDataType"]]
    return [gpu(name, number(g.get("sppci_cores")), None, "it shares the memory of the machine") for name, g in shown]


def gpu(name: str | None, cores: int | None, memory_bytes: int | None, why: str) -> dict[str, Any]:
    """One GPU; why is the reason that counts if its memory is None."""
    return {
        "name": name or "GPU",
        **told({"cores": (cores, "the system tells no number"), "memory_bytes": (memory_bytes, why)}),
    }


def mac_state() -> Told:
    """The state on macOS, each value with the reason that counts if it is None."""
    source, percent = battery(text_of(tool("pmset", "-g", "batt")))
    level = found(r"^com\.apple\.system\.thermalpressurelevel (\d)$", text_of(tool(
        "notifyutil", "-g", "com.apple.system.thermalpressurelevel")))  # fmt: skip
    pressure = PRESSURE[int(level)] if level and int(level) < len(PRESSURE) else None
    swap = megabytes(found(r"\bused = (\S+M)\b", sysctl("vm.swapusage") or ""))
    return {
        "power_source": (source, "pmset named no source of power"),
        "battery_percent": (percent, "pmset showed no battery"),
        "power_mode": (power_mode(text_of(tool("pmset", "-g"))), "pmset showed no power mode"),
        "governor": (None, "macOS has no governor"),
        "thermal_pressure": (pressure, "notifyutil gave no thermal pressure level"),
        **load(),
        "swap_used_bytes": (swap, "sysctl gave no vm.swapusage"),
        "free_memory_bytes": (tried(vm_free, text_of(tool("vm_stat"))), "vm_stat gave no free pages"),
    }


def battery(pmset: str) -> tuple[str | None, float | None]:
    """The power source and the battery's per cent in `pmset -g batt`, None for what it doesn't say."""
    source = {"AC Power": "mains", "Battery Power": "battery"}.get(found(r"^Now drawing from '([^']+)'", pmset) or "")
    percent = found(r"InternalBattery.*\s(\d{1,3})%", pmset)
    return source, float(percent) if percent and int(percent) <= 100 else None


def power_mode(pmset: str) -> str | None:
    """The power mode in `pmset -g`: powermode since macOS 15, lowpowermode before; None if it has neither."""
    mode = found(r"^\s*powermode\s+([012])\s*$", pmset) or found(r"^\s*lowpowermode\s+([01])\s*$", pmset)
    return ("automatic", "low power", "high power")[int(mode)] if mode else None


def megabytes(text: str | None) -> int | None:
    """Bytes of a text such as 1024.50M (or 1024,50M, in some languages), None for another."""
    value = tried(float, (text or "").rstrip("M").replace(",", "."))
    return int(value * 2**20) if value is not None and 0 <= value < 1e9 else None


def vm_free(vm_stat: str) -> int:
    """Bytes free or soon to be had (inactive) in vm_stat's pages; raises on what is none."""
    size = int(found(r"page size of (\d{1,9}) bytes", vm_stat) or "")
    pages = sum(int(found(rf"^Pages {kind}:\s+(\d{{1,9}})\.", vm_stat) or "") for kind in ("free", "inactive"))
    return min(size * pages, 10**15)


def linux_facts() -> Told:
    """The facts on Linux, each with the reason that counts if it is None."""
    levels = [{"name": name, "cores": n} for name, file in (("Performance", "cpu_core"), ("Efficiency", "cpu_atom"))
              if (n := physical(cpu_list(content(SYS, "devices", file, "cpus"))))]  # fmt: skip
    gpus, driver, why = nvidia()
    release = tried(platform.freedesktop_os_release) or {}
    chip = r"(?i)^model name\s*:\s*(.+)$"
    return {
        "chip": (
            found(chip, content(PROC, "cpuinfo")) or found(chip, text_of(tool("lscpu"))),
            "neither /proc/cpuinfo nor lscpu names the chip",
        ),
        "model": (board(), "the firmware names no model (usual in a virtual machine or container)"),
        "cores": (cores(), "the system tells no number of cores"),
        "logical_cores": (logical_cores(), "the system tells no number of processors"),
        "core_levels": (levels, ""),
        "gpus": (gpus, why),
        "memory_bytes": (memory_bytes(), "/proc/meminfo could not be read"),
        "os": (release.get("PRETTY_NAME"), "there is no /etc/os-release"),
        "os_build": (platform.release(), "Python does not know"),
        "arch": (platform.machine(), "Python does not know"),
        "driver": (driver, why),
    }


def board() -> str | None:
    """Maker and model as the firmware has them, None where it has none or a maker's empty form."""
    dmi = SYS / "class" / "dmi" / "id"
    names = [content(dmi, "sys_vendor"), content(dmi, "product_name"), content(PROC, "device-tree", "model")]
    return " ".join(name for name in names if name and not re.search(EMPTY_NAMES, name, re.IGNORECASE)) or None


def usable() -> set[int]:
    """The numbers of the processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cpu_list(text: str) -> set[int]:
    """The processors in a list such as 0-3,8."""
    ranges = re.findall(r"\b(\d{1,5})(?:-(\d{1,5}))?\b", text)
    return {cpu for first, last in ranges for cpu in range(int(first), int(last or first) + 1)}


def physical(cpus: Iterable[int]) -> int:
    """How many cores these processors are: hyper-threads of one core count once, 0 if the system doesn't tell."""
    topology = SYS / "devices" / "system" / "cpu"
    return len({content(topology, f"cpu{cpu}", "topology", "thread_siblings_list") for cpu in cpus} - {""})


def cores() -> int | None:
    """The cores that this process may use: no more than its affinity and its control group's share of time."""
    return min(physical(usable()) or tried(psutil.cpu_count, False) or len(usable()), quota())


def logical_cores() -> int | None:
    """The processors, hyper-threads counted, that this process may use."""
    return min(len(usable()), quota())


def cgroup(name: str) -> list[str]:
    """This file of the process's control group and of each one above it; none where cgroup v2 isn't in use."""
    top = SYS / "fs" / "cgroup"
    own = top / (found(r"^0::/(.*)$", content(PROC, "self", "cgroup")) or "")
    return [text for folder in (own, *own.parents) if folder.is_relative_to(top) and (text := content(folder, name))]


def quota() -> int:
    """The most processors' worth of time that a control group allows, rounded up; a large number if it sets none."""
    limits = [re.fullmatch(r"(\d{1,15}) ([1-9]\d{0,14})", text) for text in cgroup("cpu.max")]
    return min((max(1, math.ceil(int(m[1]) / int(m[2]))) for m in limits if m), default=10**6)


def memory_bytes() -> int | None:
    """The machine's memory, or less where a control group allows less."""
    total = tried(lambda: psutil.virtual_memory().total)
    limits = [number(text, 10**15) for text in cgroup("memory.max")]
    return min([n for n in (total, *limits) if n], default=None)


def nvidia() -> tuple[list[dict[str, Any]] | None, str | None, str]:
    """The NVIDIA GPUs by NVML, the driver, and the reason for what is None."""
    there = (PROC / "driver" / "nvidia" / "version").exists()
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        gpus = [nvidia_gpu(pynvml, handle) for handle in handles]
        driver = tried(pynvml.nvmlSystemGetDriverVersion)
    except ImportError:
        return None if there else [], None, "NVML can't be asked: pip install nvidia-ml-py"
    except Exception as error:
        return None if there else [], None, f"no NVIDIA driver answers ({clean(type(error).__name__)})"
    return gpus, driver, "NVML does not tell"


def nvidia_gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    """One GPU as NVML has it."""
    memory = tried(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total))
    cores = tried(lambda: int(nvml.nvmlDeviceGetNumGpuCores(handle)))
    return gpu(clean(tried(nvml.nvmlDeviceGetName, handle)), cores or None, memory or None, "NVML does not tell")


def linux_state() -> Told:
    """The state on Linux, each value with the reason that counts if it is None."""
    cell: Any = tried(psutil.sensors_battery)
    plugged = getattr(cell, "power_plugged", None)
    no_battery = "no battery is to be seen: a desktop, a server or a virtual machine"
    return {
        "power_source": (None if plugged is None else "mains" if plugged else "battery", no_battery),
        "battery_percent": (tried(lambda: min(100.0, max(0.0, float(cell.percent)))), no_battery),
        "power_mode": (content(SYS, "firmware", "acpi", "platform_profile"), "the firmware offers no power modes"),
        "governor": (governor(), "the system shows no governor (usual in a virtual machine)"),
        "thermal_pressure": (None, "Linux has no such level"),
        **load(),
        "swap_used_bytes": (tried(lambda: int(psutil.swap_memory().used)), "the swap could not be read"),
        "free_memory_bytes": (tried(lambda: int(psutil.virtual_memory().available)), "the memory could not be read"),
    }


def governor() -> str | None:
    """The CPU's governor with its driver, as in powersave (intel_pstate); None if the system shows none."""
    policy = SYS / "devices" / "system" / "cpu" / "cpu0" / "cpufreq"
    name, driver = content(policy, "scaling_governor"), content(policy, "scaling_driver")
    return f"{name} ({driver})" if name and driver else name or None


def load() -> Told:
    """The load average over the last minute, the same on both systems."""
    return {"load_1m": (tried(lambda: os.getloadavg()[0]), "the system tells no load")}


def slug(facts: dict[str, Any]) -> str:
    """A folder's name for the machine: its NVIDIA GPU, or a Mac's chip and model, or its chip and cores."""
    chip, cores = facts.get("chip") or facts.get("arch") or "machine", facts.get("cores")
    names = [gpu["name"] for gpu in facts.get("gpus") or []]
    if names and (facts.get("driver") or "nvidia" in names[0].lower()):
        return slugged(f"nvidia {names[0]}".replace("nvidia NVIDIA", "nvidia"))
    if chip.startswith("Apple"):
        return slugged(f"{chip.removeprefix('Apple')} {facts.get('model') or 'mac'}")
    return slugged(chip, f"{cores} cores" if cores else "")


def slugged(name: str, end: str = "") -> str:
    """Lower-case letters, digits and hyphens, what stood in brackets left out, 48 at most with the end kept whole."""
    plain, tail = (
        re.sub(r"[^a-z0-9]+", "-", re.sub(r"\([^)]*\)?", " ", part).lower()).strip("-") for part in (name, end)
    )
    return "-".join(part for part in (plain[: 47 - len(tail)].strip("-"), tail) if part) or "machine"


def killed_for_memory() -> int:
    """How many processes the system has ended for want of memory so far; 0 where it keeps no count."""
    counts = found(r"^oom_kill (\d{1,15})$", "\n".join(cgroup("memory.events")[:1]) or content(PROC, "vmstat"))
    return int(counts or 0)


def versions() -> dict[str, Any]:
    """The versions of what runs here, without importing it; None is explained in `unknown`."""
    values = {"commit": (commit(), "this is no git checkout, or git can't read it")}
    for name in ("siliconbench", "torch", "torchvision"):
        values[name] = (tried(metadata.version, name), "it is not installed as a package")
    values["siliconbench"] = (values["siliconbench"][0] or "not installed", "")
    return told({**values, "python": (platform.python_version(), "")})


def commit() -> str | None:
    """The last commit of code or notebooks, with +changes when they differ from it; None if this is no checkout.

    A commit of records or words is not asked: it changes no figure, and must not part a sweep from its first runs.
    """
    if not (paths.ROOT / ".git").exists():
        return None
    git, code = ("git", "-C", str(paths.ROOT)), ("--", "src", "notebooks")
    name = found(r"^([0-9a-f]{40})$", text_of(tool(*git, "log", "-1", "--format=%H", *code)))
    changes = tool(*git, "status", "--porcelain", *code)
    return name and name[:12] + ("+changes" if changes else "")
