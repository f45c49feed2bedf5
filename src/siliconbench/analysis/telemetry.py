"""What the samples of a run's telemetry say: spans, energy, and whether heat slowed it. Unknown is None."""

import math
from statistics import fmean, median
from typing import NamedTuple

from siliconbench.record.host import State
from siliconbench.record.schema import Energy, Telemetry

Points = list[tuple[float, float]]  # seconds since the run's zero, and the value
Spans = list[tuple[float, float]]  # the seconds from and to which, one after another
MAC = ("macmon", "actop")  # what tells of a Mac
THERMAL_BITS = 0x20 | 0x40  # nvmlClocksEventReasonSwThermalSlowdown, ...HwThermalSlowdown (NVML manual)
HOT_C, HOT_MEAN_C = 80.0, 60.0  # of the hottest sensor; of a mean over sensors, which lies 15 to 30 degrees below it
BUSY = 0.05  # a share of busy time: below it a part does nothing
POWER = {"whole system": "system_w", "package": "package_w", "GPU": "gpu_w"}  # the widest first
SAMPLES = 8  # of power within the pass, before a mean is said
SENSORS = 1.05  # NVML's power is right to 5 % (NVML manual)
SERIOUS = 2  # of NSProcessInfo.thermalState; 1 (fair) was read 367 of 367 times on a machine that was well


class Conditions(NamedTuple):
    """Energy, heat and fan of so many images. None: unknown. joules_of: of what part, and whether counted or sampled as
    power; heat_of: GPU or CPU, peak_c by the device's own sensors where there are any; fan_rpm: the highest seen."""

    images_per_j: float | None = None
    joules_of: str | None = None
    mean_w: float | None = None
    battery_percent_per_1000_images: float | None = None  # percentage points, from two of them on
    no_energy: str | None = None  # why there are no joules
    heat_of: str | None = None  # with "mean": over its sensors, 15 to 30 degrees below the hottest
    peak_c: float | None = None
    fan_rpm: float | None = None


def points(telemetry: Telemetry, name: str, start_s: float = -math.inf, end_s: float = math.inf) -> Points:
    """The times and values of a channel from start_s to end_s, without those that are unknown."""
    channel = telemetry.channels.get(name)
    pairs = zip(telemetry.time_s, channel.values if channel else [], strict=False)
    return [(t, v) for t, v in pairs if v is not None and start_s <= t <= end_s]


def values(telemetry: Telemetry, name: str, start_s: float, end_s: float) -> list[float]:
    """What is known of a channel from start_s to end_s; empty where there is no such channel."""
    return [value for _, value in points(telemetry, name, start_s, end_s)]


def energy(counted: Energy | None, samples: Telemetry, start_s: float, end_s: float, images: int) -> Conditions:
    """The energy of the images from start_s to end_s: by a counter read at these edges; else of the widest part that
    did the work and whose power was sampled, but never of the part whose counter failed. A mean above the highest power
    that was sampled of the part in the whole run by more than sensors differ is no figure: one of the two is wrong."""
    seconds, charge = end_s - start_s, values(samples, "battery_percent", start_s, end_s)
    fell = charge[0] - charge[-1] if charge else 0.0
    battery = 1000 * fell / images if fell >= 2 and images else None
    if counted and counted.joules:
        mean_w, part = counted.joules / seconds, counted.part
        peak_w = max((w for _, w in points(samples, POWER[part])), default=mean_w)
        if mean_w <= SENSORS * peak_w:
            return Conditions(images / counted.joules, f"{part}, counted", mean_w, battery)
        why = f"{mean_w:.0f} W by the counter, {peak_w:.0f} W at most by samples"
        return Conditions(None, None, None, battery, why)
    loads = values(samples, "gpu_utilization", start_s, end_s)
    nvidia = getattr(samples.channels.get("gpu_w"), "source", "") == "NVML"  # a Mac's package has its GPU in it
    left_out = [counted and counted.part, "GPU" if loads and fmean(loads) <= 0.02 else "package" if nvidia else ""]
    for whose, name in POWER.items():
        watts = values(samples, name, start_s + samples.interval_s, end_s)  # each a mean over its last second
        if whose not in left_out and len(watts) >= max(SAMPLES, 0.8 * seconds / samples.interval_s) and any(watts):
            return Conditions(images / (fmean(watts) * seconds), f"{whose}, sampled", fmean(watts), battery)
    why = (counted.unknown if counted else {}).get("joules", "too few samples")
    return Conditions(None, None, None, battery, why)


def heat_witness(telemetry: Telemetry, spans: Spans, before: State, after: State) -> str | None:
    """In words a second witness of throttling: thermal bits or pressure from the first span to the last, or a clock
    that fell while hot, within spans of the same work alone: a GPU that waits for data clocks down, too. None: none."""
    start_s, end_s = spans[0][0], spans[-1][1]
    bits = [int(value) & THERMAL_BITS for value in values(telemetry, "throttle_bits", start_s, end_s)]
    if any(bits):
        return f"the GPU held its clock down for heat in {sum(map(bool, bits))} of {len(bits)} samples"
    for when, state in (("after", after), ("before", before)):
        if state.thermal_pressure not in (None, "nominal"):
            return f"the thermal pressure was {state.thermal_pressure} {when} the run"
    if max(values(telemetry, "thermal_pressure", start_s, end_s), default=0) >= SERIOUS:
        return "the system called its thermal state serious during the run"
    fallen = fallen_clock(telemetry, spans, "GPU", "gpu_utilization")
    return fallen or fallen_clock(telemetry, spans, "CPU", "cpu_load")


def fallen_clock(telemetry: Telemetry, spans: Spans, part: str, load: str) -> str | None:
    """A sentence where the clock of a part fell by over 5 % while hot, else None: by the first and last fifth of five
    or more samples in which it was at least half as busy as at its peak, as an idle part clocks down without heat. A
    Mac that takes fewer watts at the lower clock is hot from 15 degrees less on: it holds itself below the limit."""
    names = (load, *(f"{part.lower()}_{what}" for what in ("clock_mhz", "w", "temperature_c")))
    loads, clock, watts, heat = ([p for span in spans for p in points(telemetry, name, *span)] for name in names)
    most = max((share for _, share in loads), default=0.0)
    at_work = {t for t, share in loads if share >= max(0.5 * most, BUSY)}
    clocks = [value for t, value in clock if t in at_work]
    if len(clocks) < 5 or not heat:
        return None
    (first, last), peak_c, source = edges(clocks), max(c for _, c in heat), telemetry.channels[names[1]].source
    limit = HOT_MEAN_C if telemetry.channels[names[3]].statistic == "mean" else HOT_C
    if source in MAC and watts and (power := edges([value for _, value in watts]))[1] < 0.95 * power[0]:
        limit -= 15.0
    if peak_c < limit or last >= 0.95 * first:
        return None
    return f"the {part} clock fell from {first:.0f} to {last:.0f} MHz at up to {peak_c:.0f} C"


def edges(values: list[float]) -> tuple[float, float]:
    """The medians of the first and of the last fifth of these values."""
    fifth = max(1, len(values) // 5)
    return median(values[:fifth]), median(values[-fifth:])
