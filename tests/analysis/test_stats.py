"""stats.py against other implementations, closed forms and simulation."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import dunnett, nct, t, ttest_ind

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


# Sessions


def sessions(
    rng: np.random.Generator, n: int, k: int, runs: int, day: float = 0.03, within: float = 0.005
) -> np.ndarray:
    """Rates of n machines whose truth is 100: k sessions of so many runs each, that share their day."""
    return 100 * np.exp(rng.normal(0, day, (n, k, 1)) + rng.normal(0, within, (n, k, runs)))


@pytest.mark.parametrize(("k", "runs"), [(1, 2), (1, 5), (2, 5), (3, 3), (4, 5), (6, 2)])
def test_the_interval_covers_a_machine_whose_days_differ(k: int, runs: int) -> None:
    made = sessions(np.random.default_rng(k), 1500, k, runs)
    found = [stats.interval(list(one), between=0.03) for one in made]
    assert np.mean([one.low <= 100 <= one.high for one in found]) >= 0.93
    assert max(one.high / one.low for one in found) < 2  # of scatter of 3 % no interval is "56 to 2,822"
    flat = [stats.interval(one.ravel()) for one in made]
    assert np.mean([one.low <= 100 <= one.high for one in flat]) < 0.9  # runs pooled as one population


@pytest.mark.parametrize(("k", "runs"), [(1, 5), (2, 3), (3, 5), (5, 5)])
def test_equal_machines_are_rarely_told_apart_whatever_their_days(k: int, runs: int) -> None:
    a, b = (sessions(np.random.default_rng(seed), 2000, k, runs) for seed in (k, 10 + k))
    told = [
        stats.compare(list(x), list(y), between=0.03).word in ("faster", "slower") for x, y in zip(a, b, strict=True)
    ]
    assert np.mean(told) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)
    if k == 1:
        within = [stats.compare(x[0], y[0]).word in ("faster", "slower") for x, y in zip(a[:300], b[:300], strict=True)]
        assert np.mean(within) > 0.4  # Welch's t on runs of two days


def test_one_session_without_days_is_welch_and_four_are_their_means() -> None:
    rng = np.random.default_rng(11)
    a, b = rng.lognormal(5, 0.02, (4, 5)), rng.lognormal(5.02, 0.05, (6, 3))
    assert stats.compare([a[0]], [b[0]]) == stats.compare(a[0], b[0])
    oracle = ttest_ind(np.log(b).mean(1), np.log(a).mean(1), equal_var=False)
    found = stats.compare(list(a), list(b), between=0.03)
    assert (found.p, found.low) == pytest.approx((oracle.pvalue, math.exp(oracle.confidence_interval(0.95).low)))
    means = np.log(a).mean(1)
    low, high = t.interval(0.95, 3, means.mean(), means.std(ddof=1) / 2)
    assert stats.interval(list(a), between=0.5)[1:3] == pytest.approx((math.exp(low), math.exp(high)))
    assert stats.interval([[100], [], [104, 99]]).n == 3
    assert stats.interval([[100], [104], [99]]) == pytest.approx(stats.interval([100, 104, 99]))
    assert stats.compare([[100]], [[100, 101]], between=0.03).word == "undecided"
    with pytest.raises(ValueError, match="At least one rate"):
        stats.interval([[], []])


def test_cases_of_one_machine_are_compared_within_the_days_they_share() -> None:
    """A day moves both by the same, so 5 % are found at once; a day that one of them lacks does not count."""
    rng = np.random.default_rng(12)
    words, alone = [], []
    for k in (1, 2, 4):
        for _ in range(150):
            day, noise = rng.normal(0, 0.03, (k, 1)), rng.normal(0, 0.005, (2, k, 3))
            a, b = np.exp(day + noise[0]), np.exp(0.05 + day + noise[1])
            words.append(stats.compare([*a, [0.5] * 3], [*b, []], paired=True).word)
            alone.append(stats.compare(list(a), list(b), between=0.03).word)
    assert np.mean([w == "faster" for w in words]) >= 0.97
    assert np.mean([w == "faster" for w in alone]) < 0.8
    equal = np.exp(rng.normal(0, 0.03, (1000, 1, 5, 1)) + rng.normal(0, 0.02, (1000, 2, 5, 3)))
    assert np.mean([stats.compare(*map(list, two), paired=True).word != "undecided" for two in equal]) <= 0.6
    assert np.mean([stats.compare(*map(list, two), paired=True).p < 0.05 for two in equal]) <= 0.07
    apart = stats.compare([[100, 101], []], [[], [100, 101]], between=0.03, paired=True)
    assert apart == stats.compare([100, 101], [100, 101], between=0.03)


def test_the_scatter_between_sessions_is_that_of_the_days() -> None:
    rng = np.random.default_rng(13)
    assert stats.between_sd([]) == (0.03, False)
    assert stats.between_sd([[[[100, 101], [90, 91]]]]) == (0.03, False)  # two sessions tell nothing
    for day in (0.01, 0.06):
        many = [[list(case) for case in sessions(rng, 1, 4, 3, day)] for _ in range(60)]
        sd, estimated = stats.between_sd(many)
        assert estimated and sd == pytest.approx(day, rel=0.25)  # 3 % still counts for 4 of 184
    noisy = [[list(case) for case in sessions(rng, 1, 4, 3, 0.01, 0.05)] for _ in range(200)]
    assert stats.between_sd(noisy).sd < 0.02  # the scatter of runs is not taken for that of days


def test_intervals_cover_while_the_days_are_still_being_learnt() -> None:
    rng, hits = np.random.default_rng(14), []
    for _ in range(1500):
        learnt = stats.between_sd([[list(case) for case in sessions(rng, 1, 3, 3)]])
        found = stats.interval(list(sessions(rng, 1, 1, 5)[0]), between=learnt.sd)
        hits.append(found.low <= 100 <= found.high)
    assert np.mean(hits) >= 0.93


# Near the best, and one more machine


def test_near_the_best_is_rarely_said_of_what_is_not() -> None:
    """Sizes of which the first three are 6 % slower than the fastest, and scatter unlike one another."""
    rng, truth = np.random.default_rng(15), np.log([0.94, 0.94, 0.94, 0.99, 1.0, 1.0])
    sd, wrong, right = np.array([0.04, 0.02, 0.02, 0.01, 0.01, 0.01]), [], []
    for _ in range(500):
        groups = dict(enumerate(np.exp(truth[:, None] + rng.normal(0, 1, (6, 5)) * sd[:, None])))
        sure = stats.near_best(groups)
        wrong.append(any(sure[i] for i in range(3)))
        right.append(sure[3])
    assert np.mean(wrong) <= 0.05
    assert np.mean(right) >= 0.6


def test_near_the_best_is_no_bolder_than_dunnett_where_all_scatter_alike() -> None:
    rng, ours, theirs = np.random.default_rng(16), 0, 0
    for seed in range(40):
        logs = rng.normal(np.log([[0.955], [0.97], [0.98], [1.0]]), 0.012, (4, 5))
        ours += sum(stats.near_best(dict(enumerate(np.exp(logs)))).values())
        best = logs.mean(1).argmax()  # who has picked it from the data is bolder than the truth allows
        others = [logs[i] + math.log(1 / 0.95) for i in range(4) if i != best]
        theirs += 1 + int((dunnett(*others, control=logs[best], alternative="greater", rng=seed).pvalue < 0.05).sum())
    assert 0.5 * theirs <= ours <= theirs


def test_near_the_best_needs_runs() -> None:
    assert stats.near_best({1: [50], 8: [100, 101, 99]}) == {1: False, 8: False}
    assert stats.near_best({1: [50, 51, 49], 8: [100, 101, 99]}) == {1: False, 8: True}
    assert stats.near_best({8: [100, 101, 99]}) == {8: True}


def test_of_equal_machines_of_a_chip_few_pages_doubt_one() -> None:
    rng = np.random.default_rng(17)
    for n, judged in ((20, 20), (5, 5)):
        pages = rng.normal(0, 0.03, (1000, n))
        told = []
        for page in np.exp(pages):
            bounds = [stats.prediction(np.delete(page, i), judged) for i in range(n)]
            told.append(any(not low <= x <= high for x, (low, high) in zip(page, bounds, strict=True)))
        assert np.mean(told) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)
    inside = [(lambda b, x: b[0] <= x <= b[1])(stats.prediction(row[:4]), row[4]) for row in np.exp(pages)]
    assert 0.93 <= np.mean(inside) <= 0.97
    assert stats.prediction([100, 101, 99]) is None
    low, high = stats.prediction(np.exp(rng.normal(0, 0.01, 10)))
    assert not low <= 0.9 <= high


def test_flat_curves_of_eight_sizes_rarely_fall() -> None:
    rng, falls, plain = np.random.default_rng(18), [], []
    for _ in range(300):
        curve = dict(enumerate(np.exp(rng.normal(0, 0.05, (8, 3)))))
        falls.append(any(pair.word == "slower" for pair in stats.compare_all(curve).values()))
        plain.append(any(stats.compare(curve[a], curve[b]).word == "slower" for a, b in combinations(curve, 2)))
    assert np.mean(falls) <= 0.05
    assert np.mean(plain) > 0.2


# How many runs


@pytest.mark.parametrize(("n", "sd", "change"), [(2, 0.01, 0.10), (3, 0.02, 0.05), (5, 0.02, 0.05), (10, 0.02, 0.03)])
def test_the_power_is_how_often_compare_finds_it(n: int, sd: float, change: float) -> None:
    rng, tries = np.random.default_rng(n), 4000
    x, y = rng.normal(0, sd, (tries, n)), rng.normal(math.log1p(change), sd, (tries, n))
    welch = ttest_ind(y, x, axis=-1, equal_var=False)
    found = np.mean((welch.pvalue < 0.05) & (y.mean(1) - x.mean(1) > math.log1p(stats.MARGIN)))
    some = np.mean([stats.compare(*np.exp(two)).word == "faster" for two in zip(x[:300], y[:300], strict=True)])
    assert stats.power(sd, n, change) == pytest.approx(found, abs=0.02)
    assert some == pytest.approx(found, abs=0.08)
    assert stats.power(sd, n, 1 / (1 + change) - 1) == pytest.approx(stats.power(sd, n, change))


@pytest.mark.parametrize("sd", [0.005, 0.01, 0.03])
def test_a_planted_five_per_cent_is_found_as_often_as_promised(sd: float) -> None:
    n, rng = stats.repeats_for(sd, 0.05), np.random.default_rng(19)
    a, b = np.exp(rng.normal(0, sd, (800, n))), 1.05 * np.exp(rng.normal(0, sd, (800, n)))
    found = np.mean([stats.compare(x, y).word == "faster" for x, y in zip(a, b, strict=True)])
    assert found >= 0.9 - 3 * math.sqrt(0.09 / 800)
    assert found == pytest.approx(stats.power(sd, n, 0.05), abs=0.04)


def test_within_the_margin_nothing_is_ever_found() -> None:
    """Once: "2 %: 4 repeats", which found 50.6 %; "1 %: 3 repeats", which found none."""
    assert [stats.repeats_for(0.005, change) for change in (0.01, 0.02, -0.0196)] == [None, None, None]
    assert stats.power(0.005, 4, 0.02) == pytest.approx(0.5, abs=0.02)
    assert stats.power(0.005, 3, 0.01) < 0.01
    assert stats.repeats_for(0.01, 0.03) == stats.repeats_for(0.01, 1 / 1.03 - 1)


def test_between_machines_more_runs_of_one_day_do_not_help() -> None:
    assert stats.runs_needed([100, 101, 99], [104, 105, 103], between=0.03) is None
    assert stats.runs_needed([100, 101, 99], [104, 105, 103]) == 0


def test_power_without_a_margin_is_that_of_the_noncentral_t() -> None:
    for effect in (0.002, 0.005, 0.0075, 0.01):
        wanted = nct.sf(t.ppf(0.975, 78), 78, effect / (0.01 * math.sqrt(2 / 40)))
        assert stats.power(0.01, 40, math.expm1(effect), margin=0.0) == pytest.approx(wanted, abs=0.005)
    with pytest.raises(ValueError, match="two runs a side"):
        stats.power(0.01, 1, 0.05)


@settings(deadline=None, max_examples=8)
@given(st.floats(0.002, 0.1), st.floats(0.03, 0.5))
def test_repeats_are_the_fewest_that_find_the_change(sd: float, change: float) -> None:
    n = stats.repeats_for(sd, change)
    assert stats.power(sd, n, change) >= 0.9
    assert n == 2 or stats.power(sd, n - 1, change) < 0.9


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
