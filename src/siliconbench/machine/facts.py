"""What this machine is, its power state and its software; nothing that tells whose it is."""

import os
import platform
import re
from importlib import metadata
from typing import Any

import psutil

from siliconbench import paths
from siliconbench.machine import linux, mac, tools
from siliconbench.machine.linux import killed_for_memory as killed_for_memory
from siliconbench.machine.linux import usable_cores as usable_cores
from siliconbench.machine.tools import explained, matched, section, text_of, tool, tried
from siliconbench.record.schema import Machine, State


def machine(slug: str = "") -> Machine:
    """Chip, cores, GPUs, memory and system; the slug follows from them unless one is given. Spawns tools."""
    pairs = mac.facts() if tools.PLATFORM == "darwin" else linux.facts()
    arch = {"arch": (platform.machine(), "Python does not know")}
    known = section(Machine, {"slug": (slug or "machine", ""), **pairs, **arch})
    return known if slug else known.model_copy(update={"slug": slug_of(known)})


def state() -> State:
    """The power and load at this moment. Spawns tools: not for a timed region."""
    pairs = mac.state() if tools.PLATFORM == "darwin" else linux.state()
    return section(State, {**pairs, "load_1m": (tried(lambda: os.getloadavg()[0]), "the system tells no load")})


def cpu_seconds() -> tuple[float, float]:
    """Seconds of all cores since the start of the system: busy, and in all.

    Linux counts a guest's time as user time already, and waiting for a disk as idle (proc(5), psutil.cpu_times).
    """
    times = psutil.cpu_times()
    total = sum(times[:8])  # user to steal; what comes after, a guest's, is counted twice
    return total - times.idle - getattr(times, "iowait", 0.0), total


def slug_of(machine: Machine) -> str:
    """A folder's name for the machine: its NVIDIA GPU, or a Mac's chip and model, or its chip and cores."""
    chip = machine.chip or machine.arch or "machine"
    names = [gpu.name for gpu in machine.gpus or []]
    if names and (machine.driver or "nvidia" in names[0].lower()):
        return slugged(f"nvidia {names[0]}".replace("nvidia NVIDIA", "nvidia"))
    if chip.startswith("Apple"):
        return slugged(f"{chip.removeprefix('Apple')} {machine.model or 'mac'}")
    return slugged(chip, f"{machine.cores} cores" if machine.cores else "")


def slugged(name: str, end: str = "") -> str:
    """Lower-case letters, digits and hyphens, what stood in brackets left out, 48 at most with the end kept whole."""
    parts = (re.sub(r"\([^)]*\)?", " ", part).lower() for part in (name, end))
    plain, tail = (re.sub(r"[^a-z0-9]+", "-", part).strip("-") for part in parts)
    return "-".join(part for part in (plain[: 47 - len(tail)].strip("-"), tail) if part) or "machine"


def versions() -> dict[str, Any]:
    """The versions of what runs here, without importing it; None is explained in `unknown`."""
    values = {"commit": (commit(), "this is no git checkout, or git can't read it")}
    for name in ("siliconbench", "torch", "torchvision"):
        values[name] = (tried(metadata.version, name), "it is not installed as a package")
    values["siliconbench"] = (values["siliconbench"][0] or "not installed", "")
    return explained({**values, "python": (platform.python_version(), "")})


def commit() -> str | None:
    """The last commit of code or notebooks, with +changes when they differ from it; None if this is no checkout.

    A commit of records or words is not asked: it changes no figure, and must not part a sweep from its first runs.
    """
    if not (paths.ROOT / ".git").exists():
        return None
    git, code = ("git", "-C", str(paths.ROOT)), ("--", "src", "notebooks")
    name = matched(r"^([0-9a-f]{40})$", text_of(tool(*git, "log", "-1", "--format=%H", *code)))
    changes = tool(*git, "status", "--porcelain", *code)
    return name and name[:12] + ("+changes" if changes else "")
