"""What the blocks or the requests of one run show: drift, scatter, stalls, percentiles. Never a claim over runs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from siliconbench.analysis.stats import Interval, interval, logs

# By chance in 2 % of runs with 20 blocks of 2 % scatter, 12 % if lag-1 correlation is 0.5 (then 2 % from 60 blocks on).
DRIFT = 0.03


class Drift(NamedTuple):
    """Relative change of speed over a whole series by two estimates (-0.05: 5 % slower), and whether it is one."""

    slope: float
    fifths: float
    drifting: bool


class Requests(NamedTuple):
    """A request's median and farthest percentile that its runs bear, with intervals over runs, and their number."""

    median_s: Interval
    tail: str
    tail_s: Interval
    number: int


def _thinned(y: np.ndarray) -> np.ndarray:
    """The values, or 500 medians of neighbours: all pairs of more would fill the memory."""
    return y if y.size <= 500 else np.array([np.median(part) for part in np.array_split(y, 500)])


def _slope(y: np.ndarray) -> float:
    """The median slope of all pairs (Theil and Sen; JASA 63, 1968), a step each."""
    first, second = np.triu_indices(y.size, 1)
    return float(np.median((y[second] - y[first]) / (second - first)))


def drift(block_s: ArrayLike) -> Drift | None:
    """How the speed changed over equal blocks, by Theil and Sen, and from first to last fifth; None: fewer than 10."""
    if np.size(block_s) < 10:
        return None
    y = _thinned(-np.array(logs(np.ravel(block_s), "block")))
    slope, fifth = math.expm1(_slope(y) * (y.size - 1)), y.size // 5
    fifths = math.expm1(np.median(y[-fifth:]) - np.median(y[:fifth]))
    return Drift(slope, fifths, slope * fifths > 0 and min(abs(slope), abs(fifths)) > DRIFT)


def spread(block_s: ArrayLike) -> float | None:
    """The relative scatter of equal blocks about their trend (0.02: 2 %), None for fewer than 3 of them.
    From the span of the middle 90 %, over that of as many normal values; one stall of many is stalled()'s to see."""
    y = np.array(logs(np.ravel(block_s), "block")) if np.size(block_s) else np.empty(0)
    if y.size < 3:
        return None
    thin = _thinned(y)
    steps = (np.arange(y.size) - y.size / 2) * (len(thin) / y.size)
    rest = y - (_slope(thin) * steps if y.size >= 10 else 0.0)
    rank = 0.95 * (y.size - 1) + 1  # its expected value after Blom (1958)
    return float(np.diff(np.quantile(rest, (0.05, 0.95)))[0] / (2 * ndtri((rank - 0.375) / (y.size + 0.25))))


def unevenness(core_s: Sequence[ArrayLike]) -> float | None:
    """How unevenly a core runs by itself (0.05: 5 %), from the seconds of a fixed loop, a group each moment: the least
    scatter of a group, as an interrupt can meet one, or their medians' change; None without a group of three."""
    known = [(found, float(np.median(np.asarray(group)))) for group in core_s if (found := spread(group)) is not None]
    medians = [middle for _, middle in known]
    return max(min(found for found, _ in known), max(medians) / min(medians) - 1) if known else None


def stalled(block_s: ArrayLike) -> float | None:
    """The share of the time that slow blocks took beyond the typical one (its median); None for fewer than 3 blocks."""
    x = np.asarray(block_s, dtype=float)
    return None if x.size < 3 else max(0.0, 1 - float(np.median(x) / x.mean()))


def requests(sessions: Sequence[Sequence[ArrayLike]], between: float = 0.0) -> Requests | None:
    """What the requests of so many runs show, by session; None without any. Each run gives its median and its farthest
    percentile (nearest rank), and the intervals are over runs: requests of one run are alike (correlation about 0.5).
    p99 where each run has 1,000 requests and more, p90 where it has 36, else the slowest: all runs, as a slow one has
    fewer."""
    kept = [[np.sort(run) for run in runs if np.size(run)] for runs in sessions]
    counts = [run.size for runs in kept for run in runs]
    if not counts:
        return None
    tail, q = ("p99", 0.99) if min(counts) >= 1000 else ("p90", 0.9) if min(counts) >= 36 else ("slowest", 1.0)
    tails = [[x[math.ceil(q * x.size - 1e-9) - 1] for x in runs] for runs in kept]
    middles = [[float(np.median(x)) for x in runs] for runs in kept]
    return Requests(interval(middles, between), tail, interval(tails, between), sum(counts))
