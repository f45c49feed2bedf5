"""Progress: lines of JSON for the program that runs the notebook, a bar for whoever runs it by hand."""

import json

from siliconbench.run.timing import progress


def test_lines_are_json_few_and_the_last_is_always_there(monkeypatch, capsys):
    monkeypatch.setenv("SILICONBENCH_PROGRESS", "1")
    report = progress("forward", 0.2, 0.6)
    for step in range(1001):
        report(step / 1000)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == {"part": "forward", "done": 0.2} and lines[-1] == {"part": "forward", "done": 0.6}
    assert 2 <= len(lines) < 20


def test_by_hand_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.delenv("SILICONBENCH_PROGRESS", raising=False)
    progress("copy", 0.0, 0.5)(1.0)
    shown = capsys.readouterr().err
    assert "copy" in shown and "50%" in shown and "{" not in shown
