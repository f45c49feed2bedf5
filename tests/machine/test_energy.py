"""Joules by a counter: simulated ones, whose true joules are known, and the counters' own traps."""

import itertools
import math
import time
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconbench.machine import energy, tools
from siliconbench.machine.energy import Meter, update_interval
from siliconbench.machine.sources import apple, system
from siliconbench.machine.sources.apple import Zeus
from siliconbench.machine.sources.source import Absent
from siliconbench.machine.sources.system import Rapl
from tests.machine import mac


class Simulated:
    """A counter of a part that idles at 60 W, warms up at 250 W, and works at 500 W from start_s to end_s.

    It has a new value at each multiple of step_s, on a clock of its own that moves when it is slept by."""

    name, part = "NVML", "GPU"

    def __init__(self, step_s: float, start_s: float = 12.0, end_s: float = 22.0, cost_s: float = 1e-5) -> None:
        self.step_s, self.start_s, self.end_s, self.cost_s, self.now_s = step_s, start_s, end_s, cost_s, 0.3

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def true_j(self, t: float) -> float:
        edges = (0.0, self.start_s - 2, self.start_s, self.end_s, math.inf)
        spans = zip((60.0, 250.0, 500.0, 60.0), itertools.pairwise(edges), strict=True)
        return sum(watts * max(0.0, min(t, b) - a) for watts, (a, b) in spans)

    def joules(self) -> float:
        self.now_s += self.cost_s
        return self.true_j(self.step_s * math.floor(self.now_s / self.step_s))


def metered(counter: Simulated, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """A meter of it, which has read it as a run does: polled at rest, then a hundred times around the pass."""
    monkeypatch.setattr(energy, "update_interval", lambda read, most_s: update_interval(
        read, most_s, counter.clock, counter.sleep))  # fmt: skip
    monkeypatch.setattr(energy.time, "perf_counter", counter.clock)
    meter = Meter(counter, 3.0)
    counter.now_s, gap_s = counter.start_s - 2.1, max((counter.end_s - counter.start_s) / 100, 0.05)
    while counter.now_s < counter.end_s + 0.5:
        meter.read()
        counter.sleep(gap_s)
    monkeypatch.undo()
    return meter


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("phase", [0.0, 0.013, 0.047, 0.081])
def test_joules_are_those_of_the_pass_alone(step_s, phase, monkeypatch):
    counter = Simulated(step_s, 12.0 + phase, 22.0 + phase)
    found = metered(counter, monkeypatch).energy(12.0 + phase, 22.0 + phase)
    assert found.joules == pytest.approx(5000.0, rel=0.02)
    assert found.update_interval_s == pytest.approx(step_s, abs=0.0025) and not found.unknown


@given(st.floats(0.001, 1.0), st.floats(1.0, 60.0), st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=60)
def test_wherever_there_is_a_figure_it_is_right_to_2_percent(step_s, long_s, phase):
    with pytest.MonkeyPatch.context() as patch:
        counter = Simulated(step_s, 12 + phase, 12 + phase + long_s)
        found = metered(counter, patch).energy(counter.start_s, counter.end_s)
    if found.joules is not None:
        assert found.joules == pytest.approx(500.0 * long_s, rel=0.021)
    else:
        assert max(step_s, 0.025) > 0.0199 * long_s - 0.003 or step_s > 0.4


@pytest.mark.parametrize("long_s", [1.0, 2.1, 4.5])
def test_the_short_passes_of_the_issue_have_no_figure_and_say_why(long_s, monkeypatch):
    counter = Simulated(0.1, 12.0, 12.0 + long_s)
    found = metered(counter, monkeypatch).energy(12.0, 12.0 + long_s)
    assert found.joules is None and found.update_interval_s == pytest.approx(0.1, abs=0.002)
    assert f"over 2 % of a pass of {long_s:.3g} s" in found.unknown["joules"]


def test_a_pass_that_was_not_read_at_its_edges_has_no_figure(monkeypatch):
    meter = metered(Simulated(0.001), monkeypatch)
    assert "both edges" in meter.energy(5.0, 20.0).unknown["joules"]
    assert "both edges" in meter.energy(12.0, 40.0).unknown["joules"]
    meter.readings.clear()
    assert "both edges" in meter.energy(12.0, 22.0).unknown["joules"]


def test_a_pause_in_the_middle_of_the_pass_costs_nothing_one_at_its_edge_the_figure(monkeypatch):
    meter = metered(Simulated(0.001), monkeypatch)
    every = list(meter.readings)
    meter.readings = [(t, j) for t, j in every if not 14 < t < 18]
    assert meter.energy(12.0, 22.0).joules == pytest.approx(5000, rel=0.01)
    meter.readings = [(t, j) for t, j in every if not 21.7 < t < 22.3]
    assert "over 2 %" in meter.energy(12.0, 22.0).unknown["joules"]


def test_the_update_interval_of_a_counter_that_publishes_in_bursts():
    clock = itertools.count(0, 0.0005)
    now = [0.0]

    def tick() -> float:
        now[0] = next(clock)
        return now[0]

    burst = lambda: sum(now[0] >= base + more for base in range(0, 30, 2) for more in (0.0, 0.1))  # noqa: E731
    found, cost_s = update_interval(burst, 30.0, tick, lambda _: None)
    assert found == pytest.approx(1.9, abs=0.01) and cost_s == pytest.approx(0.0005)


@pytest.mark.parametrize("changes", [[], [0.5]])
def test_an_interval_that_was_not_seen_is_unknown(changes):
    counter = Simulated(10.0)
    found, _ = update_interval(lambda: sum(counter.now_s > t for t in changes), 1.0, counter.clock, counter.sleep)
    assert found is None
    meter = Meter(types.SimpleNamespace(name="RAPL", part="package", joules=lambda: 5.0), 0.02)
    with meter.reading(0.0):
        pass
    told = meter.energy(0.0, time.perf_counter())
    assert told.joules is told.update_interval_s is None and "no two new values" in told.unknown["joules"]


@pytest.mark.xdist_group("measures")
def test_a_real_thread_reads_around_the_body_and_ends():
    counter = types.SimpleNamespace(name="RAPL", part="package", joules=lambda: 100 * time.perf_counter())
    meter = Meter(counter, 0.1)
    with meter.reading(1.0):
        start = time.perf_counter()
        time.sleep(2.6)
        end = time.perf_counter()
    read = len(meter.readings)
    assert meter.readings[0][0] <= start and meter.readings[-1][0] >= end and 10 < read <= 56
    assert meter.energy(start, end).joules == pytest.approx(100 * (end - start), rel=1e-3)
    time.sleep(0.1)
    assert len(meter.readings) == read


def test_a_counter_that_stops_answering_says_so():
    def fail() -> float:
        raise Absent("this GPU tells no energy")

    meter = Meter(types.SimpleNamespace(name="NVML", part="GPU", joules=fail), 0.02)
    with meter.reading(0.0):
        pass
    assert meter.energy(0.0, 1.0).unknown["joules"] == "this GPU tells no energy"


def test_a_slow_counter_is_read_seldom():
    def slow() -> float:
        time.sleep(0.02)
        return time.perf_counter()

    meter = Meter(types.SimpleNamespace(name="zeus", part="GPU", joules=slow), 0.1)
    with meter.reading(0.5):
        time.sleep(0.5)
    assert len(meter.readings) == 2


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    """Two packages, one of which also has a core domain; set(zone, microjoules)."""
    monkeypatch.setattr(system, "POWERCAP", tmp_path)
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core")):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(name)
        (tmp_path / zone / "max_energy_range_uj").write_text("262143328850")
        (tmp_path / zone / "energy_uj").write_text("262143000000\n")
    return lambda zone, value: (tmp_path / zone / "energy_uj").write_text(value)


def test_rapl_adds_packages_and_unwraps(powercap):
    source, counter = Rapl(), energy.counter("cpu", "")
    powercap("intel-rapl:1", "262143328850")
    assert counter.joules() == pytest.approx(0.32885)
    powercap("intel-rapl:0", "2000000")
    assert counter.joules() == pytest.approx(2 * 0.32885 + 2)
    assert (counter.name, counter.part) == ("RAPL", "package") and source.read()["package_w"] > 0


def test_rapl_for_root_only_or_absent(powercap, tmp_path, monkeypatch):
    monkeypatch.setattr(system.os, "access", lambda *_: False)
    assert "root only" in energy.counter("cpu", "")
    monkeypatch.setattr(system, "POWERCAP", tmp_path / "none")
    assert "no RAPL" in energy.counter("cpu", "")
    with pytest.raises(Absent):
        Rapl()


def test_zeus(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "PLATFORM", "darwin")
    assert "pip install zeus-apple-silicon" in energy.counter("mps", "")
    assert "pip install zeus-apple-silicon" in energy.counter("cpu", "")
    mac.install_zeus(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    gpu, package = energy.counter("mps", ""), energy.counter("cpu", "")
    assert (gpu.part, gpu.joules(), gpu.joules()) == ("GPU", 6, 9)
    assert (package.part, package.joules(), package.name) == ("package", 10, "zeus")
    silent = types.SimpleNamespace(cpu_total_mj=None, gpu_mj=1000, ane_mj=0)
    monkeypatch.setattr(package.monitor, "end_window", lambda _: silent, raising=False)
    with pytest.raises(Absent, match="does not publish"):
        package.joules()
    assert Zeus("GPU").part == "GPU" and apple.Zeus.name == "zeus"


def test_a_device_without_a_counter_says_so():
    assert energy.counter("xpu", "") == "no counter of this device is known"
