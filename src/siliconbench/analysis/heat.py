"""Heat, fan, power and energy of a run, and how long its speed is kept: from raw samples, nothing is estimated."""

import math
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from siliconbench.analysis import telemetry
from siliconbench.analysis.words import significant
from siliconbench.record.schema import Pass, Record

STAY_S = 5  # at one speed, in seconds, that count as a stay
KEPT = 0.97  # below this share of the first minute's rate a machine has begun to slow: the drift of 3 %
NO_FAN = ("MacBook Neo", "Mac17,5", "MacBook Air", "MacBookAir", "Mac14,2", "Mac14,15", "Mac15,12", "Mac15,13",
          "Mac16,12", "Mac16,13")  # fmt: skip
WANTED = ("battery_percent", "cpu_temperature_c", "energy", "fan_rpm", "gpu_temperature_c", "sampler", "system_w")
SHOWN = {  # channel: what the timeline calls it, and its unit
    "gpu_temperature_c": ("GPU", "temperature, °C"), "cpu_temperature_c": ("CPU", "temperature, °C"),
    "fan_rpm": ("fan", "fan, rpm"), "system_w": ("whole system", "power, W"), "package_w": ("package", "power, W"),
    "gpu_w": ("GPU", "power, W"), "gpu_clock_mhz": ("GPU", "clock, MHz"), "cpu_clock_mhz": ("CPU", "clock, MHz"),
}  # fmt: skip


class Flips(NamedTuple):
    """The two speeds of a device that goes to and fro between them, images/s, and its share of time at the slower."""

    slower: float
    faster: float
    slower_share: float


class Sustained(NamedTuple):
    """How a sustained run kept its speed: its first minute against its last fifth, as images over seconds."""

    minutes: float
    kept_percent: float
    slows_after_s: float | None  # the median over a minute is under 97 % of the first minute's for good; None: never
    flips: Flips | None  # it goes to and fro between two speeds
    claimed: bool  # whether it lasted least_minutes, as "sustained" takes
    least_minutes: float
    witness: str | None  # a second sign of heat, in words


def conditions(record: Record) -> telemetry.Conditions:
    """Heat, fan, power and energy of the run's end-to-end pass, from its samples."""
    samples, timed = record.telemetry, record.passes and record.passes.end_to_end
    if not samples or not timed:
        return telemetry.Conditions()
    span = (timed.start_s, timed.start_s + timed.seconds)
    parts = ("CPU", "GPU") if record.case.device == "cpu" else ("GPU", "CPU")
    hot = {part: telemetry.values(samples, f"{part.lower()}_temperature_c", *span) for part in parts}
    part = next((part for part in parts if hot[part]), None)
    mean = " mean" if part and samples.channels[f"{part.lower()}_temperature_c"].statistic == "mean" else ""
    energy = telemetry.energy(record.energy, samples, *span, timed.images)
    fans = telemetry.values(samples, "fan_rpm", *span)
    peak_c = max(hot[part]) if part else None
    return energy._replace(heat_of=part and part + mean, peak_c=peak_c, fan_rpm=max(fans, default=None))


def spans(timed: Pass, edges: Any) -> Any:
    """Images per second between each two of these edges, in seconds of the pass, within a block as over all of it."""
    images = np.minimum(timed.block_images * np.arange(len(timed.block_s) + 1), timed.images)  # the last is shorter
    return np.diff(np.interp(edges, np.cumsum([0.0, *timed.block_s]), images)) / np.diff(edges)


def rates(timed: Pass) -> pd.DataFrame:
    """Images per second in equal bins of about a second: time_s is a bin's middle, in seconds of the pass."""
    edges = np.linspace(0.0, timed.seconds, max(1, round(timed.seconds)) + 1)
    return pd.DataFrame({"time_s": (edges[1:] + edges[:-1]) / 2, "images_per_s": spans(timed, edges)})


def flips(table: pd.DataFrame) -> Flips | None:
    """Two speeds that a device goes to and fro between, from rates(): each at least twice and for a fifth of the time,
    5 s and more at a time, 3 % apart, and 4.5 times as far apart as they scatter; None without. (One normal speed cut
    in two halves gives 2.3 of their scatter, a steady change 2.7, a wave 3.9.)"""
    y = np.log(table["images_per_s"].rolling(STAY_S, center=True, min_periods=1).median().to_numpy())  # no hiccups
    if len(y) < 4 * STAY_S:
        return None
    ordered, count = np.sort(y), np.arange(1, len(y))
    below, above = np.cumsum(ordered)[:-1] / count, np.cumsum(ordered[::-1])[-2::-1] / count[::-1]
    cut = int(np.argmax(count * count[::-1] * (above - below) ** 2))  # Otsu's: the two halves scatter least
    halves, fast = (ordered[: cut + 1], ordered[cut + 1 :]), y > ordered[cut]
    low, high = (float(np.median(half)) for half in halves)
    scatter = 1.4826 * max(float(np.median(np.abs(half - np.median(half)))) for half in halves)  # of a normal law
    ends = np.flatnonzero(np.diff(fast, append=~fast[-1])) + 1
    stays = [(bool(fast[end - 1]), end - start) for start, end in pairwise((0, *ends)) if end - start >= STAY_S]
    visits = len(list(groupby(at for at, _ in stays)))  # a hiccup between two stays at one speed is none
    least = min(sum(seconds for at, seconds in stays if at == speed) for speed in (False, True))
    if high - low < max(-math.log(KEPT), 4.5 * scatter) or visits < 4 or least < len(y) / 5:
        return None
    return Flips(math.exp(low), math.exp(high), float(1 - fast.mean()))


def sustained(record: Record) -> Sustained | None:
    """How a sustained run kept its speed; None for any other run."""
    timed = record.passes and record.passes.end_to_end
    if not record.case.minutes or not timed:
        return None
    seconds = timed.seconds
    first, _, last = (float(x) for x in spans(timed, [0.0, min(60.0, seconds / 5), 0.8 * seconds, seconds]))
    samples, checks, span = record.telemetry, record.checks, (timed.start_s, timed.start_s + seconds)
    witness = telemetry.heat_witness(samples, [span], checks.before, checks.after) if samples and checks else None
    fanless = (record.machine.model or "").startswith(NO_FAN) and not (samples and telemetry.points(samples, "fan_rpm"))
    least = 30.0 if fanless else 10.0  # minutes: heat builds up later without a fan
    table = rates(timed)
    low = table["images_per_s"].rolling(60, min_periods=1, center=True).median() < KEPT * first
    good, between = np.flatnonzero(~low.to_numpy()), flips(table)
    slows = float(table["time_s"][good[-1]]) if len(good) else 0.0
    varies = slows > 0.8 * seconds and low[: good[-1]].any()  # slow before, and now and then fast in its last fifth
    never = last >= KEPT * first or varies or between is not None
    kept, claimed = 100 * last / first, seconds >= 60 * least
    return Sustained(seconds / 60, kept, None if never else slows, between, claimed, least, witness)


def conditions_words(found: Any) -> str:
    """Conditions, or a row with their columns, as far as known: 99 °C (CPU), 6,012 rpm, 41 W (whole system)."""
    said = [(found.peak_c, f"{{:.0f}} °C ({found.heat_of})"), (found.fan_rpm, "{:,.0f} rpm")]
    said += [(found.mean_w, f"{{:.0f}} W ({found.joules_of})")]
    return ", ".join(text.format(value) for value, text in said if pd.notna(value))


def sustained_words(record: Record) -> str:
    """How a run kept its speed, with its heat, fan and power, in a sentence or two."""
    found, state = sustained(record), conditions_words(conditions(record)) or "heat, fan and power are not known here"
    if found is None:
        return f"No sustained run (MINUTES=10) was made: how the speed holds is not known; {state} over a short run."
    sentences = [f"It keeps {found.kept_percent:.0f} % of its speed after {found.minutes:.3g} minutes; {state}."]
    if found.flips:
        speeds = " and ".join(significant(rate, 4) for rate in found.flips[:2])
        share = f"{100 * found.flips.slower_share:.0f} % of the time at the slower: the cause is not known"
        sentences.append(f"It flips between two speeds, {speeds} images/s, {share}.")
    elif found.slows_after_s is not None:
        why = f"heat: {found.witness}" if found.witness else "its cause is not known: no second sign of heat"
        sentences.append(f"It begins to slow after {found.slows_after_s / 60:.1f} minutes ({why}).")
    elif found.kept_percent < 100 * KEPT:
        sentences.append("Its last fifth is slower, but not for good: it varies from minute to minute.")
    if not found.claimed:
        sentences.append(f"Too short to claim sustained speed: {found.least_minutes:.0f} minutes are needed.")
    return " ".join(sentences)


def series(record: Record) -> pd.DataFrame:
    """The run over time, rest and cool-down included: columns time_s, quantity, panel, value. Empty without samples."""
    samples, timed, rows = record.telemetry, record.passes and record.passes.end_to_end, list[tuple[object, ...]]()
    if samples and timed:
        rows = [(timed.start_s + t, "end to end", "images/s", v) for t, v in rates(timed).itertuples(index=False)]
        for name, what in SHOWN.items():
            rows += [(t, *what, v) for t, v in telemetry.points(samples, name)]
    return pd.DataFrame(rows, columns=["time_s", "quantity", "panel", "value"])


def longest(records: list[Record]) -> Record | None:
    """The longest sustained run that has samples; None without any."""
    good = [r for r in records if r.case.minutes and r.telemetry and r.passes and r.passes.end_to_end]
    return max(good, key=lambda r: (r.case.minutes, r.created), default=None)


def missing_words(records: list[Record]) -> list[str]:
    """What the newest run does not know of heat, fans and power, and why."""
    newest = max((r for r in records if r.telemetry), key=lambda r: r.created, default=None)
    if not newest or not newest.telemetry:
        return []
    why, unknown = conditions(newest).no_energy, newest.telemetry.unknown | newest.unknown
    said = [f"{name.replace('_', ' ')}: {unknown[name]}" for name in WANTED if name in unknown]
    return said + ([f"power: {why}"] if why else [])
