"""What this machine can and cannot tell of itself, and whether it is fit to be measured now, for a person to read."""

import re
import textwrap
import time
from typing import Any

from siliconbench.analysis import telemetry
from siliconbench.machine import facts as machine_facts
from siliconbench.machine import sampler as samplers

SAMPLED_S = 3.2  # macmon's first line is one second late

WIDTH = 100

BUSY_CPU, BUSY_GPU = 0.10, 0.10  # more than a desktop at rest needs

LOAD = 0.5  # per core; over the last minute

HOT_C, HOT_MEAN_C = 70.0, 50.0  # before any work: of the hottest sensor, of a mean over sensors

LOW_MEMORY_BYTES = 2 * 2**30

SLOW_MODES = ("low power", "low-power", "quiet", "cool")  # pmset(1); platform_profile of the kernel

CARD = {
    "model": "Model", "chip": "Chip", "cores": "Cores", "core_levels": "Kinds of core", "gpus": "GPU",
    "memory_bytes": "Memory", "os": "System", "os_build": "Build", "driver": "GPU driver",
}  # fmt: skip

STATE = {
    "power_source": "Power", "battery_percent": "Battery", "power_mode": "Power mode", "governor": "Governor",
    "thermal_pressure": "Thermal pressure", "load_1m": "Load, 1 minute", "swap_used_bytes": "Swap in use",
    "free_memory_bytes": "Free memory",
}  # fmt: skip

UNITS = {"c": "C", "rpm": "rpm", "percent": "%", "w": "W", "mhz": "MHz", "j": "J"}


def shown(name: str, value: Any) -> str:
    """A value of that name with its unit, as a person reads it."""
    if isinstance(value, list):
        parts = [f"{part['cores']} {part['name']}" if name == "core_levels" else part["name"] for part in value]
        return ", ".join(parts) or ("none" if name == "gpus" else "all alike")
    if name.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB"
    if name in ("cpu_load", "gpu_utilisation"):
        return f"{100 * value:.0f} %"
    unit = UNITS.get(name.rsplit("_", 1)[-1], "")
    return f"{value:.4g} {unit}".strip() if isinstance(value, float) else f"{value} {unit}".strip()


def spoken(name: str) -> str:
    """A channel's name as a person says it: no unit, its abbreviations in capitals."""
    stem, _, unit = name.replace("fan_percent", "gpu_fan_percent").rpartition("_")
    said = f"{stem}_power" if unit == "w" else stem if unit in (*UNITS, "bytes") else name
    text = " ".join(word.upper() if word in ("cpu", "gpu", "ane") else word for word in said.split("_"))
    return text[:1].upper() + text[1:]


def section(values: dict[str, Any], names: dict[str, str]) -> list[str]:
    """A line for each named value: the value, or the reason why there is none."""
    return [
        line(label, shown(name, values[name]) if values[name] is not None else f"unknown: {values['unknown'][name]}")
        for name, label in names.items()
    ]


def line(label: str, text: str) -> str:
    """One aligned line, or more where the text is long."""
    return filled(text, f"  {label:<20} ", " " * 23)


def filled(text: str, first: str, later: str) -> str:
    """The text in lines of no more than 100 characters; a command to type is not broken."""
    whole = re.sub(r"(brew|pip) install ", "\\1\xa0install\xa0", text)
    return textwrap.fill(whole, WIDTH, initial_indent=first, subsequent_indent=later).replace("\xa0", " ")


def sources(sample: dict[str, Any]) -> list[str]:
    """Source by source, each channel it gives and its last value."""
    lines, channels = list[str](), sample["channels"]
    for source in dict.fromkeys(channel["source"] for channel in channels.values()):
        mine = {name: channel for name, channel in channels.items() if channel["source"] == source}
        lines.append(f"  {source} {next(iter(mine.values()))['version']}")
        for name, channel in mine.items():
            last = [value for value in channel["values"] if value is not None][-1]
            statistic = "" if channel["statistic"] == "reading" else f"  ({channel['statistic']})"
            lines.append(f"    {spoken(name):<24} {shown(name, last)}{statistic}")
    return lines or ["  nothing"]


def blanks(sample: dict[str, Any]) -> list[str]:
    """What no source tells, by reason, with what to install where that helps."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in sample["unknown"].items():
        by_reason.setdefault(reason, []).append(spoken(name))
    return [filled(f"{', '.join(names)}: {reason}", "  ", "    ") for reason, names in by_reason.items()] or [
        "  nothing"
    ]


def unfit(state: dict[str, Any], sample: dict[str, Any], cores: int | None) -> list[str]:
    """One sentence for each reason not to measure now, with what to do about it; none when the machine is fit."""
    seen = telemetry.window(sample, float("-inf"), float("inf"))
    mean = {name: found["mean"] for name, found in seen.items()}
    swap = seen.get("swap_used_bytes", {"first": 0.0, "last": 0.0})
    governor, free = state["governor"] or "", state["free_memory_bytes"]
    load, busy = state["load_1m"] or 0.0, mean.get("cpu_load", 0.0)
    doubts = (
        (state["power_source"] == "battery", "It runs on its battery: plug it in."),
        (
            state["power_mode"] in SLOW_MODES,
            f"The power mode is {state['power_mode']}: choose automatic or high power in the system's settings.",
        ),
        (
            governor.startswith("powersave") and "pstate" not in governor,  # with a pstate driver it follows the load
            "The CPU governor holds the lowest clock: sudo cpupower frequency-set -g performance",
        ),
        (
            state["thermal_pressure"] not in (None, "nominal"),
            f"The thermal pressure is {state['thermal_pressure']}: let it cool for some minutes.",
        ),
        *((True, f"{spoken(name)} is {value:.0f} C before any work: let it cool.") for name, value in hot(sample)),
        (busy > BUSY_CPU, f"Other programs take {100 * busy:.0f} % of the CPU: close them, or wait."),
        (load > LOAD * (cores or 1) and busy <= BUSY_CPU, f"The load was {load:.1f} a minute ago: wait a minute."),
        (
            mean.get("gpu_utilisation", 0.0) > BUSY_GPU,
            f"Other programs take {100 * mean.get('gpu_utilisation', 0.0):.0f} % of the GPU: close them, or wait.",
        ),
        (swap["last"] > swap["first"], "It is swapping now: close programs that hold much memory."),
        (
            free is not None and free < LOW_MEMORY_BYTES,
            f"Only {(free or 0) / 2**30:.1f} GiB of memory are free: close programs that hold much of it.",
        ),
    )
    return [sentence for doubt, sentence in doubts if doubt]


def hot(sample: dict[str, Any]) -> list[tuple[str, float]]:
    """The temperatures that are too high for a machine at rest, by channel."""
    seen, limits = telemetry.window(sample, float("-inf"), float("inf")), {"mean": HOT_MEAN_C}
    names = [name for name in ("cpu_temperature_c", "gpu_temperature_c") if name in seen]
    limit = {name: limits.get(sample["channels"][name]["statistic"], HOT_C) for name in names}
    return [(name, seen[name]["last"]) for name in names if seen[name]["last"] > limit[name]]


def report(facts: dict[str, Any], state: dict[str, Any], sample: dict[str, Any]) -> str:
    """The whole text: the machine, its state, what it can tell and what not, and whether it is fit."""
    doubts = unfit(state, sample, facts["cores"])
    fit = [f"  {number}. {doubt}" for number, doubt in enumerate(doubts, 1)] or ["  yes"]
    parts = {
        f"This machine: {machine_facts.slug(facts)}": section(facts, CARD),
        "Its state": section(state, STATE),
        "What it can tell while it works": sources(sample),
        "What it cannot tell": blanks(sample),
        "Is it fit to be measured now?": fit,
    }
    return "\n\n".join("\n".join((title, *lines)) for title, lines in parts.items())


def main() -> int:
    """0 when the machine is fit to be measured now, 1 when it is not; the report goes to stdout."""
    facts, sampler = machine_facts.facts(), samplers.start()
    time.sleep(SAMPLED_S)
    sample, state = sampler.stop(), machine_facts.state()
    print(report(facts, state, sample))
    return 1 if unfit(state, sample, facts["cores"]) else 0
