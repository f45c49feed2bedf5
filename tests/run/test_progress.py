"""Progress: lines of JSON for the program that runs the notebook, a bar for whoever runs it by hand."""

import json

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


def test_by_hand_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.delenv("SILICONBENCH_PROGRESS", raising=False)
    Progress()("copy")(0.5)
    shown = capsys.readouterr().err
    assert "copy" in shown and "50%" in shown and "{" not in shown
