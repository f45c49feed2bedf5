"""Can these numbers be trusted here? The same case under two labels, and once more with 5 % of work planted, each run a
fresh process, interleaved. A versus A must not differ; A versus B must, where this machine can tell 5 %."""

import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from siliconbench import knobs, paths
from siliconbench.analysis import stats
from siliconbench.analysis.words import times_words
from siliconbench.machine import facts, tuning
from siliconbench.record import schema, store
from siliconbench.sweep import kernel
from siliconbench.sweep.plan import cases, device_type, shuffled

LABELS = ("A", "A again", "B, 5 % slower")
EVERY = 20  # in B each 20th batch is done twice: 5 % of work, not of sleep
CHANGES = (0.01, 0.02, 0.05, 0.10)


def observe(case: schema.Case, label: str, least: int = 10 * EVERY, *cold: int) -> dict[str, Any]:
    """What a fresh process measured under this label (observation); RuntimeError with its last words if it failed."""
    numbers, env = (EVERY if label == LABELS[2] else 0, least, *cold), tuning.variables(dict(case))
    printed = kernel.child("observation", case.model_dump_json(), *map(str, numbers), env=env)
    return {"label": label, **json.loads(printed.splitlines()[-1])}


def scatter(runs: pd.DataFrame) -> float:
    """The standard deviation of log rates from run to run, pooled over the labels."""
    return float(np.sqrt(np.log(runs["images_per_s"]).groupby(runs["label"]).var().mean()))


def compare(runs: pd.DataFrame, known: int) -> stats.Comparison:
    """The first `known` labels against the next: 1, A and A again (faster or slower is false); 2, both A and B."""
    rates = runs.set_index("label")["images_per_s"]
    return stats.compare(rates[list(LABELS[:known])], rates[LABELS[known]])


def power(runs: pd.DataFrame) -> pd.DataFrame:
    """For 1, 2, 5 and 10 %: the chance that so many repeats find it, and how many do nine times in ten."""
    sd, repeats, rows = scatter(runs), sum(runs["label"] == LABELS[0]), list[tuple[str, str, str]]()
    for change in CHANGES:
        needed, chance = stats.repeats_for(sd, change), stats.power(sd, repeats, change)
        needs = str(needed or ("never: within the margin" if change <= stats.MARGIN else "never"))
        rows += [(f"{100 * change:.0f} %", f"{100 * chance:.0f} %", needs)]
    return pd.DataFrame(rows, columns=["difference", f"{repeats} repeats find it in", "repeats that it needs"])


def aa_sentence(runs: pd.DataFrame) -> str:
    """Whether the same case was rightly not told apart from itself."""
    found = compare(runs, 1)
    wrong = found.word in ("faster", "slower")
    end = "False: close other programs and run it again." if wrong else "Nothing differs, and no difference is claimed."
    return f"A against A again: {times_words(found)} times as fast, {found.word}. {end}"


def ab_sentence(runs: pd.DataFrame) -> str:
    """Whether the planted 5 % was found, of both A together against B: the truth is 1 / 1.05."""
    found, needed = compare(runs, 2), power(runs).iat[2, 2]
    missed = f"It was not found ({found.word}): it takes {needed} repeats, or a quieter machine."
    end = "It was found." if found.word == "slower" else missed
    return f"5 % planted: {times_words(found)} times as fast; 0.952 is true. {end}"


def machine_sentence(runs: pd.DataFrame) -> str:
    """What this machine, that day, can tell apart, in a sentence."""
    repeats, sd = sum(runs["label"] == LABELS[0]), scatter(runs)
    finest = next((change for change in CHANGES if stats.power(sd, repeats, change) >= 0.9), None)
    can = f"can tell {100 * finest:.0f} % apart" if finest else "can't tell even 10 % apart"
    told = f"This machine ({runs['of'].iat[0]}), on {runs['day'].iat[0]}, {can} in {repeats} repeats"
    return f"{told}; its rate differs by {100 * sd:.1f} % from run to run."


def make_trust(given: knobs.Given, page: Callable[[Path], Path]) -> int:
    """The exit status of `make trust`: 0 where A is not told from itself, 1 where it is or a run failed."""
    case, rows = cases(given, device_type(given["USE_GPU"]))[0], list[dict[str, Any]]()
    order = shuffled(LABELS, given["REPEATS"], given["SEED"], store.now())
    of = f"{facts.machine('unnamed').title}: {case.model}, batch {case.batch_size}, {case.device}"
    print(f"{of}: {len(order)} runs in fresh processes", flush=True)
    try:
        for number, label in enumerate(order, 1):
            rows.append({"order": number, "of": of, "day": str(date.today())} | observe(case, label))
            print(f"{number:2d} {label:<14} {rows[-1]['images_per_s']:9.1f} images/s", flush=True)
    except RuntimeError as error:
        print(f"make trust: a run failed: {error}", file=sys.stderr)
        return 1
    kept, runs = store.write_whole(paths.RUNS / "trust.json", json.dumps(rows)), pd.DataFrame(rows)
    print(machine_sentence(runs), aa_sentence(runs), ab_sentence(runs), page(kept), sep="\n")
    return int(compare(runs, 1).word in ("faster", "slower"))
