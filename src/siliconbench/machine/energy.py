"""Joules by a counter, read in this process around a pass: by a thread, which sleeps but for a hundred readings."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from statistics import fmean

import numpy as np

from siliconbench.machine import tools
from siliconbench.machine.sources import apple, nvml, source, system
from siliconbench.record.schema import Energy

SHARE = 0.02  # of the pass: what passes between two values of the counter moves its ends by no more
READINGS = 100  # of a pass
CHANGES = 6  # of the counter, enough to know its interval by
Counter = nvml.Nvml | system.Rapl | apple.Zeus  # each has a name, the part of the machine that it is of, and joules()
Clock = Callable[[], float]


def counter(device: str, uuid: str) -> Counter | str:
    """The counter of what works when a device of this type does, or in words why there is none. uuid: torch's GPU."""
    mac, zeus = tools.PLATFORM == "darwin", "zeus-apple-silicon"
    kinds: dict[str, tuple[Callable[[], Counter], str]] = {
        "cuda": (partial(nvml.Nvml, uuid), nvml.Nvml.package), "mps": (partial(apple.Zeus, "GPU"), zeus),
        "cpu": (partial(apple.Zeus, "package"), zeus) if mac else (system.Rapl, system.Rapl.package),
    }  # fmt: skip
    if device not in kinds:
        return "no counter of this device is known"
    kind, package = kinds[device]
    try:
        found = kind()
        found.joules()
        return found
    except Exception as error:
        return source.absence(error, package)


def update_interval(
    read: Clock, most_s: float, clock: Clock = time.perf_counter, sleep: Callable[[float], None] = time.sleep
) -> tuple[float | None, float]:
    """The longest seconds between two new values of a counter, polled for most_s at most, and the mean seconds that a
    reading takes; None where fewer than two new values came."""
    start, last, changed_s, took_s = clock(), read(), list[float](), list[float]()
    while len(changed_s) <= CHANGES and (now := clock()) - start < most_s:
        value = read()
        took_s.append(clock() - now)
        changed_s += [now + took_s[-1] / 2] if value != last else []
        last = value
        sleep(0.001)
    return max((b - a for a, b in pairwise(changed_s)), default=None), fmean(took_s or [0.0])


class Meter:
    """A counter, its update interval polled for poll_s seconds at most, and what it reads around a pass."""

    def __init__(self, counter: Counter, poll_s: float) -> None:
        self.counter, self.readings, self.trouble, self.poll_s = counter, list[tuple[float, float]](), "", poll_s
        self.update_s, self.cost_s = None, 0.0
        try:
            self.update_s, self.cost_s = update_interval(counter.joules, poll_s)
        except Exception as error:
            self.trouble = source.absence(error, "")

    def read(self) -> None:
        """Adds a reading, at the middle of the time that it took."""
        before = time.perf_counter()
        try:
            joules = self.counter.joules()
            self.readings.append(((before + time.perf_counter()) / 2, joules))
        except Exception as error:
            self.trouble = source.absence(error, "")

    @contextmanager
    def reading(self, expected_s: float) -> Iterator[None]:
        """Reads while the body runs, from its first moment to its last: a hundred times in expected_s seconds, less
        often where a reading takes long, so that it never takes over a hundredth of the time."""
        gap_s, stop = max(expected_s / READINGS, 100 * self.cost_s, 0.05), threading.Event()

        def keep() -> None:
            while not stop.wait(gap_s):
                self.read()

        self.read()
        reader = threading.Thread(target=keep, daemon=True)
        reader.start()
        try:
            yield
        finally:
            stop.set()
            reader.join()
            self.read()

    def energy(self, start_s: float, end_s: float) -> Energy:
        """The record's section on what was spent from start_s to end_s, of perf_counter(): the counter's values there
        by linear interpolation. No joules where a new value comes every 2 % of that time, or less often: it may be as
        old as that at either end. Between readings g apart, a jump in power moves an end by g / 4 of it at most."""
        times, joules, edges = [t for t, _ in self.readings], [j for _, j in self.readings], [start_s, end_s]
        behind = np.searchsorted(times, edges, side="right")
        unpolled = f"in {self.poll_s:.3g} s of polling the counter gave no two new values"
        why = self.trouble or ("" if self.update_s else unpolled)
        if not why and not (behind[0] > 0 and behind[1] < len(times)):
            why = "the counter was not read at both edges of the pass"
        if not why:
            update_s, gap_s = self.update_s or 0.0, max(times[k] - times[k - 1] for k in behind)
            slow = max(update_s, gap_s / 2) > SHARE * (end_s - start_s)
            said = f"the counter has a new value every {update_s:.3g} s, read every {gap_s:.3g} s"
            why = f"{said}: over 2 % of a pass of {end_s - start_s:.3g} s" if slow else ""
        spent = None if why else float(np.diff(np.interp(edges, times, joules))[0])
        found: tools.Pairs = {"joules": (spent, why), "update_interval_s": (self.update_s, unpolled)}
        return tools.section(Energy, found, counter=self.counter.name, part=self.counter.part)
