"""The loop against a fake clock: whatever it reads, the seconds, blocks and rates must be those of the fake device."""

import math
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconbench.run import timing
from siliconbench.run.timing import Lengths


class FakeDevice:
    """A device that works behind the program: a step costs it 10 us, the device step_s; the wait catches up."""

    def __init__(self, step_s=0.01, cost=lambda now, n: 1.0):
        self.now, self.ready, self.steps, self.step_s, self.cost = 0.0, 0.0, 0, step_s, cost

    def clock(self):
        return self.now

    def step(self):
        self.now += 10e-6
        self.ready = max(self.ready, self.now) + self.step_s * self.cost(self.now, self.steps)
        self.steps += 1

    def wait(self):
        self.now = max(self.now, self.ready)


def run(device, batch_size=8, report=timing.nothing, **lengths):
    cpu_clock = lambda: device.now / 2  # noqa: E731
    return timing.timed(device.step, device.wait, batch_size, Lengths(**lengths), device.clock, cpu_clock, report)


def test_it_imports_no_torch():
    assert "torch" not in timing.__dict__
    assert not any(name == "torch" or name.startswith("torch.") for name in _imports())


def _imports():
    import subprocess

    code = "import sys, siliconbench.run.timing; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("step_s", [2e-4, 0.01, 0.3, 3.0])
def test_rate_of_a_steady_device(step_s):
    result = run(FakeDevice(step_s), least_images=100)
    assert result.images_per_s == pytest.approx(8 / step_s, rel=0.01)
    assert result.settled


@given(
    step_s=st.floats(1e-4, 4),
    batch=st.integers(1, 256),
    images=st.integers(1, 5000),
    least=st.sampled_from([0, 0.5, 10]),
)
@settings(max_examples=60, deadline=None)
def test_the_parts_add_up_and_both_limits_hold(step_s, batch, images, least):
    r = run(FakeDevice(step_s), batch, least_images=images, least_s=least)
    assert r.images == r.block_images * len(r.block_s) >= images
    assert r.seconds == pytest.approx(sum(r.block_s)) and r.seconds >= least
    assert r.images_per_s == pytest.approx(r.images / r.seconds)
    if least == 0:
        steps, each = math.ceil(images / batch), r.block_images // batch
        assert r.images == steps * batch and steps % each == 0


def test_without_the_wait_the_same_loop_is_wrong():
    device = FakeDevice(0.01)
    honest = run(FakeDevice(0.01), least_s=1).images_per_s
    hasty = timing.timed(device.step, timing.nothing, 8, Lengths(least_s=1), device.clock).images_per_s
    assert hasty > 100 * honest


@pytest.mark.parametrize("step_s", [1e-4, 1e-3, 0.02])
def test_blocks_last_about_half_a_second(step_s):
    blocks = run(FakeDevice(step_s)).block_s
    assert all(0.25 <= s <= 1.0 for s in blocks) and len(blocks) >= 10


def test_a_slow_batch_is_a_block_and_the_run_stays_short():
    device = FakeDevice(4.0)
    assert run(device, 64, least_images=1).block_images == 64
    assert device.now < 40  # warm-up and ten seconds, where a batch takes four


def test_a_first_step_that_compiles_is_not_in_the_figure():
    result = run(FakeDevice(0.01, lambda now, n: 2000 if n == 0 else 1))
    assert result.images_per_s == pytest.approx(800, rel=0.01)
    assert result.warm_up_s > 20 and result.block_images > 8


@pytest.mark.parametrize(("shape", "bias"), [("ramp", 0.01), ("decay", 0.015)])
def test_a_clock_that_ramps_is_waited_out(shape, bias):
    costs = {"ramp": lambda t, n: 1.2 - 0.2 * min(1, t / 10), "decay": lambda t, n: 1 + 0.3 * math.exp(-t / 5)}
    result = run(FakeDevice(0.01, costs[shape]))
    assert result.images_per_s == pytest.approx(800, rel=bias)
    assert 5 < result.warm_up_s < 30


@pytest.mark.parametrize(("hours", "step_s"), [(12, 0.3), (14, 0.5), (24, 0.3), (24, 1.7)])
def test_a_run_of_a_whole_day_is_kept(hours, step_s):
    result = run(FakeDevice(step_s), least_s=hours * 3600.0, warm_s=5.0)
    assert hours * 3600 <= result.seconds <= hours * 3600 + 2 * step_s + 2
    assert hours * 3600 / 2 <= len(result.block_s) * max(1, step_s) and len(result.block_s) <= timing.MOST_BLOCKS
    assert max(result.block_s) < 4.1 * step_s
    assert result.images_per_s == pytest.approx(8 / step_s, rel=0.01)


def test_a_device_that_never_settles_says_so_and_stops():
    result = run(FakeDevice(0.01, lambda t, n: 1 + t / 10))
    assert not result.settled
    assert result.warm_up_s < 35  # 31 s, and the block under way


def test_a_sustained_pass_is_as_long_as_asked_but_warms_up_no_longer_than_others():
    result = run(FakeDevice(0.01, lambda t, n: 1 + t / 10), least_s=120.0, warm_s=5.0)
    assert result.seconds >= 120
    assert result.warm_up_s < 20  # 16 s, and the block under way


def test_noise_settles_too():
    rng = random.Random(1)
    settled = [run(FakeDevice(0.1, lambda t, n: rng.gauss(1, 0.02))).settled for _ in range(20)]
    assert sum(settled) >= 18


def test_requests_are_waited_for_one_by_one_and_bounded():
    device = FakeDevice(0.02)
    seconds = timing.requests(device.step, device.wait, 1.0, clock=device.clock)
    assert all(s == pytest.approx(0.02, rel=0.01) for s in seconds) and 45 <= len(seconds) <= 51
    assert len(timing.requests(device.step, device.wait, 1e9, most=30, clock=device.clock)) == 30
    assert len(timing.requests(device.step, device.wait, 0, clock=device.clock)) == 1


def test_the_report_is_outside_the_time_that_counts():
    device, heard = FakeDevice(0.01), []

    def slow_report(done):
        heard.append(done)
        device.now += 5.0

    result = run(device, least_s=2, report=slow_report)
    assert result.images_per_s == pytest.approx(800, rel=0.01)
    assert heard == sorted(heard) and heard[-1] == pytest.approx(1.0)
