"""What a run is worth: each doubt alone, and all together."""

import numpy as np
import pytest

from siliconbench.analysis import series, verdict
from siliconbench.analysis.series import Drift
from siliconbench.analysis.verdict import Evidence, judge
from siliconbench.record.host import State
from siliconbench.record.schema import Verdict, filled


def judged(**seen) -> Verdict:
    return judge(Evidence(**seen))


QUIET = {
    "device_is_cpu": True,
    "cpu_share": 0.963,
    "load_before": 1.8,
    "load_after": 2.1,
    "cores": 2,
    "spread": 0.03,
    "settled": True,
    "drift": Drift(-0.04, -0.02, False),
    "first_last": -0.01,
    "heat_witness": None,
    "swap_growth_bytes": 4096,
    "flops_ratio": 0.64,
    "others_share": 0.011,
}
FALL, RISE = Drift(-0.15, -0.12, True), Drift(0.05, 0.06, True)
UNKNOWN = dict.fromkeys(set(QUIET) - {"device_is_cpu", "cores", "settled"})


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
        ({"whole_stalled": 0.29}, "noisy", "29 %"),
        ({"closure": 1.08}, "noisy", "1.08"),
        ({"outputs_agree": False}, "wrong", "counts nowhere"),
        ({"precision_proved": False}, "wrong", "counts nowhere"),
        ({"synchronized": False}, "wrong", "not waited for"),
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
    found = judged(**QUIET | seen)
    assert found.word == word
    (reason,) = found.reasons
    assert figure in reason
    assert reason[0].isupper()
    assert reason.endswith(".")
    assert ": " in reason  # what was seen, then what to do
    assert "None" not in reason


CLEAN = Verdict(word="clean", reasons=[], disturbed=False)


def test_a_run_without_doubt_is_clean() -> None:
    assert judged(**QUIET) == CLEAN
    assert judged(**QUIET | UNKNOWN) == CLEAN
    assert judged(**QUIET | {"device_is_cpu": False, "cpu_share": 0.1}) == CLEAN
    assert judged(**QUIET | {"heat_witness": "thermal state fair"}) == CLEAN  # warm, and no slower
    assert judged(**QUIET | {"load_before": 7.5}) == CLEAN  # its own threads: others took 1 %
    assert judged(**QUIET | {"closure": 0.97, "slept_s": 0.01, "gpu_neighbours": 0, "outputs_agree": True}) == CLEAN


def test_a_host_that_runs_unevenly_is_named_before_the_scatter_that_it_makes() -> None:
    for doubt in ({"whole_spread": 0.12}, {"drift": FALL}, {"first_last": 0.2}):
        found = judged(**QUIET | doubt | {"unevenness": 0.19})
        assert found.word == "contended" and "19 %" in found.reasons[0] and not found.disturbed
        assert judged(**QUIET | doubt | {"unevenness": 0.02}).word in ("noisy", "slowed")
        assert judged(**QUIET | doubt | {"unevenness": 0.19, "device_is_cpu": False}).word in ("noisy", "slowed")
    assert judged(**QUIET | {"unevenness": 0.19}) == CLEAN  # it made no difference
    hot = {"drift": FALL, "heat_witness": "thermal state serious", "unevenness": 0.01}
    assert judged(**QUIET | hot).word == judged(**QUIET | hot | {"unevenness": 0.19}).word == "throttled"


def test_only_what_comes_from_outside_is_measured_again() -> None:
    for outside in ({"cpu_share": 0.61}, {"others_share": 0.3}, {"whole_others_share": 0.3}, {"slept_s": 9.0}):
        assert judged(**QUIET | outside).disturbed
    hot = {"drift": FALL, "heat_witness": "thermal state serious"}
    for own in (hot, {"swap_growth_bytes": 3 * 10**8}, {"whole_spread": 0.2}, {"flops_ratio": 1.2}, {"settled": False}):
        found = judged(**QUIET | own)
        assert found.word != "clean" and not found.disturbed
    both = judged(**QUIET | {"flops_ratio": 1.2, "others_share": 0.3})
    assert (both.word, both.disturbed, len(both.reasons)) == ("wrong", True, 2)


def test_a_finding_is_said_and_held_against_nothing() -> None:
    (short,) = judged(**QUIET | {"too_short": True}).findings
    assert "ready beforehand" in short
    (gap,) = judged(**QUIET | {"closure": 0.82}).findings
    assert "18 % are unexplained" in gap
    unjudged = judged(**QUIET | {"settled": None})
    assert (unjudged.word, unjudged.reasons) == ("clean", []) and "too few blocks" in unjudged.findings[0]


def test_a_whole_with_half_its_blocks_slow_is_not_clean() -> None:
    blocks = np.where(np.random.default_rng(1).permutation(20) < 10, 0.5, 0.9)
    assert judged(**QUIET | {"whole_spread": series.spread(blocks)}).word == "noisy"
    fifth = [0.5, 0.5, 0.5, 0.5, 1.0] * 4
    assert (
        judged(**QUIET | {"whole_spread": series.spread(fifth), "whole_stalled": series.stalled(fifth)}).word == "noisy"
    )


def test_the_gravest_word_wins_and_every_reason_stays() -> None:
    everything = QUIET | {"cpu_share": 0.5, "drift": FALL, "heat_witness": "at 92 C", "spread": 0.2, "settled": False}
    found = judged(**everything)
    assert (found.word, len(found.reasons)) == ("contended", 4)
    assert "at 92 C" in found.reasons[1]
    assert judged(**QUIET | {"drift": FALL, "first_last": 0.07}).word == "slowed"  # the larger change counts
    assert judged(**everything | {"cpu_share": 1.0}).word == "throttled"
    assert judged(**everything | {"cpu_share": 1.0, "heat_witness": None}).word == "slowed"


@pytest.mark.parametrize(("state", "words"), [
    ({"power_source": "battery"}, "on its battery"), ({"power_mode": "low power"}, "in low power mode"),
    ({"power_source": "battery", "power_mode": "quiet"}, "on its battery and in quiet mode"),
    ({"power_source": "mains", "power_mode": "performance"}, ""), ({}, ""),
])  # fmt: skip
def test_power_that_holds_it_down_is_a_doubt_that_measuring_again_does_not_end(state, words):
    held = verdict.held_down(State.model_validate(filled(State, state, "this test has none")))
    found = judged(**QUIET | {"held_down": held})
    assert held == words and (found.word, found.disturbed) == ("slowed" if words else "clean", False)
    assert not words or (words in found.reasons[0] and "plug it in" in found.reasons[0])
