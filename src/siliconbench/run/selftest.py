"""What a run knows of its own worth: was the device waited for, is the output right, what binds, was it alone?"""

import resource
import time
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from siliconbench.analysis import bottleneck, stats
from siliconbench.analysis import telemetry as telemetries
from siliconbench.analysis import verdict as verdicts
from siliconbench.machine import facts as machine_facts
from siliconbench.machine import sampler
from siliconbench.record import store
from siliconbench.record.schema import Case, Record
from siliconbench.run import device as devices
from siliconbench.run import images, models, timing
from siliconbench.run import passes as run_passes
from siliconbench.run.passes import Bench, Report
from siliconbench.run.timing import Call

# Largest difference to the CPU's fp32 output, over the scatter of that output. Twice to five times what was seen
# on the models of the tests; a wrong kernel gives 1 and more.
TOLERANCE = {"fp32": 1e-2, "tf32": 5e-2, "fp16": 5e-2, "bf16": 4e-1}

PICTURES = 64  # fixed ones, for the comparison of outputs

PRODUCTS = (256, 512, 1024, 2048, 4096, 8192)  # n x n by n x n

CONVOLUTIONS = ((16, 128, 28), (16, 256, 14), (64, 256, 28), (64, 512, 28), (128, 1024, 14))  # images, channels, px

KERNEL = 0.1  # of the CPU time: more than the model's own arithmetic leaves to the system


class Neighbours:
    """How much of all cores' time other programs take while this one works: started, then asked."""

    def __init__(self) -> None:
        self.start = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        return time.perf_counter(), sum(times[:8]) - idle - getattr(times, "guest", 0.0), time.process_time()

    def share(self) -> float:
        """The share taken since the start, 0 to 1."""
        wall, busy, own = (now - then for now, then in zip(self._now(), self.start, strict=True))
        return max(0.0, busy - own) / (wall * (psutil.cpu_count() or 1))


def waiting(bench: Bench) -> dict[str, Any]:
    """The same steps timed with and without the wait, and twice the steps over once (1.9 to 2.1 if all is waited for).

    Each the median of three. On the CPU one image at a time will do: there is nothing to be behind. A compiled model
    keeps its batch size: another would make it compile again.
    """
    few = bench.device.type == "cpu" and not bench.case.compile
    batch = bench.ready_batch[:1] if few else bench.ready_batch
    once = timing.block(lambda: bench.call(batch), bench.wait, 2) / 2
    steps = max(1, round(min(0.2, bench.case.min_seconds / 20) / once))

    def seconds(count: int, wait: Call) -> float:
        bench.wait()
        start = time.perf_counter()
        for _ in range(count):
            bench.call(batch)
        wait()
        return time.perf_counter() - start

    tries = [(seconds(steps, bench.wait), seconds(2 * steps, bench.wait)) for _ in range(3)]
    return {
        "steps": steps,
        "waited_s": median(n for n, _ in tries),
        "launched_s": median(seconds(steps, timing.nothing) for _ in range(3)),
        "twice_over_once": median(twice / n for n, twice in tries),
    }


def outputs(bench: Bench) -> dict[str, Any] | None:
    """Fixed pictures through the model here and, in fp32, on the CPU; None where here is that very computation.

    Here in whole batches, the pictures over again in the last: a compiled model would compile anew for fewer. The
    largest difference is relative to the scatter (standard deviation) of the CPU's output.
    """
    case = bench.case
    if case.mode == "train" or (bench.device.type == "cpu" and case.reference):
        return None
    pictures = torch.stack([bench.pictures[i] for i in range(PICTURES)])
    batches = pictures[torch.arange(-PICTURES // case.batch_size * -case.batch_size) % PICTURES].split(case.batch_size)
    there = models.build(case.model, case.seed)
    finish = images.finisher(torch.device("cpu"), torch.float32, torch.contiguous_format)
    with torch.inference_mode():
        wanted = torch.cat([there(finish(part)) for part in pictures.split(16)])
        got = torch.cat([bench.call(bench.finish(part)).float().cpu() for part in batches])[:PICTURES]
    difference = float((got - wanted).abs().max() / wanted.std())
    right = difference <= TOLERANCE[case.precision]  # False for NaN, too
    finite = difference == difference and difference < 1e18
    return {
        "images": PICTURES,
        "largest_difference": difference if finite else None,
        "tolerance": TOLERANCE[case.precision],
        "top1_agreement": float((got.argmax(1) == wanted.argmax(1)).float().mean()),
        "agree": right,
        "unknown": {} if finite else {"largest_difference": "an output was not a finite number"},
    }


def flop_per_image(bench: Bench) -> float:
    """Floating-point operations of one image, 2 per multiply-add, of convolutions, matrix products and attention.

    By torch's FlopCounterMode on the plain model; a training step counts three times (forward, and backward twice).
    """
    counter, few = FlopCounterMode(display=False), bench.ready_batch[: 2 if bench.case.mode == "train" else 1]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one fused call would not be counted
    with torch.no_grad(), counter:
        plain(bench.model)(few)
    torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / len(few) * (3.0 if bench.case.mode == "train" else 1.0)


def plain(model: torch.nn.Module) -> torch.nn.Module:
    """The model as it was before torch.compile."""
    return getattr(model, "_orig_mod", model)


def bytes_per_image(bench: Bench) -> float:
    """The least bytes moved for one image: its share of the weights read, each layer's output written and read."""
    model, moved, few = plain(bench.model), [0], bench.ready_batch[:2]

    def count(_module: Any, _input: Any, output: Any) -> None:
        moved[0] += 2 * output.nbytes if isinstance(output, torch.Tensor) else 0

    hooks = [m.register_forward_hook(count) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        model(few)
    for hook in hooks:
        hook.remove()
    weights = sum(p.nbytes for p in model.parameters())
    return weights / bench.case.batch_size + moved[0] / len(few)


def kernels(bench: Bench) -> list[dict[str, Any]]:
    """The rate of dense kernels on random data in the case's precision: matrix products and 3x3 convolutions by size.

    Each has its median of three; a row of sizes ends with the first that takes a tenth of a second (less where
    MIN_SECONDS is less than ten). Both kinds, since
    either may be the faster: on AMD's processors the library behind matrix products reaches half of what the one
    behind convolutions does, and a convolution may do with fewer multiplications than are counted (Winograd).
    """
    random = partial(torch.randn, device=bench.device, dtype=bench.ready_batch.dtype)
    products = [(f"matmul {n}", (n, n), (n, n), torch.mm, 2 * n**3) for n in PRODUCTS]
    convolve = partial(torch.nn.functional.conv2d, padding=1)
    filters = [
        (f"conv3x3 {n}x{c}x{px}x{px}", (n, c, px, px), (c, c, 3, 3), convolve, 18 * n * c * c * px * px)
        for n, c, px in CONVOLUTIONS
    ]
    found = []
    for row in (products, filters):
        for name, left, right, kernel, flop in row:
            seconds = _kernel_s(torch.inference_mode()(partial(kernel, random(left), random(right))), bench.wait)
            found.append({"name": name, "flop_per_s": flop / seconds})
            if seconds > min(0.1, bench.case.min_seconds / 100):
                break
    return found


def _kernel_s(call: Call, wait: Call) -> float:
    once = timing.block(call, wait, 2) / 2
    steps = max(1, min(1000, round(0.02 / once)))
    return median(timing.block(call, wait, steps) for _ in range(3)) / steps


def copy_bandwidth(bench: Bench) -> float:
    """Bytes per second of a large copy on the device, each byte counted twice: read, and written."""
    source = torch.randn(32 * 2**20, device=bench.device)
    target = torch.empty_like(source)
    seconds = median(timing.block(lambda: target.copy_(source), bench.wait, 3) / 3 for _ in range(3))
    return 2 * source.nbytes / seconds


def limits(bench: Bench, images_per_s: float) -> dict[str, Any]:
    """How near the model alone comes to what the device can do at all, and which roof binds (Williams et al. 2009)."""
    flop, moved, found, bandwidth = flop_per_image(bench), bytes_per_image(bench), kernels(bench), copy_bandwidth(bench)
    peak = max(k["flop_per_s"] for k in found)
    return {
        "flop_per_image": flop,
        "kernels": found,
        "peak_flop_per_s": peak,
        "copy_bytes_per_s": bandwidth,
        "bytes_per_image": moved,
        "utilisation": flop * images_per_s / peak,
        "binds": "compute" if flop / peak >= moved / bandwidth else "bandwidth",
    }


def cause(
    bench: Bench, part: str, stream: Iterator[torch.Tensor], whole: dict[str, Any], report: Report
) -> dict[str, Any] | None:
    """The named part replaced by data that is ready: what the rest does then, and whether that confirms it.

    None where no part stands out.
    """
    if part == "balanced":
        return None
    host, ready = bench.host_batch, bench.ready_batch
    without = {
        "input": lambda: bench.call(bench.finish(host)),
        "copy": lambda: (next(stream), bench.call(ready)),
        "forward": lambda: bench.finish(next(stream)),
    }
    rest = bench.timed(without[part], report, window=2, least_s=max(0.5, min(2.0, bench.case.min_seconds / 5)))
    rates = [[p["block_images"] / s for s in p["block_s"]] for p in (whole, rest)]
    return {
        "part": part,
        "images_per_s_with": whole["images_per_s"],
        "images_per_s_without": rest["images_per_s"],
        "confirmed": bottleneck.confirmed(*rates),
    }


def attribution(
    bench: Bench, passes: dict[str, Any], workers: int, waited: dict[str, Any]
) -> tuple[float, str, dict[str, dict[str, float]]]:
    """The end-to-end rate that the parts allow, the part that holds it back (a hint, for cause() to test), and the
    seconds of an image that each part takes of each resource.

    waited is what waiting() found: on an accelerator its launches take the main process's time.
    """
    launch_s = waited["launched_s"] / (waited["steps"] * bench.case.batch_size)
    ceilings = {p: passes[p] and passes[p]["images_per_s"] for p in ("forward", "copy", "input")}
    on_cpu = bench.device.type == "cpu"
    ways: dict[str, Any] = {
        "overlapped": workers > 0 or bench.device.type == "cuda",
        "workers": workers,
        "device_is_cpu": on_cpu,
        "beside": bench.device.type == "cuda",
    }
    shared = ways | {"cores": run_passes.cores(), "threads": torch.get_num_threads(), "launch_s": launch_s}
    allowed, _ = bottleneck.allowed_rate(ceilings, **shared)
    held = bottleneck.what_holds_back(ceilings, passes["end_to_end"]["images_per_s"], **shared)
    return allowed, held, bottleneck.resources(ceilings, **shared)


def told(allowed: float, part: str, images_per_s: float) -> str:
    """What the parts allow, how near the whole comes to it, and what holds it back, in a sentence."""
    held = "nothing stands out as what holds it back" if part == "balanced" else f"{part} holds it back"
    return (
        f"One image takes {1000 / images_per_s:.3g} ms where its parts allow {1000 / allowed:.3g}: the whole comes to "
        f"{100 * images_per_s / allowed:.0f} % of what they allow, and {held}."
    )


def again(bench: Bench, forward: dict[str, Any]) -> dict[str, Any]:
    """The forward pass once more, at the run's end: the seconds of three of its blocks, or of one that takes long.

    Of these blocks also the kernel's share of the process's CPU time, and the page faults of one image: memory that is
    given back to the system and fetched anew for each batch costs a CPU up to half of its speed (getrusage(2)).
    """
    steps, batch = forward["block_images"] // bench.case.batch_size, bench.ready_batch
    blocks = 3 if median(forward["block_s"]) < 1 else 1
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = [timing.block(lambda: bench.call(batch), bench.wait, steps) for _ in range(blocks)]
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    faults = after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt
    return {
        "again_block_s": seconds,
        "system_share": system / (user + system) if user + system else None,
        "faults_per_image": faults / (blocks * forward["block_images"]),
    }


class Log:
    """The machine's state before and after the run, and its heat and power meanwhile: started, then stopped.

    With telemetry it rests rest_s seconds before the run and after it: the idle baseline, and the cool-down.
    """

    def __init__(self, telemetry: bool, rest_s: float) -> None:
        self.before = machine_facts.state()
        self.sampler = sampler.start() if telemetry else None
        self.rest_s = rest_s if telemetry else 0.0
        time.sleep(self.rest_s)
        self.idle_until = time.perf_counter()

    def stop(self, zero_s: float) -> dict[str, Any]:
        """The states before and after, and the samples with their times counted from the run's zero (None if off)."""
        ended, after = time.perf_counter(), machine_facts.state()
        time.sleep(self.rest_s)
        section = self.sampler.stop(zero_s) if self.sampler else None
        limits = {"idle_until_s": self.idle_until - zero_s, "cooling_from_s": ended - zero_s}
        return {"before": self.before, "after": after, "telemetry": section and section | limits}


def rest_s(case: Case) -> float:
    """How many seconds to look at the machine at rest: half a minute around a sustained run, else three, or less."""
    return 30.0 if case.minutes else min(3.0, case.min_seconds / 2)


def judge(
    bench: Bench, passes: dict[str, Any], limits: dict[str, Any], found: dict[str, Any], log: dict[str, Any]
) -> dict[str, Any]:
    """The record's sections on what the run is worth: its checks, memory, telemetry and verdict."""
    forward, swap = passes["forward"], [log[when]["swap_used_bytes"] for when in ("before", "after")]
    on_cpu, threads = bench.device.type == "cpu", torch.get_num_threads()
    found = found | {"before": log["before"], "after": log["after"], "wall_s": time.perf_counter() - bench.zero_s}
    found["busy"] = stats.busy_ratio(forward["cpu_s"], forward["seconds"], threads) if on_cpu else None
    grown = None if None in swap else swap[1] - swap[0]
    memory = {**devices.peak_memory(bench.device), "swap_growth_bytes": grown}
    memory["unknown"] |= {} if grown is not None else {"swap_growth_bytes": "the swap in use could not be read"}
    witness = log["telemetry"] and telemetries.heat_witness(
        log["telemetry"], 0.0, found["wall_s"], log["before"], log["after"]
    )
    return {
        "passes": passes | {"unknown": {} if passes["copy"] else {"copy": "the batch is where the model is"}},
        "limits": limits,
        "memory": memory,
        "telemetry": log["telemetry"],
        "checks": found | {"unknown": {k: why for k, why in NOT_FOUND.items() if found[k] is None}},
        "verdict": verdict(bench, passes, found, limits, grown, witness),
        "unknown": {} if log["telemetry"] else {"telemetry": "TELEMETRY=0"},
    }


NOT_FOUND = {
    "busy": "the CPU is not the device",
    "system_share": "the blocks were too short to tell",
    "compiled": "torch.compile was not asked for",
    "cause": "no part stands out",
    "outputs": "this is the computation that others are compared with, or it trains and its weights have changed",
}


def verdict(
    bench: Bench,
    passes: dict[str, Any],
    found: dict[str, Any],
    limits: dict[str, Any],
    swap_growth_bytes: int | None,
    witness: str | None,
) -> dict[str, Any]:
    """The run's word on itself: stats.verdict on what was found; witness is the second sign of heat, in words."""
    forward, whole = passes["forward"], passes["end_to_end"]
    word, reasons = verdicts.verdict(
        device_is_cpu=bench.device.type == "cpu",
        busy=found["busy"],
        load_before=found["before"]["load_1m"],
        load_after=found["after"]["load_1m"],
        cores=run_passes.cores(),
        spread=stats.spread(forward["block_s"]),
        settled=forward["settled"] and whole["settled"],
        drift=stats.drift(whole["block_s"]),
        first_last=median(forward["block_s"]) / median(found["again_block_s"]) - 1,
        heat_witness=witness,
        swap_growth_bytes=swap_growth_bytes,
        flops_ratio=limits["utilisation"],
        stolen=found["stolen"],
        twice_over_once=found["waiting"]["twice_over_once"],
        outputs_agree=found["outputs"] is None or found["outputs"]["agree"],
    )
    if again := found["compiled"] and found["compiled"]["recompiles"]:
        word = "noisy" if word == "clean" else word
        reasons = [*reasons, f"torch.compile compiled {again} times again while it was timed: run again."]
    share, faults = found["system_share"], found["faults_per_image"]
    if word != "clean" and share is not None and share > KERNEL:
        reasons = [
            *reasons,
            f"A cause: the kernel took {100 * share:.0f} % of the CPU time in {faults:.0f} page faults an image.",
        ]
    return {"word": word, "reasons": [store.plain(r) for r in reasons]}


def result(
    bench: Bench, sections: dict[str, Any], *, sweep: dict[str, Any], repeat: int, created: str, machine: str
) -> Record:
    """The record of the run, validated. A run by hand belongs to a sweep of its own."""
    facts = machine_facts.facts()
    created = created or store.now()
    return Record.model_validate(
        sections
        | {
            "schema": 1,
            "status": "ok",
            "created": created,
            "sweep": sweep or {"id": f"{created}-0000000000", "runs": 1, "order": 1},
            "repeat": repeat,
            "case": bench.case,
            "machine": facts | {"slug": machine or machine_facts.slug(facts)},
            "software": joined(machine_facts.versions(), devices.describe(bench.device)),
        }
    )


def joined(*sections: dict[str, Any]) -> dict[str, Any]:
    """One section of several, their reasons put together."""
    unknown = {k: why for s in sections for k, why in s.get("unknown", {}).items()}
    return {k: v for s in sections for k, v in s.items()} | {"unknown": unknown}
