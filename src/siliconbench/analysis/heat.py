"""What a run's telemetry says: heat, fan, power and energy of the whole, and how long the speed is kept.

Computed when looking, from the raw samples and blocks of a record. Nothing is estimated: unknown is None, explained.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from siliconbench.analysis import telemetry
from siliconbench.record.schema import Pass, Record

KEPT = 0.97  # below this share of the first minute's rate a machine has begun to slow: rigor's drift of 3 %

CLAIM_MINUTES = 10.0  # from here on "sustained" is claimed; 30 without a fan, where heat takes longer to build up

CLAIM_MINUTES_FANLESS = 30.0

NO_FAN = ("MacBook Air", "MacBookAir", "Mac14,2", "Mac14,15", "Mac15,12", "Mac15,13", "Mac16,12", "Mac16,13")

SHOWN = {  # channel: what the timeline calls it, and its unit
    "gpu_temperature_c": ("GPU", "temperature, °C"),
    "cpu_temperature_c": ("CPU", "temperature, °C"),
    "fan_rpm": ("fan", "fan, rpm"),
    "system_w": ("whole system", "power, W"),
    "package_w": ("package", "power, W"),
    "gpu_w": ("GPU", "power, W"),
    "gpu_clock_mhz": ("GPU", "clock, MHz"),
    "cpu_clock_mhz": ("CPU", "clock, MHz"),
}


def whole(record: Record) -> tuple[dict[str, Any], Pass] | None:
    """The telemetry of a run as a plain dictionary, and its end-to-end pass; None where either is missing."""
    timed = record.passes and record.passes.end_to_end
    return (record.telemetry.model_dump(), timed) if record.telemetry and timed else None


def of_run(record: Record) -> dict[str, Any]:
    """Heat, fan, power and energy of the end-to-end pass; what is not known is None, its reason in `unknown`.

    peak_c is of the device's own sensor where there is one; heat_of says whose, and "mean" where the source gives only
    the mean over its sensors, 15 to 30 degrees below the hottest. fan_rpm is the highest seen, above_idle_j the energy
    less what the same part drew at rest before the run. joules_of says whose joules they are.
    """
    both = whole(record)
    names = ("heat_of", "peak_c", "fan_rpm", "clock_mhz", "above_idle_j")
    derived = ("images_per_j", "joules_of", "mean_w", "peak_w", "energy_j", "battery_percent_per_1000_images")
    if both is None:
        why = record.unknown.get("telemetry", "the run failed" if record.error else "nothing was sampled")
        return dict.fromkeys(names + derived) | {"unknown": dict.fromkeys(names + derived, why)}
    section, timed = both
    start, end = timed.start_s, timed.start_s + timed.seconds
    seen, found = telemetry.window(section, start, end), telemetry.derive(section, start, end, timed.images)
    parts = ("CPU", "GPU") if record.case.device == "cpu" else ("GPU", "CPU")
    part = next((p for p in parts if f"{p.lower()}_temperature_c" in seen), None)
    sensor = f"{part.lower()}_temperature_c" if part else ""
    mean = " mean" if part and section["channels"][sensor]["statistic"] == "mean" else ""
    values = {
        "heat_of": part and part + mean,
        "peak_c": seen[sensor]["peak"] if part else None,
        "fan_rpm": seen.get("fan_rpm", {}).get("peak"),
        "clock_mhz": seen.get(f"{parts[0].lower()}_clock_mhz", {}).get("mean"),
        "above_idle_j": above_idle_j(section, found, start, end),
    }
    told = section["unknown"]
    reasons = {
        "heat_of": told.get("cpu_temperature_c"), "peak_c": told.get("cpu_temperature_c"),
        "fan_rpm": told.get("fan_rpm"), "clock_mhz": told.get(f"{parts[0].lower()}_clock_mhz"),
        "above_idle_j": "no power was read at rest before the run",
    }  # fmt: skip
    missing = {k: reasons[k] or "no sample lies in the pass" for k, v in values.items() if v is None}
    return found | values | {"unknown": found["unknown"] | missing}


def above_idle_j(section: dict[str, Any], derived: dict[str, Any], start_s: float, end_s: float) -> float | None:
    """The joules beyond what the same part drew at rest before the run, over the same seconds; None if not known."""
    channel = {"whole system": "system_w", "package": "package_w", "GPU": "gpu_w"}.get(derived["joules_of"] or "")
    rest = [v for _, v in telemetry.points(section, channel, end_s=section["idle_until_s"])] if channel else []
    return derived["energy_j"] - fmean(rest) * (end_s - start_s) if rest else None


def rates(timed: Pass) -> pd.DataFrame:
    """Images per second in equal bins of about a second: time_s is a bin's middle, in seconds of the pass."""
    edges = np.linspace(0.0, timed.seconds, max(1, round(timed.seconds)) + 1)
    done = np.interp(edges, np.cumsum([0.0, *timed.block_s]), timed.block_images * np.arange(len(timed.block_s) + 1))
    return pd.DataFrame({"time_s": (edges[1:] + edges[:-1]) / 2, "images_per_s": np.diff(done) / np.diff(edges)})


def fanless(record: Record) -> bool | None:
    """Whether the machine has no fan: True or False where a fan was read or the model is known, else None."""
    speeds = telemetry.points(record.telemetry.model_dump(), "fan_rpm") if record.telemetry else []
    if speeds:
        return False
    return True if (record.machine.model or "").startswith(NO_FAN) else None


def sustained(record: Record) -> dict[str, Any] | None:
    """How a sustained run kept its speed; None for any other run.

    The first minute against the last fifth, as images over seconds. slows_after_s: when the median over a minute around
    falls under 97 % of the first minute's rate for good. heat_is_cause: it slowed, and a second witness speaks of heat.
    """
    timed = record.passes and record.passes.end_to_end
    if not record.case.minutes or not timed:
        return None
    table, ends = rates(timed), np.cumsum(timed.block_s)
    first = over(timed, ends <= min(60.0, timed.seconds / 5))
    last = over(timed, ends > 0.8 * timed.seconds)
    low = table["images_per_s"].rolling(60, min_periods=1, center=True).median() < KEPT * first
    good = np.flatnonzero(~low.to_numpy())
    slows = None if last >= KEPT * first else float(table["time_s"][good[-1]]) if len(good) else 0.0
    if slows is not None and slows > 0.8 * timed.seconds and low[: good[-1]].any():
        slows = None  # it fell before, and came back: it varies
    witness = None
    if record.telemetry and record.checks:
        before, after = record.checks.before.model_dump(), record.checks.after.model_dump()
        start = timed.start_s
        witness = telemetry.heat_witness(record.telemetry.model_dump(), start, start + timed.seconds, before, after)
    least = CLAIM_MINUTES_FANLESS if fanless(record) else CLAIM_MINUTES
    return {
        "minutes": timed.seconds / 60, "first_minute_images_per_s": first, "last_fifth_images_per_s": last,
        "kept_percent": 100 * last / first, "slows_after_s": slows, "fanless": fanless(record),
        "claimed": timed.seconds >= 60 * least, "least_minutes": least,
        "heat_is_cause": slows is not None and witness is not None, "witness": witness,
    } | of_run(record)  # fmt: skip


def over(timed: Pass, chosen: np.ndarray) -> float:
    """Images per second over the chosen blocks; over the first one where none is chosen."""
    block = np.array(timed.block_s)
    chosen = chosen if chosen.any() else np.arange(len(block)) == 0
    return float(timed.block_images * chosen.sum() / block[chosen].sum())


def conditions(found: Mapping[str, Any]) -> str:
    """Heat, fan and power in words, as far as they are known: 99 °C (CPU), 6,012 rpm, 41 W (whole system)."""
    told = [f"{found['peak_c']:.0f} °C ({found['heat_of']})"] if pd.notna(found["peak_c"]) else []
    told += [f"{found['fan_rpm']:,.0f} rpm"] if pd.notna(found["fan_rpm"]) else []
    told += [f"{found['mean_w']:.0f} W ({found['joules_of']})"] if pd.notna(found["mean_w"]) else []
    return ", ".join(told)


def words(record: Record) -> str:
    """How a run kept its speed, with its heat, fan and power, in a sentence or two."""
    found = sustained(record)
    state = conditions(found or of_run(record)) or "heat, fan and power are not known here"
    if found is None:
        return f"No sustained run (MINUTES=10) was made: how the speed holds is not known; {state} over a short run."
    kept, minutes = found["kept_percent"], found["minutes"]
    told = f"It keeps {kept:.0f} % of its speed after {minutes:.3g} minutes; {state}."
    if found["slows_after_s"] is not None:
        why = (
            f"heat: {found['witness']}" if found["heat_is_cause"] else "its cause is not known: no second sign of heat"
        )
        told += f" It begins to slow after {found['slows_after_s'] / 60:.1f} minutes ({why})."
    elif kept < 100 * KEPT:
        told += " It varies rather than slows: near its end it is as fast again as in its first minute."
    if not found["claimed"]:
        told += f" Too short to claim sustained speed: {found['least_minutes']:.0f} minutes are needed."
    return told


def series(record: Record) -> pd.DataFrame:
    """The run over time, rest and cool-down included: columns time_s, quantity, panel, value. Empty without samples."""
    both, empty = whole(record), pd.DataFrame(columns=["time_s", "quantity", "panel", "value"])
    if both is None:
        return empty
    section, timed = both
    speed = rates(timed)
    rows = [(timed.start_s + t, "end to end", "images/s", v) for t, v in speed.itertuples(index=False)]
    for name, (quantity, panel) in SHOWN.items():
        rows += [(t, quantity, panel, v) for t, v in telemetry.points(section, name)]
    return pd.DataFrame(rows, columns=empty.columns)


def longest(records: list[Record]) -> Record | None:
    """The longest sustained run; without one the longest run that has samples; None without any."""
    good = [r for r in records if whole(r)]
    return max(good, key=lambda r: (r.case.minutes, r.checks.wall_s if r.checks else 0, r.created), default=None)


def absent(records: list[Record]) -> list[str]:
    """What the newest run could not be told of heat, fans and power, and why."""
    newest = max((r for r in records if r.telemetry), key=lambda r: r.created, default=None)
    unknown = newest.telemetry.unknown if newest and newest.telemetry else {}
    wanted = {"cpu_temperature_c", "gpu_temperature_c", "fan_rpm", "system_w", "battery_percent", "sampler"}
    return [f"{name.replace('_', ' ')}: {why}" for name, why in sorted(unknown.items()) if name in wanted]


def rest(record: Record) -> tuple[float, float]:
    """The run's seconds until which the machine rested before it, and from which it cooled down."""
    return (record.telemetry.idle_until_s, record.telemetry.cooling_from_s) if record.telemetry else (0.0, 0.0)
