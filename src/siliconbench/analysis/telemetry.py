"""analysis.telemetry"""

import math
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from siliconbench.machine import sampler
from siliconbench.machine.sampler import Nvml, Zeus

Points = list[tuple[float, float]]  # seconds since the run's zero, and the value

THERMAL_BITS = 0x20 | 0x40  # nvmlClocksEventReasonSwThermalSlowdown, ...HwThermalSlowdown (NVML manual)

HOT_C, HOT_MEAN_C = 80.0, 60.0  # of the hottest sensor; of a mean over sensors, which lies 15 to 30 degrees below it

CLOCK_FELL = 0.05

SERIOUS = 2  # of NSProcessInfo.thermalState; 1 (fair) was read 367 of 367 times on a machine that was well


def points(section: dict[str, Any], name: str, start_s: float = -math.inf, end_s: float = math.inf) -> Points:
    """The times and values of a channel from start_s to end_s, without those that are unknown."""
    values = section["channels"].get(name, {}).get("values", [])
    pairs = zip(section["time_s"], values, strict=False)
    return [(t, v) for t, v in pairs if v is not None and start_s <= t <= end_s]


def window(section: dict[str, Any], start_s: float, end_s: float) -> dict[str, dict[str, float]]:
    """Mean, peak, first and last value of every channel that has any from start_s to end_s."""
    found = {name: [v for _, v in points(section, name, start_s, end_s)] for name in section["channels"]}
    return {k: {"mean": fmean(v), "peak": max(v), "first": v[0], "last": v[-1]} for k, v in found.items() if v}


def covered(section: dict[str, Any], name: str, start_s: float, end_s: float) -> Points:
    """A channel from exactly start_s to end_s, its ends interpolated; empty where over three intervals are unknown."""
    near = points(section, name)
    before = [p for p in near if p[0] <= start_s][-1:]
    after = [p for p in near if p[0] >= end_s][:1]
    line = before + [p for p in near if start_s < p[0] < end_s] + after
    gaps = [b[0] - a[0] for a, b in pairwise(line)]
    if not (before and after and start_s < end_s) or max(gaps) > 3.5 * section["interval_s"]:
        return []
    first, last = between(line[0], line[1], start_s), between(line[-2], line[-1], end_s)
    return [(start_s, first), *line[1:-1], (end_s, last)]


def between(a: tuple[float, float], b: tuple[float, float], t: float) -> float:
    """The value at t on the line through two points."""
    return a[1] + (b[1] - a[1]) * (t - a[0]) / (b[0] - a[0])


def energy_j(section: dict[str, Any], name: str, start_s: float, end_s: float) -> float | None:
    """Joules from start_s to end_s, by a counter or the trapezoids under a power; None with too little coverage.

    A counter (gpu_energy_j, package_energy_j) moves in steps: 0.1 s with NVML, about 2 s for Apple's CPU. So it counts
    from 2 s on, there from 30 s; in a shorter window the power of the same part does (Yang et al., arXiv 2312.02741).
    """
    if name.endswith("_energy_j"):
        slow = name == "package_energy_j" and section["channels"].get(name, {}).get("source") == Zeus.name
        line = covered(section, name, start_s, end_s) if end_s - start_s >= (30 if slow else 2) else []
        if line:
            return line[-1][1] - line[0][1]
        name = name.replace("_energy_j", "_w")
    line = covered(section, name, start_s, end_s)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(line)) if line else None


def derive(section: dict[str, Any], start_s: float, end_s: float, images: int) -> dict[str, Any]:
    """Energy, watts and images per joule from start_s to end_s, and which joules they are; unknown is None, explained.

    The whole system where it can be told; else the part that did the work: an NVIDIA GPU that was busy, or the
    package (on a Mac with its GPU). Battery: percentage points per 1000 images, told from two points on.
    """
    joules_of, joules, power = worked(section, start_s, end_s)
    seen = window(section, start_s, end_s)
    charge = seen.get("battery_percent")
    fell = charge["first"] - charge["last"] if charge else None
    values = {
        "images_per_j": images / joules if joules else None,
        "joules_of": joules_of,
        "mean_w": joules / (end_s - start_s) if joules else None,
        "peak_w": seen.get(power, {}).get("peak"),
        "energy_j": joules,
        "battery_percent_per_1000_images": 1000 * fell / images if fell and fell >= 2 and images else None,
    }
    no_joules = "no source of energy covers this time: see telemetry.unknown"
    reasons = dict.fromkeys(values, no_joules) | {"peak_w": "no source of power covers this time"}
    reasons["battery_percent_per_1000_images"] = (
        "no battery is to be seen" if fell is None else "the battery fell by less than 2 %: too little to tell"
    )
    return values | {"unknown": {k: reasons[k] for k, v in values.items() if v is None}}


def worked(section: dict[str, Any], start_s: float, end_s: float) -> tuple[str | None, float | None, str]:
    """Whose joules they are, how many, and the channel of the power: the widest part that holds all that worked."""
    channels = section["channels"]
    nvidia = any(channels.get(name, {}).get("source") == Nvml.name for name in ("gpu_energy_j", "gpu_w"))
    used = window(section, start_s, end_s).get("gpu_utilisation", {"mean": 1.0})["mean"] > 0.02
    parts = [("whole system", "system_w", "system_w")]
    parts += [] if nvidia and used else [("package", "package_energy_j", "package_w")]
    parts += [("GPU", "gpu_energy_j", "gpu_w")] if used else []
    for whose, name, power in parts:
        if (joules := energy_j(section, name, start_s, end_s)) is not None and joules > 0:
            return whose, joules, power
    return None, None, parts[-1][2]


def heat_witness(
    section: dict[str, Any], start_s: float, end_s: float, state_before: dict[str, Any], state_after: dict[str, Any]
) -> str | None:
    """One plain sentence that names a second witness of throttling, None if there is none.

    Witnesses: NVML's thermal bits, thermal pressure above nominal, a clock that fell by more than 5 % while hot.
    """
    bits = [int(v) & THERMAL_BITS for _, v in points(section, "throttle_bits", start_s, end_s)]
    if any(bits):
        return f"the GPU held its clock down for heat in {sum(map(bool, bits))} of {len(bits)} samples"
    for when, state in (("after", state_after), ("before", state_before)):
        if (level := state.get("thermal_pressure")) not in (None, "nominal"):
            return f"the thermal pressure was {level} {when} the run"
    if any(v >= SERIOUS for _, v in points(section, "thermal_pressure", start_s, end_s)):
        return "the system called its thermal state serious during the run"
    return fallen_clock(section, start_s, end_s, "GPU", "gpu_utilisation") or fallen_clock(
        section, start_s, end_s, "CPU", "cpu_load"
    )


def fallen_clock(section: dict[str, Any], start_s: float, end_s: float, part: str, load: str) -> str | None:
    """A sentence where the clock of a part fell by over 5 % while it was hot, None where it did not.

    First against last fifth of the samples in which the part was at least half as busy as at its peak: an idle part
    clocks down without any heat. Fifteen such samples at least.
    """
    loads = dict(points(section, load, start_s, end_s))
    clocks = points(section, f"{part.lower()}_clock_mhz", start_s, end_s)
    busy = [v for t, v in clocks if loads.get(t, 0) >= max(0.5 * max(loads.values()), sampler.BUSY)]
    channel, heats = f"{part.lower()}_temperature_c", window(section, start_s, end_s)
    if len(busy) < 15 or channel not in heats:
        return None
    limit = HOT_MEAN_C if section["channels"][channel]["statistic"] == "mean" else HOT_C
    first, last, peak = median(busy[: len(busy) // 5]), median(busy[-(len(busy) // 5) :]), heats[channel]["peak"]
    if peak < limit or last >= (1 - CLOCK_FELL) * first:
        return None
    return f"the {part} clock fell from {first:.0f} to {last:.0f} MHz at up to {peak:.0f} C"
