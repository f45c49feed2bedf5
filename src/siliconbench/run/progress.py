"""How far a run is: a bar for whoever runs the notebook by hand, lines of JSON for the program that runs it."""

import json
import os
import sys
import time

from tqdm import tqdm

from siliconbench.run.timing import Report

EVERY_S = 0.25


def progress(part: str, start: float, end: float) -> Report:
    """The call that reports the share done (0 to 1) of a part, in which the run goes from start to end (0 to 1).

    A bar on stderr; lines of JSON there, four a second and the last, where the environment has SILICONBENCH_PROGRESS=1.
    """
    show = _lines(part, end) if os.environ.get("SILICONBENCH_PROGRESS") == "1" else _bar(part)

    def report(done: float) -> None:
        show(start + (end - start) * done)

    report(0.0)
    return report


def _bar(part: str) -> Report:
    bar = tqdm(total=100, desc=part, bar_format="{desc} {percentage:.0f}% {bar:20}")

    def show(done: float) -> None:
        bar.n = round(100 * done)
        bar.refresh()

    return show


def _lines(part: str, end: float) -> Report:
    due = 0.0

    def show(done: float) -> None:
        nonlocal due
        if time.monotonic() >= due or done >= end:
            due = time.monotonic() + EVERY_S
            print(json.dumps({"part": part, "done": round(done, 4)}), file=sys.stderr, flush=True)

    return show
