"""pages.machine"""

import re
from typing import Any

import pandas as pd

from siliconbench.analysis import cases as case_table
from siliconbench.analysis import heat, stats
from siliconbench.record.schema import Record

NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def headline(table: pd.DataFrame, machine: str) -> str:
    """The page's first sentence: the fastest reference case of the machine, with its interval and its scope."""
    good = table.dropna(subset=["images_per_s"]) if len(table) else table
    if not len(good):
        return f"{machine}: no run has succeeded yet."
    good = good[good["reference"]] if good["reference"].any() else good
    told = []
    for model, group in good.groupby("model"):
        top = group.loc[group["images_per_s"].idxmax()]
        speed = case_table.rate(top["images_per_s"], top["low"], top["high"])
        told.append(f"{model} {speed} at batch {top['batch_size']} on the {top['device']}")
    return f"{machine} runs " + "; ".join(told[:4]) + (f"; and {len(told) - 4} more." if len(told) > 4 else ".")


def card(records: list[Record]) -> pd.DataFrame:
    """What the machine is and what ran on it, by the newest record: two columns."""
    if not records:
        return pd.DataFrame({"what": [], "value": []})
    last = max(records, key=lambda r: r.created)
    m, s, b = last.machine, last.software, last.checks and last.checks.before
    gpus = ", ".join(g.name for g in m.gpus or []) or "none found"
    levels = ", ".join(f"{c.cores} {c.name}" for c in m.core_levels or [])
    facts = {
        "chip": m.chip,
        "model": m.model,
        "cores": f"{m.cores}" + (f" ({levels})" if levels else ""),
        "GPU": gpus,
        "memory": m.memory_bytes and f"{m.memory_bytes / 2**30:.0f} GiB",
        "system": " ".join(filter(None, [m.os, m.os_build])),
        "driver": m.driver,
        "power": ", ".join(filter(None, [b.power_source, b.power_mode, b.governor])) if b else None,
        "thermal pressure": b and b.thermal_pressure,
        "Python": s.python,
        "torch, torchvision": f"{s.torch}, {s.torchvision}",
        "threads": s.threads,
        "siliconbench": f"{s.siliconbench} {s.commit or ''}".strip(),
    }
    known = {what: str(value) for what, value in facts.items() if value}
    return pd.DataFrame({"what": list(known), "value": list(known.values())})


def speed_words(table: pd.DataFrame) -> str:
    """What the figure of throughput over batch size shows, in a sentence or two."""
    table = case_table.named(table)
    good = table.dropna(subset=["images_per_s"])
    if not len(good):
        return "No case succeeded: there is no speed to show."
    top = good.loc[good["images_per_s"].idxmax()]
    told = (
        f"The most is {case_table.rate(top['images_per_s'], top['low'], top['high'])}, with {top['name']} at batch size"
    )
    told += f" {top['batch_size']}."
    lost = [
        f"{c['name']} at {c['batch_size']} ({c['error']})" for _, c in table[table["images_per_s"].isna()].iterrows()
    ]
    return told + (f" Failed, marked by a cross: {', '.join(lost)}." if lost else "")


def speed_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every case with its figure, what holds it back, and how many runs stand behind it."""
    table = case_table.named(table)
    figures = zip(table["images_per_s"], table["low"], table["high"], strict=True)
    return pd.DataFrame(
        {
            "case": table["name"],
            "batch": table["batch_size"],
            "images/s": table["images_per_s"],
            "95 % over runs": [case_table.rate(*f).partition(" images/s ")[2].strip("()") or None for f in figures],
            "memory, GiB": table["peak_bytes"].astype(float) / 2**30,
            "model alone": table["forward_images_per_s"],
            "held back by": table["holds_back"],
            "runs": [
                f"{r} ({c} clean{f', {f} failed' if f else ''}{f', {o} left out' if o else ''})"
                for r, c, f, o in zip(table["runs"], table["clean"], table["failed"], table["left_out"], strict=True)
            ],
        }
    )


def parts(table: pd.DataFrame) -> pd.DataFrame:
    """One row a case and part: its milliseconds an image, for the cases that have a figure."""
    table = case_table.named(table).dropna(subset=["images_per_s"])
    rows = [
        (f"{c['name']}, batch {c['batch_size']}", words, 1000 / c[f"{part}_images_per_s"])
        for _, c in table.iterrows()
        for part, words in case_table.PARTS.items()
        if c[f"{part}_images_per_s"] == c[f"{part}_images_per_s"] and c[f"{part}_images_per_s"] is not None
    ]
    return pd.DataFrame(rows, columns=["case", "part", "ms"])


def time_words(table: pd.DataFrame) -> str:
    """What the figure of the parts shows: for the first cases, the whole, what it could be, and what holds it back."""
    told = []
    for _, c in case_table.named(table).dropna(subset=["images_per_s"]).iterrows():
        whole, allowed = c["images_per_s"], c["allowed_images_per_s"]
        reach = f", {100 * whole / allowed:.0f} % of what its parts allow" if allowed and allowed == allowed else ""
        held = (
            "nothing stands out"
            if c["holds_back"] == "balanced"
            else f"held back by {case_table.PARTS.get(c['holds_back'], 'nothing known')}"
        )
        told.append(f"{c['name']} at batch {c['batch_size']} takes {1000 / whole:.2f} ms an image{reach} ({held})")
    return "; ".join(told[:6]) + "." if told else "No case succeeded: there is nothing to take apart."


def request_table(table: pd.DataFrame) -> pd.DataFrame:
    """The median and the farthest percentile of requests, by case, in milliseconds."""
    table = case_table.named(table)
    rows = []
    for _, c in table[table["runs"] > 0].iterrows():
        middle, far = stats.percentile(c["request_s"], 0.5), stats.tail(c["request_s"])
        if middle and far:
            rows.append(
                (c["name"], c["batch_size"], len(c["request_s"]), 1000 * middle.value_s, far[0], 1000 * far[1].value_s)
            )
    return pd.DataFrame(rows, columns=["case", "images", "requests", "median ms", "tail", "tail ms"])


def request_words(requests: pd.DataFrame) -> str:
    """The quickest request, read aloud."""
    if not len(requests):
        return "No request was timed."
    best = requests.loc[requests["median ms"].idxmin()]
    far = f"{best['tail']}: {best['tail ms']:.3g} ms over {best['requests']} requests"
    return f"The quickest is {best['case']} with {best['images']} images a request: {best['median ms']:.3g} ms ({far})."


def heat_table(table: pd.DataFrame) -> pd.DataFrame:
    """Heat, fan, power and energy of every case; no column of which nothing is known."""
    table = case_table.named(table)
    columns = {
        "case": table["name"],
        "batch": table["batch_size"],
        "hottest, °C": table["peak_c"],
        "of the": table["heat_of"],
        "fan, rpm": table["fan_rpm"],
        "power, W": table["mean_w"],
        "images/J": table["images_per_j"],
        "joules of the": table["joules_of"],
        "battery, % per 1,000 images": table["battery_percent_per_1000_images"],
    }
    return pd.DataFrame({name: values for name, values in columns.items() if len(table) and values.notna().any()})


def heat_words(table: pd.DataFrame) -> str:
    """The hottest case, and the one that makes most of a joule, read aloud."""
    table = case_table.named(table)
    hot, thrifty = table[table["peak_c"].notna()], table[table["images_per_j"].notna()]
    told = []
    if len(hot):
        top = hot.loc[hot["peak_c"].astype(float).idxmax()]
        told.append(f"The hottest is {top['name']} at batch {top['batch_size']}: {heat.conditions(top)}.")
    if len(thrifty):
        top = thrifty.loc[thrifty["images_per_j"].astype(float).idxmax()]
        told.append(
            f"{top['name']} at batch {top['batch_size']} makes the most of a joule: {top['images_per_j']:.3g} images "
            f"({top['joules_of']})."
        )
    return " ".join(told) or "This machine tells nothing of heat, fans or power here: `make doctor` says what would."


def limit_table(table: pd.DataFrame) -> pd.DataFrame:
    """How near the model alone comes to the device's matrix product, by case."""
    table = case_table.named(table)
    table = table[table["utilisation"].notna()]
    return pd.DataFrame(
        {
            "case": table["name"],
            "batch": table["batch_size"],
            "model alone, images/s": table["forward_images_per_s"],
            "of the peak, %": 100 * table["utilisation"].astype(float),
        }
    )


def limit_words(limits: pd.DataFrame) -> str:
    """The nearest to the limit, read aloud."""
    if not len(limits):
        return "No run measured the device's limit."
    best = limits.loc[limits["of the peak, %"].idxmax()]
    return (
        f"{best['case']} at batch {best['batch']} comes nearest: {best['of the peak, %']:.0f} % of the device's peak."
    )


def tuned_words(table: pd.DataFrame) -> str:
    """The greatest gain over the reference, read aloud."""
    if table.empty:
        return "No tuned run is among the records: `make best` looks for the fastest setting of a model."
    told = [
        f"{r['machine']} runs {r['model']} fastest with {r['fastest setting']}: "
        + f"{r['images/s']:,.0f} images/s"
        + (f", {r['times reference']} times its best reference figure" if r["times reference"] else "")
        for _, r in table.head(4).iterrows()
    ]
    return "; ".join(told) + "."


def trust_words(frame: pd.DataFrame) -> str:
    """How many runs there are, how many are clean, flagged and failed."""
    ok, words = frame[frame["status"] == "ok"], frame["verdict"].value_counts()
    flagged = ", ".join(f"{n} {word}" for word, n in words.items() if word != "clean")
    told = f"{len(frame)} runs: {int(words.get('clean', 0))} clean"
    told += f", {flagged}" if flagged else ""
    return f"{told}, {len(frame) - len(ok)} failed. A figure rests on the clean runs, or on all where none is clean."


def doubts(frame: pd.DataFrame) -> list[str]:
    """Each reason for which a run is not clean or failed, once, with the span of its figures and the runs it is of."""
    told: dict[str, list[tuple[str, str]]] = {}
    for _, r in frame.iterrows():
        run = f"{r['model']} b{r['batch_size']} r{r['repeat']}"
        for reason in [f"{r['error']}: {r['why']}"] if r["status"] == "failed" else r["reasons"]:
            told.setdefault(NUMBER.sub("0", reason), []).append((reason, run))
    return [
        f"{spanned([reason for reason, _ in of])} ({', '.join(run for _, run in of[:4])}"
        f"{f' and {len(of) - 4} more' if len(of) > 4 else ''})"
        for of in told.values()
    ]


def spanned(reasons: list[str]) -> str:
    """Sentences that differ in figures alone as one: each figure as the span of all."""
    figures = iter(list(zip(*map(NUMBER.findall, reasons), strict=True)))

    def span(_: Any) -> str:
        mine = next(figures)
        return " to ".join(dict.fromkeys((min(mine, key=float), max(mine, key=float))))

    return NUMBER.sub(span, reasons[0])
