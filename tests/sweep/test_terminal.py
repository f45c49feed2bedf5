"""What the terminal says: a line a run, the headline that the page shows too, a bar that moves within a run."""

import itertools
import json
import math
import random
import re
import subprocess
import sys
import time

import pytest

from siliconbench import paths
from siliconbench.analysis.words import rate_words
from siliconbench.pages import render
from siliconbench.record import store
from siliconbench.record.schema import Record
from siliconbench.sweep import terminal
from siliconbench.sweep.plan import Run
from tests.samples import sample

WRONG = {"images": 64, "largest_difference": 2.0, "tolerance": 0.01, "top1_agreement": 0.1, "image_scatter": 0.5}
WRONG |= {"agree": False}


def record(rate, repeat=1, word="clean", outputs=None, **case):
    data = sample(rate, **case) | {
        "repeat": repeat,
        "verdict": {"word": word, "reasons": [], "disturbed": word == "contended"},
    }
    if outputs:
        data["checks"] |= {
            "outputs": outputs,
            "unknown": {k: v for k, v in data["checks"]["unknown"].items() if k != "outputs"},
        }
    return Record.model_validate(data)


def test_the_headline_has_its_interval_and_one_run_says_so():
    runs = [record(r, i) for i, r in enumerate((99.0, 100.0, 101.0), 1)]
    (told,) = terminal.headline(runs)
    figure, low, high = re.fullmatch(
        r"resnet18, batch 8, cpu: 100.0 (images/s) \(([\d.]+) to ([\d.]+)\)", told
    ).groups()
    assert figure and 93 < float(low) < 95 and 105 < float(high) < 108  # 3 % from day to day, twice and a hair
    assert terminal.headline(runs[:1]) == ["resnet18, batch 8, cpu: 99.0 images/s (one run)"]


def test_both_figures_are_said_where_others_disturbed_runs():
    runs = [
        record(r, i, word) for i, (r, word) in enumerate(((100.0, "clean"), (64.0, "contended"), (100.0, "noisy")), 1)
    ]
    assert re.search(r"86\.2 images/s \(.*\), 1 of 3 disturbed \(the others: 100\)$", terminal.headline(runs)[0])
    every = [record(100.0, i, "contended") for i in (1, 2)]
    assert terminal.headline(every)[0].endswith("), 2 of 2 disturbed")


def test_a_wrong_run_counts_neither_on_the_terminal_nor_on_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "DATA", tmp_path / "published")
    runs = [record(100.0), record(900.0, 2, "wrong", outputs=WRONG)]
    figure = rate_words(100.0, None, None)
    assert terminal.headline(runs)[0] == f"resnet18, batch 8, cpu: {figure}, 1 left out"
    for r in runs:
        store.write(r, tmp_path / "data")
    page = render.machine_page("amd-epyc-2-cores", tmp_path / "data")
    assert figure in " ".join(re.sub("<[^>]*>", " ", (tmp_path / page).read_text()).split())


def test_a_case_without_a_good_run_says_so():
    failed = {"status": "failed", "error": {"kind": "killed", "message": "the run was killed"}}
    parts = ("passes", "latency", "limits", "memory", "telemetry", "checks", "verdict", "unknown")
    data = {k: v for k, v in sample(image_px=None).items() if k not in parts} | failed
    assert terminal.headline([Record.model_validate(data)]) == ["resnet18, batch 8, cpu: no figure, 1 failed"]


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("memory_format", "channels_last", "channels_last"),
        ("compile", True, "compile"),
        ("compile", "reduce-overhead", "reduce-overhead"),
        ("allocator", "tuned", "tuned"),
        ("threads", 2, "2"),
        ("mode", "train", "train"),
        ("precision", "bf16", "bf16"),
    ],
)
def test_a_line_tells_every_axis_and_so_does_the_headline(field, value, word):
    runs = [record(100.0), record(200.0, **{field: value})]
    assert word in terminal.line(runs[1]) and word not in terminal.line(runs[0])
    assert len({line.partition(":")[0] for line in terminal.headline(runs)[:2]}) == 2


def test_columns_are_stable_and_fit():
    case = {"memory_format": "channels_last", "precision": "bf16", "compile": True, "mode": "train"}
    lines = [terminal.line(record(1e5, 10, model="m" * 30, batch_size=4096, **case)), terminal.line(record(0.1))]
    assert {line.index("images/s") for line in lines} == {lines[0].index("images/s")}
    assert {line.index("bottleneck") for line in lines} == {lines[0].index("bottleneck")}
    assert max(map(len, lines)) < 120 and "bottleneck forward" in lines[1]


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def told(part, done, left_s=None, search_s=0.0):
    return json.dumps({"part": part, "done": done, "left_s": left_s, "search_s": search_s}) + "\n"


def runs_of(*sizes, repeats=1):
    return [Run(record(1.0, batch_size=n).case.asked(), k) for k in range(1, repeats + 1) for n in sizes]


def test_the_bar_moves_by_lines_of_progress_only(capsys):
    clock = Clock()
    bar = terminal.Bar(runs_of(1, repeats=4), {1: record(1.0, batch_size=1)}, clock)
    bar.start_run(2)
    clock.now, said = 10.0, told("copy", 0.25, 28.0)  # and two seconds for the end of its kernel
    assert sum(map(bar.write, (said[:9], said[9:-1]))) == len(said) - 1
    assert bar.bar.n == 1
    bar.write("\nUserWarning: 80% |####|\nnull\n[]\n" + '{"part": "copy"}\n{"done": "1"}\n')
    assert bar.bar.n == 1.25
    bar.write(told("copy", 0.5, 8.0) + told("end to end", 1, 8.0) + '{"part": "li')
    assert bar.bar.n == 1.5
    bar.close_run("a line")
    bar.close()
    assert bar.bar.n == 2 and capsys.readouterr().out == "a line\n"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(64,), (1, 8, 64, 256)])
def test_once_each_case_has_run_what_is_left_is_told_within_a_quarter(seed, sizes):
    """With one case once its first pass is done. Beside a start and an end, of which nothing is told, a case has
    0.1 to 200 seconds: a pass, the rest, in its first run a search for loader processes. Figures are off by 15 %."""
    rng, clock = random.Random(seed), Clock()
    takes = {size: math.exp(rng.uniform(math.log(0.1), math.log(200))) for size in sizes}
    runs = runs_of(*sizes, repeats=4)
    rng.shuffle(runs)
    parts = [[3.0, 0.3 * takes[r.case.batch_size], 0.0, 0.7 * takes[r.case.batch_size], 2.0] for r in runs]
    for n, run in enumerate(runs):
        if run.case not in [r.case for r in runs[:n]]:
            parts[n][2] = rng.uniform(1, 12)
    ends = list(itertools.accumulate(sum(p) for p in parts))
    bar, wrong = terminal.Bar(runs, {}, clock), []

    def look():
        known = len(bar.took_s) == len(sizes) or (len(sizes) == 1 and bar.run_left_s is not None)
        if known and ends[-1] - clock.now > 5:
            wrong.append(bar.left_s() / (ends[-1] - clock.now) - 1)

    for n, (start_s, forward_s, search_s, rest_s, end_s) in enumerate(parts, 1):
        bar.start_run(n)
        off, parts_s = rng.uniform(0.85, 1.15), (("loader processes", search_s), ("end to end", rest_s), ("end", end_s))
        look()
        bar.write(told("forward", 0.0))
        look()
        clock.now += start_s + forward_s
        for k, (part, took_s) in enumerate(parts_s):
            after_s = off * sum(s for _, s in parts_s[k + 1 : 2])
            for quarter in range(4) if took_s else ():
                here_s = off * took_s * (1 - quarter / 4) if part != "end" else 0.0
                if part != "end" or quarter == 0:
                    bar.write(told(part, quarter / 4, here_s + after_s, here_s if part == "loader processes" else 0.0))
                look()
                clock.now += took_s / 4
        bar.close_run("")
    bar.close()
    assert len(wrong) > 20 and max(map(abs, wrong)) <= 0.25


def test_a_search_that_was_expected_and_took_no_time_makes_no_later_run_shorter(capsys):
    clock = Clock()
    bar = terminal.Bar(runs_of(64, repeats=2), {}, clock)
    bar.start_run(1)
    for at, line in ((20.0, told("loader processes", 0.0, 230.0, 200.0)), (21.0, told("data loading", 0.0, 29.0))):
        clock.now = at
        bar.write(line)
    assert bar.left_s() == pytest.approx(31 + 51, abs=1)
    clock.now = 52.0
    bar.close_run("")
    bar.start_run(2)
    assert bar.left_s() == pytest.approx(51)
    bar.close()


@pytest.mark.parametrize(("now", "left"), [(0.0, "90 seconds left"), (200.0, "longer than guessed")])
def test_without_a_terminal_a_line_says_at_least_every_half_minute_what_runs(monkeypatch, capsys, now, left):
    assert terminal.SAID_EVERY_S < 30
    monkeypatch.setattr(terminal, "SAID_EVERY_S", 0.05)
    clock = Clock()
    bar = terminal.Bar(runs_of(64), {}, clock)
    bar.start_run(1)
    bar.write(told("end to end", 0.5, 88.0))
    clock.now += now
    time.sleep(0.5)
    bar.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 and set(lines) == {f"  resnet18 b64 r1: end to end, 50 % of it; {left}"}


def test_no_torch_is_loaded_to_plan_a_sweep_of_the_cpu():
    code = "import sys; from siliconbench import __main__; from siliconbench.sweep import plan, runner, trust\n"
    code += "assert plan.device_type(False) == 'cpu'; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
