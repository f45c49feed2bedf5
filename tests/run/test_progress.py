"""Progress: lines of JSON for the program that runs the notebook, a bar for whoever runs it by hand."""

import json
from types import SimpleNamespace

from siliconbench.run import timing
from siliconbench.run.timing import Progress


def test_lines_are_json_few_and_the_last_is_always_there(monkeypatch, capsys):
    monkeypatch.setenv("SILICONBENCH_PROGRESS", "1")
    report = Progress()("forward")
    for step in range(1001):
        report(step / 1000)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == {"part": "forward", "done": 0.0, "left_s": None, "search_s": 0.0}
    assert lines[-1] == {"part": "forward", "done": 1.0, "left_s": None, "search_s": 0.0}
    assert 2 <= len(lines) < 20


def test_what_is_left_is_that_of_the_part_and_of_those_after_it():
    progress = Progress()
    progress.expected = {"copy": 4.0, "end to end": 10.0, "latency": 6.0}
    assert [sum(progress.left_s("copy", done).values()) for done in (0.0, 0.5, 1.0)] == [20.0, 18.0, 16.0]
    assert progress.left_s("latency", 1.0) == {"latency": 0.0} and not progress.left_s("forward", 0.5)


def test_by_hand_there_is_one_bar_with_what_is_done_and_the_time_left(monkeypatch, capsys):
    """In Lab, too: test_lab.py."""
    monkeypatch.delenv("SILICONBENCH_PROGRESS", raising=False)
    shown, progress = [], Progress()
    progress.expected = {"copy": 40.0}
    monkeypatch.setattr(timing, "display", lambda html, display_id: SimpleNamespace(update=shown.append))
    progress("copy")(1.0)
    progress.end()
    bars = [html.data for html in shown]
    assert bars[0].endswith("</progress> copy, 40 s left") and bars[-1] == "" and capsys.readouterr().err == ""
