"""stats.py against other implementations, closed forms and simulation."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import nct, t, ttest_ind

from siliconbench.analysis import bottleneck, stats

MIRROR = {"faster": "slower", "slower": "faster", "same": "same", "undecided": "undecided"}
rates = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=12)


def noise(rng: np.random.Generator, shape: tuple[int, ...], sd: float, rho: float) -> np.ndarray:
    """Stationary AR(1) noise along the last axis."""
    e = rng.normal(0, sd * math.sqrt(1 - rho**2), shape)
    e[..., 0] /= math.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], e, axis=-1)


def benches(rng: np.random.Generator, experiments: int, runs: int, run_sd: float = 0.03) -> np.ndarray:
    """Log rates of 20 blocks a run: an effect of the run on all its blocks, and AR(1) noise between them."""
    return rng.normal(0, run_sd, (experiments, 2, runs, 1)) + noise(rng, (experiments, 2, runs, 20), 0.024, 0.5)


def run_rates(log_blocks: np.ndarray) -> np.ndarray:
    """Images over seconds of each run: the harmonic mean of equal blocks' rates."""
    return 1 / np.exp(-log_blocks).mean(-1)


# One configuration


@pytest.mark.parametrize("n", [3, 5, 10])
def test_interval_covers_the_truth(n: int) -> None:
    runs = np.exp(np.random.default_rng(n).normal(math.log(250), 0.05, (2000, n)))
    hits = [low <= 250 <= high for _, low, high, _ in map(stats.interval, runs)]
    assert 0.93 <= np.mean(hits) <= 0.97


def test_interval_is_the_t_interval_of_the_logs() -> None:
    y = np.log([100, 104, 99])
    low, high = t.interval(0.9, 2, y.mean(), y.std(ddof=1) / math.sqrt(3))
    assert stats.interval([100, 104, 99], level=0.9) == pytest.approx(
        ((100 * 104 * 99) ** (1 / 3), math.exp(low), math.exp(high), 3)
    )
    assert stats.interval([7.0]) == pytest.approx((7.0, None, None, 1))
    assert stats.interval([7.0, 7.0, 7.0]) == pytest.approx((7.0, 7.0, 7.0, 3))


@pytest.mark.parametrize("bad", [[], [1, 0], [1, -2.5], [1, math.inf], [1, math.nan], [1, None]])
def test_a_rate_that_cannot_be_is_named(bad: list) -> None:
    for call in (stats.interval, lambda r: stats.compare([1, 2], r), lambda r: bottleneck.experiment_answer(r, [1, 2])):
        with pytest.raises(ValueError, match=r"^(At least one rate is needed|Each rate must be a finite number).*\.$"):
            call(bad)


# Two configurations


def test_identical_runs_are_rarely_called_different_and_the_per_batch_test_fails_here() -> None:
    logs = benches(np.random.default_rng(1), 2000, 5)
    words = [stats.compare(a, b).word for a, b in run_rates(logs)]
    assert np.mean([w in ("faster", "slower") for w in words]) <= 0.05
    p = [stats.compare(a, b, margin=0.0).p for a, b in run_rates(logs)]
    assert 0.03 <= np.mean(np.array(p) < 0.05) <= 0.055  # the test itself, without the margin's help
    one_run_each = ttest_ind(logs[:, 0, 0], logs[:, 1, 0], axis=-1).pvalue
    assert np.mean(one_run_each < 0.05) > 0.5
    pooled = ttest_ind(logs[:, 0].reshape(2000, -1), logs[:, 1].reshape(2000, -1), axis=-1).pvalue
    assert np.mean(pooled < 0.05) > 0.5


def test_a_planted_five_per_cent_is_found() -> None:
    logs = benches(np.random.default_rng(2), 400, 5, run_sd=0.01)
    a, b = run_rates(logs).transpose(1, 0, 2)
    assert np.mean([stats.compare(x, y * 1.05).word == "faster" for x, y in zip(a, b, strict=True)]) >= 0.9
    assert np.mean([stats.compare(x, y / 1.05).word == "slower" for x, y in zip(a, b, strict=True)]) >= 0.9


def test_compare_is_welch_on_logs() -> None:
    rng = np.random.default_rng(3)
    for n, m in ((2, 2), (3, 7), (5, 5), (10, 4)):
        a, b = rng.lognormal(5, 0.03, n), rng.lognormal(5.02, 0.1, m)
        oracle = ttest_ind(np.log(b), np.log(a), equal_var=False)
        low, high = np.exp(oracle.confidence_interval(0.95))
        c = stats.compare(a, b)
        assert c.ratio == pytest.approx(np.exp(np.log(b).mean() - np.log(a).mean()))
        assert (c.low, c.high, c.p) == pytest.approx((low, high, oracle.pvalue))


def test_each_word_of_compare() -> None:
    close = [99.9, 100, 100.1]
    assert stats.compare(close, [110, 110.1, 109.9]).word == "faster"
    assert stats.compare(close, [90, 90.1, 89.9]).word == "slower"
    assert stats.compare(close, [101, 101.1, 100.9]).word == "same"
    assert stats.compare(close, [101, 101.1, 100.9]).low > 1  # a sure difference within the margin is no difference
    assert stats.compare(close, [80, 100, 130]).word == "undecided"
    assert stats.compare([100], [200]) == pytest.approx((2.0, None, None, None, "undecided"))
    assert stats.compare([100, 101], [200]).word == "undecided"


@pytest.mark.parametrize(("b", "word", "p"), [(100.0, "same", 1), (101.0, "same", 0), (103.0, "faster", 0)])
def test_runs_without_any_scatter(b: float, word: str, p: float) -> None:
    c = stats.compare([100.0] * 3, [b] * 4)
    assert c.word == word
    assert (c.ratio, c.low, c.high) == pytest.approx((b / 100,) * 3)
    assert c.p == pytest.approx(p, abs=1e-3)
    assert stats.compare([0.1] * 3, [0.1] * 7).p == pytest.approx(1, abs=0.01)  # their means differ in rounding


@given(rates, rates)
def test_swapping_the_sides_mirrors_the_answer(a: list[float], b: list[float]) -> None:
    there, back = stats.compare(a, b), stats.compare(b, a)
    assert back.word == MIRROR[there.word]
    assert (1 / back.ratio, 1 / back.high, 1 / back.low) == pytest.approx((there.ratio, there.low, there.high))
    assert back.p == pytest.approx(there.p)
    assert 0 <= there.p <= 1


@given(rates, rates, st.floats(0.01, 100))
def test_another_unit_changes_no_ratio(a: list[float], b: list[float], k: float) -> None:
    c, scaled = stats.compare(a, b), stats.compare([k * r for r in a], [k * r for r in b])
    assert scaled.ratio == pytest.approx(c.ratio)
    one, other = stats.interval(a), stats.interval([k * r for r in a])
    assert np.array(other[:3]) == pytest.approx(k * np.array(one[:3]))


# Many configurations


def test_ten_equal_machines_are_rarely_ranked() -> None:
    machines = np.exp(np.random.default_rng(4).normal(0, 0.08, (120, 10, 5)))  # 0.08: the margin hides little
    family, alone = [], []
    for sample in machines:
        groups = {str(i): r for i, r in enumerate(sample)}
        family.append(any(c.word in ("faster", "slower") for c in stats.compare_all(groups).values()))
        if len(alone) < 30:
            alone.append(any(stats.compare(a, b).word in ("faster", "slower") for a, b in combinations(sample, 2)))
    assert np.mean(family) <= 0.05
    assert np.mean(alone) > 0.3  # what Holm is there for


def test_holm_by_hand() -> None:
    rng = np.random.default_rng(5)
    groups = {name: rng.lognormal(mu, 0.02, 4) for name, mu in (("a", 0), ("b", 0.05), ("c", 0.1), ("d", 0.1))}
    found = stats.compare_all({**groups, "once": [1.0]})
    keys = list(combinations("abcd", 2))
    raw = {k: stats.compare(groups[k[0]], groups[k[1]]).p for k in keys}
    order = sorted(keys, key=raw.__getitem__)
    for rank, key in enumerate(order):
        assert found[key].p == pytest.approx(min(1, max((6 - i) * raw[order[i]] for i in range(rank + 1))))
    assert set(found) == set(combinations([*"abcd", "once"], 2))
    assert found["a", "once"].p is None
    assert found["a", "c"].word == "faster"


def test_holm_takes_back_what_one_pair_alone_would_claim() -> None:
    a, b = [100, 101, 99, 100.5], [102.5, 104, 102, 103]
    assert stats.compare(a, b).word == "faster"
    others = {str(i): np.array(a) * (1 + 0.0001 * i) for i in range(12)}
    c = stats.compare_all({"a": a, "b": b, **others})["a", "b"]
    assert (c.word, c.low > 1, c.p > 0.05) == ("undecided", True, True)
    assert stats.compare_all({"a": a}) == {}


# How many runs


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_resolution_is_found_with_the_power_it_states(n: int) -> None:
    rng = np.random.default_rng(n)
    r = stats.resolution(0.02, n, 0.9)
    x, y = rng.normal(0, 0.02, (20000, n)), rng.normal(math.log1p(r), 0.02, (20000, n))
    test = ttest_ind(y, x, axis=-1, equal_var=False)
    assert np.mean((test.pvalue < 0.05) & (test.statistic > 0)) == pytest.approx(0.9, abs=0.01)


def test_resolution_nears_the_pooled_test_and_the_normal_law() -> None:
    shift = math.log1p(stats.resolution(0.01, 40)) / (0.01 * math.sqrt(2 / 40))
    assert nct.sf(t.ppf(0.975, 78), 78, shift) == pytest.approx(0.9, abs=0.002)
    assert stats.resolution(1e-3, 10**6) == pytest.approx((1.959964 + 1.281552) * 1e-3 * math.sqrt(2e-6), rel=1e-3)
    assert stats.resolution(0.0, 5) == 0
    with pytest.raises(ValueError, match="two runs a side"):
        stats.resolution(0.01, 1)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.002, 0.2), st.floats(0.005, 0.5))
def test_repeats_are_the_fewest_that_resolve_the_difference(sd: float, difference: float) -> None:
    n = stats.repeats_for(sd, difference)
    assert stats.resolution(sd, n) <= difference * (1 + 1e-9)
    assert n == 2 or stats.resolution(sd, n - 1) > difference


def test_repeats_of_a_fall_and_of_no_difference() -> None:
    assert stats.repeats_for(0.01, 0.02) == 7
    assert stats.repeats_for(0.01, 1 / 1.02 - 1) == 7
    with pytest.raises(ValueError, match="zero"):
        stats.repeats_for(0.01, 0.0)


def test_so_many_more_runs_mostly_decide() -> None:
    rng = np.random.default_rng(6)
    z = np.array([-1, -0.5, 0, 0.5, 1]) / np.std([-1, -0.5, 0, 0.5, 1], ddof=1)
    for true, sd in ((0.06, 0.05), (0.0, 0.02)):
        a, b = np.exp(sd * z), np.exp(true + sd * z)
        assert stats.compare(a, b).word == "undecided"
        n = 5 + (stats.runs_needed(a, b) or 0)
        words = [stats.compare(*np.exp(rng.normal([[0], [true]], sd, (2, n)))).word for _ in range(1000)]
        assert 0.75 <= np.mean(np.array(words) != "undecided") <= 0.95
    assert stats.runs_needed([100, 100.1], [120, 120.1]) == 0
    assert stats.runs_needed([60, 100, 150], [70, 100, 140]) is None
    assert stats.runs_needed([100], [100, 110]) is None
