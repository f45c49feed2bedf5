"""What a run is worth: one word and its reasons, from what watched it."""

from dataclasses import dataclass

from siliconbench.analysis.stats import Drift
from siliconbench.record import store
from siliconbench.record.schema import Synchronization, Verdict

FIRST_LAST = 0.05  # two measures with 1.5 % of noise each differ by more in one run of fifty
SPREAD = 0.05  # with lag-1 correlation 0.5, 20 such blocks give the rate to 0.05 sqrt(3 / 20) = 2 %: the margin
# 46 runs on 2 cores with 2 threads (resnet18, mobilenet_v3_small, batch 1 to 64), quiet, and beside a loop that ran a
# tenth, a quarter, half, and all of the time on one core. Busy was 0.96 to 1.00, 0.97, 0.93, 0.87, 0.60 to 0.67.
BUSY = 0.90
# Others took 0.003 to 0.011, 0.034, 0.07, 0.13, 0.33 to 0.39: this sees what busy cannot, from the margin on.
STOLEN = 0.02
LOAD = 2.0  # per core: threads and loader workers of this run, or of the one before it, come to no more
SWAP_BYTES = 100e6  # the weights of a resnet50: a growth of this size can be the model itself
FLOPS_RATIO = 1.05  # a peak is measured to a few per cent; what lies further above it did not happen


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a run when it is judged; None: unknown."""

    device_is_cpu: bool
    cpu_share: float | None  # busy_ratio() of the model alone, for the CPU
    load_before: float | None
    load_after: float | None
    cores: int
    spread: float | None
    settled: bool
    drift: Drift | None
    first_last: float | None  # change of speed from the first to the last measure (-0.05: 5 % slower)
    heat_witness: str | None  # a second sign of heat, in words
    swap_growth_bytes: int | None
    flops_ratio: float | None  # share of the measured peak
    others_share: float | None = None  # what others took of all cores' time
    outputs_agree: bool = True


def judge(seen: Evidence) -> Verdict:
    """The run's word on itself: contended, throttled, slowed, noisy (gravest first) or clean, with the reasons."""
    changes = [seen.drift.fifths] if seen.drift and seen.drift.drifting else []
    changes += [seen.first_last] if seen.first_last is not None and abs(seen.first_last) > FIRST_LAST else []
    change, heat = max(changes, key=abs, default=0.0), seen.heat_witness
    asked = seen.cpu_share if seen.device_is_cpu and seen.cpu_share is not None else 1.0
    load, swap = max(seen.load_before or 0, seen.load_after or 0), seen.swap_growth_bytes or 0
    peak, scatter, taken = seen.flops_ratio or 0, seen.spread or 0, seen.others_share or 0
    fell, ran = f"The speed fell by {-100 * change:.0f} %", f"It ran at {peak:.2f} of the measured peak"
    again, longer = "close other programs and run again.", "run again with a larger MIN_SECONDS."
    doubts = (
        (asked < BUSY, "contended", f"The process got {asked:.2f} of the CPU time it asked for: {again}"),
        (taken > STOLEN, "contended", f"Other programs took {taken:.2f} of the CPU time: {again}"),
        (load > LOAD * seen.cores, "contended", f"The load was {load:.1f} on {seen.cores} cores: {again}"),
        (swap > SWAP_BYTES, "contended", f"Swap grew by {swap / 1e6:.0f} MB: make the batch smaller, or {again}"),
        (change < 0 and heat, "throttled", f"{fell} under heat ({heat}): let it cool and run again."),
        (change < 0 and not heat, "slowed", f"{fell}, cause unknown: look at the power, {again}"),
        (not seen.outputs_agree, "noisy", "Its outputs are not the CPU's: this figure is not ranked; report the case."),
        (peak > FLOPS_RATIO, "noisy", f"{ran}: check synchronization and precision."),
        (scatter > SPREAD, "noisy", f"Neighbouring blocks differ by {100 * scatter:.0f} %: {again}"),
        (not seen.settled, "noisy", f"The warm-up ended before its blocks agreed to 1 %: {longer}"),
        (change > 0, "noisy", f"The speed rose by {100 * change:.0f} %: {longer}"),
    )
    found = [(word, store.plain(reason)) for doubt, word, reason in doubts if doubt]
    word = found[0][0] if found else "clean"
    said = {"word": word, "reasons": [why for _, why in found], "disturbed": word == "contended"}
    return Verdict.model_validate(said)


def synchronized(found: Synchronization) -> bool | None:
    """Whether the device was waited for before the clock was read; None on the CPU, which is never behind.

    A read of an output after the wait takes at most 3 times one from an idle device and 0.2 ms, and the host's clock
    saw no less time pass than the device's own events (5 % aside).
    """
    if found.read_s is None or found.idle_read_s is None:
        return None
    by_events = found.event_s is None or found.synchronized_s >= 0.95 * found.event_s
    return found.read_s <= 3 * found.idle_read_s + 2e-4 and by_events
