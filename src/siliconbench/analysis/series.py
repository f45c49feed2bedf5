"""What the blocks or the requests of one run show: drift, scatter, stalls, percentiles. Never a claim over runs."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, quantile_test, theilslopes

from siliconbench.analysis.stats import LEVEL, logs

# By chance in 2 % of runs with 20 blocks of 2 % scatter, 12 % if lag-1 correlation is 0.5 (then 2 % from 60 blocks on).
DRIFT = 0.03


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


def _thinned(y: np.ndarray) -> np.ndarray:
    """The values, or 500 medians of neighbours: all pairs of more would fill the memory."""
    return y if y.size <= 500 else np.array([np.median(part) for part in np.array_split(y, 500)])


def drift(block_s: ArrayLike) -> Drift | None:
    """How the speed changed over equal blocks, None for fewer than 10: slope by Theil and Sen (JASA 63, 1968), fifths
    the median of the last fifth against the first. Drifting: both beyond 3 % in one direction."""
    if np.size(block_s) < 10:
        return None
    y = _thinned(-logs(block_s, "block"))
    slope, fifth = math.expm1(theilslopes(y)[0] * (y.size - 1)), y.size // 5
    fifths = math.expm1(np.median(y[-fifth:]) - np.median(y[:fifth]))
    return Drift(slope, fifths, slope * fifths > 0 and min(abs(slope), abs(fifths)) > DRIFT)


def spread(block_s: ArrayLike) -> float | None:
    """The relative scatter of equal blocks about their trend (0.02: 2 %), None for fewer than 3 of them.
    From the span of the middle 90 %, over that of as many normal values: where a tenth of the blocks is bad, it shows;
    one stall of many does not, stalled() sees that. A trend is drift()'s."""
    y = logs(block_s, "block") if np.size(block_s) else np.empty(0)
    if y.size < 3:
        return None
    thin = _thinned(y)
    steps = (np.arange(y.size) - y.size / 2) * (len(thin) / y.size)
    rest = y - (theilslopes(thin)[0] * steps if y.size >= 10 else 0.0)
    rank = 0.95 * (y.size - 1) + 1  # its expected value after Blom (1958)
    return float(np.diff(np.quantile(rest, (0.05, 0.95)))[0] / (2 * norm.ppf((rank - 0.375) / (y.size + 0.25))))


def stalled(block_s: ArrayLike) -> float | None:
    """The share of the time that slow blocks took beyond the typical one (its median); None for fewer than 3 blocks."""
    x = np.asarray(block_s, dtype=float)
    return None if x.size < 3 else max(0.0, 1 - float(np.median(x) / x.mean()))


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
