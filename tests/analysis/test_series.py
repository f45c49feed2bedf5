"""series.py: what blocks and requests of one run show, against simulation, closed forms and all pairs."""

import math
import statistics
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.analysis import series
from siliconbench.analysis.series import Drift
from siliconbench.analysis.stats import interval
from tests.analysis.test_stats import noise


def flags(log_rates: np.ndarray) -> float:
    return np.mean([series.drift(np.exp(-y)).drifting for y in log_rates])


@pytest.mark.parametrize(("n", "sd", "rho"), [(20, 0.01, 0.5), (20, 0.02, 0), (60, 0.01, 0.8), (60, 0.02, 0.5)])
def test_drift_is_rarely_seen_in_noise_and_mostly_where_it_is(n: int, sd: float, rho: float) -> None:
    flat = noise(np.random.default_rng(n), (150, n), sd, rho)
    assert flags(flat) <= 0.05
    assert flags(flat + np.linspace(0, -0.1, n)) >= 0.9
    assert flags(flat + np.where(np.arange(n) < n / 2, 0, -0.1)) >= 0.9
    assert flags(flat + np.linspace(0, 0.1, n)) >= 0.9


def test_drift_says_how_much_and_which_way() -> None:
    seconds = np.exp(np.linspace(0, 0.2, 40))  # ever slower
    found = series.drift(seconds)
    assert found.slope == pytest.approx(math.expm1(-0.2))
    assert found.fifths == pytest.approx(math.expm1(-0.2 * 32 / 39))
    assert found.drifting
    assert series.drift(seconds[::-1]).slope == pytest.approx(math.expm1(0.2))
    assert series.drift([0.5] * 10) == Drift(0, 0, False)
    assert series.drift(seconds[:9]) is None
    assert series.drift([]) is None
    late = series.drift([0.5] * 18 + [0.6] * 4)  # a stall at the end moves the last fifth, not the whole
    assert (late.fifths < -0.1, late.drifting) == (True, False)
    saw = series.drift(np.exp([0, 0, 0, 0.3, 0.28, 0.26, 0.24, 0.22, 0.2, 0.18, 0.16, 0.14, 0.1, 0.1, 0.1]))
    assert saw.slope > 0.03
    assert saw.fifths < -0.03
    assert not saw.drifting  # two estimates that contradict one another


def test_drift_of_hours_fits_in_memory() -> None:
    y = np.random.default_rng(7).normal(0, 0.02, 4000) - np.linspace(0, 0.1, 4000)
    tracemalloc.start()
    found = series.drift(np.exp(-y))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert math.log1p(found.slope) == pytest.approx(-0.1, abs=0.005)


def test_spread_is_the_scatter_about_the_trend():
    rng = np.random.default_rng(8)
    y = noise(rng, (20000,), 0.02, 0)
    assert series.spread(np.exp(y)) == pytest.approx(0.02, rel=0.05)
    assert series.spread(np.exp(y + np.linspace(0, 4, 20000))) == pytest.approx(0.02, rel=0.05)
    for n in (3, 5, 20):
        few = [series.spread(np.exp(row)) for row in rng.normal(0, 0.02, (400, n))]
        assert np.mean(few) == pytest.approx(0.02, rel=0.15)
    assert series.spread([1, 2]) is None
    assert series.spread([]) is None


@pytest.mark.parametrize("n", [10, 20, 40, 100])
@pytest.mark.parametrize("where", ["scattered", "at the start", "in the middle"])
def test_a_tenth_of_bad_blocks_is_seen(n, where):
    blocks, bad = 0.5 * np.exp(np.random.default_rng(n).normal(0, 0.005, n)), n // 10
    at = {
        "scattered": np.arange(bad) * 10 + 4,
        "at the start": np.arange(bad),
        "in the middle": n // 2 + np.arange(bad),
    }
    assert series.spread(blocks) < 0.01
    blocks[at[where]] *= 1.5
    assert series.spread(blocks) > 0.05


def test_blocks_that_halve_the_rate_are_seen():
    """Once: 0.000 with each fifth block doubled; a whole with half its blocks 80 % slower was clean."""
    blocks = np.full(40, 0.5)
    blocks[::5] *= 2
    assert series.spread(blocks) > 0.1 and series.stalled(blocks) > 0.1
    halves = np.where(np.random.default_rng(9).permutation(40) < 20, 0.5, 0.9)
    assert series.spread(halves) > 0.1
    once = np.array([0.5] * 39 + [15])
    assert series.spread(once) < 0.05  # one of many: what it cost is another question
    assert series.stalled(once) == pytest.approx(14.5 / 34.5)
    assert series.stalled([0.5] * 5) == 0 and series.stalled([1, 2]) is None


def test_a_core_that_runs_evenly_is_told_from_one_that_is_shared():
    """Loops of 1 % scatter, and such with every fourth slowed by a third, as beside another machine of one host."""
    rng = np.random.default_rng(3)
    even = [[rng.lognormal(0, 0.01, 40) for _ in range(2)] for _ in range(500)]
    assert np.mean([series.unevenness(groups) > 0.05 for groups in even]) < 0.01
    shared = [[loops * np.where(rng.random(40) < 0.25, 1.33, 1) for loops in groups] for groups in even]
    assert np.mean([series.unevenness(groups) > 0.05 for groups in shared]) > 0.95
    assert series.unevenness([]) is series.unevenness([[0.001, 0.002]]) is None
    assert series.unevenness([even[0][0], shared[0][0]]) < 0.05  # an interrupt met one of them
    slower = [1.8 * x for x in even[0][1]]  # between two moments another took the core's other thread
    assert series.unevenness([even[0][0], even[0][1], slower]) > 0.7


@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=30), st.floats(0.01, 100))
def test_spread_and_drift_know_no_unit(block_s: list[float], k: float) -> None:
    scaled = [k * s for s in block_s]
    assert series.spread(scaled) == pytest.approx(series.spread(block_s), abs=1e-9)
    if len(block_s) >= 10:
        assert series.drift(scaled)[:2] == pytest.approx(series.drift(block_s)[:2], rel=1e-6, abs=1e-9)


# Requests


def ranked(seconds, q):
    return sorted(seconds)[math.ceil(q * len(seconds)) - 1]


def test_requests_are_judged_run_by_run():
    rng = np.random.default_rng(10)
    runs = [list(0.01 * level * rng.lognormal(0, 0.1, 1000)) for level in (1.0, 1.1, 0.9)]
    found = series.requests([runs])
    assert found.median_s == interval([statistics.median(run) for run in runs])
    assert (found.tail, found.number) == ("p99", 3000)
    assert found.tail_s == interval([ranked(run, 0.99) for run in runs])
    assert found.median_s.high / found.median_s.low > 1.2  # 3,000 requests as one sample would give 1 %
    mixed = series.requests([[*runs[:1], runs[1][:999]], [runs[2][:40]]], between=0.03)
    kept = [[runs[0], runs[1][:999]], [runs[2][:40]]]  # p90 is the farthest that the shortest run bears, and of all
    assert mixed.tail == "p90" and mixed.tail_s == interval([[ranked(x, 0.9) for x in day] for day in kept], 0.03)
    assert mixed.median_s.n == 3
    assert series.requests([[runs[0][:999]]]).tail == "p90"
    few = series.requests([[[0.1, 0.3, 0.2]]])
    assert few == ((pytest.approx(0.2), None, None, 1), "slowest", (pytest.approx(0.3), None, None, 1), 3)
    assert series.requests([]) is None and series.requests([[]]) is None


def test_the_interval_of_the_median_covers_it_where_runs_differ():
    rng, hits, pooled = np.random.default_rng(11), [], []
    for _ in range(400):
        runs = rng.lognormal(0, 0.03, (5, 1)) * rng.lognormal(0, 0.1, (5, 200))
        found = series.requests([list(runs)]).median_s
        hits.append(found.low <= 1 <= found.high)
        ordered = np.sort(runs.ravel())
        pooled.append(ordered[468] <= 1 <= ordered[531])  # binomial ranks of 1,000 at the median
    assert 0.93 <= np.mean(hits) <= 0.98
    assert np.mean(pooled) < 0.6
