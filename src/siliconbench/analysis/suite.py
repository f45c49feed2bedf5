"""The suite's figures, each a geometric mean over its models; computed when looked at, never stored."""

from itertools import combinations
from statistics import geometric_mean

import numpy as np
import pandas as pd

from siliconbench.analysis import stats
from siliconbench.analysis.words import ratio_words, significant
from siliconbench.record import protocol

KEYS = ["machine", "device", "torch", "method"]
FIGURES = [*KEYS, "why", "figure", "images_per_s", "low", "high", "forward", "calm", "estimate", "models"]


def lacking(rows: pd.DataFrame) -> str:
    """Which case of the protocol has too few good runs among these rows, and why; empty where none has."""
    for case in protocol.cases("cpu"):  # on any device: the rows are of one
        own = rows[(rows["model"] == case.model) & (rows["batch_size"] == case.batch_size)]
        if not (own["runs"] >= protocol.REPEATS).any():
            found = "wrong outputs" if own["left_out"].any() else f"{own['runs'].sum()} of {protocol.REPEATS} runs"
            return f"{case.model} at batch {case.batch_size}: {next(iter(own['error'].dropna()), found)}"
    return ""


def estimate(rows: pd.DataFrame) -> stats.Estimate:
    """The mean of log rates over these cases, one of each model: a ninth of the sum of their variances. The scatter
    between sessions comes on top once, not a ninth of it three times: the models share their days."""
    day = stats.Estimate(0.0, rows["between"].iat[0] ** 2 / rows["sweeps"].map(len).min(), stats.FREEDOM)
    return stats.combined((1.0, day), *((1 / len(rows), stats.estimate(own)) for own in rows["sessions"]))


def figures(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each figure of each machine, device, torch and method, of cases in the newest of their states; where
    one has too few good runs, one row and `why`. forward, calm: the model alone, the undisturbed ones (NaN: none)."""
    table, rows = table[table["suite"] == protocol.NAME], list[tuple[object, ...]]()
    table = table.assign(newest=[max(ids, default="") for ids in table["sweeps"]]).sort_values("newest")
    for keys, mine in table.groupby(KEYS):
        why, good = lacking(mine), mine[mine["runs"] >= protocol.REPEATS]
        good = good.drop_duplicates(["model", "batch_size"], keep="last").set_index("model")
        rows += [(*keys, why, *[None] * len(FIGURES[5:]))] if why else []
        for name, size in protocol.FIGURES.items() if not why else ():
            own = good[good["batch_size"] == size]
            rate, parts = estimate(own), own[["forward_images_per_s", "undisturbed_images_per_s"]].astype(float)
            bounds = np.exp(rate.log + rate.half(stats.LEVEL) * np.array([0, -1, 1]))
            rows.append((*keys, "", name, *bounds, *parts.apply(geometric_mean), rate, own["images_per_s"]))
    return pd.DataFrame(rows, columns=FIGURES)


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """One figure's rows of like torch and method, fastest first. rank: one more than there are machines surely faster,
    by Welch's test of all pairs (Bonferroni) and by undisturbed runs; ratios: to the first, by model, in words."""
    rows = [row for _, row in table.sort_values("images_per_s", ascending=False).iterrows()]
    pairs, ranks = list(combinations(range(len(rows)), 2)), [1] * len(rows)
    for a, b in pairs:
        d = stats.combined((1.0, rows[b]["estimate"]), (-1.0, rows[a]["estimate"]))
        sure = stats.word_of(d.log, d.half(1 - (1 - stats.LEVEL) / len(pairs))) == "slower"
        ranks[b] += sure and not rows[b]["calm"] * (1 + stats.MARGIN) >= rows[a]["calm"]
    ratios = [(row["models"] / rows[0]["models"]).sort_values() for row in rows[1:]]
    words = [", ".join(f"{model} {ratio_words(ratio)}" for model, ratio in own.items()) for own in ratios]
    return pd.DataFrame(rows, columns=table.columns).assign(rank=ranks, ratios=[None, *words][: len(rows)])


def quoted(rows: pd.DataFrame, name: str = "images_per_s") -> str:
    """A machine's figures as people quote them: single 224, bulk 3,057 images/s."""
    rates = zip(rows["figure"], rows[name], strict=True)
    return ", ".join(f"{n} {f'{rate:,.0f}' if rate >= 100 else significant(rate)}" for n, rate in rates) + " images/s"
