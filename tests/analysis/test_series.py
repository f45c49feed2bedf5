"""series.py: what blocks and requests of one run show, against simulation, closed forms and all pairs."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from siliconbench.analysis import series
from siliconbench.analysis.series import Drift
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


def test_spread_sees_scatter_and_neither_trend_nor_stall() -> None:
    y = noise(np.random.default_rng(8), (20000,), 0.02, 0)
    assert series.spread(np.exp(y)) == pytest.approx(0.02, rel=0.05)
    assert series.spread(np.exp(y + np.linspace(0, 40, 20000))) == pytest.approx(0.02, rel=0.05)
    assert series.spread([1, 1, 1, 30, 1, 1, 1]) == 0
    assert series.spread([1, 2]) is None
    assert series.spread([]) is None


@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=30), st.floats(0.01, 100))
def test_spread_and_drift_know_no_unit(block_s: list[float], k: float) -> None:
    scaled = [k * s for s in block_s]
    assert series.spread(scaled) == pytest.approx(series.spread(block_s), abs=1e-9)
    if len(block_s) >= 10:
        assert series.drift(scaled)[:2] == pytest.approx(series.drift(block_s)[:2], rel=1e-6, abs=1e-9)


# Requests


@pytest.mark.parametrize(("q", "least"), [(0.5, 6), (0.9, 36), (0.99, 368)])
def test_percentile_bounds_begin_where_an_interval_exists(q: float, least: int) -> None:
    few, enough = (series.percentile(np.arange(1, n + 1), q) for n in (least - 1, least))
    assert few[1:] == (None, None)
    assert None not in enough


def test_percentile_ranks_of_the_note() -> None:
    assert series.percentile(np.arange(1, 1001)[::-1], 0.99) == (990, 983, 997)
    assert series.percentile(np.arange(1, 2001), 0.99) == (1980, 1971, 1989)
    assert series.percentile(np.arange(1, 101), 0.07).value_s == 7
    assert series.percentile([3, 1, 2], 0.5).value_s == 2
    assert series.percentile([], 0.5) is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        series.percentile([1], 1.5)


def test_percentile_ranks_against_all_pairs() -> None:
    """The bounds hold at least 95 %, at most 2.5 % lie on either side, and a narrower pair breaks that."""
    for q in (0.1, 0.5, 0.9):
        for n in range(1, 80, 3):
            mass = np.array([math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)])
            good = [
                (low, high)
                for low in range(1, n + 1)
                for high in range(low, n + 1)
                if mass[:low].sum() <= 0.025 and mass[high:].sum() <= 0.025
            ]
            best = min(good, key=lambda pair: pair[1] - pair[0], default=(None, None))
            found = series.percentile(np.arange(1, n + 1), q)
            assert found[1:] == best
            if found.low_s:
                assert binom.cdf(found.high_s - 1, n, q) - binom.cdf(found.low_s - 1, n, q) >= 0.95


@pytest.mark.parametrize(
    ("n", "q", "ranks"),
    [(6, 0.5, (1, 6)), (100, 0.5, (40, 61)), (36, 0.9, (29, 36)), (300, 0.9, (259, 281)), (368, 0.99, (360, 368))],
)
def test_percentile_bounds_are_those_of_binomial_ranks(n: int, q: float, ranks: tuple[int, int]) -> None:
    below, above = binom.ppf((0.025, 0.975), n, q).astype(int)
    assert (below, above + 1) == ranks == series.percentile(np.arange(1, n + 1), q)[1:]


def test_tail_names_what_it_can_bear() -> None:
    ms = np.random.default_rng(9).permutation(np.arange(1.0, 1001))
    assert series.tail(ms) == ("p99", (990, 983, 997))
    assert series.tail(ms[:999])[0] == "p90"
    assert series.tail(ms[:36])[0] == "p90"
    assert series.tail(ms[:35]) == ("max of 35", (ms[:35].max(), None, None))
    assert series.tail([]) is None


def test_busy_ratio() -> None:
    assert series.busy_ratio(12.2, 10, 2) == pytest.approx(0.61)
    for wall_s, threads in ((0, 2), (10, 0)):
        with pytest.raises(ValueError, match="needs time and threads"):
            series.busy_ratio(1, wall_s, threads)
