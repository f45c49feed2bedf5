"""Our loop against one by hand, the whole at three lengths, the whole against its parts: a table, and JSON at the end.

`python -m tests.bench.bench_loop` (its options say what is measured); `make bench` runs it small. It fails only where
something is broken, since a busy machine moves any ratio.
"""

import argparse
import json
import time
from dataclasses import replace
from statistics import median

import torch
import torchvision

from siliconbench.record.schema import Case
from siliconbench.run import device as devices
from siliconbench.run import experiment, passes, timing, trials


def set_up(name, batch_size, seconds, device):
    return passes.set_up(Case(model=name, batch_size=batch_size, device=device, num_images=1, min_seconds=seconds))


def by_hand(bench, model, seconds):
    """Images per second as anyone would write it: launch for a while, synchronize, read the clock."""
    batch, n = bench.ready_batch, 0
    with torch.inference_mode():
        for _ in range(3):
            model(batch)
        bench.synchronize()
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for _ in range(10):
                model(batch)
            bench.synchronize()
            n += 10 * len(batch)
        return n / (time.perf_counter() - start)


def beside_a_loop_by_hand(name, batch_size, seconds, rounds, device):
    """(a) Forward over a loop by hand, in turns, the model that loop's own."""
    bench, ratios = set_up(name, batch_size, seconds, device), []
    model = torchvision.models.get_model(name, weights=None).eval().to(device)
    for _ in range(rounds):
        ratios.append(passes.forward(bench).images_per_s / by_hand(bench, model, seconds))
    return {"what": "forward / by hand", "case": f"{name} {batch_size}", "ratio": median(ratios), "each": ratios}


def at_three_lengths(name, batch_size, lengths, device):
    """(b) The same case end to end at MIN_SECONDS 1, 2 and 10, the loader the same."""
    bench = set_up(name, batch_size, 1.0, device)
    stream, workers = trials.feed(bench, passes.forward(bench).images_per_s)
    rates = {}
    for seconds in [*lengths, *lengths]:
        timed = replace(bench, case=bench.case.model_copy(update={"min_seconds": seconds}))
        rates.setdefault(seconds, []).append(passes.end_to_end(timed, stream).images_per_s)
    rates = {seconds: sum(r) / len(r) for seconds, r in rates.items()}
    ratio, case = max(rates.values()) / min(rates.values()), f"{name} {batch_size} {workers.used} workers"
    return {"what": "end to end, longest / shortest rate", "case": case, "ratio": ratio, "each": rates}


def beside_its_parts(name, batch_size, seconds, device):
    """(c) End to end over what its parts allow, and the resources behind that."""
    bench = set_up(name, batch_size, seconds, device)
    forward = passes.forward(bench)
    stream, workers = trials.feed(bench, forward.images_per_s)
    copy, load = passes.copy(bench, forward), passes.load(bench, forward, stream)
    together = passes.together(forward, copy, load, passes.end_to_end(bench, stream))
    parts, whole = experiment.combine(bench, together, workers.used), together.end_to_end
    rates = {k: p["images_per_s"] for k, p in together.model_dump().items() if p and k != "unknown"}
    case = f"{name} {batch_size} {workers.used} workers"
    each = rates | {
        "stock_images": whole.stock_images,
        "us_an_image": {
            way: {part: round(1e6 * s, 1) for part, s in shares.items()} for way, shares in parts.resources.items()
        },
    }
    return {"what": "end to end / allowed", "case": case, "ratio": whole.images_per_s / parts.allowed_images_per_s,
            "each": each}  # fmt: skip


def main(given=None):
    """The rows, printed as they come."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--device", default=devices.choose(True).type)
    ask.add_argument("--models", nargs="+", default=["resnet50", "vit_b_16"])
    ask.add_argument("--batches", nargs="+", type=int, default=[1, 8, 16, 64])
    ask.add_argument("--seconds", type=float, default=2.0)
    ask.add_argument("--lengths", nargs="+", type=float, default=[1.0, 2.0, 10.0])
    ask.add_argument("--rounds", type=int, default=3)
    o, rows, start = ask.parse_args(given), [], time.perf_counter()
    calls = [lambda n=n: beside_a_loop_by_hand(n, o.batches[-1], o.seconds, o.rounds, o.device) for n in o.models]
    calls += [lambda n=n: at_three_lengths(n, o.batches[len(o.batches) // 2], o.lengths, o.device) for n in o.models]
    calls += [lambda n=n, b=b: beside_its_parts(n, b, o.seconds, o.device) for n in o.models for b in o.batches]
    for call in calls:
        row = call()
        rows.append(row)
        print(f"{time.perf_counter() - start:5.0f} s  {row['what']:36} {row['case']:32} {row['ratio']:.3f}", flush=True)
        print(f"         {row['each']}", flush=True)
    print(json.dumps(rows))
    return rows


def test_the_loop_small():
    small = ["--models", "mobilenet_v3_small", "--batches", "4", "16", "--seconds", "1"]
    small += ["--lengths", "0.5", "1", "--rounds", "2"]
    assert all(0.3 < row["ratio"] < 3 for row in main(small))


def test_the_cost_of_the_loop_itself():
    for how in (timing.timed, timing.streamed):
        waits = timing.nothing if how is timing.timed else timing.Flow()
        result = how(timing.nothing, waits, 1, timing.Lengths(least_s=1.0))
        print(f"\n{how.__name__} around an empty step: {1e9 / result.images_per_s:.0f} ns")
        assert result.images_per_s > 1e5


if __name__ == "__main__":
    main()
