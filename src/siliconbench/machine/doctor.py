"""What this machine can and cannot report of itself, and whether it is fit to be measured now, for a person to read."""

import os
import re
import textwrap
import time
from statistics import fmean
from typing import Any

from siliconbench import paths
from siliconbench.analysis import telemetry, verdict
from siliconbench.machine import facts, sampler, tools
from siliconbench.record import host, schema, share, store

BUSY = 0.10  # more than a desktop at rest needs, of its CPU or its GPU
DRAWN = 0.35  # the same of a Mac's GPU: busy at its lowest clock it reads up to 0.30, which drawing a desktop can take
LOAD = 0.5  # per core; over the last minute
HOT_C, HOT_MEAN_C = 70.0, 50.0  # before any work: of the hottest sensor, of a mean over sensors
PERSONAL = r"serial|uu?d?id\b|model.number|user|host|address|ssid"  # words of what is left out of a report
LOW_MEMORY_BYTES = 2 * 2**30
LABELS = {  # of the fields whose own names say it less well
    "core_levels": "Kinds of core", "gpus": "GPU", "os": "System", "os_build": "Build", "arch": "Architecture",
    "driver": "GPU driver", "power_source": "Power", "load_1m": "Load, 1 minute", "fan_percent": "GPU fan",
}  # fmt: skip
UNITS = {"c": "C", "rpm": "rpm", "percent": "%", "w": "W", "mhz": "MHz", "j": "J"}


def shown(name: str, value: Any) -> str:
    """A value of that name with its unit, as a person reads it."""
    if isinstance(value, list):
        parts = [f"{part.cores} {part.name}" if name == "core_levels" else part.title for part in value]
        return ", ".join(parts) or ("none" if name == "gpus" else "all alike")
    if name.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB"
    if name in ("cpu_load", "gpu_utilization"):
        return f"{100 * value:.0f} %"
    unit = UNITS.get(name.rsplit("_", 1)[-1], "")
    return f"{value:.4g} {unit}".strip() if isinstance(value, float) else f"{value} {unit}".strip()


def spoken(name: str) -> str:
    """The name of a channel or field as a person says it: no unit, its abbreviations in capitals."""
    stem, _, unit = name.rpartition("_")
    said = f"{stem}_power" if unit == "w" else stem if unit in (*UNITS, "bytes") else name
    text = " ".join(word.upper() if word in ("cpu", "gpu", "ane") else word for word in said.split("_"))
    return LABELS.get(name, text[:1].upper() + text[1:])


def fields(section: schema.Section) -> list[str]:
    """A line for each field: its value, or the reason why there is none."""
    never = {name for name, why in section.unknown.items() if why.startswith(("on macOS", "macOS has no"))}
    values = {name: value for name, value in section if name not in ("slug", "unknown", *never)}
    texts = {n: f"unknown: {section.unknown[n]}" if v is None else shown(n, v) for n, v in values.items()}
    return [wrapped(text, f"  {spoken(name):<20} ", " " * 23) for name, text in texts.items()]


def wrapped(text: str, first: str, later: str) -> str:
    """The text in lines of no more than 100 characters; a command to type is not broken."""
    unbroken = re.sub(r"(?:brew|\.venv/bin/python -m pip) install ", lambda m: m[0].replace(" ", "\xa0"), text)
    return textwrap.fill(unbroken, 100, initial_indent=first, subsequent_indent=later).replace("\xa0", " ")


def known(samples: schema.Telemetry) -> dict[str, list[float]]:
    """The values of each channel without those that are unknown."""
    return {name: [v for v in channel.values if v is not None] for name, channel in samples.channels.items()}


def sources(samples: schema.Telemetry) -> list[str]:
    """Source by source, each channel it gives and its last value."""
    lines, values = list[str](), known(samples)
    for source in dict.fromkeys(channel.source for channel in samples.channels.values()):
        own = {name: channel for name, channel in samples.channels.items() if channel.source == source}
        lines.append(f"  {source} {next(iter(own.values())).version}")
        for name, channel in own.items():
            statistic = "" if channel.statistic == "reading" else f"  ({channel.statistic})"
            lines.append(f"    {spoken(name):<24} {shown(name, values[name][-1])}{statistic}")
    return lines or ["  nothing"]


def unfit(state: host.State, samples: schema.Telemetry, cores: int | None) -> list[str]:
    """One sentence for each reason not to measure now, with what to do about it; none when the machine is fit."""
    governor, free, pressure = state.governor or "", state.free_memory_bytes, state.thermal_pressure
    values, load = known(samples), state.load_1m or 0.0
    cpu, gpu = (fmean(values.get(name) or [0.0]) for name in ("cpu_load", "gpu_utilization"))
    swap, drawn = values.get("swap_used_bytes") or [0.0], samples.channels.get("gpu_utilization")
    short = values.get("memory_pressure")  # a Mac has little free memory when it is well
    most = DRAWN if drawn and drawn.source in telemetry.MAC else BUSY
    clock = "The CPU governor holds the lowest clock: sudo cpupower frequency-set -g performance"
    memory = f"Only {(free or 0) / 2**30:.1f} GiB of memory are free: close programs that hold much of it."
    limits = {name: HOT_MEAN_C if channel.statistic == "mean" else HOT_C for name, channel in samples.channels.items()}
    heats = {name: values[name][-1] for name in ("cpu_temperature_c", "gpu_temperature_c") if values.get(name)}
    hot = [(c > limits[n], f"{spoken(n)} is {c:.0f} C before any work: let it cool.") for n, c in heats.items()]
    doubts = (
        (bool(verdict.held_down(state)), f"It runs {verdict.held_down(state)}: {verdict.PLUG_IN}."),
        (governor.startswith("powersave") and "pstate" not in governor, clock),  # a pstate driver follows the load
        (pressure not in (None, "nominal"), f"The thermal pressure is {pressure}: let it cool for some minutes."),
        (short[-1] >= 2 if short else free is not None and free < LOW_MEMORY_BYTES, memory),
        (cpu > BUSY, f"Other programs take {100 * cpu:.0f} % of the CPU: close them, or wait."),
        (load > LOAD * (cores or 1) and cpu <= BUSY, f"The load was {load:.1f} a minute ago: wait a minute."),
        (gpu > most, f"Other programs take {100 * gpu:.0f} % of the GPU: close them, or wait."),
        (swap[-1] > swap[0], "It is swapping now: close programs that hold much memory."),
    )
    return [sentence for doubt, sentence in (*doubts, *hot) if doubt]


def report(machine: host.Machine, state: host.State, samples: schema.Telemetry) -> str:
    """The whole text: the machine, its state, what it can report and what not, and whether it is fit."""
    doubts = [f"  {number}. {doubt}" for number, doubt in enumerate(unfit(state, samples, machine.cores), 1)]
    said = samples.unknown.items()
    reasons = {why: ", ".join(spoken(name) for name, other in said if other == why) for _, why in said}
    blanks = [wrapped(f"{names}: {why}", "  ", "    ") for why, names in reasons.items()] or ["  nothing"]
    parts = {
        f"This machine: {machine.slug}": fields(machine), "Its state": fields(state),
        "What it can tell while it works": sources(samples), "What it cannot tell": blanks,
        "Is it fit to be measured now?": doubts or ["  yes"],
    }  # fmt: skip
    return "\n\n".join("\n".join((title, *lines)) for title, lines in parts.items())


def nameless(text: str) -> str:
    """The text without values and lines that may tell whose the machine is, and without this user's and its names."""
    kept, left_out = list[str](), False
    for line in re.sub(rf'(?i)"[^"]*(?:{PERSONAL})[^"]*" ?: ?"[^"]*"|\(id=\d+\)', '"": ""', text).splitlines():
        personal = bool(re.search(PERSONAL, line, re.IGNORECASE))
        kept += [] if personal or left_out else [line]
        left_out = personal and "<key>" in line  # in a property list the value is the next line
    names = "|".join(re.escape(name) for name in sorted(share.own_names(), key=len, reverse=True))
    return re.sub(rf"(?i)(?<!\w)(?:{names})(?!\w)", "(left out)", "\n".join(kept)) if names else "\n".join(kept)


def write(text: str, samples: bytes) -> str:
    """Writes the report with what each tool printed and the sampler's last lines; a line on where it lies."""
    heard = {argv: said for argv, said in tools.HEARD.items() if "ExpertDevice" not in argv}  # it has serial numbers
    raw = [f"$ {argv}\n{said}" for argv, said in heard.items()]
    lines = samples.decode("utf-8", "replace").splitlines()
    raw += ["The sampler's first and last lines", *lines[:1], *lines[1:][-2:]]
    store.write_whole(paths.REPORTS / "doctor.txt", nameless("\n\n".join((text, *raw))) + "\n")
    return f"{paths.REPORTS / 'doctor.txt'}: read it, then send it: it shows what your machine's tools say."


def main() -> int:
    """0 when the machine is fit to be measured now, 1 when it is not; the report goes to stdout, with REPORT=1 also to
    a file with all that the tools printed, for those who have no such machine."""
    machine, sampling = facts.machine(), sampler.Sampler()
    time.sleep(3.2)  # a load takes two samples
    sampling.settle(17.0)  # the first line of a Mac's tool may be 12 seconds late
    samples, state = sampling.stop(), facts.state()
    print(text := report(machine, state, samples))
    if os.environ.get("REPORT", "").strip() == "1":
        print(f"\n{write(text, sampling.said)}")
    return 1 if unfit(state, samples, machine.cores) else 0
