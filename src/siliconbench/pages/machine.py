"""What is this machine good at? What only a machine's page says, as notebooks/machine.ipynb shows it: `make image`."""

from collections.abc import Sequence

import pandas as pd

from siliconbench.analysis.cases import PARTS, named, rate_words
from siliconbench.analysis.words import percent_words, significant
from siliconbench.pages import tables
from siliconbench.pages.html import listed
from siliconbench.pages.tables import Column
from siliconbench.record.schema import Record

CASE = Column("case", "label")
COLUMNS = [
    Column("case", "name"), Column("batch", "batch_size"), tables.IMAGES_PER_S, tables.INTERVAL,
    Column("memory, GiB", "peak_bytes", then=lambda held: held / 2**30), Column("model alone", "forward_images_per_s"),
    Column("bottleneck", "bottleneck", then=lambda part: PARTS.get(part, part)), tables.RUNS,
]  # fmt: skip
BATTERY = Column("battery, % per 1,000 images", "battery_percent_per_1000_images")
HEAT = [CASE, tables.HOTTEST, tables.FAN, tables.POWER, tables.IMAGES_PER_J, BATTERY]
LIMIT = [CASE, *tables.LIMIT]


def labelled(cases: pd.DataFrame) -> pd.DataFrame:
    """The cases with their names, and labels that say the batch size, too."""
    table = named(cases)
    return table.assign(label=[f"{c['name']}, batch {c['batch_size']}" for _, c in table.iterrows()])


def lead_sentence(table: pd.DataFrame, machine: str) -> str:
    """The page's first sentence: the fastest reference case of each model, with its interval and its scope."""
    good = table.dropna(subset=["images_per_s"])
    if good.empty:
        return f"{machine}: no run has succeeded yet."
    good = good[good["reference"]] if good["reference"].any() else good
    words = []
    for model, group in good.groupby("model"):
        best = tables.top(group, "images_per_s")
        speed = rate_words(best["images_per_s"], best["low"], best["high"])
        words.append(f"{model} at {speed}, batch {best['batch_size']} on the {best['device']}")
    return f"{machine} runs {listed(words, 4)}."


def card(records: Sequence[Record]) -> pd.DataFrame:
    """What the machine is and what ran on it, by the newest record: two columns."""
    newest = max(records, key=lambda r: r.created, default=None)
    facts = {name: read(newest) for name, read in tables.FACTS.items()} if newest else {}
    return pd.DataFrame([(name, str(fact)) for name, fact in facts.items() if fact], columns=["what", "value"])


def time_sentence(table: pd.DataFrame) -> str:
    """For the first cases, the time of an image, how near that comes to what its parts allow, and the bottleneck."""
    words = []
    for _, case in table.dropna(subset=["images_per_s"]).iterrows():
        rate, allowed = case["images_per_s"], case["allowed_images_per_s"]
        share = f", {percent_words(rate / allowed)} of what its parts allow" if pd.notna(allowed) else ""
        part = "none stands out" if case["bottleneck"] == "balanced" else PARTS.get(case["bottleneck"], "not known")
        words.append(f"{case['label']} takes {significant(1000 / rate)} ms an image{share} (bottleneck: {part})")
    return f"{listed(words, 6)}." if words else "No case succeeded: there are no parts to show."
