"""`make bench`: our loop held against one written by hand, the whole against its parts, each pair in one run.

Prints figures; it fails only where something is broken, since a busy machine moves any ratio.
"""

import time
from statistics import median

import pytest
import torch
import torchvision

from siliconbench.record.schema import Case
from siliconbench.run import device as devices
from siliconbench.run import experiment, loader, passes, selftest, timing


def by_hand(name, batch, seconds):
    """Images per second as anyone would write it."""
    device = devices.choose(True)
    torch.manual_seed(2021)
    model = torchvision.models.get_model(name, weights=None).eval().to(device)
    batch, n = batch.to(device), 0
    with torch.inference_mode():
        model(batch)
        if device.type != "cpu":
            torch.accelerator.synchronize()
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            model(batch)
            n += len(batch)
            if device.type != "cpu":
                torch.accelerator.synchronize()
        return n / (time.perf_counter() - start)


@pytest.mark.parametrize(("name", "batch_size"), [("resnet18", 8), ("mobilenet_v3_small", 32)])
def test_forward_beside_a_loop_by_hand(name, batch_size):
    bench = passes.set_up(Case(model=name, batch_size=batch_size, device=devices.choose(True).type, min_seconds=3.0))
    ratios = []
    for _ in range(7):
        ours = passes.forward(bench).images_per_s
        theirs = by_hand(name, bench.ready_batch.cpu(), 3.0)
        ratios.append(ours / theirs)
    ratios_text = " ".join(f"{r:.3f}" for r in ratios)
    print(f"\nforward, {name} batch {batch_size}: ours / by hand, median {median(ratios):.4f} of {ratios_text}")
    assert 0.5 < median(ratios) < 2


@pytest.mark.parametrize("kind", ["fast", "original"])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet50"])
def test_the_whole_beside_what_its_parts_allow(name, kind):
    asked = Case(
        model=name, batch_size=16, device=devices.choose(True).type, input=kind, num_images=64, min_seconds=4.0
    )
    bench = passes.set_up(asked)
    forward, copy = passes.forward(bench), passes.copy(bench)
    stream, workers = loader.feed(bench, forward.images_per_s)
    together = passes.together(forward, copy, passes.load(bench, stream), passes.end_to_end(bench, stream))
    parts = experiment.combine(bench, together, workers.used, selftest.synchronization(bench))
    allowed, whole = parts.allowed_images_per_s, together.end_to_end.images_per_s
    timed = {name: part["images_per_s"] for name, part in together.model_dump().items() if part and name != "unknown"}
    print(f"\n{name} {kind}, {workers.used} workers:", ", ".join(f"{part} {rate:.1f}" for part, rate in timed.items()))
    print(f"  the parts allow {allowed:.1f}, end to end is {whole / allowed:.3f} of it; suspected: {parts.suspect}")
    assert whole < 1.5 * allowed


def test_the_cost_of_the_loop_itself():
    result = timing.timed(timing.nothing, timing.nothing, 1, timing.Lengths(least_s=1.0))
    print(f"\nthe loop around an empty step: {1e9 / result.images_per_s:.0f} ns")
    assert result.images_per_s > 1e5
