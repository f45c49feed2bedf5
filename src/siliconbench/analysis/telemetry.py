"""What the samples of a run's telemetry say: spans, joules, and whether heat slowed it. Unknown is None."""

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from siliconbench.record.schema import State, Telemetry

Points = list[tuple[float, float]]  # seconds since the run's zero, and the value

NVML, ZEUS = "NVML", "zeus"  # as a channel's source names them
THERMAL_BITS = 0x20 | 0x40  # nvmlClocksEventReasonSwThermalSlowdown, ...HwThermalSlowdown (NVML manual)
HOT_C, HOT_MEAN_C = 80.0, 60.0  # of the hottest sensor; of a mean over sensors, which lies 15 to 30 degrees below it
CLOCK_FELL = 0.05
BUSY = 0.05  # a share of busy time: below it a part does nothing
SERIOUS = 2  # of NSProcessInfo.thermalState; 1 (fair) was read 367 of 367 times on a machine that was well


class Span(NamedTuple):
    """What a channel shows over a span of time."""

    mean: float
    peak: float
    first: float
    last: float


@dataclass(frozen=True)
class Energy:
    """The energy of so many images, and whose joules they are: whole system, package or GPU. None: unknown."""

    images_per_j: float | None = None
    joules_of: str | None = None
    mean_w: float | None = None
    peak_w: float | None = None
    energy_j: float | None = None
    battery_percent_per_1000_images: float | None = None


def points(telemetry: Telemetry, name: str, start_s: float = -math.inf, end_s: float = math.inf) -> Points:
    """The times and values of a channel from start_s to end_s, without those that are unknown."""
    channel = telemetry.channels.get(name)
    pairs = zip(telemetry.time_s, channel.values if channel else [], strict=False)
    return [(t, v) for t, v in pairs if v is not None and start_s <= t <= end_s]


def window(telemetry: Telemetry, start_s: float = -math.inf, end_s: float = math.inf) -> dict[str, Span]:
    """What every channel that has any value from start_s to end_s shows there."""
    values = {name: [v for _, v in points(telemetry, name, start_s, end_s)] for name in telemetry.channels}
    return {name: Span(fmean(v), max(v), v[0], v[-1]) for name, v in values.items() if v}


def covered(telemetry: Telemetry, name: str, start_s: float, end_s: float) -> Points:
    """A channel from exactly start_s to end_s, its ends interpolated; empty where over three intervals are unknown."""
    near = points(telemetry, name)
    line = [p for p in near if p[0] <= start_s][-1:] + [p for p in near if start_s < p[0] < end_s]
    line += [p for p in near if p[0] >= end_s][:1]
    if len(line) < 2 or not line[0][0] <= start_s < end_s <= line[-1][0]:
        return []
    if max(b[0] - a[0] for a, b in pairwise(line)) > 3.5 * telemetry.interval_s:
        return []
    times, values = zip(*line, strict=True)
    first, last = np.interp([start_s, end_s], times, values)
    return [(start_s, float(first)), *line[1:-1], (end_s, float(last))]


def joules(telemetry: Telemetry, name: str, start_s: float, end_s: float) -> float | None:
    """Joules from start_s to end_s, by a counter or the trapezoids under a power; None with too little coverage.

    A counter (gpu_energy_j, package_energy_j) moves in steps: 0.1 s with NVML, about 2 s for Apple's CPU. So it counts
    from 2 s on, there from 30 s; in a shorter window the power of the same part does (Yang et al., arXiv 2312.02741).
    """
    if name.endswith("_energy_j"):
        slow = name == "package_energy_j" and source(telemetry, name) == ZEUS
        line = covered(telemetry, name, start_s, end_s) if end_s - start_s >= (30 if slow else 2) else []
        if line:
            return line[-1][1] - line[0][1]
        name = name.replace("_energy_j", "_w")
    line = covered(telemetry, name, start_s, end_s)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(line)) if line else None


def source(telemetry: Telemetry, name: str) -> str | None:
    """Who gives a channel; None where nobody does."""
    return telemetry.channels[name].source if name in telemetry.channels else None


def energy(telemetry: Telemetry, start_s: float, end_s: float, images: int) -> Energy:
    """The energy of the images from start_s to end_s.

    Of the whole system where that is known; else of the widest part that did the work: an NVIDIA GPU that was busy, or
    the package (on a Mac with its GPU). Battery: percentage points per 1,000 images, from two points on.
    """
    seen = window(telemetry, start_s, end_s)
    charge = seen.get("battery_percent")
    fell = charge.first - charge.last if charge else 0.0
    battery = 1000 * fell / images if fell >= 2 and images else None
    used = "gpu_utilisation" not in seen or seen["gpu_utilisation"].mean > 0.02
    nvidia = NVML in (source(telemetry, "gpu_energy_j"), source(telemetry, "gpu_w"))
    parts = [("whole system", "system_w", "system_w")]
    parts += [] if nvidia and used else [("package", "package_energy_j", "package_w")]
    parts += [("GPU", "gpu_energy_j", "gpu_w")] if used else []
    for whose, name, power in parts:
        if (total := joules(telemetry, name, start_s, end_s)) is not None and total > 0:
            peak_w = seen[power].peak if power in seen else None
            return Energy(images / total, whose, total / (end_s - start_s), peak_w, total, battery)
    return Energy(battery_percent_per_1000_images=battery)


def heat_witness(telemetry: Telemetry, start_s: float, end_s: float, before: State, after: State) -> str | None:
    """One plain sentence that names a second witness of throttling, None if there is none.

    Witnesses: NVML's thermal bits, thermal pressure above nominal, a clock that fell by more than 5 % while hot.
    """
    bits = [int(v) & THERMAL_BITS for _, v in points(telemetry, "throttle_bits", start_s, end_s)]
    if any(bits):
        return f"the GPU held its clock down for heat in {sum(map(bool, bits))} of {len(bits)} samples"
    for when, state in (("after", after), ("before", before)):
        if state.thermal_pressure not in (None, "nominal"):
            return f"the thermal pressure was {state.thermal_pressure} {when} the run"
    if any(v >= SERIOUS for _, v in points(telemetry, "thermal_pressure", start_s, end_s)):
        return "the system called its thermal state serious during the run"
    parts = (("GPU", "gpu_utilisation"), ("CPU", "cpu_load"))
    return next(filter(None, (fallen_clock(telemetry, start_s, end_s, *part) for part in parts)), None)


def fallen_clock(telemetry: Telemetry, start_s: float, end_s: float, part: str, load: str) -> str | None:
    """A sentence where the clock of a part fell by over 5 % while it was hot, None where it did not.

    First against last fifth of the samples in which the part was at least half as busy as at its peak: an idle part
    clocks down without any heat. Fifteen such samples at least.
    """
    loads = dict(points(telemetry, load, start_s, end_s))
    clocks = points(telemetry, f"{part.lower()}_clock_mhz", start_s, end_s)
    busy = [v for t, v in clocks if loads.get(t, 0) >= max(0.5 * max(loads.values()), BUSY)]
    channel, heats = f"{part.lower()}_temperature_c", window(telemetry, start_s, end_s)
    if len(busy) < 15 or channel not in heats:
        return None
    limit = HOT_MEAN_C if telemetry.channels[channel].statistic == "mean" else HOT_C
    first, last, peak = median(busy[: len(busy) // 5]), median(busy[-(len(busy) // 5) :]), heats[channel].peak
    if peak < limit or last >= (1 - CLOCK_FELL) * first:
        return None
    return f"the {part} clock fell from {first:.0f} to {last:.0f} MHz at up to {peak:.0f} C"
