"""What the samples of a run's telemetry say: spans, joules, and whether heat slowed it. Unknown is None."""

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

import numpy as np

from siliconbench.record.schema import State, Telemetry

Points = list[tuple[float, float]]  # seconds since the run's zero, and the value
THERMAL_BITS = 0x20 | 0x40  # nvmlClocksEventReasonSwThermalSlowdown, ...HwThermalSlowdown (NVML manual)
HOT_C, HOT_MEAN_C = 80.0, 60.0  # of the hottest sensor; of a mean over sensors, which lies 15 to 30 degrees below it
BUSY = 0.05  # a share of busy time: below it a part does nothing
SERIOUS = 2  # of NSProcessInfo.thermalState; 1 (fair) was read 367 of 367 times on a machine that was well


@dataclass(frozen=True)
class Energy:
    """The energy of so many images, and whose joules they are: whole system, package or GPU. None: unknown."""

    images_per_j: float | None = None
    joules_of: str | None = None
    mean_w: float | None = None
    battery_percent_per_1000_images: float | None = None  # percentage points, from two of them on


def points(telemetry: Telemetry, name: str, start_s: float = -math.inf, end_s: float = math.inf) -> Points:
    """The times and values of a channel from start_s to end_s, without those that are unknown."""
    channel = telemetry.channels.get(name)
    pairs = zip(telemetry.time_s, channel.values if channel else [], strict=False)
    return [(t, v) for t, v in pairs if v is not None and start_s <= t <= end_s]


def values(telemetry: Telemetry, name: str, start_s: float, end_s: float) -> list[float]:
    """What is known of a channel from start_s to end_s; empty where there is no such channel."""
    return [value for _, value in points(telemetry, name, start_s, end_s)]


def covered(telemetry: Telemetry, name: str, start_s: float, end_s: float) -> Points:
    """A channel from exactly start_s to end_s, its ends interpolated; empty where over three intervals are unknown."""
    near = points(telemetry, name)
    line = [p for p in near if p[0] <= start_s][-1:] + [p for p in near if start_s < p[0] < end_s]
    line += [p for p in near if p[0] >= end_s][:1]
    hole = max((b[0] - a[0] for a, b in pairwise(line)), default=math.inf) > 3.5 * telemetry.interval_s
    if hole or not line[0][0] <= start_s < end_s <= line[-1][0]:
        return []
    first, last = np.interp([start_s, end_s], [t for t, _ in line], [value for _, value in line])
    return [(start_s, float(first)), *line[1:-1], (end_s, float(last))]


def joules(telemetry: Telemetry, name: str, start_s: float, end_s: float) -> float | None:
    """Joules from start_s to end_s, by a counter or the trapezoids under a power; None with too little coverage.
    A counter (gpu_energy_j, package_energy_j) moves in steps: 0.1 s with NVML, about 2 s for Apple's CPU. So it counts
    from 2 s on, there from 30 s; in a shorter window its part's power does (Yang et al., arXiv 2312.02741)."""
    if name.endswith("_energy_j"):
        channel = telemetry.channels.get(name)
        slow = name == "package_energy_j" and channel and channel.source == "zeus"
        line = covered(telemetry, name, start_s, end_s) if end_s - start_s >= (30 if slow else 2) else []
        if line:
            return line[-1][1] - line[0][1]
        name = name.replace("_energy_j", "_w")
    line = covered(telemetry, name, start_s, end_s)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(line)) if line else None


def energy(telemetry: Telemetry, start_s: float, end_s: float, images: int) -> Energy:
    """The energy of the images from start_s to end_s: of the whole system where that is known; else of the widest part
    that did the work: an NVIDIA GPU that was busy, or the package (on a Mac with its GPU)."""
    charge, loads = (values(telemetry, name, start_s, end_s) for name in ("battery_percent", "gpu_utilization"))
    fell = charge[0] - charge[-1] if charge else 0.0
    battery = 1000 * fell / images if fell >= 2 and images else None
    used = not loads or fmean(loads) > 0.02
    nvidia = any(c.source == "NVML" for name, c in telemetry.channels.items() if name in ("gpu_energy_j", "gpu_w"))
    left_out = ("package" if nvidia else "") if used else "GPU"
    for whose, name in (("whole system", "system_w"), ("package", "package_energy_j"), ("GPU", "gpu_energy_j")):
        if whose != left_out and (total := joules(telemetry, name, start_s, end_s) or 0) > 0:
            return Energy(images / total, whose, total / (end_s - start_s), battery)
    return Energy(battery_percent_per_1000_images=battery)


def heat_witness(telemetry: Telemetry, start_s: float, end_s: float, before: State, after: State) -> str | None:
    """One plain sentence that names a second witness of throttling, None if there is none: NVML's thermal bits,
    thermal pressure above nominal, a clock that fell by more than 5 % while hot."""
    bits = [int(value) & THERMAL_BITS for value in values(telemetry, "throttle_bits", start_s, end_s)]
    if any(bits):
        return f"the GPU held its clock down for heat in {sum(map(bool, bits))} of {len(bits)} samples"
    for when, state in (("after", after), ("before", before)):
        if state.thermal_pressure not in (None, "nominal"):
            return f"the thermal pressure was {state.thermal_pressure} {when} the run"
    if max(values(telemetry, "thermal_pressure", start_s, end_s), default=0) >= SERIOUS:
        return "the system called its thermal state serious during the run"
    parts = (("GPU", "gpu_utilization"), ("CPU", "cpu_load"))
    return next(filter(None, (fallen_clock(telemetry, start_s, end_s, *part) for part in parts)), None)


def fallen_clock(telemetry: Telemetry, start_s: float, end_s: float, part: str, load: str) -> str | None:
    """A sentence where the clock of a part fell by over 5 % while hot, else None: by the first and last fifth of 15 or
    more samples in which it was at least half as busy as at its peak, as an idle part clocks down without heat."""
    channel, loads = f"{part.lower()}_temperature_c", dict(points(telemetry, load, start_s, end_s))
    clocks = points(telemetry, f"{part.lower()}_clock_mhz", start_s, end_s)
    heats = values(telemetry, channel, start_s, end_s)
    busy = [clock for t, clock in clocks if loads.get(t, 0) >= max(0.5 * max(loads.values()), BUSY)]
    if len(busy) < 15 or not heats:
        return None
    limit = HOT_MEAN_C if telemetry.channels[channel].statistic == "mean" else HOT_C
    first, last = median(busy[: len(busy) // 5]), median(busy[-(len(busy) // 5) :])
    if max(heats) < limit or last >= 0.95 * first:
        return None
    return f"the {part} clock fell from {first:.0f} to {last:.0f} MHz at up to {max(heats):.0f} C"
