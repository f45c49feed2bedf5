"""The loop against a fake clock: whatever it reads, the seconds, blocks and rates must be those of the fake device."""

import math
import random
import sys
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconbench.run import timing
from siliconbench.run.timing import Flow, Lengths


class FakeDevice:
    """A device that works behind the program: a step costs that host_s, the device step_s; the wait catches up."""

    def __init__(self, step_s=0.01, cost=lambda now, n: 1.0, host_s=10e-6):
        self.now, self.ready, self.steps, self.step_s, self.cost = 0.0, 0.0, 0, step_s, cost
        self.host_s, self.drains, self.ahead = host_s, 0, 0.0

    def clock(self):
        return self.now

    def step(self):
        self.now += self.host_s
        self.ahead = max(self.ahead, self.ready - self.now)
        self.ready = max(self.ready, self.now) + self.step_s * self.cost(self.now, self.steps)
        self.steps += 1

    def wait(self):
        self.now, self.drains = max(self.now, self.ready), self.drains + 1

    def mark(self, _):
        """An event: it waits for what the device was given until now, and for nothing after it."""
        due = self.ready

        def wait():
            self.now = max(self.now, due)
            return due

        return wait


class FakeLoader:
    """Workers that make a batch each in make_s seconds, in turns, as many ahead as torch has them (two); the program
    takes batches in their order. What it is given at the start has been made while nobody waited."""

    def __init__(self, workers, make_s, jitter=lambda: 0.0, busy_s=1e-4):
        self.busy_s, self.now, self.workers, self.make_s, self.jitter = busy_s, 0.0, workers, make_s, jitter
        self.free, self.number, self.stock = [0.0] * workers, 2 * workers, 0
        self.due = deque([0.0] * self.number)

    def clock(self):
        return self.now

    def step(self):
        self.stock = sum(due <= self.now for due in self.due)
        self.now = max(self.now, self.due.popleft()) + self.busy_s
        worker = self.number % self.workers
        self.free[worker] = max(self.free[worker], self.now) + self.make_s * (1 + self.jitter())
        self.due.append(self.free[worker])
        self.number += 1

    def jump(self):
        for _ in range(2 * self.workers):
            self.step()

    def flow(self):
        return Flow(round_steps=self.workers, stock=lambda: self.stock)


def run(device, batch_size=8, report=timing.nothing, **lengths):
    cpu_clock = lambda: device.now / 2  # noqa: E731
    return timing.timed(device.step, device.wait, batch_size, Lengths(**lengths), device.clock, cpu_clock, report)


def stream(device, batch_size=1, report=timing.nothing, flow=None, **lengths):
    flow = flow or Flow(device.mark, 4, device.wait)
    cpu_clock = lambda: device.now / 2  # noqa: E731
    return timing.streamed(device.step, flow, batch_size, Lengths(**lengths), device.clock, cpu_clock, report)


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
    how=st.sampled_from([run, stream]),
)
@settings(max_examples=80, deadline=None)
def test_the_parts_add_up_and_both_limits_hold(step_s, batch, images, least, how):
    r = how(FakeDevice(step_s), batch, least_images=images, least_s=least)
    assert r.images == r.block_images * (len(r.block_s) - 1) + r.last_block_images >= images
    assert 0 < r.last_block_images <= r.block_images
    assert r.seconds == pytest.approx(sum(r.block_s)) and r.seconds >= least
    assert r.images_per_s == pytest.approx(r.images / r.seconds)
    if least == 0:
        assert r.images == math.ceil(images / batch) * batch


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
    assert device.now < 50  # half a minute of warm-up and ten seconds, where a batch takes four


def test_a_first_step_that_compiles_is_not_in_the_figure():
    result = run(FakeDevice(0.01, lambda now, n: 2000 if n == 0 else 1))
    assert result.images_per_s == pytest.approx(800, rel=0.01)
    assert result.warm_up_s > 20 and result.block_images > 8


RAMP = lambda t, n: 1.2 - 0.2 * min(1, t / 10)  # noqa: E731
DECAY = lambda t, n: 1 + 0.3 * math.exp(-t / 5)  # noqa: E731


BIASED = [(1, RAMP, 0.01), (2, RAMP, 0.01), (10, RAMP, 0.01), (1, DECAY, 0.025), (10, DECAY, 0.015)]


@pytest.mark.parametrize(("least_s", "cost", "bias"), BIASED)
def test_a_clock_that_ramps_is_waited_out_whatever_min_seconds(least_s, cost, bias):
    result = run(FakeDevice(0.01, cost), least_s=least_s)
    assert result.images_per_s == pytest.approx(800, rel=bias)
    assert 5 < result.warm_up_s < 31 and result.settled


def test_a_quick_look_is_not_prolonged_and_not_judged():
    device = FakeDevice(0.01, RAMP)
    assert run(device, least_s=0.3).settled is None
    assert device.now < 1.5


def test_a_call_longer_than_a_quick_look_was_its_warm_up_and_no_longer_pass_s():
    for least_s, called_s, warm in ((1.0, 5.0, 0), (1.0, 0.9, 1), (2.0, 5.0, 1), (0.0, 5.0, 1)):
        device = FakeDevice(5.0)
        result = run(device, least_s=least_s, warm_s=least_s, called_s=called_s)
        assert len(result.warm_up_block_s) == warm and device.steps == warm + 1
        assert result.block_s == [pytest.approx(5.0, rel=0.01)] and result.settled is None


def test_blocks_too_few_to_judge_are_not_unsettled():
    assert run(FakeDevice(12.0), least_s=2).settled is None  # three in half a minute; windows take four
    assert run(FakeDevice(5.0, lambda t, n: 1 + t / 100), least_s=2).settled is False
    assert run(FakeDevice(5.0), least_s=2).settled is True


@pytest.mark.parametrize("how", [run, stream])
@pytest.mark.parametrize(("hours", "step_s"), [(12, 0.3), (14, 0.5), (24, 0.3), (24, 1.7)])
def test_a_run_of_a_whole_day_is_kept(hours, step_s, how):
    result = how(FakeDevice(step_s), 8, least_s=hours * 3600.0, warm_s=0.0)
    assert hours * 3600 <= result.seconds <= hours * 3600 + 2 * step_s + 2
    assert hours * 3600 / 2 <= len(result.block_s) * max(1, step_s) and len(result.block_s) <= timing.MOST_BLOCKS + 1
    assert max(result.block_s) < 4.1 * step_s
    assert result.images_per_s == pytest.approx(8 / step_s, rel=0.01)


def test_a_device_that_never_settles_says_so_and_stops():
    result = run(FakeDevice(0.01, lambda t, n: 1 + t / 10))
    assert result.settled is False
    assert result.warm_up_s < 35  # 30 s, and the block under way


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
    assert len(timing.requests(device.step, device.wait, 0, 7, clock=device.clock)) == 7


def test_the_slow_first_requests_are_not_kept():
    """As on a GPU whose clocks fell while nothing was asked of it: half a second of requests, or one of seconds."""
    for step_s, slow in ((0.01, lambda t, n: 2 if t < 0.5 else 1), (2.0, lambda t, n: 3 if n < 1 else 1)):
        device = FakeDevice(step_s, slow)
        seconds = timing.requests(device.step, device.wait, 10.0, clock=device.clock)
        assert max(seconds) == pytest.approx(step_s, rel=0.01)
    warm = FakeDevice(2.0)
    assert len(timing.requests(warm.step, warm.wait, 1.0, clock=warm.clock, warm=True)) == warm.steps == 1


def test_the_report_is_outside_the_time_that_counts():
    device, heard = FakeDevice(0.01), []

    def slow_report(done):
        heard.append(done)
        device.now += 5.0

    result = run(device, least_s=2, report=slow_report)
    assert result.images_per_s == pytest.approx(800, rel=0.01)
    assert heard == sorted(heard) and heard[-1] == pytest.approx(1.0)


# A stream: what completes between two completions, over the seconds between them.

LENGTHS = [0, 1, 2, 10]
PAIRS = [(0.02, 0.01), (0.3, 0.1), (0.1, 0.3), (0.01, 0.02), (0.02, 0.02)]  # seconds of the device, of the host


@pytest.mark.parametrize("least_s", LENGTHS)
@pytest.mark.parametrize(("step_s", "host_s"), PAIRS)
def test_a_stream_overlaps_whatever_min_seconds(step_s, host_s, least_s):
    device = FakeDevice(step_s, host_s=host_s)
    result = stream(device, least_s=least_s, least_images=100 if least_s == 0 else 1)
    assert result.images_per_s == pytest.approx(1 / max(step_s, host_s), rel=0.01)
    assert device.drains == 1
    assert device.ahead <= 5.01 * step_s  # what runs ahead, and so the memory, is bounded


def test_blocks_drained_at_their_edges_do_lose_the_overlap():
    """The loop for the model alone, used on the whole: what the stream is held against."""
    device = FakeDevice(0.02, host_s=0.01)
    assert run(device, 1, least_s=1).images_per_s < 0.9 * 50


def test_a_drain_at_its_end_gives_no_images_away():
    """Four steps are under way when the pass ends: to count them at the drain would be 4 % in a hundred."""
    device = FakeDevice(0.001, host_s=0.02)  # the host's turn: all but the last are complete long before
    assert stream(device, least_s=0, least_images=100).images_per_s == pytest.approx(50, rel=1e-3)


class OneQueue(FakeDevice):
    """A device whose copies and reads wait for all that was queued before them (MPS): host_s is to make the batch."""

    def step(self):
        self.now = max(self.now + self.host_s, self.ready)  # the copy returns
        self.ready = max(self.ready, self.now) + self.step_s
        self.steps += 1


@pytest.mark.parametrize("least_s", LENGTHS)
@pytest.mark.parametrize(("step_s", "host_s"), PAIRS)
def test_where_the_copy_waits_its_return_tells_and_a_read_would_drain(step_s, host_s, least_s):
    images, flow = 100 if least_s == 0 else 1, Flow()
    device, read = OneQueue(step_s, host_s=host_s), OneQueue(step_s, host_s=host_s)
    result = stream(device, flow=flow, least_s=least_s, least_images=images)
    assert result.images_per_s == pytest.approx(1 / max(step_s, host_s), rel=0.01)
    reading = Flow(lambda _: read.wait, 4, read.wait)
    drained = stream(read, flow=reading, least_s=least_s, least_images=images)
    assert drained.images_per_s < 0.97 / max(step_s, host_s)


@pytest.mark.parametrize("how", [run, stream])
def test_a_prime_number_of_images_is_as_fast_as_a_round_one(how):
    """5 ms to make a batch, 5 ms on the device: 200 images/s when they overlap."""
    rates = [how(FakeDevice(0.005, host_s=0.005), 1, least_s=0, least_images=n).images_per_s for n in (997, 1000)]
    assert rates[0] == pytest.approx(rates[1], rel=0.02)
    assert how is run or rates == pytest.approx([200, 200], rel=0.01)


@pytest.mark.parametrize("least_s", [1, 10])
@pytest.mark.parametrize("jitter", [0.0, 0.1])
@pytest.mark.parametrize(("workers", "make_s"), [(10, 2.0), (10, 0.02), (3, 0.5), (1, 0.1)])
def test_the_loaders_rate_is_what_its_workers_make(workers, make_s, jitter, least_s):
    rng, there = random.Random(3), random.Random(4)
    long = FakeLoader(workers, make_s, lambda: rng.uniform(-jitter, jitter))
    for _ in range(2000 * workers):
        long.step()
    truth = (2000 - 2) * workers / long.now if jitter else workers / make_s
    loader = FakeLoader(workers, make_s, lambda: there.uniform(-jitter, jitter))
    loader.jump()
    result = stream(loader, flow=loader.flow(), least_s=least_s)
    assert result.images_per_s == pytest.approx(truth, rel=0.01 if not jitter else 0.08)
    assert result.images % workers == 0 and result.stock_images <= 0.01 * result.images
    target = max(Lengths(least_s=least_s).block_s, make_s * (1 + jitter))  # workers of one pace deliver in bursts
    assert max(result.block_s) <= 3 * target


def test_batches_made_beforehand_are_told_or_outlasted():
    """Twenty lay ready, and are used up slowly: the whole takes 5.3 a second where five are made. The pass goes on for
    three times its length, and then says it; a loader that jumped has none ready."""
    loader, jumped = FakeLoader(10, 2.0, busy_s=0.19), FakeLoader(10, 2.0, busy_s=0.05)
    told = stream(loader, flow=loader.flow(), least_s=10, batch_size=4)
    assert told.seconds >= 30 and told.stock_images > 0.01 * told.images
    jumped.jump()
    honest = stream(jumped, flow=jumped.flow(), least_s=10, batch_size=4)
    assert honest.images_per_s == pytest.approx(20, rel=0.01) and honest.stock_images <= 0.01 * honest.images


def test_a_stream_reports_few_times_and_ends_at_one():
    heard = []
    stream(FakeDevice(0.001), report=heard.append, least_s=5)
    assert 15 < len(heard) < 25 and heard == sorted(heard) and heard[-1] == 1.0
