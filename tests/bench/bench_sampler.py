"""`make bench`: what the sampler costs. Images per second with and without it, interleaved in one run."""

import math
import time

import psutil

from siliconbench.analysis import stats
from siliconbench.machine import sampler as samplers
from siliconbench.record.schema import Case
from siliconbench.run import device as devices
from siliconbench.run import passes

ROUNDS = 12


def rate(bench, sampled):
    sampler = samplers.Sampler() if sampled else None
    found = passes.quick_rate(bench, lambda: bench.call(bench.ready_batch), 2, 2.0)
    if sampler:
        sampler.stop()
    return found


def test_the_sampler_costs_next_to_nothing():
    bench = passes.set_up(Case(model="resnet18", batch_size=8, device=devices.choose(True).type, min_seconds=2.0))
    ratios = []
    for i in range(ROUNDS):  # now one comes first, now the other: a drift falls on both alike
        order = (False, True) if i % 2 else (True, False)
        rates = {sampled: rate(bench, sampled) for sampled in order}
        ratios.append(rates[True] / rates[False])
    found = stats.interval(ratios)
    print(f"\nwith the sampler over without: {found.mean:.4f} ({found.low:.4f} to {found.high:.4f}), {ROUNDS} pairs")
    assert math.isfinite(found.mean)


def test_the_processor_time_that_the_sampler_takes():
    sampler = samplers.Sampler()
    child = psutil.Process(sampler.child.pid)
    time.sleep(5)  # its imports are over long before a pass is timed
    before = sum(child.cpu_times())
    time.sleep(20)
    share = (sum(child.cpu_times()) - before) / 20
    sampler.stop()
    print(f"\nthe sampler and the tools that it has ended take {share:.2%} of one core")
    assert 0 <= share < 1
