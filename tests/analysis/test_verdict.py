"""What a run is worth: each doubt alone, and all together."""

import pytest

from siliconbench.analysis.series import Drift
from siliconbench.analysis.verdict import Evidence, judge
from siliconbench.record.schema import Verdict


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
        ({"load_before": 7.5}, "contended", "7.5 on 2 cores"),
        ({"swap_growth_bytes": 3 * 10**8}, "contended", "300 MB"),
        ({"drift": FALL, "heat_witness": "thermal state serious"}, "throttled", "12 %"),
        ({"drift": FALL}, "slowed", "12 %"),
        ({"first_last": -0.08}, "slowed", "8 %"),
        ({"spread": 0.09}, "noisy", "9 %"),
        ({"settled": False}, "noisy", "1 %"),
        ({"drift": RISE}, "noisy", "6 %"),
        ({"first_last": 0.07, "heat_witness": "thermal state fair"}, "noisy", "7 %"),
        ({"flops_ratio": 1.2}, "noisy", "1.20"),
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


def test_a_run_without_doubt_is_clean() -> None:
    assert judged(**QUIET) == Verdict(word="clean", reasons=[])
    assert judged(**QUIET | UNKNOWN) == Verdict(word="clean", reasons=[])
    assert judged(**QUIET | {"device_is_cpu": False, "cpu_share": 0.1}) == Verdict(word="clean", reasons=[])
    assert judged(**QUIET | {"heat_witness": "thermal state fair"}) == Verdict(
        word="clean", reasons=[]
    )  # warm, and no slower


def test_the_gravest_word_wins_and_every_reason_stays() -> None:
    everything = QUIET | {"cpu_share": 0.5, "drift": FALL, "heat_witness": "at 92 C", "spread": 0.2, "settled": False}
    found = judged(**everything)
    assert (found.word, len(found.reasons)) == ("contended", 4)
    assert "at 92 C" in found.reasons[1]
    assert judged(**QUIET | {"drift": FALL, "first_last": 0.07}).word == "slowed"  # the larger change counts
    assert judged(**everything | {"cpu_share": 1.0}).word == "throttled"
    assert judged(**everything | {"cpu_share": 1.0, "heat_witness": None}).word == "slowed"
