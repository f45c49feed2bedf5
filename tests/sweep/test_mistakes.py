"""How wrong a careless benchmark would be: factors whose truth is known, and a run as small as can be."""

import html
import os
import re
import subprocess
import sys

import numpy as np
import psutil
import pytest

from siliconbench import knobs
from siliconbench.sweep import mistakes
from tests.browser import check_page


def test_a_factor_is_that_of_each_pair_whatever_the_machine_does_meanwhile():
    speeds = [100.0, 55.0, 240.0, 101.0, 160.0]
    found = mistakes.against(
        [speed * says for speed, says in zip(speeds, (0.5, 0.51, 0.49, 0.5, 0.5), strict=True)], speeds
    )
    assert found.ratio == pytest.approx(0.5, rel=0.01) and 0.48 < found.low < 0.5 < found.high < 0.52
    called = []
    in_turns = mistakes.turns(lambda: called.append("wrong") or 200.0, lambda: called.append("right") or 100.0, 3)
    assert in_turns.ratio == pytest.approx(2) and in_turns.word == "faster" and called == ["wrong", "right"] * 3


def test_ways_that_say_the_same_are_not_told_apart():
    random = np.random.default_rng(1)
    words = [mistakes.against(*np.exp(random.normal(5, 0.1, (2, 8)))).word for _ in range(400)]
    assert 360 <= words.count("undecided") < 400


@pytest.mark.parametrize(("luck", "true"), [(0.0, 1.0), (0.06, 1 / np.sqrt(1 + 20 * 9))])
def test_what_processes_share_makes_the_scatter_of_their_blocks_too_narrow(luck, true):
    """20 blocks that scatter by 2 %, processes by three times as much: the interval holds the truth 95 times in 100."""
    random, held, told = np.random.default_rng(2), 0, 0
    for _ in range(400):
        log_s = random.normal(0, luck, (6, 1)) + random.normal(0, 0.02, (6, 20))
        found = mistakes.narrow(np.exp(log_s).tolist())
        held, told = held + (found.low < true < found.high), told + (found.word == "slower")
    assert 365 <= held <= 395
    assert told == 400 if luck else told < 25


def test_a_factor_is_read_aloud_above_one_with_its_direction():
    slow, fast = mistakes.against([49, 50, 51, 50], [100] * 4), mistakes.against([10.0, 30.0], [10.0, 10.0])
    assert mistakes.sentence("one core", slow) == "one core: 2.00 times too slow (1.95 to 2.05)."
    assert mistakes.sentence("test", slow, "too wide", "too narrow").startswith("test: 2.00 times too narrow (")
    assert mistakes.sentence("luck", fast).startswith("luck: 1.73 times too fast (")
    assert mistakes.sentence("luck", fast).endswith("These turns can't tell it from none.")


@pytest.mark.parametrize(
    ("given", "why"),
    [({"PRECISION": "bf16"}, "PRECISION: given 'bf16'; allowed: nothing"), ({"REPEATS": "1"}, "REPEATS: given '1'")],
)
def test_a_knob_without_a_part_in_it_is_refused(given, why):
    with pytest.raises(knobs.WrongKnob, match=why):
        knobs.read_mistakes(given)
    read = knobs.read_mistakes({"MACHINE": "mine", "MIN_SECONDS": "", "WORKERS": "2"})
    assert (read["MIN_SECONDS"], read["REPEATS"], read["WORKERS"]) == (1, 6, 2)


NEVER = {"No wait for the device", "TF32 as fp32", "Drained after each batch"}  # on a CPU
MISTAKES = {"Images by one core", "10 to warm up, 40 timed", "First call in the mean", "Loader's start timed"}
MISTAKES |= {"Mean of rates", "Test within a process", "A neighbour at work"}


def test_make_pages_does_each_mistake_that_can_happen_here_measures_and_leaves_nothing_running(chromium, tmp_path):
    few = {"BATCH_SIZE": "1", "MIN_SECONDS": "0.1", "REPEATS": "2", "WORKERS": "2"}
    few["IMAGE_MODEL"] = "siliconbench.examples.own_model:build"  # small: each of six runs has two hundred batches
    command, env = [sys.executable, "-m", "siliconbench", "pages"], os.environ | few | {"USE_GPU": "0"}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    made = [line for line in done.stdout.splitlines() if line.startswith("reports/")]
    assert made == [f"reports/{name}.html" for name in ("measure", "mistakes", "trust")], done.stderr
    measured = (tmp_path / made[0]).read_text()
    assert measured.count("<img") >= 4 and "end to end: " in measured and "reports/mine" not in measured
    assert not (tmp_path / "reports/mine").exists()
    check_page(chromium, tmp_path / made[0])
    assert done.returncode in (0, 1) and not done.stderr.count("Traceback"), done.stderr
    (announced,) = re.findall(r"cpu: (\d+) runs in fresh processes", done.stdout)
    assert int(announced) == len(re.findall(r"^ ?\d+ A.*images/s|^ ?\d+ B.*images/s", done.stdout, re.MULTILINE)) == 6
    check_page(chromium, tmp_path / "reports/trust.html")
    page = tmp_path / "reports/mistakes.html"
    told = dict(re.findall(r'class="finding">([^<:]+): ([^<]+)', html.unescape(page.read_text())))
    assert {name for name, words in told.items() if words.startswith("can't happen here.")} == NEVER
    assert {name for name, words in told.items() if " times too " in words} - {
        "The worst of these here, today"
    } == MISTAKES
    assert "of the cores meanwhile" in page.read_text() and "pairs of the same case different" in page.read_text()
    running = psutil.process_iter(["cmdline"])
    assert not [p for p in running if "ulimit -t" in " ".join(p.info["cmdline"] or ())]
    check_page(chromium, page)
