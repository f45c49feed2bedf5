"""Rates, intervals, who is faster, how many runs that takes, and what a series of blocks or requests shows.
One fresh process gives one rate; what is claimed over runs rests on the logs of those rates, never on blocks."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import beta, median_abs_deviation, nct, norm, quantile_test, t, theilslopes

LEVEL = 0.95
MARGIN = 0.02  # what five runs a side with 1 % of scatter can just tell apart: resolution(0.01, 5) is 0.024
MOST_RUNS = 50  # when this many more would not decide, the noise is what to work on
# By chance in 2 % of runs with 20 blocks of 2 % scatter, 12 % if lag-1 correlation is 0.5 (then 2 % from 60 blocks on).
DRIFT = 0.03


class Interval(NamedTuple):
    """Geometric mean of n rates and the bounds of its interval, None with one run."""

    mean: float
    low: float | None
    high: float | None
    n: int


class Comparison(NamedTuple):
    """Rate of b over rate of a, its bounds, the p of ratio 1, and faster, slower, same or undecided."""

    ratio: float
    low: float | None
    high: float | None
    p: float | None
    word: str


class Drift(NamedTuple):
    """Relative change of speed over a whole series by two estimates (-0.05: 5 % slower), and whether it is one."""

    slope: float
    fifths: float
    drifting: bool


class Percentile(NamedTuple):
    """One of the measured seconds, and those that bound the percentile, None where too few were measured."""

    value_s: float
    low_s: float | None
    high_s: float | None


def logs(values: ArrayLike, what: str = "rate") -> np.ndarray:
    """The logs as one row; ValueError, with `what` they are, for none, or one that is not finite and above zero."""
    x = np.asarray(values, dtype=float).ravel()
    if not x.size:
        raise ValueError(f"At least one {what} is needed; none was given.")
    bad = x[~(np.isfinite(x) & (x > 0))]
    if bad.size:
        raise ValueError(f"Each {what} must be a finite number above zero; one was {bad[0]:g}.")
    return np.log(x)


def interval(rates: ArrayLike, level: float = LEVEL) -> Interval:
    """The geometric mean of independent runs' rates, with Student's t on their logs (Georges et al., OOPSLA 2007)."""
    y = logs(rates)
    if y.size == 1:
        return Interval(math.exp(y[0]), None, None, 1)
    mean, half = y.mean(), t.ppf((1 + level) / 2, y.size - 1) * y.std(ddof=1) / math.sqrt(y.size)
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half), y.size)


def _welch(x: np.ndarray, y: np.ndarray, more: int = 0) -> tuple[float, float, float]:
    """The difference of means, its standard error and degrees of freedom, had each side `more` values."""
    n, m = x.size + more, y.size + more
    p, q = (max(z.var(ddof=1), 1e-24) / k for z, k in ((x, n), (y, m)))  # below 1e-12 a log is only rounded
    return y.mean() - x.mean(), math.sqrt(p + q), (p + q) ** 2 / (p**2 / (n - 1) + q**2 / (m - 1))


def _word(difference: float, half: float, margin: float) -> str:
    edge = math.log1p(margin)
    if abs(difference) > max(half, edge):
        return "faster" if difference > 0 else "slower"
    return "same" if abs(difference) + half < edge else "undecided"


def compare(a: ArrayLike, b: ArrayLike, margin: float = MARGIN, level: float = LEVEL) -> Comparison:
    """Whether b is faster than a, from independent runs of each: Welch's t on log rates (Biometrika 34, 1947).
    Faster or slower: the interval excludes 1 and the ratio is beyond the margin. Same: all of it is within the margin.
    With one run on a side there is a ratio, no interval, and the word is undecided."""
    x, y = logs(a), logs(b)
    if min(x.size, y.size) < 2:
        return Comparison(math.exp(y.mean() - x.mean()), None, None, None, "undecided")
    d, error, df = _welch(x, y)
    half, p = t.ppf((1 + level) / 2, df) * error, 2 * float(t.sf(abs(d) / error, df))
    return Comparison(math.exp(d), math.exp(d - half), math.exp(d + half), p, _word(d, half, margin))


def compare_all(groups: Mapping[str, ArrayLike]) -> dict[tuple[str, str], Comparison]:
    """Every pair (a, b) compared as above; faster, slower and p hold for all pairs at once, to 5 % (Holm 1979).
    low, high and the word same stay each pair's own; a pair with too few runs is no test."""
    pairs = {(a, b): compare(groups[a], groups[b]) for a, b in combinations(groups, 2)}
    tests = sorted((pair.p, key) for key, pair in pairs.items() if pair.p is not None)
    adjusted = 0.0
    for rank, (p, key) in enumerate(tests):
        adjusted = max(adjusted, min(1.0, (len(tests) - rank) * p))
        lost = adjusted > 1 - LEVEL and pairs[key].word != "same"
        pairs[key] = pairs[key]._replace(p=adjusted, word="undecided" if lost else pairs[key].word)
    return pairs


def runs_needed(rates_a: ArrayLike, rates_b: ArrayLike, margin: float = MARGIN) -> int | None:
    """About how many more runs of each side decide a comparison: 0 when it is decided, None when 50 would not,
    were the difference and the scatter seen so far the true ones. None, too, with fewer than two runs a side."""
    x, y = logs(rates_a), logs(rates_b)
    for more in range(MOST_RUNS + 1 if min(x.size, y.size) > 1 else 0):
        d, error, df = _welch(x, y, more)
        reach = t.ppf((1 + LEVEL) / 2, df) + (t.ppf(0.9, df) if more else 0.0)
        if _word(d, reach * error, margin) != "undecided":
            return more
    return None


def resolution(sd_log: float, n: int, power: float = 0.9) -> float:
    """The smallest relative difference that n runs a side find with that power (0.02: 2 %); ValueError for n < 2.
    sd_log: standard deviation of log rates between runs. Found: compare()'s interval excludes 1; its margin comes on
    top. Given how two variances share out (a beta variable), Welch's t is noncentral t, 2n - 2 degrees of freedom."""
    if n < 2:
        raise ValueError(f"At least two runs a side are needed to find a difference; there were {n}.")
    share = beta.ppf(np.arange(0.01, 1, 0.02), (n - 1) / 2, (n - 1) / 2)
    cut = t.ppf((1 + LEVEL) / 2, (n - 1) / (share**2 + (1 - share) ** 2))
    shift = brentq(lambda s: nct.sf(cut, 2 * n - 2, s).mean() - power, 0, 100)
    return math.expm1(shift * sd_log * math.sqrt(2 / n))


def repeats_for(sd_log: float, difference: float, power: float = 0.9) -> int:
    """How many runs a side find that relative difference (0.02 or -0.02: 2 %) with that power; at least 2."""
    effect = abs(math.log1p(difference))
    if not effect:
        raise ValueError("No number of runs finds a difference of zero.")
    n = max(2, int(2 * ((norm.ppf((1 + LEVEL) / 2) + norm.ppf(power)) * sd_log / effect) ** 2))
    while math.log1p(resolution(sd_log, n, power)) > effect:  # the normal count above is never too large
        n += 1
    return n


def drift(block_s: ArrayLike) -> Drift | None:
    """How the speed changed over equal blocks, None for fewer than 10: slope by Theil and Sen (JASA 63, 1968), fifths
    the median of the last fifth against the first. Drifting: both beyond 3 % in one direction."""
    if np.size(block_s) < 10:
        return None
    y = -logs(block_s, "block")
    if y.size > 500:  # all pairs of more would fill the memory
        y = np.array([np.median(part) for part in np.array_split(y, 500)])
    slope, fifth = math.expm1(theilslopes(y)[0] * (y.size - 1)), y.size // 5
    fifths = math.expm1(np.median(y[-fifth:]) - np.median(y[:fifth]))
    return Drift(slope, fifths, slope * fifths > 0 and min(abs(slope), abs(fifths)) > DRIFT)


def spread(block_s: ArrayLike) -> float | None:
    """The relative scatter of equal blocks (0.02: 2 %), None for fewer than 3 of them.
    From differences of neighbours (von Neumann, 1941) by their median absolute deviation: no trend, no stall counts."""
    if np.size(block_s) < 3:
        return None
    return float(median_abs_deviation(np.diff(logs(block_s, "block")), scale="normal")) / math.sqrt(2)


def percentile(seconds: ArrayLike, q: float) -> Percentile | None:
    """The nearest-rank percentile (0 < q < 1) with its 95 % interval by binomial ranks, None for no request.
    It assumes no distribution, but independent requests. Bounds need 6 of them at the median, 36 at p90, 368 at p99."""
    if not 0 < q < 1:
        raise ValueError(f"A percentile lies between 0 and 1; {q:g} was asked for.")
    x = np.asarray(seconds, dtype=float).ravel()
    if not x.size:
        return None
    value = float(np.quantile(x, q * (1 - 1e-12), method="inverted_cdf"))  # 0.07 * 100 is a hair over 7
    low, high = map(float, quantile_test(x, p=q).confidence_interval(LEVEL))
    return Percentile(value, low, high) if math.isfinite(low + high) else Percentile(value, None, None)


def tail(seconds: ArrayLike) -> tuple[str, Percentile] | None:
    """The farthest percentile that so many requests bear, and its name: p99, p90, or "max of n"; None for none.
    p99 waits for 1,000 requests: neighbours are alike (correlation about 0.5), which leaves a third of them."""
    n = np.size(seconds)
    q = 0.99 if n >= 1000 else 0.9
    if n >= 36 and (found := percentile(seconds, q)):
        return f"p{100 * q:.0f}", found
    return (f"max of {n}", Percentile(float(np.max(seconds)), None, None)) if n else None


def busy_ratio(cpu_s: float, wall_s: float, threads: int) -> float:
    """The process's CPU seconds over wall seconds times threads: 1 when nobody else had the cores."""
    if not (wall_s > 0 and threads > 0):
        raise ValueError(f"A busy ratio needs time and threads; there were {wall_s:g} s and {threads} threads.")
    return cpu_s / (wall_s * threads)
