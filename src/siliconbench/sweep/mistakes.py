"""How wrong would a careless benchmark be here? Rates by a wrong and the right way, taken in turns, and their ratio."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.special import gammaincinv

from siliconbench import knobs, paths
from siliconbench.analysis import stats, words
from siliconbench.sweep.plan import cases, device_type


def against(wrong: Sequence[float], right: Sequence[float]) -> stats.Comparison:
    """How many times the right rate the wrong one is, by pairs of the same moment."""
    return stats.compare([[rate] for rate in right], [[rate] for rate in wrong], margin=0.0, paired=True)


def turns(wrong: Callable[[], float], right: Callable[[], float], repeats: int) -> stats.Comparison:
    """The same, each way measured so often, in turns."""
    return against(*zip(*((wrong(), right()) for _ in range(repeats)), strict=True))


def narrow(block_s: Sequence[Sequence[float]]) -> stats.Comparison:
    """How many times as wide as it is the scatter of processes looks by blocks of each; its interval by chi-squared."""
    logs, df = [np.log(seconds) for seconds in block_s], len(block_s) - 1
    claimed = np.mean([x.var(ddof=1) / len(x) for x in logs])
    ratio = float(np.sqrt(claimed / np.var([x.mean() for x in logs], ddof=1)))
    low, high = (ratio * float(np.sqrt(2 / df * gammaincinv(df / 2, p))) for p in (0.025, 0.975))
    word = "faster" if low > 1 else "slower" if high < 1 else "undecided"
    return stats.Comparison(ratio, low, high, None, word)


def sentence(name: str, found: stats.Comparison, more: str = "too fast", less: str = "too slow") -> str:
    """The factor of a mistake with its interval, in words."""
    low, high = (x if x else found.ratio for x in found[1:3])
    low, factor, high = (low, found.ratio, high) if found.ratio > 1 else (1 / high, 1 / found.ratio, 1 / low)
    shown = f"{words.significant(factor)} times {more if found.ratio > 1 else less}"
    unsure = " These turns can't tell it from none." if found.word == "undecided" else ""
    return f"{name}: {shown} ({words.significant(low)} to {words.significant(high)}).{unsure}"


def make_mistakes(given: knobs.Given, render: Callable[[Path, Path, knobs.Given], object]) -> int:
    """The exit status of `make mistakes`: 0. Its notebook measures, while its page is rendered."""
    case = cases(given, device_type(given["USE_GPU"]))[0]
    print(f"{case.model}, batch {case.batch_size}, {case.device}: ten mistakes, about five minutes", flush=True)
    used = case.model_dump(include={"model", "batch_size", "device", "min_seconds", "workers"})
    used |= {"repeats": given["REPEATS"], "model": given["IMAGE_MODEL"][0]}
    print(render(paths.NOTEBOOKS / "mistakes.ipynb", paths.REPORTS / "mistakes.html", used))
    return 0
