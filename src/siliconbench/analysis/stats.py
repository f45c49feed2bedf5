"""Rates, intervals, who is faster, and how many runs that takes.
One fresh process gives one rate; what is claimed over runs rests on the logs of those rates, never on blocks. The runs
of one session (one sweep) share its day: machines are compared with the scatter from day to day added."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, permutations
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import numpy as np

# Of Student's t, the normal, the beta and the gamma law: scipy.stats, which has them by name, takes seconds to load.
from scipy.special import betaincinv, gammaincinv, ndtr, stdtr, stdtrit

Key = TypeVar("Key")
Rates = Iterable[Any]  # those of one session's runs, or a list of them for each session
LEVEL = 0.95
MARGIN = 0.02  # what five runs a side with 1 % of scatter can just tell apart
NEAR = 0.05  # of the fastest: near enough to take the smaller batch size
MOST_RUNS = 50  # when this many more would not decide, the noise is what to work on
BETWEEN, PRIOR = 0.03, 4  # the scatter from session to session until some is measured; it counts as 4 differences
FREEDOM = 20  # degrees of freedom of that scatter, which is not known to the last digit
ALONE = 4  # from so many sessions on their means alone count
TINY = 1e-24  # a variance of logs below it is rounding


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


class Between(NamedTuple):
    """The standard deviation of log rates from session to session, and whether any of it was measured."""

    sd: float
    estimated: bool


class Estimate(NamedTuple):
    """A mean of logs, or a difference of two; its variance, infinite for a single run, and degrees of freedom."""

    log: float
    variance: float
    df: float

    def half(self, level: float) -> float:
        """Half the width of its interval of this level, infinite for a single run."""
        return float(stdtrit(self.df, (1 + level) / 2)) * math.sqrt(self.variance) if self.df else math.inf

    def bounds(self, level: float) -> tuple[float | None, float | None]:
        """The bounds of its interval of this level, no longer logs; None for a single run."""
        half = self.half(level)
        return (math.exp(self.log - half), math.exp(min(self.log + half, 700.0))) if self.df else (None, None)


def logs(values: Iterable[float | None], what: str = "rate") -> list[float]:
    """The logs; ValueError, with `what` they are, for none, or one that is not finite and above zero."""
    x = [math.nan if value is None else float(value) for value in values]  # so few: arrays cost more than they save
    if not x:
        raise ValueError(f"At least one {what} is needed; none was given.")
    if bad := [value for value in x if not 0 < value < math.inf]:
        raise ValueError(f"Each {what} must be a finite number above zero; one was {bad[0]:g}.")
    return list(map(math.log, x))


def by_session(rates: Rates) -> list[list[float]]:
    """The logs of each session's rates; flat rates are one session, a session without runs is left out."""
    parts = list(rates)
    if not any(hasattr(part, "__len__") for part in parts):
        return [logs(parts)]
    return [logs(part) for part in parts if len(part)] or [logs([])]


def variance(values: Sequence[float]) -> float:
    """The sample variance, of two values and more."""
    mean = fmean(values)
    return math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)


def combined(*parts: tuple[float, Estimate]) -> Estimate:
    """The weighted sum of independent estimates (Welch, Satterthwaite); its variance is infinite where one's is."""
    log, shares = sum(weight * x.log for weight, x in parts), [(weight**2 * x.variance, x.df) for weight, x in parts]
    if not all(df for _, df in shares):
        return Estimate(log, math.inf, 0.0)
    total = sum(share for share, _ in shares)
    return Estimate(log, total, total**2 / sum(share**2 / df for share, df in shares))


def estimate(rates: Rates, between: float = 0.0, more: int = 0) -> Estimate:
    """The mean of log rates, each session's mean for one, were there `more` runs than these.
    Its variance: that of runs within sessions, pooled, and `between` squared over sessions, with 20 degrees of freedom;
    both together after Welch and Satterthwaite. From four sessions on their means alone tell it, `more` sessions
    then. Where each session has one run, the scatter between them stands for that within."""
    parts = by_session(rates)
    means, sizes, k = [fmean(x) for x in parts], [len(x) for x in parts], len(parts)
    mean, runs, df = fmean(means), sum(sizes), sum(sizes) - k
    if k >= ALONE or (k > 1 and not df):
        alone = max(variance(means), TINY) / (k + more)
        df, known = k - 1 + more, 0.0 if k >= ALONE else between**2 / k
    elif df:
        pooled = max(sum((n - 1) * variance(x) for x, n in zip(parts, sizes, strict=True) if n > 1) / df, TINY)
        alone, df = pooled * sum(1 / n for n in sizes) / k**2 * runs / (runs + more), df + more
        known = between**2 / k
    else:
        return Estimate(mean, math.inf, 0.0)
    return combined((1.0, Estimate(mean, alone, df)), (1.0, Estimate(0.0, known, FREEDOM)))


def difference(a: Any, b: Any, between: float = 0.0, paired: bool = False, more: int = 0) -> Estimate:
    """How much b's log rate lies above a's (Welch, Biometrika 34, 1947), had each side `more` runs.
    paired: both are cases of one machine, and their lists have the same sessions at the same places, [] where there are
    no runs. Then those that both have count, without `between`; from four of them on the differences of their means."""
    if paired:
        both = [(x, y) for x, y in zip(a, b, strict=True) if len(x) and len(y)]
        if len(both) >= ALONE:
            return estimate([[math.exp(fmean(logs(y)) - fmean(logs(x)))] for x, y in both], 0.0, more)
        if both:
            (a, b), between = zip(*both, strict=True), 0.0
    return combined((1.0, estimate(b, between, more)), (-1.0, estimate(a, between, more)))


def interval(rates: Rates, between: float = 0.0, level: float = LEVEL) -> Interval:
    """The geometric mean of independent runs' rates, with Student's t on their logs (Georges et al., OOPSLA 2007).
    With `between` it is the machine's on any day, without it this session's alone; see estimate()."""
    found = estimate(rates, between)
    return Interval(math.exp(found.log), *found.bounds(level), sum(map(len, by_session(rates))))


def word_of(difference: float, half: float = 0.0, margin: float = MARGIN) -> str:
    """What a difference of logs with so wide an interval is: faster, slower, same or undecided; see compare()."""
    edge = math.log1p(margin)
    if abs(difference) > max(half, edge):
        return "faster" if difference > 0 else "slower"
    return "same" if abs(difference) + half < edge else "undecided"


def compare(a: Rates, b: Rates, margin: float = MARGIN, between: float = 0.0, paired: bool = False) -> Comparison:
    """Whether b is faster than a: each the rates of one session's runs, or of each session; see difference(). Faster,
    slower: the interval excludes 1, the ratio is beyond the margin; same: all of it is within; one run: undecided."""
    return comparison(difference(a, b, between, paired), margin)


def comparison(d: Estimate, margin: float = MARGIN) -> Comparison:
    """What a difference of log rates says of a ratio; see compare()."""
    if not d.df:
        return Comparison(math.exp(d.log), None, None, None, "undecided")
    p = 2 * float(stdtr(d.df, -abs(d.log) / math.sqrt(d.variance)))
    return Comparison(math.exp(d.log), *d.bounds(LEVEL), p, word_of(d.log, d.half(LEVEL), margin))


def compare_all(
    groups: Mapping[Key, Rates], between: float = 0.0, paired: bool = False, base: Key | None = None
) -> dict[tuple[Key, Key], Comparison]:
    """Every pair (a, b), or each group with the base, compared as above; faster, slower and p hold for all pairs at
    once, to 5 % (Holm 1979). low, high and the word same stay each pair's own; a pair with too few runs is no test."""
    keys = list(combinations(groups, 2)) if base is None else [(base, b) for b in groups if b != base]
    if paired:
        found = [difference(groups[a], groups[b], between, paired) for a, b in keys]
    else:
        alone = {key: estimate(rates, between) for key, rates in groups.items()}
        found = [combined((1.0, alone[b]), (-1.0, alone[a])) for a, b in keys]
    pairs = dict(zip(keys, map(comparison, found), strict=True))
    tests = sorted(((pair.p, i, key) for i, (key, pair) in enumerate(pairs.items()) if pair.p is not None))
    adjusted = 0.0
    for rank, (p, _, key) in enumerate(tests):
        adjusted = max(adjusted, min(1.0, (len(tests) - rank) * p))
        lost = adjusted > 1 - LEVEL and pairs[key].word != "same"
        pairs[key] = pairs[key]._replace(p=adjusted, word="undecided" if lost else pairs[key].word)
    return pairs


def near_best(groups: Mapping[Key, Rates], between: float = 0.0, paired: bool = False) -> dict[Key, bool]:
    """Of each group whether it is surely at most 5 % slower than the fastest, whichever that is, all at once to 5 %.
    After Hsu (JASA 79, 1984), each by Welch's t at a k-1th of the level: Dunnett's test needs one scatter in all."""
    edge, level = -math.log1p(-NEAR), 1 - 2 * (1 - LEVEL) / max(1, len(groups) - 1)  # two-sided: its half is one side
    apart = {(a, b): difference(groups[b], groups[a], between, paired) for a, b in permutations(groups, 2)}
    unsure = {a for (a, _), d in apart.items() if d.log + edge <= d.half(level)}
    return {a: a not in unsure for a in groups}


def prediction(rates: Iterable[float], judged: int = 1) -> tuple[float, float] | None:
    """The bounds of one more of a kind by four rates and more, else None; for `judged` of them at once (Bonferroni)."""
    y = logs(rates)
    if len(y) < 4:
        return None
    cut = stdtrit(len(y) - 1, 1 - (1 - LEVEL) / (2 * judged))
    half = cut * math.sqrt(max(variance(y), TINY) * (1 + 1 / len(y)))
    return math.exp(fmean(y) - half), math.exp(fmean(y) + half)


def between_sd(machines: Iterable[Iterable[Sequence[Any]]]) -> Between:
    """The standard deviation of log rates from session to session, over machines: of each its cases, of each of these
    the rates by session. Cases of three sessions and more tell it (their means' variance less what the runs within
    explain); a machine's cases share its days and count once. 3 % stands for four differences, and until then alone."""
    total, differences = 0.0, 0
    for cases in machines:
        found = [parts for parts in (by_session(case) for case in cases if len(case)) if len(parts) >= 3]
        excess = []
        for parts in found:
            within = [variance(x) / len(x) for x in parts if len(x) > 1] or [0.0]
            excess.append(variance([fmean(x) for x in parts]) - fmean(within))
        count = max(map(len, found), default=1) - 1
        total, differences = total + count * fmean(excess or [0.0]), differences + count
    sd = math.sqrt((PRIOR * BETWEEN**2 + max(0.0, total)) / (PRIOR + differences))
    return Between(sd, differences > 0)


def runs_needed(a: Rates, b: Rates, between: float = 0.0) -> int | None:
    """About how many more runs of each side (from four sessions on: sessions) decide a comparison: 0 when it is, None
    when 50 would not, were the difference and the scatter so far the true ones. None, too, with one run on a side."""
    for more in range(MOST_RUNS + 1):
        d = difference(a, b, between, more=more)
        if not d.df:
            return None
        reach = d.half(LEVEL) + (float(stdtrit(d.df, 0.9)) * math.sqrt(d.variance) if more else 0.0)
        if word_of(d.log, reach) != "undecided":
            return more
    return None


def power(sd_log: float, n: int, change: float, margin: float = MARGIN) -> float:
    """The chance that compare() finds this change of the rate (0.05 or -0.05: 5 %) from n runs a side of one session;
    ValueError for n < 2. sd_log: standard deviation of log rates between runs. By the law of the two sample variances:
    their sum is chi-squared, their shares are a beta variable, the difference of means knows nothing of either."""
    if n < 2:
        raise ValueError(f"At least two runs a side are needed to find a difference; there were {n}.")
    effect, edge = abs(math.log1p(change)), math.log1p(margin)
    if not sd_log:
        return float(effect > edge)
    share = betaincinv((n - 1) / 2, (n - 1) / 2, np.arange(0.01, 1, 0.02))[:, None]
    both = sd_log**2 * 2 * gammaincinv(n - 1, np.arange(0.005, 1, 0.01)) / (n - 1) / n  # of both means
    half = stdtrit((n - 1) / (share**2 + (1 - share) ** 2), (1 + LEVEL) / 2) * np.sqrt(both)
    return float(ndtr((effect - np.maximum(half, edge)) / (sd_log * math.sqrt(2 / n))).mean())


def repeats_for(sd_log: float, change: float) -> int | None:
    """The fewest runs a side, from 2 on, that find this change in nine of ten cases; None: not even a million."""
    if abs(math.log1p(change)) <= math.log1p(MARGIN) * (1 + 1e-9) or power(sd_log, 10**6, change) < 0.9:
        return None
    return bisect_left(range(10**6), True, 2, key=lambda n: power(sd_log, n, change) >= 0.9)
