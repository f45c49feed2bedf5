"""analysis.verdict"""

from typing import NamedTuple

from siliconbench.analysis.stats import Drift

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


class Verdict(NamedTuple):
    """The gravest word on a run, and one sentence for each doubt, gravest first."""

    word: str
    reasons: list[str]


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
