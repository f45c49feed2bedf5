"""What a run is worth: one word and its reasons, from what watched it."""

from statistics import median

from siliconbench.analysis import series
from siliconbench.record import store
from siliconbench.record.host import State
from siliconbench.record.schema import Checks, Passes, Synchronization, Verdict

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
GRAVE = ("wrong", "outside", "contended", "throttled", "slowed", "noisy")  # outside: contended, and by others
PLUG_IN = "plug it in, choose automatic or high power"
AGAIN, LONGER = "close other programs and run again.", "run again with a larger MIN_SECONDS."


def judge(passes: Passes, checks: Checks, peak: float | None, heat: str | None, cores: int) -> Verdict:
    """The run's word on itself, with the reasons: wrong, contended, throttled, slowed, noisy (gravest first) or clean.
    disturbed: others took time, or it slept, so measuring again is worth it. A finding is held against nothing.

    peak: the share of the measured one; heat: a second sign of heat, in words; None: unknown."""
    doubts = _by_checks(checks, peak or 0, cores), _by_blocks(passes, checks, heat)
    known, unsteady = ([(word, why) for doubt, word, why in some if doubt] for some in doubts)
    words, uneven = {word for word, _ in unsteady if word}, series.unevenness(checks.core_s) or 0
    if checks.cpu_share is not None and words and words <= {"slowed", "noisy"} and uneven > SPREAD:
        why = f"The cores ran unevenly by themselves (a fixed loop by {100 * uneven:.0f} %)"
        known += [("contended", f"{why}: others on the same host, a clock that changes, or cores of two kinds.")]
    found = sorted((doubt for doubt in known + unsteady if doubt[0]), key=lambda doubt: GRAVE.index(doubt[0]))
    share, word = checks.system_share or 0, found[0][0] if found else "clean"
    if found and share > 0.1:  # the model's own arithmetic leaves the kernel less
        faults = f"{100 * share:.0f} % of the CPU time in {checks.page_faults_per_image:.0f} page faults"
        found += [("", f"A cause: the kernel took {faults} an image.")]
    return Verdict.model_validate({
        "word": "contended" if word == "outside" else word, "reasons": [store.plain(why) for _, why in found],
        "disturbed": "outside" in dict(found), "findings": [why for word, why in unsteady if not word],
    })  # fmt: skip


Doubts = tuple[tuple[bool, str, str], ...]  # whether it is so, its word (see GRAVE; of a finding none), and a sentence


def _by_checks(checks: Checks, peak: float, cores: int) -> Doubts:
    load, alone = max(checks.before.load_1m or 0, checks.after.load_1m or 0), checks.others_share or 0
    unseen = checks.others_share is None and load > LOAD * cores  # load is of its own threads, too: the weaker sign
    asked = 1.0 if checks.cpu_share is None else checks.cpu_share
    taken, others = max(alone, checks.end_to_end_others_share or 0), checks.gpu_neighbours or 0
    during, counts = "" if alone > STOLEN else " end to end", "this figure counts nowhere"
    unlike, waited = checks.outputs is not None and not checks.outputs.agree, checks.synchronization
    unproved, held = not all(proof.proved for proof in checks.precision or ()), held_down(checks.before)
    compiled, slept = checks.compiled.recompiles if checks.compiled else 0, checks.slept_s or 0
    in_time = synchronized(waited) if waited else None
    beyond = peak > FLOPS_RATIO and (taken <= STOLEN or in_time is not None)  # beside others a CPU's peak is too low
    return (
        (unlike, "wrong", f"Its outputs are not the CPU's: {counts}; report the case."),
        (unproved, "wrong", f"It did not compute in the precision of its name: {counts}."),
        (in_time is False, "wrong", f"The device was not waited for: {counts}; report the case."),
        (beyond, "wrong", f"It ran at {peak:.2f} of the measured peak: {counts}; report the case."),
        (asked < BUSY, "outside", f"The process got {asked:.2f} of the CPU time it asked for: {AGAIN}"),
        (taken > STOLEN, "outside", f"Other programs took {taken:.2f} of the CPU time{during}: {AGAIN}"),
        (unseen, "outside", f"The load was {load:.1f} on {cores} cores: {AGAIN}"),
        (others > 0, "outside", f"Others computed on the GPU ({others}): {AGAIN}"),
        (slept > SLEPT_S, "outside", f"The system slept for {slept:.0f} s: keep it awake and run again."),
        (bool(held), "slowed", f"It ran {held}: {PLUG_IN} and run again."),
        (compiled > 0, "noisy", f"torch.compile compiled again ({compiled}) while it was timed: run again."),
    )


def _by_blocks(passes: Passes, checks: Checks, heat: str | None) -> Doubts:
    assert passes.forward, "a run that is judged has timed the model"
    settled, alone, whole = passes.forward.settled, passes.forward.equal_block_s, passes.end_to_end
    blocks, again = whole.equal_block_s if whole else [], checks.repeat_block_s or alone
    drifts = [drift.fifths for drift in map(series.drift, (alone, blocks)) if drift and drift.drifting]
    end = median(alone) / median(again) - 1  # the change of speed from the first measure to the last
    change = max([*drifts, end if abs(end) > FIRST_LAST else 0.0], key=abs)
    before, after = (state.swap_used_bytes for state in (checks.before, checks.after))
    swap, fell = 0 if before is None or after is None else after - before, f"The speed fell by {-100 * change:.0f} %"
    scatter, scatters, stalled = series.spread(alone) or 0, series.spread(blocks) or 0, series.stalled(blocks) or 0
    allowed = checks.allowed_images_per_s
    closure = whole.images_per_s / allowed if whole and allowed else 1.0
    parts = f"End to end came to {closure:.2f} of what its parts allow"
    short = "The loader had over 1 % of a pass's images ready beforehand: too short to tell its rate; MIN_SECONDS."
    return (
        (swap > SWAP_BYTES, "contended", f"Swap grew by {swap / 1e6:.0f} MB: make the batch smaller, or {AGAIN}"),
        (change < 0 and bool(heat), "throttled", f"{fell} under heat ({heat}): let it cool and run again."),
        (change < 0 and not heat, "slowed", f"{fell}, cause unknown: look at the power, {AGAIN}"),
        (change > 0, "noisy", f"The speed rose by {100 * change:.0f} %: {LONGER}"),
        (scatter > SPREAD, "noisy", f"Blocks of the model alone scatter by {100 * scatter:.0f} %: {AGAIN}"),
        (scatters > SPREAD, "noisy", f"Blocks end to end scatter by {100 * scatters:.0f} %: {AGAIN}"),
        (stalled > STALLED, "noisy", f"Slow blocks took {100 * stalled:.0f} % of the time end to end: {AGAIN}"),
        (closure > CLOSED, "noisy", f"{parts}: {LONGER}"),
        (settled is False, "noisy", f"The warm-up ended before its blocks agreed to 1 %: {LONGER}"),
        (closure < UNEXPLAINED, "", f"{parts}: {100 * (1 - closure):.0f} % are unexplained."),
        (settled is None, "", "The warm-up had too few blocks to tell whether it had settled."),
        (any(timed.too_short for timed in (passes.input, whole) if timed), "", short),
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
