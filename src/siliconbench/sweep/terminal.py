"""What a sweep says on the terminal: a header, a line a run, a bar that moves within a run, the headline."""

import io
import json
import os
import sys
from contextlib import suppress

from tqdm import tqdm

from siliconbench.analysis import bottleneck, cases
from siliconbench.analysis.answer import figure_words
from siliconbench.analysis.words import significant
from siliconbench.knobs import KNOBS, Given
from siliconbench.record.schema import Case, Record
from siliconbench.sweep.plan import Plan

LABEL = 50  # characters of a line that name its run: so the whole line stays under 120
STOPS = "Ctrl-C stops, and the same command goes on later."


class Bar(io.TextIOBase):
    """The sweep's progress bar on a terminal; it takes what a run prints to stderr, and moves within the run."""

    def __init__(self, total: int, done: int) -> None:
        form = "{desc}{percentage:3.0f}% |{bar:24}| {n:.1f} of {total} runs, {remaining} left"
        self.bar = tqdm(total=total, initial=done, disable=not sys.stderr.isatty(), bar_format=form)
        self.done, self.rest = float(done), ""

    def write(self, text: str) -> int:
        """The length of the text, a piece of any size; each line of progress moves the bar, any other is ignored."""
        *lines, rest = (self.rest + text).split("\n")
        self.rest = rest[-1000:]
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):
                progress = json.loads(line)  # the part that the run measures, and how much of the whole run is done
                self.bar.n = self.done + min(1.0, max(0.0, progress["done"]))
                self.bar.set_description_str(f"{progress['part']:<11} ")
        return len(text)

    def close_run(self, line: str) -> None:
        """Prints a finished run's line above the bar."""
        self.done, self.rest = self.done + 1, ""
        self.bar.n = self.done
        with tqdm.external_write_mode(sys.stdout, nolock=False):
            print(line, flush=True)


def setting(c: Case) -> str:
    """What a case asks for, batch size aside: its model, and what differs from the reference class."""
    words = (c.precision, c.memory_format, c.mode, "compiled" if c.compile else "")
    return " ".join([c.model] + [w for w in words if w not in ("fp32", "contiguous", "inference", "")])


def line(r: Record) -> str:
    """One line on a run: what, how fast end to end and the model alone, its bottleneck, its verdict."""
    model, *extra = setting(r.case).split(" ")
    end = " ".join(["", f"b{r.case.batch_size}", *extra, f"r{r.repeat}"])
    what = f"{model[: LABEL - len(end)]}{end}"
    if r.error or not r.passes or not r.passes.end_to_end or not r.verdict:
        return f"{what:<{LABEL}} FAILED ({r.error.kind if r.error else '?'}): {r.error.message if r.error else ''}"
    forward = f"{r.passes.forward.images_per_s:8.1f}" if r.passes.forward else "       –"
    rates = f"{r.passes.end_to_end.images_per_s:8.1f} images/s  forward {forward}"
    return f"{what:<{LABEL}} {rates}  bottleneck {bottleneck.concluded(r.checks) or 'unknown':<8} {r.verdict.word}"


def headline(records: list[Record]) -> list[str]:
    """The figure of each case in words, the one that its page shows; a case without a good run says so."""
    table, lines = cases.named(cases.cases(cases.runs(records))), list[str]()
    for _, c in table.iterrows():
        quiet = f" (the others: {significant(c['undisturbed_images_per_s'])})" if c["disturbed"] < c["runs"] else ""
        disturbed = f"of {c['runs']} disturbed{quiet}"
        counts = (c["disturbed"], disturbed), (c["left_out"], "left out"), (c["failed"], "failed")
        lines += [figure_words(c) + "".join(f", {n} {what}" for n, what in counts if n)]
    return lines


def header(given: Given, plan: Plan) -> list[str]:
    """What is about to be measured, on what, and about how long it takes."""
    runs, done, device = len(plan.runs), len(plan.done), plan.runs[0][0].device
    auto, left = given["BATCH_SIZE"] == [None], len({*range(1, runs + 1)} - plan.done.keys())
    knobs = " ".join(f"{name}={os.environ[name]!r}" for name in KNOBS if os.environ.get(name, "").strip())
    lines = [f"{plan.machine.slug}: {plan.machine.title}, device {device}"]
    if given["USE_GPU"] and device == "cpu":
        lines += ["USE_GPU=1, but torch finds no accelerator here: measuring the CPU."]
    lines += [f"{runs} runs ({runs // given['REPEATS']} cases x {given['REPEATS']}); knobs: {knobs or 'the defaults'}"]
    if done:
        to_go = f", {left} left" if left and not auto else ""
        lines += [f"Finishing the sweep of {plan.sweep_id[:16]}: {done} runs are done{to_go} (FRESH=1 starts anew)."]
    about = minutes((runs if auto else left) * estimate(given["MIN_SECONDS"], given["MINUTES"], device))
    about += " for each batch size, doubled while the speed rises" if auto else ""
    return [*lines, f"About {about}, up to twice that where others disturb the runs; {STOPS}"]


def estimate(min_seconds: float, minutes: float, device: str) -> float:
    """About how many seconds a run takes: six passes with their warm-ups, and the start of a kernel."""
    return (20 + 9 * min_seconds if device == "cpu" else 30 + 6 * min_seconds) + (60 * minutes + 60 if minutes else 0)


def minutes(seconds: float) -> str:
    """A length of time in words."""
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
