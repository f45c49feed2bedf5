"""What a sweep says on the terminal: a header, a line a run, a bar that moves within a run, the headline."""

import io
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from statistics import fmean
from time import monotonic

from tqdm import tqdm

from siliconbench.analysis import answer, bottleneck, cases, verdict, words
from siliconbench.knobs import KNOBS, Given
from siliconbench.machine import facts
from siliconbench.record import store
from siliconbench.record.schema import Case, Record
from siliconbench.record.share import counted
from siliconbench.sweep.plan import Plan, Runs

SEARCH = "loader processes"  # the part that only the first run of a case has
AFTER_S, AROUND_S = 2.0, 8.0  # what a run takes after its last part; and beside the wall time that its record tells
SAID_EVERY_S = 25.0  # a line of what runs, where there is no terminal
LABEL = 50  # characters of a line that name its run: so the whole line stays under 120
STOPS = "Ctrl-C stops, and the same command goes on later."


class Bar(io.TextIOBase):
    """A sweep's progress: a bar on a terminal, else a line now and then. It takes what a run prints to stderr.

    left_s: of this run what its kernel says, or what its case's last run took; of each run to go what its case's last
    run took, less the search for loader processes; of a case without one the mean of those that had, or a guess."""

    def __init__(self, runs: Runs, have: dict[int, Record], clock: Callable[[], float] = monotonic) -> None:
        form, tty = "{desc}{percentage:3.0f}% |{bar:24}| {n:.1f} of {total} runs, {postfix}", sys.stderr.isatty()
        self.bar = tqdm(total=len(runs), initial=len(have), disable=not tty, bar_format=form)
        self.runs, self.to_go, self.clock = runs, {*range(1, len(runs) + 1)} - have.keys(), clock
        self.took_s = {(r.case.asked(), r.sweep.search): r.checks.wall_s + AROUND_S for r in have.values() if r.checks}
        self.order, self.ended = 0, threading.Event()
        self.start_run(0)
        if not tty:
            threading.Thread(target=self.speak, daemon=True).start()

    def start_run(self, order: int) -> None:
        """This run begins now; 0: none."""
        self.order, self.rest, self.part, self.done = order, "", "starting", 0.0
        self.search_s = self.search_left_s = 0.0
        self.start = self.since = self.clock()
        self.run_left_s: float | None = None

    def write(self, text: str) -> int:
        """The length of the text, a piece of any size; each line of progress moves the bar, any other is ignored."""
        *lines, rest = (self.rest + text).split("\n")
        self.rest = rest[-1000:]
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):
                told, now = json.loads(line), self.clock()
                part, done, left_s = str(told["part"]), float(told["done"]), told["left_s"]
                self.search_s += now - self.since if self.part == SEARCH else 0.0
                self.search_left_s = float(told["search_s"])
                self.part, self.done, self.since = part, min(1.0, max(0.0, done)), now
                self.run_left_s = None if left_s is None else float(left_s) + AFTER_S
                self.show()
        return len(text)

    def left_s(self) -> float:
        """About how many seconds are left of the sweep."""
        now, known, left_s = self.clock(), dict(self.took_s), 0.0
        mean_s = fmean(known.values()) if known else None
        if self.order:
            here, spent_s, told_s = self.runs[self.order - 1], now - self.start, self.run_left_s
            usual_s = known.get((here.case, here.search), mean_s or estimate(here.case))
            left_s = max(0.0, usual_s - spent_s if told_s is None else told_s - (now - self.since))
            if told_s is not None:
                known.setdefault((here.case, here.search), spent_s + left_s - self.search_s - self.search_left_s)
        ahead = [self.runs[order - 1] for order in self.to_go - {self.order}]
        return left_s + sum(known.get((run.case, run.search), mean_s or estimate(run.case)) for run in ahead)

    def show(self) -> None:
        """Moves the bar to how much of the time that the sweep takes has gone."""
        spent_s, left_s = self.clock() - self.start, self.run_left_s
        share = spent_s / (spent_s + left_s) if left_s is not None and spent_s + left_s else 0.0
        self.bar.n = len(self.runs) - len(self.to_go) + share
        self.bar.set_description_str(f"{self.part:<11} ", refresh=False)
        self.bar.set_postfix_str(f"{minutes(self.left_s())} left")

    def speak(self) -> None:
        """Says every SAID_EVERY_S what runs, until it has ended."""
        while not self.ended.wait(SAID_EVERY_S):
            if self.order:
                run, done = self.runs[self.order - 1], f", {100 * self.done:.0f} % of it" if self.done else ""
                left = f"{minutes(left_s)} left" if (left_s := self.left_s()) >= 1 else "longer than guessed"
                print(f"  {label(run.case, run.repeat)}: {self.part}{done}; {left}", flush=True)

    def close_run(self, line: str) -> None:
        """Prints a finished run's line above the bar."""
        run = self.runs[self.order - 1]
        self.took_s[run.case, run.search] = self.clock() - self.start - self.search_s
        self.to_go.discard(self.order)
        self.start_run(0)
        self.show()
        with tqdm.external_write_mode(sys.stdout, nolock=False):
            print(line, flush=True)

    def close(self) -> None:
        """Ends the bar, or the lines."""
        self.ended.set()
        self.bar.close()
        super().close()


def setting(c: Case) -> str:
    """What a case asks for, batch size aside: its model, and what differs from the reference class."""
    return " ".join([c.model, *[c.precision] * (c.precision != "fp32"), *store.unusual(c)])


def label(c: Case, repeat: int) -> str:
    """The name of a run, at most so long that its line stays short."""
    model, *extra = setting(c).split(" ")
    end = " ".join(["", f"b{c.batch_size}", *extra, f"r{repeat}"])
    return f"{model[: LABEL - len(end)]}{end}"


def line(r: Record) -> str:
    """One line on a run: what, how fast end to end and the model alone, its bottleneck, its verdict."""
    what = label(r.case, r.repeat)
    if r.error or not r.passes or not r.verdict:
        return f"{what:<{LABEL}} FAILED ({r.error.kind if r.error else '?'}): {r.error.message if r.error else ''}"
    forward = f"{r.passes.forward.images_per_s:8.1f}" if r.passes.forward else "       –"
    if not r.passes.end_to_end:
        return f"{what:<{LABEL}} {forward} images/s, the model alone                   {r.verdict.word}"
    rates = f"{r.passes.end_to_end.images_per_s:8.1f} images/s  forward {forward}"
    return f"{what:<{LABEL}} {rates}  bottleneck {bottleneck.concluded(r.checks) or 'unknown':<8} {r.verdict.word}"


def headline(records: list[Record]) -> list[str]:
    """The figure of each case in words, the one that its page shows; a case without a good run says so."""
    table, lines = cases.named(cases.cases(cases.runs(records))), list[str]()
    for _, c in table.iterrows():
        calm = words.significant(c["undisturbed_images_per_s"])
        disturbed = f"of {c['runs']} disturbed{f' (the others: {calm})' if c['disturbed'] < c['runs'] else ''}"
        counts = (c["disturbed"], disturbed), (c["left_out"], "left out"), (c["failed"], "failed")
        lines += [answer.figure_words(c) + "".join(f", {n} {what}" for n, what in counts if n)]
    return lines


def header(given: Given, plan: Plan) -> list[str]:
    """What is about to be measured, on what, and about how long it takes."""
    runs, done, device, times = len(plan.runs), len(plan.done), plan.runs[0][0].device, given["REPEATS"]
    auto, left = given["BATCH_SIZE"] == [None], len({*range(1, runs + 1)} - plan.done.keys())
    knobs = " ".join(f"{name}={os.environ[name]!r}" for name in KNOBS if os.environ.get(name, "").strip())
    lines = [f"{plan.machine.slug}: {plan.machine.title}, device {device}"]
    if held := verdict.held_down(facts.state()):
        lines += [f"It runs {held}: {verdict.PLUG_IN} first, or every run will say so."]
    if given["USE_GPU"] and device == "cpu":
        lines += ["USE_GPU=1, but torch finds no accelerator here: measuring the CPU."]
    lines += [f"{counted(runs, 'run')} ({counted(runs // times, 'case')} x {times}); knobs: {knobs or 'the defaults'}"]
    if done:
        to_go = f", {left} left" if left and not auto else ""
        lines += [f"Finishing the sweep of {plan.sweep_id[:16]}: {done} of its runs done{to_go} (FRESH=1 starts anew)."]
    about = minutes((runs if auto else left or 1) * estimate(plan.runs[0].case))
    about += " for each batch size, doubled while the speed rises" if auto else ""
    return [*lines, f"About {about}, a rough guess until each case has run once; {STOPS}"]


def estimate(c: Case) -> float:
    """A guess at a run's seconds before any: passes, warm-up, a kernel's start; a resnet50 on a laptop or a GPU."""
    images_s = c.num_images / (25 if c.device == "cpu" else 1000)
    return 15 + 2.2 * c.min_seconds + max(c.min_seconds, images_s, 60 * c.minutes) + (60 if c.minutes else 0)


def minutes(seconds: float) -> str:
    """A length of time in words."""
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
