"""Rates, intervals, who is faster, what holds a run back, and what a run is worth: pure functions of numbers.

One fresh process gives one rate; what is claimed over runs rests on the logs of those rates, never on blocks.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import beta, binom, median_abs_deviation, nct, norm, t, theilslopes

Ceilings = Mapping[str, float | None]  # images/s of forward, copy and input, each alone; None: there is none

LEVEL = 0.95
MARGIN = 0.02  # what five runs a side with 1 % of scatter can just tell apart: resolution(0.01, 5) is 0.024
MOST_RUNS = 50  # when this many more would not decide, the noise is what to work on
# By chance in 2 % of runs with 20 blocks of 2 % scatter, 12 % if lag-1 correlation is 0.5 (then 2 % from 60 blocks on).
DRIFT = 0.03
FIRST_LAST = 0.05  # two measures with 1.5 % of noise each differ by more in one run of fifty
SPREAD = 0.05  # with lag-1 correlation 0.5, 20 such blocks give the rate to 0.05 sqrt(3 / 20) = 2 %: the margin
# 46 runs on 2 cores with 2 threads (resnet18, mobilenet_v3_small, batch 1 to 64): busy was 0.96 to 1.00 when quiet,
# 0.97 beside a loop that ran a tenth of the time on one core, 0.93 a quarter, 0.87 half, 0.60 to 0.67 all the time.
BUSY = 0.90
# In the same runs others took 0.003 to 0.011 of the CPU time when quiet, 0.034 beside the loop at a tenth, 0.07 at a
# quarter, 0.13 at half, 0.33 to 0.39 all the time: so this sees what busy cannot, from the margin on.
STOLEN = 0.02
LOAD = 2.0  # per core: threads and loader workers of this run, or of the one before it, come to no more
SWAP_BYTES = 100e6  # the weights of a resnet50: a growth of this size can be the model itself
FLOPS_RATIO = 1.05  # a peak is measured to a few per cent; what lies further above it did not happen
TWICE = 0.1  # a device that is not waited for gives a ratio far from 2; noise at a fifth of a second some per cent
HOLDS_BACK = 1.10  # a ceiling is measured to a few per cent: closer ones are not told apart


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


class Verdict(NamedTuple):
    """The gravest word on a run, and one sentence for each doubt, gravest first."""

    word: str
    reasons: list[str]


def _logs(values: ArrayLike, what: str = "rate") -> np.ndarray:
    x = np.asarray(values, dtype=float).ravel()
    if not x.size:
        raise ValueError(f"At least one {what} is needed; none was given.")
    bad = x[~(np.isfinite(x) & (x > 0))]
    if bad.size:
        raise ValueError(f"Each {what} must be a finite number above zero; one was {bad[0]:g}.")
    return np.log(x)


def interval(rates: ArrayLike, level: float = LEVEL) -> Interval:
    """The geometric mean of independent runs' rates with its Student-t interval on the logs.

    ValueError for no rate or one that is not finite and above zero. Georges et al., OOPSLA 2007.
    """
    y = _logs(rates)
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

    Faster or slower: the interval excludes 1 and the ratio lies beyond the margin. Same: the whole interval lies
    within the margin. With one run on a side there is a ratio, no interval, and the word is undecided.
    """
    x, y = _logs(a), _logs(b)
    if min(x.size, y.size) < 2:
        return Comparison(math.exp(y.mean() - x.mean()), None, None, None, "undecided")
    d, error, df = _welch(x, y)
    half, p = t.ppf((1 + level) / 2, df) * error, 2 * float(t.sf(abs(d) / error, df))
    return Comparison(math.exp(d), math.exp(d - half), math.exp(d + half), p, _word(d, half, margin))


def compare_all(groups: Mapping[str, ArrayLike]) -> dict[tuple[str, str], Comparison]:
    """Every pair (a, b) compared as above; faster and slower hold for all pairs at once, to 5 % (Holm 1979).

    p is Holm's adjusted p. low and high stay each pair's own 95 %, and so does the word same: an interval may
    exclude 1 where the word is undecided. A pair with too few runs is no test and does not count as one.
    """
    pairs = {(a, b): compare(groups[a], groups[b]) for a, b in combinations(groups, 2)}
    tests = sorted((pair.p, key) for key, pair in pairs.items() if pair.p is not None)
    adjusted = 0.0
    for rank, (p, key) in enumerate(tests):
        adjusted = max(adjusted, min(1.0, (len(tests) - rank) * p))
        word = pairs[key].word
        lost = adjusted > 1 - LEVEL and word in ("faster", "slower")
        pairs[key] = pairs[key]._replace(p=adjusted, word="undecided" if lost else word)
    return pairs


def runs_needed(rates_a: ArrayLike, rates_b: ArrayLike, margin: float = MARGIN) -> int | None:
    """About how many more runs of each side decide a comparison: 0 when it is decided, None when 50 would not.

    It takes the difference and the scatter seen so far for the true ones; a border then goes the wrong way one time
    in ten. None, too, when a side has fewer than two runs.
    """
    x, y = _logs(rates_a), _logs(rates_b)
    if min(x.size, y.size) < 2:
        return None
    for more in range(MOST_RUNS + 1):
        d, error, df = _welch(x, y, more)
        reach = t.ppf((1 + LEVEL) / 2, df) + (t.ppf(0.9, df) if more else 0.0)
        if _word(d, reach * error, margin) != "undecided":
            return more
    return None


def resolution(sd_log: float, n: int, power: float = 0.9) -> float:
    """The smallest relative difference that n runs a side find with that power (0.02: 2 %).

    sd_log is the standard deviation of log rates between runs. Found: compare()'s 95 % interval excludes 1; its
    margin comes on top. Given how the two sample variances share out, Welch's t is noncentral t with 2n - 2 degrees
    of freedom; the power is the mean over that share, a beta variable. ValueError for fewer than two runs.
    """
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
    """How the speed changed from the first to the last of equal blocks, None for fewer than 10 of them.

    slope is Theil and Sen's (JASA 63, 1968) over the whole, fifths the median of the last fifth against the first.
    Drifting: both beyond 3 % in one direction.
    """
    if np.size(block_s) < 10:
        return None
    y = -_logs(block_s, "block")
    if y.size > 500:  # all pairs of more would fill the memory
        y = np.array([np.median(part) for part in np.array_split(y, 500)])
    slope, fifth = math.expm1(theilslopes(y)[0] * (y.size - 1)), y.size // 5
    fifths = math.expm1(np.median(y[-fifth:]) - np.median(y[:fifth]))
    return Drift(slope, fifths, slope * fifths > 0 and min(abs(slope), abs(fifths)) > DRIFT)


def spread(block_s: ArrayLike) -> float | None:
    """The relative scatter of equal blocks (0.02: 2 %), None for fewer than 3 of them.

    From differences of neighbours, as von Neumann (1941) has it, so that a trend does not count; by the median
    absolute deviation, so that one stalled block does not either.
    """
    if np.size(block_s) < 3:
        return None
    return float(median_abs_deviation(np.diff(_logs(block_s, "block")), scale="normal")) / math.sqrt(2)


def percentile(seconds: ArrayLike, q: float) -> Percentile | None:
    """The nearest-rank percentile (0 < q < 1) with its 95 % interval by binomial ranks, None for no request.

    It assumes no distribution, but independent requests. Two-sided bounds need 6 requests at the median, 36 at p90,
    368 at p99, else None. Le Boudec, Performance Evaluation, 2010.
    """
    if not 0 < q < 1:
        raise ValueError(f"A percentile lies between 0 and 1; {q:g} was asked for.")
    x = np.sort(np.asarray(seconds, dtype=float).ravel())
    if not x.size:
        return None
    value = float(x[math.ceil(x.size * q - 1e-9) - 1])  # 0.07 * 100 is a hair over 7
    below, above = binom.ppf(((1 - LEVEL) / 2, (1 + LEVEL) / 2), x.size, q).astype(int)
    if below < 1 or above >= x.size:
        return Percentile(value, None, None)
    return Percentile(value, float(x[below - 1]), float(x[above]))


def tail(seconds: ArrayLike) -> tuple[str, Percentile] | None:
    """The farthest percentile that so many requests bear, and its name: p99, p90, or "max of n"; None for none.

    p99 waits for 1,000 requests: neighbours are alike (correlation about 0.5), which leaves a third of them.
    """
    n = np.size(seconds)
    for q, least in ((0.99, 1000), (0.9, 36)):
        found = percentile(seconds, q)
        if found and n >= least:
            return f"p{100 * q:.0f}", found
    return (f"max of {n}", Percentile(float(np.max(seconds)), None, None)) if n else None


def busy_ratio(cpu_s: float, wall_s: float, threads: int) -> float:
    """The process's CPU seconds over wall seconds times threads: 1 when nobody else had the cores."""
    if not (wall_s > 0 and threads > 0):
        raise ValueError(f"A busy ratio needs time and threads; there were {wall_s:g} s and {threads} threads.")
    return cpu_s / (wall_s * threads)


def resources(
    ceilings: Ceilings,
    overlapped: bool,
    workers: int,
    device_is_cpu: bool,
    cores: int = 1,
    threads: int = 1,
    launch_s: float = 0.0,
    beside: bool = False,
) -> dict[str, dict[str, float]]:
    """Seconds per image that each part takes of each resource, by its name; the fullest resource sets the pace.

    beside: the copy runs on a stream of its own. launch_s: what launching the model costs the main process an image.
    """
    _logs([c for c in ceilings.values() if c is not None] or [1.0], "ceiling")
    s = {part: 1 / c for part, c in ceilings.items() if c is not None}
    if not overlapped or (device_is_cpu and not workers):
        return {"one after the other": s}
    if device_is_cpu:
        share = {"forward": threads / cores, "input": min(workers, cores) / cores}
        return {f"{part} alone": {part: s[part]} for part in s} | {
            "the cores, shared": {part: s[part] * share.get(part, 1.0) for part in s}
        }
    uses = {"main process": [] if workers else ["input"], "loader processes": ["input"] if workers else []}
    uses |= {"bus": ["copy"], "device": ["forward"]} if beside else {"device": ["copy", "forward"]}
    if not workers and not beside:
        uses["main process"].append("copy")
    ways = {name: {part: s[part] for part in parts if part in s} for name, parts in uses.items()}
    ways["main process"] |= {"forward": launch_s} if launch_s and "forward" in s else {}
    return {name: parts for name, parts in ways.items() if parts}


def allowed_rate(
    ceilings: Ceilings,
    overlapped: bool,
    workers: int,
    device_is_cpu: bool,
    cores: int = 1,
    threads: int = 1,
    launch_s: float = 0.0,
    beside: bool = False,
) -> tuple[float, str]:
    """The end-to-end images/s that the parts allow, and the part that binds: the largest on the fullest resource.

    One after the other, 1/E is the sum of 1/C. Overlapped on an accelerator, the device holds copy and forward, or
    the bus holds the copy; the main process holds its launches and, with no workers, input, and a copy that blocks it.
    On the CPU with workers, no part beats its own ceiling, and together an image takes threads/forward + min(workers,
    cores)/input core-seconds of the cores: in eight tries on 2 cores, 0.79 to 1.09 of that was measured. By resource,
    after Mohan et al., VLDB 2021.
    """
    found = resources(ceilings, overlapped, workers, device_is_cpu, cores, threads, launch_s, beside).values()
    fullest = max(found, key=lambda parts: sum(parts.values()))
    if not fullest:
        return math.inf, "balanced"
    return 1 / sum(fullest.values()), max(fullest, key=lambda part: fullest[part])


def what_holds_back(
    ceilings: Ceilings,
    measured: float,
    overlapped: bool,
    workers: int,
    device_is_cpu: bool,
    cores: int = 1,
    threads: int = 1,
    launch_s: float = 0.0,
    beside: bool = False,
) -> str:
    """The part whose removal would raise the allowed rate most, 10 % beyond any other's, else "balanced".

    A hint, for confirmed() to test. A measured rate 10 % above the part's own ceiling refutes it: "balanced".
    """
    parts = [part for part, c in ceilings.items() if c is not None]
    without = {
        part: allowed_rate(
            {**ceilings, part: None}, overlapped, workers, device_is_cpu, cores, threads, launch_s, beside
        )[0]
        for part in parts
    }
    first, *others = sorted(parts, key=lambda part: -without[part])
    if others and without[first] < HOLDS_BACK * without[others[0]]:
        return "balanced"
    return "balanced" if measured > HOLDS_BACK * (ceilings[first] or math.inf) else first


def _batch_means(rates: ArrayLike) -> list[float]:
    x = np.exp(_logs(rates))
    return [float(part.mean()) for part in np.array_split(x, min(10, x.size))]


def confirmed(with_stage: ArrayLike, with_cached_stage: ArrayLike) -> bool:
    """Whether blocks run faster with the stage replaced by cached data: beyond the margin and the interval.

    Rates of blocks of one run, in order. Neighbours are alike, so up to ten batch means a side are compared.
    """
    return compare(_batch_means(with_stage), _batch_means(with_cached_stage)).word == "faster"


def _change(drift: Drift | None, first_last: float | None) -> float:
    changes = [drift.fifths] if drift and drift.drifting else []
    changes += [first_last] if first_last is not None and abs(first_last) > FIRST_LAST else []
    return max(changes, key=abs, default=0.0)


def verdict(
    *,
    device_is_cpu: bool,
    busy: float | None,
    load_before: float | None,
    load_after: float | None,
    cores: int,
    spread: float | None,
    settled: bool,
    drift: Drift | None,
    first_last: float | None,
    heat_witness: str | None,
    swap_growth_bytes: int | None,
    flops_ratio: float | None,
    stolen: float | None = None,
    twice_over_once: float = 2.0,
    outputs_agree: bool = True,
) -> Verdict:
    """The run's word on itself: contended, throttled, slowed, noisy (gravest first) or clean, with the reasons.

    busy: busy_ratio() of the forward pass, for the CPU. stolen: share of all cores' time that others took. first_last:
    change of speed, first to last measure (-0.05: 5 % slower). heat_witness: what was seen; without it only slowed.
    twice_over_once: time of twice the steps over once. outputs_agree: whether the CPU gives the same outputs.
    """
    asked, taken = busy if device_is_cpu and busy is not None else 1.0, stolen or 0.0
    load, swap, peak = max(load_before or 0, load_after or 0), swap_growth_bytes or 0, flops_ratio or 0
    change, scatter = _change(drift, first_last), spread or 0
    fell = f"The speed fell by {-100 * change:.0f} %"
    wait = "the device may not be waited for, or was disturbed: run again."
    again, longer = "close other programs and run again.", "run again with a larger MIN_SECONDS."
    doubts = (
        (asked < BUSY, "contended", f"The process got {asked:.2f} of the CPU time it asked for: {again}"),
        (taken > STOLEN, "contended", f"Other programs took {taken:.2f} of the CPU time: {again}"),
        (load > LOAD * cores, "contended", f"The load was {load:.1f} on {cores} cores: {again}"),
        (swap > SWAP_BYTES, "contended", f"Swap grew by {swap / 1e6:.0f} MB: make the batch smaller, or {again}"),
        (change < 0 and heat_witness, "throttled", f"{fell} under heat ({heat_witness}): let it cool and run again."),
        (change < 0 and not heat_witness, "slowed", f"{fell}, cause unknown: look at the power, {again}"),
        (not outputs_agree, "noisy", "Its outputs are not the CPU's: this figure is not ranked; report the case."),
        (
            abs(twice_over_once - 2) > TWICE,
            "noisy",
            f"Twice the steps took {twice_over_once:.2f} times as long: {wait}",
        ),
        (peak > FLOPS_RATIO, "noisy", f"It ran at {peak:.2f} of the measured peak: check the wait and the precision."),
        (scatter > SPREAD, "noisy", f"Neighbouring blocks differ by {100 * scatter:.0f} %: {again}"),
        (not settled, "noisy", f"The warm-up ended before its blocks agreed to 1 %: {longer}"),
        (change > 0, "noisy", f"The speed rose by {100 * change:.0f} %: {longer}"),
    )
    found = [(word, reason) for doubt, word, reason in doubts if doubt]
    return Verdict(found[0][0] if found else "clean", [reason for _, reason in found])
