"""What `make image` says on the terminal: a header, a line a run, a bar that moves within a run, the headline."""

import os
import re
import sys
from typing import Any, TextIO

from tqdm import tqdm

from siliconbench import knobs as knob_table
from siliconbench.analysis import stats
from siliconbench.record.schema import Case, Record


class Bar:
    """The sweep's progress bar on a terminal; it reads the per cents that a run prints, and moves within the run."""

    def __init__(self, total: int, done: int) -> None:
        self.bar = tqdm(
            total=total, initial=done, disable=not sys.stderr.isatty(), unit="run",
            bar_format="{desc}{percentage:3.0f}% |{bar:24}| {n:.1f} of {total} runs, {remaining} left",
        )  # fmt: skip
        self.done = float(done)

    def write(self, text: str) -> int:
        """The length of a run's text on stderr; its last per cent moves the bar."""
        if found := re.findall(r"([a-z ]+) (\d+)% ", text):
            part, percent = found[-1]
            self.bar.set_description_str(f"{part.strip():<11} ", refresh=False)
            self.bar.n = self.done + int(percent) / 100
            self.bar.refresh()
        return len(text)

    def flush(self) -> None:
        """None; there is nothing to flush."""

    def close_run(self, text: str, out: TextIO) -> None:
        """None, once a finished run's line stands above the bar."""
        self.done += 1
        self.bar.n = self.done
        with tqdm.external_write_mode(out, nolock=False):
            print(text, file=out, flush=True)


def setting(c: Case, batch: str = "") -> str:
    """A case in short: its model, batch and device, and what differs from the reference class."""
    words = (c.precision, c.memory_format, c.mode, "compiled" if c.compile else "")
    extra = [w for w in words if w not in ("fp32", "contiguous", "inference", "")]
    return " ".join(filter(None, [c.model, batch, c.device, *extra]))


def line(r: Record) -> str:
    """One line on a run: what, how fast, what holds it back, and its verdict."""
    what = f"{setting(r.case, f'b{r.case.batch_size}')} r{r.repeat}"
    if r.error or not r.passes or not r.passes.end_to_end or not r.checks or not r.verdict:
        return f"{what:<36} FAILED ({r.error.kind if r.error else '?'}): {r.error.message if r.error else ''}"
    forward = f"{r.passes.forward.images_per_s:9.1f}" if r.passes.forward else "        –"
    held = r.checks.bottleneck or "not known"
    whole = f"{r.passes.end_to_end.images_per_s:9.1f} images/s"
    return f"{what:<36} {whole}   model alone {forward}   held back by {held:<9} {r.verdict.word}"


def headline(records: list[Record]) -> list[str]:
    """The figure of each case with its interval over runs, in words; a case without a good run says so."""
    groups: dict[Case, list[float]] = {}
    for r in records:
        good = groups.setdefault(r.case.model_copy(update={"image_px": None, "workers": None}), [])
        if r.passes and r.passes.end_to_end:
            good.append(r.passes.end_to_end.images_per_s)
    return [f"{c.model}, batch {c.batch_size}, {c.device}, {c.precision}: {told(rates)}" for c, rates in groups.items()]


def told(rates: list[float]) -> str:
    """A rate with its 95 % interval in words."""
    if not rates:
        return "no run succeeded"
    mean, low, high, n = stats.interval(rates)
    if low is None or high is None:
        return f"{mean:.1f} images/s end to end (one run: within this run only, not for comparison)"
    return f"{mean:.1f} images/s end to end ({low:.1f} to {high:.1f}, 95 % over {n} runs)"


def header(
    given: dict[str, Any], slug: str, chip: str | None, device: str, runs: int, done: int, sweep_id: str
) -> list[str]:
    """What is about to be measured, on what, and about how long it takes."""
    no_gpu = given["USE_GPU"] and device == "cpu"
    knobs = " ".join(f"{name}={os.environ[name]!r}" for name in knob_table.KNOBS if os.environ.get(name, "").strip())
    lines = [f"{slug}: {chip or 'unknown chip'}, device {device}"]
    lines += ["USE_GPU=1, but torch finds no accelerator here: measuring the CPU."] if no_gpu else []
    lines += [f"{runs} runs ({runs // given['REPEATS']} cases x {given['REPEATS']}); knobs: {knobs or 'the defaults'}"]
    if done:
        so_far = f"{done} runs are done" + (f", {runs - done} left" if given["BATCH_SIZE"] != [None] else "")
        lines += [f"Finishing the sweep of {sweep_id[:16]}: {so_far} (FRESH=1 starts anew)."]
    auto = given["BATCH_SIZE"] == [None]
    about = minutes((runs if auto else runs - done) * estimate(given["MIN_SECONDS"], given["MINUTES"], device))
    about += " for each batch size, doubled while the speed rises" if auto else ""
    return [*lines, f"About {about}; Ctrl-C stops, and the same command goes on later."]


def estimate(min_seconds: float, minutes: float, device: str) -> float:
    """About how many seconds a run takes: six passes with their warm-ups, and the start of a kernel."""
    return (20 + 9 * min_seconds if device == "cpu" else 30 + 6 * min_seconds) + (60 * minutes + 60 if minutes else 0)


def minutes(seconds: float) -> str:
    """A length of time in words."""
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
