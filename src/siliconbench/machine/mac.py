"""What a Mac is, and its power state, by the tools that macOS brings; each value comes with a reason for its None."""

import json
import plistlib

from siliconbench.machine.tools import Pairs, clean, gpu, matched, number, text_of, tool, tried
from siliconbench.record.schema import Gpu, Level

PRESSURE = ("nominal", "moderate", "heavy", "trapping", "sleeping")  # libkern/OSThermalNotification.h


def sysctl(name: str) -> str | None:
    """One value of the kernel's, None if this system doesn't know it."""
    return text_of(tool("sysctl", "-n", name)) or None


def facts() -> Pairs:
    """The facts on macOS, each with the reason that counts if it is None."""
    shown = tried(gpus, tool("system_profiler", "SPDisplaysDataType", "-json", timeout_s=20.0))
    plist = tool("ioreg", "-arc", "IOPlatformDevice", "-k", "product-name") or b""
    product = tried(lambda: text_of(plistlib.loads(plist)[0]["product-name"]))
    folders = [f"hw.perflevel{i}" for i in range(number(sysctl("hw.nperflevels"), 8) or 0)]  # an M6 has three
    kinds = [{"name": clean(sysctl(f"{at}.name")), "cores": number(sysctl(f"{at}.physicalcpu"))} for at in folders]
    levels = tried(lambda: [Level.model_validate(kind) for kind in kinds]) or None
    version = text_of(tool("sw_vers", "-productVersion"))
    return {
        "chip": (sysctl("machdep.cpu.brand_string"), "sysctl gave no machdep.cpu.brand_string"),
        "model": (product, "ioreg gave no product-name"),
        "cores": (number(sysctl("hw.physicalcpu")), "sysctl gave no hw.physicalcpu"),
        "logical_cores": (number(sysctl("hw.logicalcpu")), "sysctl gave no hw.logicalcpu"),
        "core_levels": (levels, "sysctl gave no names and counts for hw.perflevel0 and on"),
        "gpus": (shown, "system_profiler gave no list of displays"),
        "memory_bytes": (number(sysctl("hw.memsize"), 10**15), "sysctl gave no hw.memsize"),
        "os": (f"macOS {version}" if version else None, "sw_vers gave no version"),
        "os_build": (text_of(tool("sw_vers", "-buildVersion")), "sw_vers gave no build"),
        "driver": (None, "on macOS the driver is part of the system"),
    }


def gpus(printed: bytes) -> list[Gpu]:
    """The GPUs in system_profiler's JSON; raises on what is none."""
    shown = [(clean(str(g.get("sppci_model"))), g) for g in json.loads(printed)["SPDisplaysDataType"]]
    return [gpu(name, number(g.get("sppci_cores")), None, "it shares the memory of the machine") for name, g in shown]


def state() -> Pairs:
    """The state on macOS, each value with the reason that counts if it is None."""
    source, percent = battery(text_of(tool("pmset", "-g", "batt")))
    said = text_of(tool("notifyutil", "-g", "com.apple.system.thermalpressurelevel"))
    level = matched(r"^com\.apple\.system\.thermalpressurelevel (\d)$", said)
    pressure = PRESSURE[int(level)] if level and int(level) < len(PRESSURE) else None
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
    """The power mode in `pmset -g`: powermode since macOS 15, lowpowermode before; None if it has neither."""
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
