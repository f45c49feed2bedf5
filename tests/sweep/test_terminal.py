"""What the terminal says: a line a run, the headline that the page shows too, a bar that moves within a run."""

import json
import re

import pytest

from siliconbench import paths
from siliconbench.analysis.cases import rate_words
from siliconbench.pages import render
from siliconbench.record import store
from siliconbench.record.schema import Record
from siliconbench.sweep import terminal
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
        ("compile", True, "compiled"),
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


def test_the_bar_moves_by_lines_of_progress_only():
    bar = terminal.Bar(4, 1)
    said = json.dumps({"part": "forward", "done": 0.25}) + "\n"
    assert sum(map(bar.write, (said[:9], said[9:-1]))) == len(said) - 1
    assert bar.bar.n == 1
    bar.write("\nUserWarning: 80% |####|\nnull\n[]\n" + '{"part": "copy"}\n{"done": "1"}\n')
    assert bar.bar.n == 1.25
    bar.write('{"part": "copy", "done": 0.5}\n{"part": "end to end", "done": 1}\n{"part": "li')
    assert bar.bar.n == 2.0
    bar.close_run("a line")
    bar.write(said)
    assert bar.bar.n == 2.25
