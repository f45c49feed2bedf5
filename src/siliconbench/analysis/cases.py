"""From records to tables: one row a run, one row a case with its interval, and the sentences on them."""

from collections.abc import Callable, Iterable
from functools import reduce
from itertools import chain
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import gmean

from siliconbench.analysis import heat, stats
from siliconbench.analysis.bottleneck import concluded
from siliconbench.analysis.words import THIN, ratio_words
from siliconbench.record.schema import Case, Record

APART = 10  # an interval that spans a factor of ten tells no speed: it is said in words
PARTS = {"forward": "model alone", "copy": "copy to the device", "input": "loader alone", "end_to_end": "end to end"}


class Column(NamedTuple):
    """A column of the tables of runs and of cases. Runs that differ in a column with words are never one figure."""

    read: str | Callable[[Any], object]  # a run's value: a path from its record (None where a part is), or a function
    over: Callable[[pd.Series], object] | None = None  # a case's, of those that its usable runs know; None: no column
    words: Callable[[Any], str] | None = None  # the value as a label says it

    def of(self, run: SimpleNamespace) -> object:
        """The value of a run, that is of a record's parts and its conditions."""
        if callable(self.read):
            return self.read(run)
        return reduce(lambda part, name: None if part is None else getattr(part, name), self.read.split("."), run)


def _most(values: pd.Series) -> object:
    return values.mode().iat[0]


COLUMNS = {
    "model": Column("case.model", words=str), "batch_size": Column("case.batch_size", words="batch {}".format),
    "device": Column("case.device", words=str), "precision": Column("case.precision", words=str),
    "memory_format": Column("case.memory_format", words=lambda layout: layout.replace("_", " ")),
    "compile": Column("case.compile", words=lambda on: "compiled" if on else "eager"),
    "mode": Column("case.mode", words=lambda mode: "training" if mode == "train" else mode),
    "input": Column("case.input", words="{} input".format),
    "image_px": Column("case.image_px", words=lambda px: f"{px} px" if px else "image size unknown"),
    "workers": Column(lambda r: "auto" if r.case.workers is None else str(r.case.workers), words="{} workers".format),
    "machine": Column("machine.slug", words=str),
    "torch": Column(lambda r: ".".join((r.software.torch or "unknown").split("+")[0].split(".")[:2]),
                    words="torch {}".format),
    "sustained": Column(lambda r: r.case.minutes > 0, words=lambda long: "sustained" if long else ""),
    "reference": Column("case.reference"), **{name: Column(name) for name in ("repeat", "created", "status")},
    "error": Column("error.kind"), "why": Column("error.message"), "verdict": Column("verdict.word"),
    "reasons": Column(lambda r: r.verdict.reasons if r.verdict else []), "agree": Column("checks.outputs.agree"),
    "images_per_s": Column("passes.end_to_end.images_per_s", gmean),
    **{f"{name.strip('_')}_images_per_s": Column(f"passes.{name}.images_per_s", gmean)
       for name in ("forward", "copy_", "input", "end_to_end")},
    "allowed_images_per_s": Column("checks.allowed_images_per_s", gmean),
    "bottleneck": Column(lambda r: concluded(r.checks), _most),
    "utilization": Column("limits.utilization", pd.Series.median),
    "request_s": Column(lambda r: r.latency.request_s if r.latency else [], lambda some: list(chain(*some))),
    "peak_bytes": Column(lambda r: r.memory and (r.memory.peak_device_bytes or r.memory.peak_process_bytes), max),
    "swap_growth_bytes": Column("memory.swap_growth_bytes", max),
    "peak_c": Column("conditions.peak_c", max), "fan_rpm": Column("conditions.fan_rpm", max),
    "heat_of": Column("conditions.heat_of", _most), "joules_of": Column("conditions.joules_of", _most),
    **{name: Column(f"conditions.{name}", pd.Series.median)
       for name in ("mean_w", "images_per_j", "battery_percent_per_1000_images")},
}  # fmt: skip
LIKE = [name for name, column in COLUMNS.items() if column.words]
TOLD_APART = [name for name in LIKE if name not in ("model", "batch_size")]
FIGURES = ["low", "high", "runs", "clean", "failed", "left_out", "error", "rates", "agreed", "reference"]


def runs(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run, sorted by case and time; it has its columns even when there is no record.
    A run that failed before it knew its image size has that of its model's others, else 0."""
    parts = (SimpleNamespace(**dict(record), conditions=heat.conditions(record)) for record in records)
    frame = pd.DataFrame([[column.of(run) for column in COLUMNS.values()] for run in parts], columns=list(COLUMNS))
    known = pd.to_numeric(frame["image_px"])
    frame["image_px"] = known.fillna(known.groupby(frame["model"]).transform("max")).fillna(0).astype(int)
    return frame.sort_values([*LIKE, "created", "repeat"], ignore_index=True)


def cases(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a case: its rate with the Student-t interval over runs, its parts, and how many runs stand behind it: the
    clean ones, or all that succeeded when none is; never one whose output disagrees with the CPU's (fast but wrong)."""
    over, rows = {name: column.over for name, column in COLUMNS.items() if column.over}, []
    for _, group in frame.groupby(LIKE, sort=True, dropna=False):
        ok = group[group["status"] == "ok"]
        right = ok[~ok["agree"].isin([False])]
        clean = right[right["verdict"] == "clean"]
        used = heat.alike(clean if len(clean) else right)
        known = {name: used[name].dropna().infer_objects() for name in over}
        found = {name: read(known[name]) if len(known[name]) else None for name, read in over.items()}
        _, low, high, _ = stats.interval(used["images_per_s"]) if len(used) else (None, None, None, 0)
        rows.append(dict(group.iloc[0][[*LIKE, "reference"]]) | found | {
            "low": low, "high": high, "runs": len(used), "clean": len(clean), "left_out": len(ok) - len(used),
            "failed": int((group["status"] == "failed").sum()), "rates": list(used["images_per_s"]),
            "error": next(iter(group["error"].dropna()), None), "request_s": found["request_s"] or [],
            "agreed": bool(len(used)) and bool(used["agree"].eq(True).all()),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[*LIKE, *FIGURES, *over])


def case_words(case: Any, axes: Iterable[str] | None = None) -> str:
    """A row or a Case in words: its model, then each of these axes; without axes those unlike the reference's."""
    if axes is None:
        usual = {name: field.default for name, field in Case.model_fields.items() if name != "image_px"}
        axes = [name for name in TOLD_APART if name in usual and getattr(case, name) != usual[name]]
    values = dict(case)
    words = [values["model"], *(in_words(values[name]) for name in axes if (in_words := COLUMNS[name].words))]
    return ", ".join(filter(None, words))


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `name` that tells its cases apart by each axis in which they differ, batch size aside."""
    differ = [name for name in TOLD_APART if table[name].nunique(dropna=False) > 1]
    return table.assign(name=[case_words(case, differ) for _, case in table.iterrows()])


def span_words(mean: float | None, low: float | None, high: float | None) -> str | None:
    """The interval of a rate in words, to the digits that it bears; None where there is no figure."""
    if mean is None or pd.isna(mean):
        return None
    if low is None or high is None or pd.isna(low):
        return "one run"
    digits = 0 if mean >= 1000 else 1 if mean >= 10 else 2
    apart = "its runs differ too much for an interval"
    return apart if high > APART * low else f"{low:,.{digits}f} to {high:,.{digits}f}".replace(",", THIN)


def rate_words(mean: float | None, low: float | None, high: float | None) -> str:
    """A rate with its interval in words: 99.7 images/s (99.1 to 100.3)."""
    if mean is None or not (span := span_words(mean, low, high)):
        return "no figure"
    return f"{mean:,.{0 if mean >= 1000 else 1 if mean >= 10 else 2}f} images/s ({span})".replace(",", THIN)


def sweet_spot(table: pd.DataFrame) -> str:
    """In a sentence, which batch size of one model to use: the smallest that the fastest is not surely faster than."""
    table = table.dropna(subset=["images_per_s"]).sort_values("batch_size")
    name = table["name"].iat[0] if len(table) else "this model"
    if len(table) < 2:
        return f'{name}: one batch size was measured, so none can be recommended; try BATCH_SIZE="1 8 64".'
    top = table.loc[table["images_per_s"].idxmax()]
    first = next(r for _, r in table.iterrows() if stats.compare(r["rates"], top["rates"]).word != "faster")
    speed = rate_words(first["images_per_s"], first["low"], first["high"])
    fastest = f"; the fastest figure, at {top['batch_size']}, is not surely better."
    fastest = ", the fastest of those measured." if first["batch_size"] == top["batch_size"] else fastest
    return f"{name}: batch size {first['batch_size']} gives {speed}{fastest}"


def cliff(table: pd.DataFrame) -> str | None:
    """In a sentence, the first batch size of one model that is slower than a smaller one, or at which memory ends.
    Memory that runs short shows as a fall in speed, or as growing swap, before any error."""
    best: Any = None
    for _, case in table.sort_values("batch_size").iterrows():
        where, rate = f"{case['name']}: at batch size {case['batch_size']}", case["images_per_s"]
        if pd.isna(rate) and case["error"] == "out_of_memory":
            return f"{where} memory ends."
        if best is not None and pd.notna(rate) and stats.compare(best["rates"], case["rates"]).word == "slower":
            swap, held = case["swap_growth_bytes"], case["peak_bytes"]
            why = f", and swap grew by {swap / 1e6:.0f} MB" if (swap or 0) > 0 else ""
            why += f"; {held / 2**30:.1f} GiB held" if (held or 0) > 0 else ""
            share = 100 * rate / best["images_per_s"]
            return f"{where} the speed falls to {share:.0f} % of that at {best['batch_size']}{why}."
        best = case if pd.notna(rate) and (best is None or rate > best["images_per_s"]) else best
    return None


def batch_advice(table: pd.DataFrame) -> list[str]:
    """For each model, in a sentence, which batch size to use."""
    groups = named(table).groupby("name")
    sentences = [words for _, group in groups for words in (sweet_spot(group), cliff(group)) if words]
    return sentences or ["Nothing was measured."]


def tuned(table: pd.DataFrame) -> pd.DataFrame:
    """The best tuned setting of each machine and model: what won it, over the best reference figure; one row each."""
    rows = []
    table = table.dropna(subset=["images_per_s"]).astype({"images_per_s": float, "reference": bool, "sustained": bool})
    for (machine, model, mode), group in table.groupby(["machine", "model", "mode"]):
        best = group[~group["reference"]]
        if best.empty:
            continue
        top, same = best.loc[best["images_per_s"].idxmax()], ["input", "image_px", "torch", "device"]
        plain = group[group["reference"] & ~group["sustained"] & (group[same] == top[same]).all(axis=1)]
        gain = None
        if len(plain):
            found = stats.compare(plain.loc[plain["images_per_s"].idxmax()]["rates"], top["rates"])
            span = f" ({ratio_words(found.low)} to {ratio_words(found.high)})" if found.low and found.high else ""
            gain = f"{ratio_words(found.ratio)}{span}"
        agree, what = "yes" if top["agreed"] else "not compared", model if mode == "inference" else f"{model}, {mode}"
        setting = case_words(top, ("precision", "memory_format", "compile", "batch_size")).removeprefix(f"{model}, ")
        rows.append((machine, what, top["images_per_s"], gain, int(top["runs"]), agree, setting))
    columns = ["machine", "model", "images/s", "times reference", "runs", "outputs agree", "fastest setting"]
    return pd.DataFrame(rows, columns=columns)
