"""From records to tables: one row a run, one row a case with its interval, and what compares cases."""

import math
from collections.abc import Callable, Iterable
from functools import partial, reduce
from itertools import chain
from statistics import geometric_mean, median
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from siliconbench.analysis import bottleneck, heat, series, stats
from siliconbench.analysis.verdict import FLOPS_RATIO
from siliconbench.record import axes, protocol, store
from siliconbench.record.schema import AGAIN, Case, Record

LEANS = axes.DEVICES["mps"].fallback or ""  # on: the CPU does part of the work
POWER = ("power_source", "power_mode", "governor")  # of a state
COMPILED: dict[object, str] = {False: "eager", True: "compiled"}  # else the mode of torch.compile
PARTS = {"forward": "model alone", "copy": "copy to the device", "input": "loader alone", "end_to_end": "end to end"}


class Column(NamedTuple):
    """A column of the tables of runs and of cases. Runs that differ in a column with words are never one figure;
    machines are compared only where they agree in those of them that are of the case (gate)."""

    read: str | Callable[[Any], object]  # a run's value: a path from its record (None where a part is), or a function
    over: Callable[[list[Any]], object] | None = None  # a case's, of those that its usable runs know; None: no column
    words: Callable[[Any], str] | None = None  # the value as a label says it
    gate: bool = True

    def of(self, run: SimpleNamespace) -> object:
        """The value of a run, that is of a record's parts and its conditions."""
        if callable(self.read):
            return self.read(run)
        return reduce(lambda part, name: part and getattr(part, name), self.read.split("."), run)


def _block_rate(run: SimpleNamespace, share: float) -> float | None:
    """The images/s of the whole under which this share of a run's blocks lies; None by fewer than 10 blocks."""
    timed = run.passes and run.passes.end_to_end
    if not timed or len(timed.block_s) < 10:
        return None
    return float(timed.block_images / np.quantile(timed.equal_block_s, 1 - share))


def _most(values: list[Any]) -> object:
    return max(sorted(set(values)), key=values.count)


def _state(read: Callable[[Any], object], words: str = "{}") -> Column:
    """What is no part of the case but makes runs unlike; text, empty where unknown, None only for a run that failed."""

    def of(run: Any) -> object:
        return str(read(run) or "") if run.checks and run.software.torch else None

    return Column(of, words=lambda value: words.format(value) if value else "", gate=False)


def _chip(run: Any) -> object:
    """The chip that was measured (the first GPU), with its cores where one name has several, a CPU's instructions."""
    gpu = next(iter(run.machine.gpus or []), None)
    name, cores = (gpu.name, gpu.cores) if gpu else (run.software.device_name, None)
    name = run.machine.chip if run.case.device == "mps" and not gpu else name
    name, cores = (run.machine.chip, run.machine.cores) if run.case.device == "cpu" else (name, cores)
    arch = run.software.device_arch if run.case.device == "cpu" else None
    name = (name or "unknown chip") + (f", {cores} cores" if cores and run.case.device in ("cpu", "mps") else "")
    return f"{name}, {arch}" if arch and arch.startswith("AVX") else name


def _made(run: Any) -> object:
    """What was built under its name, where that is known: two things of one name are never ranked together."""
    mark, flop = run.software.model_fingerprint, run.limits and run.limits.flop_per_image
    return f"{mark}, {flop:.3g} FLOP" if mark and flop and run.case.source == "own" else mark


COLUMNS = {
    "model": Column("case.model", words=str), "batch_size": Column("case.batch_size", words="batch {}".format),
    "device": Column("case.device", words=str), "precision": Column("case.precision", words=str),
    "memory_format": Column("case.memory_format", words=lambda layout: layout.replace("_", " ")),
    "compile": Column(lambda r: COMPILED.get(r.case.compile, r.case.compile), words=lambda on: COMPILED.get(on, on)),
    "mode": Column("case.mode", words=lambda mode: "training" if mode == "train" else mode),
    "input": Column(lambda r: f"{r.case.input} {r.case.folder}".rstrip(), words="{} input".format),
    "image_px": Column(lambda r: r.case.image_px or r.case.asked_px,
                       words=lambda px: f"{px} px" if px else "image size unknown"),
    "workers": Column(lambda r: "auto" if r.case.workers is None else str(r.case.workers),
                      words=lambda n: f"{n} worker{'' if n == '1' else 's'}"),
    "machine": Column("machine.slug", words=str),
    "torch": Column(lambda r: ".".join((r.software.torch or "unknown").split("+")[0].split(".")[:2]),
                    words="torch {}".format),
    "sustained": Column(lambda r: r.case.minutes > 0, words=lambda long: "sustained" if long else ""),
    "method": Column("method", words="method {}".format),
    "source": Column("case.source", words={"torchvision": "", "own": "own model", "timm": "from timm"}.__getitem__),
    "made": Column(_made, words=lambda mark: f"built as {mark}" if mark else ""),
    "threads": Column(lambda r: str(r.case.threads or "auto"),
                      words=lambda n: "" if n in (None, "auto") else f"{n} threads asked"),
    "allocator": Column("case.allocator", words=lambda name: "" if name == "system" else f"{name} allocator"),
    **{name: Column(f"case.{name}", words=f"{{}} {name}".format) for name in ("devices", "ranks")},
    "min_seconds": _state(lambda r: f"{r.case.min_seconds:g}", "{} s a pass"),
    "threads_used": _state(lambda r: r.software.threads, "{} threads"),
    "workers_used": _state(lambda r: str(r.checks.workers.used), "workers used: {}"),
    "device_name": _state(lambda r: r.software.device_name),
    "power_limit_w": _state(lambda r: r.case.device != "cpu" and r.machine.gpus and round(
        r.machine.gpus[0].power_limit_w or 0), "{} W allowed"),
    "driver": _state(lambda r: r.case.device != "cpu" and (r.machine.driver or "").split(".")[0], "driver {}"),
    "power": _state(lambda r: ", ".join(filter(None, (getattr(r.checks.before, name) for name in POWER)))),
    "reference": Column(lambda r: r.case.reference and r.software.environment.get(LEANS, "0").strip() == "0"),
    **{name: Column(name) for name in ("repeat", "created", "status")},
    "error": Column("error.kind"), "why": Column("error.message"), "verdict": Column("verdict.word"),
    **{name: Column(f"verdict.{name}") for name in ("reasons", "findings")},
    "disturbed": Column(lambda r: bool(r.verdict and r.verdict.disturbed)),
    "sweep": Column("sweep.id"), "agree": Column("checks.outputs.agree"),
    "suite": Column(lambda r: protocol.followed(r.sweep, r.case), words=str, gate=False),
    **{name: Column(f"checks.before.{name}") for name in ("power_source", "power_mode")},
    "asked_px": Column(lambda r: r.case.asked_px or 0), "system_share": Column("checks.system_share", median),
    "images_per_s": Column("passes.end_to_end.images_per_s", geometric_mean),
    **{f"{name.strip('_')}_images_per_s": Column(f"passes.{name}.images_per_s", geometric_mean)
       for name in ("forward", "copy_", "input", "end_to_end")},
    "allowed_images_per_s": Column("checks.allowed_images_per_s", geometric_mean),
    "bottleneck": Column(lambda r: bottleneck.concluded(r.checks), _most),
    "loading_cores": Column(lambda r: r.checks and min(r.checks.workers.used or 1, r.machine.cores or math.inf), max),
    "utilization": Column(  # above it others took from the peak
        lambda r: (r.limits and (share := r.limits.utilization or 0) <= FLOPS_RATIO and share) or None, median),
    "roof": Column("limits.roof", _most), "slow_images_per_s": Column(partial(_block_rate, share=0.05), geometric_mean),
    "quick_images_per_s": Column(partial(_block_rate, share=0.95), geometric_mean),
    "request_s": Column(lambda r: r.latency.request_s if r.latency else [], lambda some: list(chain(*some))),
    "requests_per_s": Column(lambda r: 1 / median(r.latency.request_s) if r.latency and r.latency.request_s else None),
    "peak_bytes": Column(lambda r: r.memory and (r.memory.peak_process_bytes if r.case.device == "cpu" else
                         r.memory.peak_device_bytes), max),
    "chip": Column(_chip, _most), "title": Column("machine.title", _most), "os": Column("machine.os", _most),
    "swap_growth_bytes": Column("memory.swap_growth_bytes", max), "compile_s": Column("checks.compiled.seconds", max),
    "file": Column(lambda r: store.file_name(r.case, r.created, r.repeat)),
    "peak_c": Column("conditions.peak_c", max), "fan_rpm": Column("conditions.fan_rpm", max),
    "heat_of": Column("conditions.heat_of", _most), "joules_of": Column("conditions.joules_of", _most),
    **{name: Column(f"conditions.{name}", median)
       for name in ("mean_w", "images_per_j", "battery_percent_per_1000_images")},
}  # fmt: skip
POOL = [name for name, column in COLUMNS.items() if column.words]  # runs alike in all of these are one population
LIKE = [name for name in POOL if COLUMNS[name].gate]
ALIKE = [k for k in LIKE if k not in ("machine", "device", "sustained")]  # must agree to be ranked together
USUAL = {name: "auto" if field.default is None else field.default for name, field in Case.model_fields.items()
         if name in LIKE and name != "image_px" and not field.is_required()} | {"compile": "eager"}  # fmt: skip
SETTING = ("precision", "memory_format", "compile", "allocator", "threads", "batch_size")  # what a search may change
FIGURES = [
    "low", "high", "runs", "clean", "disturbed", "failed", "left_out", "error", "rates", "sweeps", "sessions",
    "undisturbed", "undisturbed_images_per_s", "between", "assumed", "agreed", "reference", "requests", "measures",
]  # fmt: skip
COMPARED = ("machine", "between", "sweeps", "sessions", "undisturbed", "disturbed")  # what compared() reads
MEASURES = ("images_per_s", "requests_per_s", "images_per_j")  # of a run, in which machines are compared
KINDS = {"images_per_s": float, **dict.fromkeys(("reference", "sustained"), bool)}  # with no row, too


def runs(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run, sorted by case and time; without a record it has its columns, too. Looks of `make best` are none,
    but say that its sweep was searched; nor are runs of a kernel that had measured before. A run that failed has the
    image size of its model's others, else 0; made is empty where all that is known of a model is the same."""
    looked, rows = set[str](), list[list[object]]()
    for record in records:  # none is kept: thousands fill the memory, which costs more time than their arithmetic
        if record.sweep.search:
            looked.add(record.sweep.id)
        elif record.software.process != AGAIN:
            run = SimpleNamespace(**dict(record), conditions=heat.conditions(record))
            rows.append([column.of(run) for column in COLUMNS.values()])
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["searched"] = frame["sweep"].isin(looked)
    frame["image_px"], same = pd.to_numeric(frame["image_px"]), ["source", "model", "asked_px"]
    frame["image_px"] = frame["image_px"].fillna(frame.groupby(same)["image_px"].transform("max")).fillna(0).astype(int)
    made = frame["made"].fillna(frame.groupby(["machine", *same])["made"].transform("first"))  # of a run that failed
    several = made.groupby([frame[name] for name in ("source", "model", "image_px", "mode")]).transform("nunique") > 1
    frame["made"] = made.where(several, "").fillna("")  # said, and a reason to rank them apart, where it differs
    states = [name for name in POOL if not COLUMNS[name].gate]  # a run that failed did so in the state of the others
    seen = frame.groupby(LIKE, dropna=False)[states].transform("first")
    frame[states] = frame[states].where(frame[states].notna(), seen).fillna("")
    return frame.astype(KINDS | {"disturbed": bool}).sort_values([*POOL, "created", "repeat"], ignore_index=True)


def _used(group: list[dict[Any, Any]]) -> dict[str, list[Any]]:
    """The columns of the runs that a figure rests on: all that succeeded and are not wrong; without the energy of
    another part, or had in another way, than most: no median is over both."""
    good = [r for r in group if r["status"] == "ok" and r["verdict"] != "wrong" and r["agree"] not in (False,)]
    ways = [run["joules_of"] for run in good if pd.notna(run["joules_of"])]
    usual, other = ways and _most(ways), dict.fromkeys(("joules_of", "mean_w", "images_per_j"))
    rows = [run if not ways or run["joules_of"] == usual else run | other for run in good]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def _sessions(used: dict[str, list[Any]], name: str = "images_per_s", keep: bool = True) -> list[list[Any]]:
    """A column's values by session, in the order of their ids; keep=False: without disturbed runs, [] where none."""
    days: dict[str, list[Any]] = {sweep: [] for sweep in sorted(used["sweep"])}
    for sweep, value, disturbed in zip(used["sweep"], used[name], used["disturbed"], strict=True):
        days[sweep] += [value] if (keep or not disturbed) and value is not None and value == value else []
    return list(days.values())


def cases(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a case: its rate with the interval over runs and days, by the runs that _used() says; its parts, and how
    many runs stand behind it. sweeps, sessions, undisturbed: the ids, and the rates by session."""
    over = {name: column.over for name, column in COLUMNS.items() if column.over}
    found_in: dict[Any, list[dict[Any, Any]]] = {}
    for row in frame.to_dict("records"):  # which are sorted by all of these
        found_in.setdefault(tuple(row[name] for name in POOL), []).append(row)
    groups, days = [(group, _used(group)) for group in found_in.values()], dict[str, list[Any]]()
    for group, used in groups:
        days.setdefault(group[0]["machine"], []).append(_sessions(used))
    between, rows = stats.between_sd(days.values()), []
    for group, used in groups:
        known = {name: [value for value in used[name] if value is not None and value == value] for name in over}
        found = {name: read(known[name]) if known[name] else None for name, read in over.items()}
        sessions, quiet = _sessions(used), _sessions(used, keep=False)
        rate = stats.interval(sessions, between.sd) if any(sessions) else stats.Interval(math.nan, None, None, 0)
        ok = sum(run["status"] == "ok" for run in group)
        requests = [list(filter(len, runs)) for runs in _sessions(used, "request_s")]
        rows.append({name: group[0][name] for name in (*POOL, "reference")} | found | {
            "images_per_s": rate.mean, "low": rate.low, "high": rate.high, "runs": (count := len(used["sweep"])),
            "clean": used["verdict"].count("clean"), "disturbed": sum(map(bool, used["disturbed"])),
            "left_out": ok - count, "failed": len(group) - ok,
            "error": next((run["error"] for run in group if pd.notna(run["error"])), None),
            "rates": used["images_per_s"],
            "sweeps": sorted(set(used["sweep"])), "sessions": sessions, "undisturbed": quiet,
            "undisturbed_images_per_s": math.exp(stats.estimate(quiet).log) if any(quiet) else None,
            "between": between.sd, "assumed": not between.estimated, "request_s": found["request_s"] or [],
            "requests": series.requests(requests, between.sd),
            "measures": {name: [_sessions(used, name, keep) for keep in (True, False)] for name in MEASURES},
            "agreed": count > 0 and all(value == value and bool(value) for value in used["agree"]),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[*POOL, *FIGURES, *over]).astype(KINDS)


def compared(table: pd.DataFrame, key: str = "machine", base: Any = None) -> dict[tuple[Any, Any], stats.Comparison]:
    """Each pair of these cases by their `key`, the second's rate over the first's, all pairs at once (Holm); with a
    base only its own. Cases of one machine are compared by the sessions that they share, others with the scatter from
    day to day added. Undecided where the ratio of the undisturbed runs alone (of the disturbed, where one case has no
    other) would be another word, and where all of one case's were disturbed, of the other's none."""
    between, paired = table["between"].iat[0] if len(table) else 0.0, table["machine"].nunique() == 1
    every, quiet = (beside(table, key, name) for name in ("sessions", "undisturbed"))
    pairs = stats.compare_all(every, between, paired, base)
    disturbed = dict(zip(table[key], table["disturbed"], strict=True))
    both = {case: zip(every[case], quiet[case], strict=True) for case in every}
    shaken = {case: [[x for x in own if x not in few] for own, few in days] for case, days in both.items()}
    for (a, b), pair in pairs.items():
        if pair.word != "undecided" and (disturbed[a] or disturbed[b]):
            alike = next(((kind[a], kind[b]) for kind in (quiet, shaken) if any(kind[a]) and any(kind[b])), None)
            same = alike and stats.word_of(stats.difference(*alike, between, paired).log) == pair.word
            pairs[a, b] = pair if same else pair._replace(word="undecided")
    return pairs


def beside(table: pd.DataFrame, key: str, name: str = "sessions") -> dict[Any, list[list[float]]]:
    """The rates of each case by its `key`, with one place for each session of any of them: [] where it has no runs."""
    places = sorted({sweep for sweeps in table["sweeps"] for sweep in sweeps})
    rows = zip(table[key], table["sweeps"], table[name], strict=True)
    known = {case: dict(zip(sweeps, rates, strict=True)) for case, sweeps, rates in rows}
    return {case: [rates.get(place, []) for place in places] for case, rates in known.items()}


def case_words(case: Any, axes: Iterable[str]) -> str:
    """A row or a Case in words: its model, then each of these axes."""
    values = dict(case)
    words = [values["model"], *(in_words(values[name]) for name in axes if (in_words := COLUMNS[name].words))]
    return ", ".join(filter(None, words))


def chief(table: pd.DataFrame) -> pd.DataFrame:
    """Of each case the row of most runs, where threads, driver or the like make several populations of its runs."""
    most = table.sort_values(["runs", "images_per_s"], ascending=False, kind="stable")
    return most.drop_duplicates(LIKE).sort_index()


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `name` that tells its cases apart by each axis, batch size aside, in which they differ
    from the usual or, where nothing is usual, from one another. What is no part of the case, as the driver, is said of
    its further populations alone: that of most runs has the case's own name, so that its batch sizes are one line."""
    axes = [name for name in LIKE if name not in ("model", "batch_size")]
    differ = [k for k in axes if k in USUAL or table[k].nunique(dropna=False) > 1]
    apart = table.groupby(LIKE, dropna=False)[[name for name in POOL if name not in LIKE]].transform("nunique") > 1
    apart.loc[chief(table).index] = False
    names = list[str]()
    for case, row in zip(table.to_dict("records"), apart.to_numpy(), strict=True):
        unusual = (k for k in differ if k not in USUAL or case[k] != USUAL[k])
        names.append(case_words(case, [*unusual, *apart.columns[row]]))
    return table.assign(name=names)
