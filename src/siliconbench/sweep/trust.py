"""Can these numbers be trusted here? The same case under two labels, and once more with 5 % of work planted.

`make trust` measures each label in fresh processes, interleaved, and renders notebooks/trust.ipynb with what came out.
A versus A must not be told apart; A versus B must be, if this machine can tell 5 %.
"""

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import ttest_ind
from tqdm import tqdm

from siliconbench import paths
from siliconbench.analysis import stats
from siliconbench.analysis.stats import Comparison
from siliconbench.record import store
from siliconbench.record.schema import Case
from siliconbench.run import device as devices
from siliconbench.run import passes
from siliconbench.sweep import runner

LABELS = ("A", "A again", "B, 5 % slower")

EVERY = 20  # in B each 20th batch is done twice: 5 % of work, not of sleep

DIFFERENCES = (0.01, 0.02, 0.05, 0.10)

COMMAND = (sys.executable, "-m", "siliconbench.sweep.trust")


def planted(step: Any, every: int) -> Any:
    """The step, done twice each `every`-th time; the same step where every is 0."""
    count = 0

    def more() -> None:
        nonlocal count
        count += 1
        step()
        if count % every == 0:
            step()

    return more if every else step


def child(told: str, every: int) -> dict[str, Any]:
    """One observation, in this fresh process: the forward pass of the case that the JSON text tells."""
    # import moved

    bench = passes.set_up(Case.model_validate_json(told))
    batch = bench.ready_batch
    return bench.timed(planted(lambda: bench.call(batch), every), least_images=10 * EVERY * bench.case.batch_size)


def observe(case: Case, label: str) -> dict[str, Any]:
    """The pass that a fresh process measured under this label; RuntimeError with its last words if it failed."""
    every = EVERY if label == LABELS[2] else 0
    done = subprocess.run([*COMMAND, case.model_dump_json(), str(every)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(store.plain(next(iter(done.stderr.strip().splitlines()[-1:]), "it said nothing")))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def observations(case: Case, repeats: int, seed: int) -> list[dict[str, Any]]:
    """Every run, in the order made: each label once in a seeded random order, then once again in another."""
    rng, rows = random.Random(seed), list[dict[str, Any]]()
    order = [label for _ in range(repeats) for label in rng.sample(LABELS, len(LABELS))]
    for number, label in enumerate(tqdm(order, desc="runs", disable=not sys.stderr.isatty()), 1):
        found = observe(case, label)
        rows.append(
            {"order": number, "label": label, **{k: found[k] for k in ("images_per_s", "block_images", "block_s")}}
        )
        tqdm.write(f"{number:2d} {label:<14} {found['images_per_s']:9.1f} images/s", file=sys.stdout)
    return rows


def rates(runs: pd.DataFrame) -> dict[str, list[float]]:
    """The rates of each label's runs."""
    return {label: runs[runs["label"] == label]["images_per_s"].tolist() for label in LABELS}


def scatter(runs: pd.DataFrame) -> float:
    """The standard deviation of log rates from run to run, pooled over the labels."""
    variances = [pd.Series(values).map(math.log).var() for values in rates(runs).values()]
    return math.sqrt(sum(variances) / len(variances))


def same(runs: pd.DataFrame) -> Comparison:
    """A against A again: nothing differs, so faster or slower would be a false verdict."""
    made = rates(runs)
    return stats.compare(made[LABELS[0]], made[LABELS[1]])


def slowed(runs: pd.DataFrame) -> Comparison:
    """Both A together against B: the truth is 1 / 1.05."""
    made = rates(runs)
    return stats.compare(made[LABELS[0]] + made[LABELS[1]], made[LABELS[2]])


def power(runs: pd.DataFrame) -> pd.DataFrame:
    """For 1, 2, 5 and 10 %: whether so many repeats can tell it (nine times in ten), and how many that needs."""
    sd, repeats = scatter(runs), int((runs["label"] == LABELS[0]).sum())
    finest = stats.resolution(sd, repeats)
    rows = [(f"{100 * d:.0f} %", "yes" if finest <= d else "no", stats.repeats_for(sd, d)) for d in DIFFERENCES]
    return pd.DataFrame(rows, columns=["difference", f"told apart by {repeats} repeats", "repeats that it needs"])


def ratio(found: Comparison) -> str:
    """A ratio with its interval in words, where the runs bear one."""
    if found.low is None or found.high is None or found.high > 10 * found.low:
        return f"{found.ratio:.3f} times as fast (the runs differ too much for an interval)"
    return f"{found.ratio:.3f} times as fast ({found.low:.3f} to {found.high:.3f})"


def aa_words(runs: pd.DataFrame) -> str:
    """Whether the same case was rightly not told apart from itself."""
    found = same(runs)
    if found.word in ("faster", "slower"):
        end = "That is a false verdict: close other programs and run it again."
    else:
        end = "Nothing differs, and no difference is claimed."
    return f"A against A again: {ratio(found)}, {found.word}. {end}"


def ab_words(runs: pd.DataFrame) -> str:
    """Whether the planted 5 % was found."""
    found = slowed(runs)
    needed = f"it takes {stats.repeats_for(scatter(runs), 0.05)} repeats with this scatter"
    end = "It was found." if found.word == "slower" else f"It was not found ({found.word}): {needed}."
    return f"5 % of work planted: {ratio(found)} where 0.952 is true. {end}"


def verdict(runs: pd.DataFrame) -> str:
    """What this machine, now, can tell apart, in a sentence."""
    sd, repeats = scatter(runs), int((runs["label"] == LABELS[0]).sum())
    told = [f"{100 * d:.0f} %" for d in DIFFERENCES if stats.resolution(sd, repeats) <= d]
    can = f"can tell {told[0]} apart" if told else "can't tell even 10 % apart"
    return f"This machine, now, {can} in {repeats} repeats; its rate differs by {100 * sd:.1f} % from run to run."


def naive_words(runs: pd.DataFrame) -> str:
    """What a t-test over blocks would say of the same A and A again, as a caution."""
    blocks = {
        label: [math.log(n / s) for n, some in zip(part["block_images"], part["block_s"], strict=True) for s in some]
        for label, part in runs.groupby("label")
    }
    p = float(ttest_ind(blocks[LABELS[0]], blocks[LABELS[1]], equal_var=False).pvalue)
    said = "would claim a difference where there is none" if p < 0.05 else "claims none this time"
    return (
        f"A t-test over the blocks of these very runs {said} (p = {p:.2g}): blocks of one process are not independent."
    )


def make_trust(given: dict[str, Any], page: Callable[[Path], Path]) -> int:
    """The exit status of `make trust`: 0 where A is not told from itself, 1 where it is or a run failed."""
    case = runner.cases(given, devices.choose(given["USE_GPU"]).type)[0]
    print(
        f"{case.model}, batch {case.batch_size}, {case.device}: {3 * given['REPEATS']} runs in fresh processes",
        flush=True,
    )
    try:
        rows = observations(case, max(2, given["REPEATS"]), given["SEED"])
    except RuntimeError as error:
        print(f"make trust: a run failed: {error}", file=sys.stderr)
        return 1
    kept = store.write_whole(paths.RUNS / "trust.json", json.dumps(rows))
    runs = pd.DataFrame(rows)
    print(verdict(runs), aa_words(runs), ab_words(runs), page(kept), sep="\n")
    return int(same(runs).word in ("faster", "slower"))


if __name__ == "__main__":
    print(json.dumps(child(sys.argv[1], int(sys.argv[2]))))
