"""A against A, and a planted 5 %: the sentences hold what a simulation plants. A real one runs for `make pages`."""

import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from siliconbench.analysis import stats
from siliconbench.run import timing
from siliconbench.sweep import observation, trust
from tests.run.test_timing import FakeDevice

DAY = "2026-11-29"


def simulated(sd, repeats=5, truth=1 / 1.05, seed=1):
    """Runs whose log rates scatter by sd, blocks that share their run's luck."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(repeats):
        for label in trust.LABELS:
            rate = (truth if label == trust.LABELS[2] else 1.0) * 100 * math.exp(rng.normal(0, sd))
            blocks = [50 / rate * math.exp(rng.normal(0, sd / 20)) for _ in range(20)]
            rows.append((len(rows), label, 1000 / sum(blocks), 50, blocks))
        del i
    return pd.DataFrame(rows, columns=["order", "label", "images_per_s", "block_images", "block_s"]).assign(
        day=DAY, of="resnet50, batch 8, cpu"
    )


@pytest.mark.parametrize("step_s", [0.003, 0.02, 0.5])
def test_the_planted_work_is_five_per_cent(step_s):
    device = FakeDevice(step_s)
    step = observation.planted(device.step, trust.EVERY)
    lengths = timing.Lengths(least_images=200 * 8, least_s=5.0)
    found = timing.timed(step, device.wait, 8, lengths, device.clock, cpu_clock=lambda: 0.0)
    assert found.images_per_s == pytest.approx(8 / step_s / 1.05, rel=0.006)  # a twentieth more or less at the end
    assert observation.planted(device.step, 0) == device.step


def test_a_quiet_machine_finds_the_plant_and_no_ghost():
    runs = simulated(0.005)
    assert "no difference is claimed" in trust.aa_sentence(runs)
    assert "It was found" in trust.ab_sentence(runs)
    assert f"resnet50, batch 8, cpu), on {DAY}, can tell 5 % apart" in trust.machine_sentence(runs)
    table = trust.power(runs)
    assert table["5 repeats find it in"].tolist() == ["0 %", table.iat[1, 1], "100 %", "100 %"]
    assert table["repeats that it needs"].tolist()[:2] == ["never: within the margin"] * 2


def test_a_noisy_machine_says_how_many_repeats_it_needs():
    runs = simulated(0.3)
    assert "can't tell even 10 %" in trust.machine_sentence(runs)
    assert "It was not found" in trust.ab_sentence(runs)
    *never, five, ten = trust.power(runs)["repeats that it needs"]
    assert never == ["never: within the margin"] * 2 and int(five) > int(ten) > 50


@pytest.mark.parametrize("sd", [0.01, 0.02, 0.03])
def test_the_table_promises_what_a_brute_force_count_finds(sd):
    """Whole experiments, drawn and compared: a planted difference is found as often as the table says, and nine times
    in ten by the repeats that it names; one within the margin is not, even by 400 a side (today's table: by 3)."""
    rng, planted = np.random.default_rng(4), np.array([[1.0], [0.0]])

    def found(change, n, draws=1000):
        rates = np.exp(rng.normal(0, sd, (draws, 2, n)) + planted * math.log1p(change))
        return sum(stats.compare(a, b).word == "slower" for a, b in rates) / draws

    exact = 100 * np.exp(sd * np.array([-2, -1, 0, 1, 2]) / math.sqrt(2.5))  # five runs with just this deviation
    runs = pd.DataFrame([(label, rate) for label in trust.LABELS for rate in exact], columns=["label", "images_per_s"])
    told = trust.power(runs).set_index("difference")
    for change in trust.CHANGES:
        chance = float(told.at[f"{100 * change:.0f} %", "5 repeats find it in"].removesuffix(" %")) / 100
        assert found(change, 5) == pytest.approx(chance, abs=0.04)
    for change in (0.05, 0.10):
        assert found(change, int(told.at[f"{100 * change:.0f} %", "repeats that it needs"])) >= 0.87
    assert told.at["1 %", "repeats that it needs"].startswith("never") and found(0.01, 400, 100) < 0.1


def test_false_verdicts_are_rare_and_the_naive_test_is_not():
    many = [simulated(0.01, seed=seed) for seed in range(300)]
    false = sum(trust.compare(runs, 1).word in ("faster", "slower") for runs in many)
    blocks = [[1 / np.array(run) for run in runs.set_index("label")["block_s"][:2]] for runs in many[:100]]
    naive = sum(stats.compare(a, b, margin=0.0).word != "undecided" for a, b in blocks)
    assert false <= 0.05 * 300
    assert naive > 50


def test_scatter_is_the_pooled_deviation():
    runs = simulated(0.02, repeats=400)
    assert trust.scatter(runs) == pytest.approx(0.02, rel=0.08)


def make_trust(folder, **given):
    own = {"MIN_SECONDS": "0.2", "REPEATS": "2", "IMAGE_MODEL": "mobilenet_v3_small", "BATCH_SIZE": "1", "USE_GPU": "0"}
    return subprocess.run(
        [sys.executable, "-m", "siliconbench", "trust"],
        env=dict(os.environ) | own | given, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [("IMAGE_MODEL", "resnet5"), ("REPEATS", "1")])
def test_a_wrong_knob_is_told_in_one_line(tmp_path, name, text):
    done = make_trust(tmp_path, **{name: text})
    assert done.returncode == 2 and done.stderr.startswith(f"make trust: {name}") and done.stderr.count("\n") == 1


def test_a_run_that_fails_says_why(tmp_path):
    done = make_trust(tmp_path, PRECISION="tf32")
    assert done.returncode == 1 and "a run failed" in done.stderr and "Traceback" not in done.stderr
