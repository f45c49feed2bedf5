"""From records to tables: one row a run, one row a case with its interval, and the sentences that read them aloud."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from siliconbench.analysis import heat, stats
from siliconbench.record.schema import Record

CASE = [
    "model",
    "batch_size",
    "device",
    "precision",
    "memory_format",
    "compile",
    "mode",
    "input",
    "image_px",
    "workers",
]

LIKE = [*CASE, "machine", "torch", "sustained"]  # runs that differ in one of these are never one figure

FIGURES = ["images_per_s", "low", "high", "runs", "clean", "failed", "left_out", "error", "rates", "request_s"]

FIGURES += ["holds_back", "utilisation", "reference", "allowed_images_per_s"]

HEAT = ["peak_c", "fan_rpm", "mean_w", "images_per_j", "battery_percent_per_1000_images", "heat_of", "joules_of"]

FIGURES += [*HEAT, "agreed"]

FIGURES += ["peak_bytes", "swap_growth_bytes"]

FIGURES += ["forward_images_per_s", "copy_images_per_s", "input_images_per_s", "end_to_end_images_per_s"]

APART = 10  # an interval that spans a factor of ten tells no speed: it is said in words

NARROW = "\u202f"  # a narrow space at which no line breaks

PARTS = {"forward": "model alone", "copy": "copy to the device", "input": "loader alone", "end_to_end": "end to end"}


def row(record: Record) -> dict[str, Any]:
    """One run as a flat row; rates in images/s, None where the record has none."""
    c, s = record.case, record.software
    found: dict[str, Any] = {name: getattr(c, name) for name in CASE} | {
        "workers": "auto" if c.workers is None else str(c.workers),
        "machine": record.machine.slug,
        "torch": ".".join((s.torch or "unknown").split("+")[0].split(".")[:2]),
        "sustained": c.minutes > 0,
        "reference": c.reference,
        "repeat": record.repeat,
        "created": record.created,
        "sweep": record.sweep.id,
        "status": record.status,
        "error": record.error and record.error.kind,
        "why": record.error and record.error.message,
        "verdict": record.verdict and record.verdict.word,
        "reasons": record.verdict.reasons if record.verdict else [],
    }
    for part in PARTS:
        timed = record.passes and getattr(record.passes, "copy_" if part == "copy" else part)
        found[f"{part}_images_per_s"] = timed.images_per_s if timed else None
    checks, limits = record.checks, record.limits
    found["allowed_images_per_s"] = checks and checks.allowed_images_per_s
    found["holds_back"] = checks and checks.bottleneck
    found["confirmed"] = bool(checks and checks.experiment and checks.experiment.confirmed)
    found["workers_used"] = checks and checks.workers.used
    found["utilisation"] = limits and limits.utilization
    found["binds"] = limits and limits.roof
    found["agree"] = None if not checks or checks.outputs is None else checks.outputs.agree
    memory = record.memory
    found["peak_bytes"] = memory and (memory.peak_device_bytes or memory.peak_process_bytes)
    found["swap_growth_bytes"] = memory and memory.swap_growth_bytes
    found["request_s"] = record.latency.request_s if record.latency else []
    return found


def runs(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run, sorted by case and time; it has its columns even when there is no record."""
    frame = pd.DataFrame([row(r) | warmth(r) for r in records])
    if frame.empty:
        return pd.DataFrame(columns=[*LIKE, "status", "images_per_s", "verdict", "error", "why", "reasons", "repeat"])
    frame["images_per_s"] = frame["end_to_end_images_per_s"]
    return frame.sort_values([*LIKE, "created", "repeat"], ignore_index=True)


def warmth(record: Record) -> dict[str, Any]:
    """Heat, fan, power and energy of a run as columns of its row."""
    found = heat.of_run(record)
    return {name: found[name] for name in HEAT}


def usable(group: pd.DataFrame) -> pd.DataFrame:
    """The runs of one case that its figure rests on: the clean ones, or all that succeeded when none is clean.

    A run whose output disagrees with the CPU's is never among them: fast but wrong is not a result.
    """
    right = group[(group["status"] == "ok") & ~group["agree"].isin([False])]
    clean = right[right["verdict"] == "clean"]
    return clean if len(clean) else right


def cases(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a case: its rate with the Student-t interval over runs, its parts, and how many runs stand behind it."""
    rows = [_case(key, group) for key, group in frame.groupby(LIKE, sort=True)]
    return pd.DataFrame(rows, columns=[*LIKE, *FIGURES])


def _case(key: tuple[Any, ...], group: pd.DataFrame) -> dict[str, Any]:
    used = usable(group)
    found = dict(zip(LIKE, key, strict=True)) | {
        "runs": len(used),
        "clean": int((used["verdict"] == "clean").sum()),
        "failed": int((group["status"] == "failed").sum()),
        "left_out": int((group["status"] == "ok").sum()) - len(used),
        "error": next(iter(group["error"].dropna()), None),
        "rates": list(used["images_per_s"]),
        "request_s": [s for seconds in used["request_s"] for s in seconds],
        "peak_bytes": used["peak_bytes"].max(),
        "swap_growth_bytes": used["swap_growth_bytes"].max(),
        "holds_back": used["holds_back"].mode().iat[0] if used["holds_back"].notna().any() else None,
        "utilisation": used["utilisation"].median() if used["utilisation"].notna().any() else None,
        "reference": bool(group["reference"].iat[0]),
    }
    for name in HEAT:
        known = used[name].dropna()
        peak = name in ("peak_c", "fan_rpm")
        found[name] = (
            None if known.empty else known.iat[0] if name.endswith("_of") else known.max() if peak else known.median()
        )
    found["agreed"] = bool(len(used)) and bool(used["agree"].eq(True).all())
    mean, low, high, _ = stats.interval(used["images_per_s"]) if len(used) else (None, None, None, 0)
    found |= {"images_per_s": mean, "low": low, "high": high}
    for part in (*PARTS, "allowed"):
        rates = used[f"{part}_images_per_s"].dropna()
        found[f"{part}_images_per_s"] = stats.interval(rates).mean if len(rates) else None
    return found


def rate(mean: float | None, low: float | None, high: float | None) -> str:
    """A rate with its interval in words, to the digits that the interval bears."""
    if mean is None or mean != mean:
        return "no figure"
    digits = 0 if mean >= 1000 else 1 if mean >= 10 else 2
    if low is None or high is None or low != low:
        return f"{mean:,.{digits}f} images/s (one run)".replace(",", NARROW)
    if high > APART * low:
        return f"{mean:,.{digits}f} images/s (its runs differ too much for an interval)".replace(",", NARROW)
    return f"{mean:,.{digits}f} images/s ({low:,.{digits}f} to {high:,.{digits}f})".replace(",", NARROW)


def sweet_spot(table: pd.DataFrame) -> str:
    """In a sentence, which batch size of one model to use: the smallest that the fastest is not surely faster than."""
    table = table.dropna(subset=["images_per_s"]).sort_values("batch_size")
    name = table["model"].iat[0] if len(table) else "this model"
    if len(table) < 2:
        return f'{name}: one batch size was measured, so none can be recommended; try BATCH_SIZE="1 8 64".'
    top = table.loc[table["images_per_s"].idxmax()]
    like = [r for _, r in table.iterrows() if stats.compare(r["rates"], top["rates"]).word != "faster"]
    first = like[0]
    told = f"{name}: batch size {first['batch_size']} gives {rate(first['images_per_s'], first['low'], first['high'])}"
    if first["batch_size"] == top["batch_size"]:
        return f"{told}, the fastest of those measured."
    return f"{told}; the fastest figure, at {top['batch_size']}, is not surely better."


def cliff(table: pd.DataFrame) -> str | None:
    """In a sentence, the first batch size of one model that is slower than a smaller one, or at which memory ends.

    Memory that runs short shows as a fall in speed, or as growing swap, before any error.
    """
    best: Any = None
    for _, case in table.sort_values("batch_size").iterrows():
        where = f"{case['name']}: at batch size {case['batch_size']}"
        if case["images_per_s"] != case["images_per_s"] or case["images_per_s"] is None:
            if case["error"] == "out_of_memory":
                return f"{where} memory ends."
            continue
        if best is not None and stats.compare(best["rates"], case["rates"]).word == "slower":
            share = f"{100 * case['images_per_s'] / best['images_per_s']:.0f} %"
            grown = (
                f", and swap grew by {case['swap_growth_bytes'] / 1e6:.0f} MB" if case["swap_growth_bytes"] > 0 else ""
            )
            held = f"; {case['peak_bytes'] / 2**30:.1f} GiB held" if case["peak_bytes"] > 0 else ""
            return f"{where} the speed falls to {share} of that at {best['batch_size']}{grown}{held}."
        best = case if best is None or case["images_per_s"] > best["images_per_s"] else best
    return None


def name(case: Any, among: pd.DataFrame) -> str:
    """What tells a case from the others of a table: its model, and each setting in which the others differ."""
    words = [str(case["model"])]
    differ = [k for k in LIKE[2:] if k not in ("machine", "sustained") and among[k].nunique(dropna=False) > 1]
    show = {"workers": "{} workers", "image_px": "{} px", "torch": "torch {}", "compile": "compiled {}"}
    return ", ".join(words + [show.get(k, "{}").format(case[k]) for k in differ])


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `name` that tells its cases apart, batch size aside."""
    return table.assign(name=[name(case, table) for _, case in table.iterrows()])


def batch_advice(table: pd.DataFrame) -> list[str]:
    """For each model, in a sentence, which batch size to use."""
    groups = [group for _, group in named(table).groupby("name")] if len(table) else []
    told = [words for group in groups for words in (sweet_spot(group), cliff(group)) if words]
    return told or ["Nothing was measured."]


def tuned(table: pd.DataFrame) -> pd.DataFrame:
    """The best tuned setting of each machine and model: what won it, over the best reference figure; one row each."""
    table = table[table["images_per_s"].notna()] if len(table) else table
    rows = []
    for (machine, model, mode), group in table.groupby(["machine", "model", "mode"]) if len(table) else ():
        best = group[~group["reference"]]
        if best.empty:
            continue
        top = best.loc[best["images_per_s"].idxmax()]
        ways = [top["precision"], top["memory_format"].replace("_", " "), "compiled" if top["compile"] else "eager"]
        ways.append(f"batch {top['batch_size']}")
        plain = group[group["reference"] & ~group["sustained"].astype(bool)]
        for key in ("input", "image_px", "torch", "device"):
            plain = plain[plain[key] == top[key]]
        found = stats.compare(plain.loc[plain["images_per_s"].idxmax()]["rates"], top["rates"]) if len(plain) else None
        span = f" ({found.low:.3g} to {found.high:.3g})" if found and found.low and found.high else ""
        gain = f"{found.ratio:.3g}{span}" if found else None
        agree = "yes" if top["agreed"] else "not compared"
        what = model if mode == "inference" else f"{model}, {mode}"
        rows.append((machine, what, top["images_per_s"], gain, int(top["runs"]), agree, ", ".join(ways)))
    columns = ["machine", "model", "images/s", "times reference", "runs", "outputs agree", "fastest setting"]
    return pd.DataFrame(rows, columns=columns)
