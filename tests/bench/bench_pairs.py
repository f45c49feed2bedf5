"""`python -m tests.bench.bench_pairs`: real A/A pairs on this machine, and pairs drawn from all of their runs.

Each pair is REPEATS runs of one case under one name and as many under another, interleaved, each in a fresh process. A
verdict of faster or slower is false. From the runs of all pairs 2,000 more are drawn without replacement. What is
measured lies in reports/runs/pairs.json, and the next call goes on from there.
"""

import argparse
import json
import math
import random
from collections import Counter
from statistics import stdev

from tqdm import tqdm

from siliconbench import paths
from siliconbench.analysis import stats
from siliconbench.record import store
from siliconbench.record.schema import Case
from siliconbench.sweep.trust import LABELS, observe

KEPT = paths.RUNS / "pairs.json"


def measured(case: Case, runs: int) -> list[float]:
    """Images/s of so many fresh processes of this case, those measured before first."""
    name = case.model_dump_json()
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    rates = kept.setdefault(name, [])
    for _ in tqdm(range(len(rates), runs), desc="runs"):
        rates.append(observe(case, LABELS[0])["images_per_s"])
        store.write_whole(KEPT, json.dumps(kept))
    return rates[:runs]


def drawn(rates: list[float], repeats: int, pairs: int = 2000, seed: int = 1) -> Counter[str]:
    """How often each word is said of pairs drawn from these runs, twice `repeats` of them at a time."""
    rng, words = random.Random(seed), Counter[str]()
    for _ in range(pairs):
        some = rng.sample(rates, 2 * repeats)
        words[stats.compare(some[::2], some[1::2]).word] += 1
    return words


def main() -> None:
    """Measures, and prints the words of the pairs and of those that are drawn."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("--pairs", 20), ("--repeats", 3), ("--batch", 8)):
        ask.add_argument(name, type=int, default=default)
    ask.add_argument("--model", default="mobilenet_v3_small")
    ask.add_argument("--device", default="cpu")
    ask.add_argument("--seconds", type=float, default=1.0)
    given = ask.parse_args()
    case = Case(model=given.model, batch_size=given.batch, device=given.device, min_seconds=given.seconds)
    rates = measured(case, 2 * given.pairs * given.repeats)
    words = Counter[str]()
    for k in range(given.pairs):
        some = rates[2 * given.repeats * k : 2 * given.repeats * (k + 1)]
        found = stats.compare(some[::2], some[1::2])
        words[found.word] += 1
        print(f"pair {k + 1:2d}: {found.ratio:.3f} {found.word}")
    logs = [math.log(rate) for rate in rates]
    print(f"{len(rates)} runs, {min(rates):.1f} to {max(rates):.1f} images/s, scatter {100 * stdev(logs):.1f} %")
    print(f"{given.pairs} real pairs: {dict(words)}")
    print(f"2,000 drawn pairs of {given.repeats}: {dict(drawn(rates, given.repeats))}")
    print(f"2,000 drawn pairs of 5: {dict(drawn(rates, 5))}")


if __name__ == "__main__":
    main()
