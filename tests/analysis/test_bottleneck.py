"""What limits a run: against the arithmetic of its parts, and simulated blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.analysis import bottleneck
from siliconbench.analysis.bottleneck import Overlap, concluded
from siliconbench.record.schema import Record
from tests.analysis.test_stats import noise
from tests.samples import sample

PARTS = {"forward": 100.0, "copy": 400.0, "input": 50.0}


def test_one_after_the_other_the_times_add_up() -> None:
    expected = (pytest.approx(1 / (1 / 100 + 1 / 400 + 1 / 50)), "input")
    assert bottleneck.allowed_rate(PARTS, Overlap(False, 0, False)) == expected
    assert bottleneck.allowed_rate(PARTS, Overlap(False, 4, False)) == expected
    cpu = {"forward": 100.0, "copy": None, "input": 300.0}
    assert bottleneck.allowed_rate(cpu, Overlap(True, 0, True)) == (pytest.approx(75), "forward")


def test_overlapped_the_fuller_of_host_and_device_binds() -> None:
    assert bottleneck.allowed_rate(PARTS, Overlap(True, 4, False)) == (pytest.approx(50), "input")
    assert bottleneck.allowed_rate({**PARTS, "input": 500.0}, Overlap(True, 4, False)) == (pytest.approx(80), "forward")
    assert bottleneck.allowed_rate({**PARTS, "copy": 60.0, "input": 500.0}, Overlap(True, 4, False))[1] == "copy"
    assert bottleneck.allowed_rate(PARTS, Overlap(True, 0, False)) == (pytest.approx(1 / (1 / 50 + 1 / 400)), "input")


def test_launching_takes_the_main_process_its_time() -> None:
    small = {"forward": 200.0, "copy": None, "input": 1000.0}  # 5 ms on the device, 4.5 ms of them to launch it
    assert bottleneck.allowed_rate(small, Overlap(True, 0, False, launch_s=0.0045)) == (
        pytest.approx(1000 / 5.5),
        "forward",
    )
    assert bottleneck.allowed_rate(small, Overlap(True, 4, False, launch_s=0.0045)) == (pytest.approx(200), "forward")
    assert bottleneck.suspect(small, 180.0, Overlap(True, 0, False, launch_s=0.0045)) == "forward"
    ways = bottleneck.resources(small, Overlap(True, 0, False, launch_s=0.0045))
    assert ways == {"main process": {"input": 0.001, "forward": 0.0045}, "device": {"forward": 0.005}}


def test_a_copy_beside_the_model_costs_it_nothing() -> None:
    fed = {**PARTS, "input": 500.0}
    assert bottleneck.allowed_rate(fed, Overlap(True, 4, False, copy_stream=True)) == (pytest.approx(100), "forward")
    assert bottleneck.allowed_rate({**fed, "copy": 60.0}, Overlap(True, 4, False, copy_stream=True)) == (
        pytest.approx(60),
        "copy",
    )
    assert bottleneck.allowed_rate(fed, Overlap(True, 0, False, copy_stream=True)) == (pytest.approx(100), "forward")


def test_shared_cores_do_the_work_of_both() -> None:
    cpu = {"forward": 100.0, "copy": None, "input": 300.0}
    assert bottleneck.allowed_rate(cpu, Overlap(True, 2, True, cores=2, threads=2)) == (pytest.approx(75), "forward")
    assert bottleneck.allowed_rate(cpu, Overlap(True, 1, True, cores=2, threads=2)) == (
        pytest.approx(600 / 7),
        "forward",
    )
    assert bottleneck.allowed_rate(cpu, Overlap(True, 6, True, cores=2, threads=2)) == (pytest.approx(75), "forward")
    assert bottleneck.allowed_rate(cpu, Overlap(True, 2, True, cores=8, threads=4)) == (pytest.approx(100), "forward")
    assert bottleneck.allowed_rate({**cpu, "input": 20.0}, Overlap(True, 2, True, cores=8, threads=4)) == (
        pytest.approx(20),
        "input",
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((2, 210.0, 900.0, False), "2 cores load 210 images/s; the model takes 900: it would take 9 cores."),
        ((1, 250.0, 500.0, True), "1 core loads 250 images/s; the model takes 500: it would take 2 cores beside the"
         " model's."),
        ((4, 900.0, 900.0, False), ""), ((4, 901.0, 900.0, False), ""),
    ],
)  # fmt: skip
def test_how_many_cores_would_feed_the_model(given, said):
    assert bottleneck.feeding(*given) == said


def test_taking_batches_over_is_the_main_processs_work() -> None:
    """16 workers make 2,000 images/s; to take one over costs 0.4 ms, to launch one 0.3: at most 1 / 0.7 ms."""
    parts = {"forward": 5000.0, "copy": 9000.0, "input": 2000.0}
    fed = Overlap(True, 16, False, launch_s=3e-4, copy_stream=True, taken_s=4e-4)
    assert bottleneck.allowed_rate(parts, fed) == (pytest.approx(1000 / 0.7), "input")
    assert bottleneck.resources(parts, fed)["main process"] == {"input": 4e-4, "forward": 3e-4}
    alone = fed._replace(workers=0)  # then it makes them: what it takes over is nothing
    assert bottleneck.resources(parts, alone)["main process"] == {"input": 1 / 2000, "forward": 3e-4}
    cpu = {"forward": 100.0, "copy": 1000.0, "input": 800.0}
    ways = bottleneck.resources(cpu, Overlap(True, 2, True, cores=64, threads=8, taken_s=1e-3))
    assert ways["main process"] == {"copy": 0.001, "forward": 0.01, "input": 0.001}


def test_the_second_thread_of_a_core_counts_half() -> None:
    """2 cores of two threads each are three: the model on both cores takes two of them, and so do two workers."""
    cpu = {"forward": 100.0, "copy": None, "input": 100.0}
    smt = Overlap(True, 2, True, cores=4, threads=2, physical=2)
    assert bottleneck.allowed_rate(cpu, smt)[0] == pytest.approx(75)
    assert bottleneck.allowed_rate(cpu, smt._replace(physical=4))[0] == pytest.approx(100)  # four cores: room for both
    assert bottleneck.allowed_rate(cpu, smt._replace(workers=4))[0] == pytest.approx(60)


@given(st.floats(1, 1e4), st.floats(1, 1e4), st.floats(1, 1e4), st.booleans(), st.integers(0, 4), st.booleans())
def test_no_whole_beats_its_parts(f: float, c: float, i: float, overlapped: bool, workers: int, cpu: bool) -> None:
    parts = {"forward": f, "copy": None if cpu else c, "input": i}
    rate, part = bottleneck.allowed_rate(parts, Overlap(overlapped, workers, cpu, cores=4, threads=4))
    serial, _ = bottleneck.allowed_rate(parts, Overlap(False, 0, cpu))
    assert serial * (1 - 1e-9) <= rate <= min(v for v in parts.values() if v) * (1 + 1e-9)
    assert parts[part]
    assert bottleneck.suspect(parts, rate, Overlap(overlapped, workers, cpu, 4, 4)) in (*parts, "balanced")


def test_a_bottleneck_is_named_from_ten_per_cent_on() -> None:
    def hint(forward: float, feed: float, measured: float = 40.0) -> str:
        return bottleneck.suspect({"forward": forward, "copy": None, "input": feed}, measured, Overlap(True, 4, False))

    assert [hint(100, 50), hint(100, 92), hint(92, 100), hint(100, 120)] == ["input", "balanced", "balanced", "forward"]
    assert hint(100, 50, measured=60) == "balanced"  # faster than its own bottleneck: then it is none
    assert bottleneck.suspect({"forward": 100, "copy": 90, "input": 500}, 45, Overlap(True, 4, False)) == "copy"
    assert bottleneck.suspect({"forward": 100, "copy": None, "input": 40}, 28, Overlap(False, 0, True)) == "input"
    assert bottleneck.suspect({"forward": 100, "copy": None, "input": None}, 90, Overlap(False, 0, True)) == "forward"


def test_a_ceiling_that_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match=r"^Each ceiling must be a finite number above zero; one was 0\.$"):
        bottleneck.allowed_rate({"forward": 100, "copy": None, "input": 0}, Overlap(False, 0, True))


def answers(a, b) -> list[str]:
    return [bottleneck.experiment_answer(x, y) for x, y in zip(a, b, strict=True)]


def share(words: list[str], word: str) -> float:
    return float(np.mean([w == word for w in words]))


def test_an_experiment_confirms_a_gain_and_refutes_none() -> None:
    a, b = np.exp(noise(np.random.default_rng(10), (2, 300, 20), 0.012, 0.3))
    assert share(answers(a, b), "confirmed") <= 0.05
    assert share(answers(a, b), "refuted") >= 0.9
    assert share(answers(a, 1.1 * b), "confirmed") >= 0.95
    assert share(answers(a, 0.9 * b), "refuted") >= 0.95
    assert share(answers(a, 1.02 * b), "refuted") <= 0.05  # a true gain of the very margin is not refuted


def test_noise_leaves_an_experiment_without_an_answer() -> None:
    a, b = np.exp(noise(np.random.default_rng(11), (2, 300, 200), 0.1, 0.8))  # as blocks they pass for 200 witnesses
    assert share(answers(a, b), "confirmed") <= 0.05
    assert share(answers(a, b), "can't tell") >= 0.5


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ([100], [6000], "can't tell"),
        ([100], [6000, 6000, 6000], "can't tell"),
        ([100, 101, 99], [6000], "can't tell"),
        ([100, 100, 100], [101, 101, 101], "refuted"),
        ([100, 100, 100], [103, 103, 103], "confirmed"),
        ([100, 101, 99], [50, 51, 49], "refuted"),
        ([100, 140, 70], [100, 70, 140], "can't tell"),
    ],
)
def test_three_answers(a: list[float], b: list[float], word: str) -> None:
    assert bottleneck.experiment_answer(a, b) == word


def checked(part: str | None, confirmed: bool | None) -> Record:
    data = sample()
    checks = data["checks"] | {"bottleneck": part}
    if confirmed is not None:
        rates = {"images_per_s_with": 100.0, "images_per_s_without": 101.0}
        checks["experiment"] = {"part": part, "confirmed": confirmed} | rates
        checks["unknown"] = {k: why for k, why in checks["unknown"].items() if k != "experiment"}
    return Record.model_validate(data | {"checks": checks})


def test_a_record_shows_its_part_unless_the_experiment_refutes_it() -> None:
    assert concluded(checked("input", True).checks) == "input"
    assert concluded(checked("input", False).checks) == "balanced"
    assert concluded(checked("input", None).checks) == "input"
    assert concluded(None) is None
