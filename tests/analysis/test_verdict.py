"""What a run is worth: each doubt alone, and all together."""

import math
from typing import Any

import numpy as np
import pytest

from siliconbench.analysis import series, verdict
from siliconbench.record.host import State
from siliconbench.record.schema import Checks, Pass, Passes, Verdict, filled
from tests.samples import sample, timed


def blocks(spread: float = 0.0, fall: float = 0.0, stalled: float = 0.0) -> np.ndarray:
    """Seconds of forty blocks that scatter, stall or slow from the first fifth to the last by just so much."""
    apart = np.random.default_rng(3).normal(0, 0.01, 20)
    log_s = np.column_stack([apart, -apart]).ravel()  # so that chance makes no drift
    log_s *= spread / (series.spread(np.exp(log_s)) or 1)
    log_s += np.linspace(0, -math.log1p(fall) * 39 / 32, 40)
    block_s = 0.5 * np.exp(log_s)
    block_s[20] += stalled / (1 - stalled) * block_s.sum()
    return block_s


def passed(block_s: Any, **more: Any) -> dict[str, Any]:
    """A pass of these blocks."""
    seconds, images = float(np.sum(block_s)), 8 * len(block_s)
    known = {"images": images, "seconds": seconds, "images_per_s": images / seconds, "block_images": 8}
    return timed(1.0) | known | {"last_block_images": 8, "block_s": [float(s) for s in block_s]} | more


PLACES = {  # in the record's checks, of what is known by this name
    "others_share": "others_share", "whole_others_share": "end_to_end_others_share", "slept_s": "slept_s",
    "gpu_neighbours": "gpu_neighbours", "cpu_share": "cpu_share",
}  # fmt: skip


def judged(**seen: Any) -> Verdict:
    """The verdict on a run of which this is seen; a quiet run's on what is not named."""
    checks, passes = sample()["checks"], sample()["passes"]
    checks |= {PLACES[name]: seen[name] for name in PLACES if name in seen}
    checks["before"] |= {"load_1m": seen.get("load_before", 1.8), **seen.get("state", {})}
    checks["after"] |= {"load_1m": seen.get("load_after", 2.1), "swap_used_bytes": seen.get("swap_growth_bytes", 4096)}
    forward = seen.get("forward", blocks(seen.get("spread", 0 if "drift" in seen else 0.02), seen.get("drift", 0)))
    scatter = seen.get("whole_spread", 0 if "whole_drift" in seen else 0.02)
    whole = seen.get("whole", blocks(scatter, seen.get("whole_drift", 0), seen.get("stalled", 0)))
    checks["repeat_block_s"] = [float(np.median(forward)) / (1 + seen.get("first_last", -0.01))]
    passes["forward"] = passed(forward, settled=seen.get("settled", True))
    passes["end_to_end"] = passed(whole, stock_images=320 if seen.get("too_short") else 0)
    checks["allowed_images_per_s"] = passes["end_to_end"]["images_per_s"] / seen.get("closure", 0.97)
    checks["core_s"] = [list(map(float, blocks(seen.get("unevenness", 0.01))))] * 2
    checks["compiled"] = {"seconds": 9.0, "recompiles": seen.get("recompiles", 0)}
    checks["system_share"], checks["page_faults_per_image"] = seen.get("system_share", 0.02), 1234.0
    checks["precision"][0] |= {"proved": seen.get("precision_proved", True)}
    if "outputs_agree" in seen:
        found = {"images": 16, "largest_difference": 0.1, "tolerance": 0.2, "top1_agreement": 1.0, "image_scatter": 0.5}
        checks["outputs"] = found | {"agree": seen["outputs_agree"]}
    if "read_s" in seen:
        checks["synchronization"] |= {"read_s": seen["read_s"], "idle_read_s": 1e-5, "unknown": {"event_s": "none"}}
    for part in (checks, checks["before"], checks["after"]):
        part["unknown"] = {name: "this test has none" for name, value in part.items() if value is None}
    made = Passes.model_validate(passes), Checks.model_validate(checks)
    return verdict.judge(*made, seen.get("flops_ratio", 0.64), seen.get("heat_witness"), 2)


FALL, RISE = -0.12, 0.06


def test_the_blocks_of_these_tests_are_as_they_are_asked_for():
    assert series.spread(blocks(0.09)) == pytest.approx(0.09) and series.stalled(blocks(stalled=0.29)) > 0.28
    assert series.drift(blocks(0.0, FALL)).fifths == pytest.approx(FALL, abs=1e-3)
    assert Pass.model_validate(passed(blocks(0.1, RISE, 0.2))).images == 320


@pytest.mark.parametrize(
    ("seen", "word", "figure"),
    [
        ({"cpu_share": 0.61}, "contended", "0.61"),
        ({"others_share": 0.35}, "contended", "0.35"),
        ({"load_before": 7.5, "others_share": None}, "contended", "7.5 on 2 cores"),
        ({"whole_others_share": 0.12}, "contended", "0.12 of the CPU time end to end"),
        ({"gpu_neighbours": 2}, "contended", "(2)"),
        ({"slept_s": 34.0}, "contended", "34 s"),
        ({"whole_drift": FALL}, "slowed", "12 %"),
        ({"whole_spread": 0.21}, "noisy", "21 %"),
        ({"stalled": 0.29}, "noisy", "29 %"),
        ({"closure": 1.08}, "noisy", "1.08"),
        ({"outputs_agree": False}, "wrong", "counts nowhere"),
        ({"precision_proved": False}, "wrong", "counts nowhere"),
        ({"read_s": 0.1}, "wrong", "not waited for"),
        ({"swap_growth_bytes": 3 * 10**8}, "contended", "300 MB"),
        ({"drift": FALL, "heat_witness": "thermal state serious"}, "throttled", "12 %"),
        ({"drift": FALL}, "slowed", "12 %"),
        ({"first_last": -0.08}, "slowed", "8 %"),
        ({"spread": 0.09}, "noisy", "9 %"),
        ({"settled": False}, "noisy", "1 %"),
        ({"drift": RISE}, "noisy", "6 %"),
        ({"first_last": 0.07, "heat_witness": "thermal state fair"}, "noisy", "7 %"),
        ({"flops_ratio": 1.2}, "wrong", "1.20"),
    ],
)
def test_each_doubt_has_its_word_and_one_sentence(seen: dict, word: str, figure: str) -> None:
    found = judged(**seen)
    assert found.word == word
    (reason,) = found.reasons
    assert figure in reason
    assert reason[0].isupper()
    assert reason.endswith(".")
    assert ": " in reason  # what was seen, then what to do
    assert "None" not in reason


CLEAN = Verdict(word="clean", reasons=[], disturbed=False)


def test_a_run_without_doubt_is_clean() -> None:
    unknown = dict.fromkeys(("cpu_share", "others_share", "load_before", "load_after", "flops_ratio", "heat_witness"))
    assert judged() == CLEAN
    assert judged(**unknown, swap_growth_bytes=None, slept_s=None) == CLEAN
    assert judged(cpu_share=None) == CLEAN  # on an accelerator
    assert judged(heat_witness="thermal state fair") == CLEAN  # warm, and no slower
    assert judged(load_before=7.5) == CLEAN  # its own threads: others took 1 %
    assert judged(slept_s=0.01, gpu_neighbours=0, outputs_agree=True, read_s=1e-5, system_share=0.3) == CLEAN


def test_a_host_that_runs_unevenly_is_named_before_the_scatter_that_it_makes() -> None:
    for doubt in ({"whole_spread": 0.12}, {"drift": FALL}, {"first_last": 0.2}):
        found = judged(**doubt | {"unevenness": 0.19})
        assert found.word == "contended" and "19 %" in found.reasons[0] and not found.disturbed
        assert judged(**doubt | {"unevenness": 0.02}).word in ("noisy", "slowed")
        assert judged(**doubt | {"unevenness": 0.19, "cpu_share": None}).word in ("noisy", "slowed")
    assert judged(unevenness=0.19) == CLEAN  # it made no difference
    hot = {"drift": FALL, "heat_witness": "thermal state serious", "unevenness": 0.01}
    assert judged(**hot).word == judged(**hot | {"unevenness": 0.19}).word == "throttled"


def test_only_what_comes_from_outside_is_measured_again() -> None:
    for outside in ({"cpu_share": 0.61}, {"others_share": 0.3}, {"whole_others_share": 0.3}, {"slept_s": 9.0}):
        assert judged(**outside).disturbed
    hot = {"drift": FALL, "heat_witness": "thermal state serious"}
    for own in (hot, {"swap_growth_bytes": 3 * 10**8}, {"whole_spread": 0.2}, {"flops_ratio": 1.2}, {"settled": False}):
        found = judged(**own)
        assert found.word != "clean" and not found.disturbed
    both = judged(flops_ratio=1.2, others_share=0.3, read_s=1e-5)
    assert (both.word, both.disturbed, len(both.reasons)) == ("wrong", True, 2)
    beside = judged(flops_ratio=1.9, others_share=0.3)  # on a CPU they took from the peak, which is measured later
    assert (beside.word, beside.disturbed, len(beside.reasons)) == ("contended", True, 1)


def test_a_finding_is_said_and_held_against_nothing() -> None:
    (short,) = judged(too_short=True).findings
    assert "ready beforehand" in short
    (gap,) = judged(closure=0.82).findings
    assert "18 % are unexplained" in gap
    unjudged = judged(settled=None)
    assert (unjudged.word, unjudged.reasons) == ("clean", []) and "too few blocks" in unjudged.findings[0]


def test_a_whole_with_half_its_blocks_slow_is_not_clean() -> None:
    assert judged(whole=np.where(np.random.default_rng(1).permutation(20) < 10, 0.5, 0.9)).word == "noisy"
    assert judged(whole=[0.5, 0.5, 0.5, 0.5, 1.0] * 4).word == "noisy"


def test_the_gravest_word_wins_and_every_reason_stays() -> None:
    everything = {"cpu_share": 0.5, "drift": FALL, "heat_witness": "at 92 C", "spread": 0.2, "settled": False}
    found = judged(**everything)
    assert (found.word, len(found.reasons)) == ("contended", 4)
    assert "at 92 C" in found.reasons[1]
    assert judged(drift=FALL, first_last=0.07).word == "slowed"  # the larger change counts
    again = judged(recompiles=3)
    assert again.word == "noisy" and again.reasons[0].startswith("torch.compile compiled again (3)")
    assert judged(spread=0.2, system_share=0.3).reasons[1].startswith("A cause: the kernel took 30 % of the CPU time")
    assert judged(**everything | {"cpu_share": 1.0}).word == "throttled"
    assert judged(**everything | {"cpu_share": 1.0, "heat_witness": None}).word == "slowed"


@pytest.mark.parametrize(("state", "words"), [
    ({"power_source": "battery"}, "on its battery"), ({"power_mode": "low power"}, "in low power mode"),
    ({"power_source": "battery", "power_mode": "quiet"}, "on its battery and in quiet mode"),
    ({"power_source": "mains", "power_mode": "performance"}, ""), ({}, ""),
])  # fmt: skip
def test_power_that_holds_it_down_is_a_doubt_that_measuring_again_does_not_end(state, words):
    held = verdict.held_down(State.model_validate(filled(State, state, "this test has none")))
    found = judged(state=state)
    assert held == words and (found.word, found.disturbed) == ("slowed" if words else "clean", False)
    assert not words or (words in found.reasons[0] and "plug it in" in found.reasons[0])
