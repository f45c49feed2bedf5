"""Whether a run can be trusted: does synchronizing work, is the output right, was it alone, did it keep its speed?"""

import resource
import time
from dataclasses import dataclass
from statistics import median

import torch

from siliconbench.machine.facts import cpu_seconds
from siliconbench.record.axes import DEVICES, PRECISIONS
from siliconbench.record.schema import Outputs, Pass, Synchronization
from siliconbench.run import models
from siliconbench.run.images import finisher
from siliconbench.run.passes import Bench
from siliconbench.run.timing import Call, block, nothing

IMAGES = 64  # fixed ones, for the comparison of outputs


class Neighbours:
    """How much of all processors' time other programs take while this one works: started, then asked."""

    def __init__(self) -> None:
        self.start = (*cpu_seconds(), time.process_time())

    def share(self) -> float:
        """The share taken since the start, 0 to 1."""
        busy, total, own = (b - a for a, b in zip(self.start, (*cpu_seconds(), time.process_time()), strict=True))
        return min(1.0, max(0.0, busy - own) / total) if total > 0 else 0.0


@dataclass(frozen=True)
class Repeat:
    """The forward pass at the run's end: seconds of its blocks, the kernel's share of CPU time, faults of an image."""

    block_s: list[float]
    system_share: float | None
    page_faults_per_image: float


def synchronization(bench: Bench) -> Synchronization:
    """The same steps timed synchronized and not, and twice the steps over once (1.9 to 2.1 if synchronizing works).

    Each the median of three. On the CPU one image at a time will do: there is nothing to be behind. A compiled model
    keeps its batch size: another would make it compile again.
    """
    few = not DEVICES[bench.device.type].accelerator and not bench.case.compile
    batch = bench.ready_batch[:1] if few else bench.ready_batch
    once = block(lambda: bench.call(batch), bench.synchronize, 2) / 2
    steps = max(1, round(min(0.2, bench.case.min_seconds / 20) / once))

    def seconds(count: int, synchronize: Call) -> float:
        bench.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            bench.call(batch)
        synchronize()
        return time.perf_counter() - start

    tries = [(seconds(steps, bench.synchronize), seconds(2 * steps, bench.synchronize)) for _ in range(3)]
    return Synchronization(
        steps=steps, synchronized_s=median(n for n, _ in tries),
        launched_s=median(seconds(steps, nothing) for _ in range(3)),
        twice_over_once=median(twice / n for n, twice in tries),
    )  # fmt: skip


def outputs(bench: Bench) -> Outputs | None:
    """Fixed images through the model here and, in fp32, on the CPU; None where here is that very computation.

    Here in whole batches, the last filled with repeats: a compiled model would compile anew for fewer. The largest
    difference is relative to the scatter (standard deviation) of the CPU's output.
    """
    case, cpu = bench.case, torch.device("cpu")
    if case.mode == "train" or (bench.device == cpu and case.reference):
        return None
    images = torch.stack([bench.images[i] for i in range(IMAGES)])
    batches = images[torch.arange(-IMAGES // case.batch_size * -case.batch_size) % IMAGES].split(case.batch_size)
    there, finish = models.build(case.model, case.seed), finisher(cpu, torch.float32, torch.contiguous_format)
    with torch.inference_mode():
        wanted = torch.cat([there(finish(part)) for part in images.split(16)])
        got = torch.cat([bench.call(bench.finish(part)).float().cpu() for part in batches])[:IMAGES]
    difference = float((got - wanted).abs().max() / wanted.std())
    tolerance = PRECISIONS[case.precision].tolerance  # NaN is not within it
    finite = difference == difference and difference < 1e18
    return Outputs(
        images=IMAGES, largest_difference=difference if finite else None, tolerance=tolerance,
        top1_agreement=float((got.argmax(1) == wanted.argmax(1)).float().mean()), agree=difference <= tolerance,
        unknown={} if finite else {"largest_difference": "an output was not a finite number"},
    )  # fmt: skip


def repeat(bench: Bench, forward: Pass) -> Repeat:
    """The forward pass once more, at the run's end: three of its blocks, or one that takes long.

    Memory that is given back to the system and fetched anew for each batch costs a CPU up to half of its speed: hence
    the page faults and the kernel's share of this process's CPU time (getrusage(2)).
    """
    steps, batch = forward.block_images // bench.case.batch_size, bench.ready_batch
    blocks = 3 if median(forward.block_s) < 1 else 1
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = [block(lambda: bench.call(batch), bench.synchronize, steps) for _ in range(blocks)]
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    faults = after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt
    share = system / (user + system) if user + system else None
    return Repeat(seconds, share, faults / (blocks * forward.block_images))
