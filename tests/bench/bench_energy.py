"""`make bench`: the counter of energy: how often it has a new value, at rest and at work, and what reading costs."""

import math
import time
from contextlib import nullcontext

import pytest

from siliconbench.analysis import stats
from siliconbench.machine import energy, facts
from siliconbench.record.schema import Case
from siliconbench.run import device as devices
from siliconbench.run import passes, result

ROUNDS = 12


@pytest.fixture(scope="module")
def bench():
    return passes.set_up(Case(model="resnet18", batch_size=8, device=devices.choose(True).type, min_seconds=2.0))


def test_the_counter(bench):
    device, uuid = bench.device.type, result.gpu_uuid(bench.device.type)
    counter = energy.counter(device, uuid)
    print(f"\n{facts.machine(uuid=uuid).gpus}\ncounter: {counter if isinstance(counter, str) else counter.name}")
    if isinstance(counter, str):
        pytest.skip(counter)
    intervals = []
    for step in (time.sleep, lambda _: passes.forward(bench)):  # at rest, and just after work
        step(2.0)
        interval_s, cost_s = energy.update_interval(counter.joules, 3.0)
        intervals.append(interval_s)
        print(f"a new value every {1000 * (interval_s or math.nan):.1f} ms, a reading takes {1e6 * cost_s:.0f} us")

    def at_work(_s: float) -> None:
        for _ in range(3):
            bench.call(bench.ready_batch)
        bench.synchronize()

    interval_s, cost_s = energy.update_interval(counter.joules, 3.0, sleep=at_work)
    print(f"at work: every {1000 * (interval_s or math.nan):.1f} ms, a reading takes {1e6 * cost_s:.0f} us")
    assert all(intervals)


def test_who_else_is_on_the_gpu(bench):
    log = result.Log(False, bench.case)
    with log.energy_at_edges():
        passes.forward(bench)
    print(f"\nneighbours: {log.around['gpu_neighbours']}, slept: {log.around['slept_s']}")


def test_reading_costs_next_to_nothing(bench):
    counter = energy.counter(bench.device.type, result.gpu_uuid(bench.device.type))
    if isinstance(counter, str):
        pytest.skip(counter)
    meter, ratios = energy.Meter(counter, 1.0), []
    for k in range(ROUNDS):
        rates = {}
        for on in (False, True) if k % 2 else (True, False):
            with meter.reading(10.0) if on else nullcontext():
                rates[on] = passes.forward(bench).images_per_s
        ratios.append(rates[True] / rates[False])
    found = stats.interval(ratios)
    print(f"\nread over not read: {found.mean:.4f} ({found.low:.4f} to {found.high:.4f}), {ROUNDS} pairs")
    assert math.isfinite(found.mean)
