"""`make bench`: what the sampler costs. Images per second with and without it, interleaved in one run."""

import math

from siliconbench import measure, stats, telemetry
from siliconbench.device import choose
from siliconbench.record import Case

ROUNDS = 12


def rate(bench, sampled):
    sampler = telemetry.start() if sampled else None
    found = measure.quick_rate(bench, lambda: bench.call(bench.ready_batch), 2, 2.0)
    if sampler:
        sampler.stop()
    return found


def test_the_sampler_costs_next_to_nothing():
    bench = measure.set_up(Case(model="resnet18", batch_size=8, device=choose(True).type, min_seconds=2.0))
    ratios = []
    for i in range(ROUNDS):  # now one comes first, now the other: a drift falls on both alike
        order = (False, True) if i % 2 else (True, False)
        rates = {sampled: rate(bench, sampled) for sampled in order}
        ratios.append(rates[True] / rates[False])
    found = stats.interval(ratios)
    print(f"\nwith the sampler over without: {found.mean:.4f} ({found.low:.4f} to {found.high:.4f}), {ROUNDS} pairs")
    assert math.isfinite(found.mean)
