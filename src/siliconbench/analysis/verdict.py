"""What a run is worth: one word and its reasons, from what watched it."""

from dataclasses import dataclass

from siliconbench.analysis.series import Drift
from siliconbench.record import store
from siliconbench.record.host import State
from siliconbench.record.schema import Synchronization, Verdict

FIRST_LAST = 0.05  # two measures with 1.5 % of noise each differ by more in one run of fifty
SPREAD = 0.05  # with lag-1 correlation 0.5, 20 such blocks give the rate to 0.05 sqrt(3 / 20) = 2 %: the margin
# 46 runs on 2 cores with 2 threads (resnet18, mobilenet_v3_small, batch 1 to 64), quiet, and beside a loop that ran a
# tenth, a quarter, half, and all of the time on one core. Busy was 0.96 to 1.00, 0.97, 0.93, 0.87, 0.60 to 0.67.
BUSY = 0.90
# Others took 0.003 to 0.011, 0.034, 0.07, 0.13, 0.33 to 0.39: this sees what busy cannot, from the margin on.
STOLEN = 0.02
LOAD = 2.0  # per core: threads and loader workers of this run, or of the one before it, come to no more
SLEPT_S = 1.0  # less is the clocks' own difference
SWAP_BYTES = 100e6  # the weights of a resnet50: a growth of this size can be the model itself
SLOW_MODES = ("low power", "low-power", "quiet", "cool")  # pmset(1); platform_profile of the kernel
STALLED = 0.05  # more than blocks that differ as above can move the whole
UNEXPLAINED, CLOSED = 0.90, 1.05  # the parts are measured to a few per cent, and nothing beats what they allow
FLOPS_RATIO = 1.05  # a peak is measured to a few per cent; what lies further above it did not happen


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a run when it is judged; None: unknown. whole_: of end to end, else of the model alone."""

    device_is_cpu: bool
    cpu_share: float | None  # busy_ratio() of the model alone, for the CPU
    load_before: float | None
    load_after: float | None
    cores: int
    spread: float | None
    settled: bool | None  # None: its warm-up had too few blocks to tell
    drift: Drift | None
    first_last: float | None  # change of speed from the first to the last measure (-0.05: 5 % slower)
    heat_witness: str | None  # a second sign of heat, in words
    swap_growth_bytes: int | None
    flops_ratio: float | None  # share of the measured peak
    others_share: float | None = None  # what others took of all cores' time
    whole_others_share: float | None = None
    whole_spread: float | None = None
    whole_drift: Drift | None = None
    whole_stalled: float | None = None  # the share of its time that slow blocks took beyond the typical one
    closure: float | None = None  # end to end over what its parts allow
    slept_s: float | None = None
    gpu_neighbours: int | None = None
    unevenness: float | None = None  # of a fixed loop on one core
    too_short: bool = False  # data loading or the whole, for the loader's stock (see Pass)
    outputs_agree: bool | None = None
    precision_proved: bool | None = None
    synchronized: bool | None = None
    held_down: str = ""  # how its power holds the machine down, in words


def judge(seen: Evidence) -> Verdict:
    """The run's word on itself, with the reasons: wrong, contended, throttled, slowed, noisy (gravest first) or clean.
    disturbed: others took time, or it slept, so measuring again is worth it. A finding is held against nothing."""
    outside, unsteady = _from_outside(seen), _unsteady(seen)
    shaken = {word for word, _ in unsteady} in ({"slowed"}, {"noisy"}, {"slowed", "noisy"})  # heat has its own word
    uneven = (seen.unevenness or 0) if seen.device_is_cpu and shaken else 0
    why = f"The cores ran unevenly by themselves (a fixed loop by {100 * uneven:.0f} %)"
    host = f"{why}: others on the same host, a clock that changes, or cores of two kinds."
    held = f"It ran {seen.held_down}: {PLUG_IN} and run again."
    ran = _chosen((uneven > SPREAD, "contended", host), (bool(seen.held_down), "slowed", held))
    found = [*_wrong(seen), *outside, *ran, *unsteady]
    grave = ("wrong", "contended", "throttled", "slowed", "noisy", "clean")
    word = min((word for word, _ in found), key=grave.index, default="clean")
    reasons, findings = ([store.plain(why) for _, why in some] for some in (found, _findings(seen)))
    return Verdict.model_validate({"word": word, "reasons": reasons, "disturbed": bool(outside), "findings": findings})


Doubts = list[tuple[str, str]]
PLUG_IN = "plug it in, choose automatic or high power"
AGAIN, LONGER = "close other programs and run again.", "run again with a larger MIN_SECONDS."


def _chosen(*doubts: tuple[bool, str, str]) -> Doubts:
    return [(word, reason) for doubt, word, reason in doubts if doubt]


def _wrong(seen: Evidence) -> Doubts:
    peak, counts = seen.flops_ratio or 0, "this figure counts nowhere"
    return _chosen(
        (seen.outputs_agree is False, "wrong", f"Its outputs are not the CPU's: {counts}; report the case."),
        (seen.precision_proved is False, "wrong", f"It did not compute in the precision of its name: {counts}."),
        (seen.synchronized is False, "wrong", f"The device was not waited for: {counts}; report the case."),
        (peak > FLOPS_RATIO, "wrong", f"It ran at {peak:.2f} of the measured peak: {counts}; report the case."),
    )


def _from_outside(seen: Evidence) -> Doubts:
    asked = seen.cpu_share if seen.device_is_cpu and seen.cpu_share is not None else 1.0
    load, alone = max(seen.load_before or 0, seen.load_after or 0), seen.others_share or 0
    unseen = seen.others_share is None and load > LOAD * seen.cores  # load is of its own threads, too: the weaker sign
    taken, slept, neighbours = max(alone, seen.whole_others_share or 0), seen.slept_s or 0, seen.gpu_neighbours or 0
    during = "" if alone > STOLEN else " end to end"
    return _chosen(
        (asked < BUSY, "contended", f"The process got {asked:.2f} of the CPU time it asked for: {AGAIN}"),
        (taken > STOLEN, "contended", f"Other programs took {taken:.2f} of the CPU time{during}: {AGAIN}"),
        (unseen, "contended", f"The load was {load:.1f} on {seen.cores} cores: {AGAIN}"),
        (neighbours > 0, "contended", f"Others computed on the GPU ({neighbours}): {AGAIN}"),
        (slept > SLEPT_S, "contended", f"The system slept for {slept:.0f} s: keep it awake and run again."),
    )


def _unsteady(seen: Evidence) -> Doubts:
    drifts = [d.fifths for d in (seen.drift, seen.whole_drift) if d and d.drifting]
    ends = [seen.first_last] if seen.first_last is not None and abs(seen.first_last) > FIRST_LAST else []
    change, heat, swap = max([*drifts, *ends], key=abs, default=0.0), seen.heat_witness, seen.swap_growth_bytes or 0
    fell = f"The speed fell by {-100 * change:.0f} %"
    alone, whole = seen.spread or 0, seen.whole_spread or 0
    stalled, closure = seen.whole_stalled or 0, seen.closure or 0
    return _chosen(
        (swap > SWAP_BYTES, "contended", f"Swap grew by {swap / 1e6:.0f} MB: make the batch smaller, or {AGAIN}"),
        (change < 0 and bool(heat), "throttled", f"{fell} under heat ({heat}): let it cool and run again."),
        (change < 0 and not heat, "slowed", f"{fell}, cause unknown: look at the power, {AGAIN}"),
        (change > 0, "noisy", f"The speed rose by {100 * change:.0f} %: {LONGER}"),
        (alone > SPREAD, "noisy", f"Blocks of the model alone scatter by {100 * alone:.0f} %: {AGAIN}"),
        (whole > SPREAD, "noisy", f"Blocks end to end scatter by {100 * whole:.0f} %: {AGAIN}"),
        (stalled > STALLED, "noisy", f"Slow blocks took {100 * stalled:.0f} % of the time end to end: {AGAIN}"),
        (closure > CLOSED, "noisy", f"End to end came to {closure:.2f} of what its parts allow: {LONGER}"),
        (seen.settled is False, "noisy", f"The warm-up ended before its blocks agreed to 1 %: {LONGER}"),
    )


def _findings(seen: Evidence) -> Doubts:
    closure = 1.0 if seen.closure is None else seen.closure
    low = f"End to end came to {closure:.2f} of what its parts allow: {100 * (1 - closure):.0f} % are unexplained."
    short = "The loader had over 1 % of a pass's images ready beforehand: too short to tell its rate; MIN_SECONDS."
    return _chosen(
        (closure < UNEXPLAINED, "", low),
        (seen.settled is None, "", "The warm-up had too few blocks to tell whether it had settled."),
        (seen.too_short, "", short),
    )


def held_down(state: State) -> str:
    """How the machine's power holds it down, in words: on its battery, in a slow mode; empty where nothing says so."""
    slow = f"in {state.power_mode} mode" if state.power_mode in SLOW_MODES else ""
    return " and ".join(filter(None, ("on its battery" if state.power_source == "battery" else "", slow)))


def synchronized(found: Synchronization) -> bool | None:
    """Whether the device was waited for before the clock was read; None on the CPU, which is never behind.
    A read of an output after the wait takes at most 3 times one from an idle device and 0.2 ms, and the host's clock
    saw no less time pass than the device's own events (5 % aside)."""
    if found.read_s is None or found.idle_read_s is None:
        return None
    by_events = found.event_s is None or found.synchronized_s >= 0.95 * found.event_s
    return found.read_s <= 3 * found.idle_read_s + 2e-4 and by_events
