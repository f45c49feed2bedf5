"""The bottleneck of a run: what its parts allow together, the part to suspect, and what happens without that part."""

from functools import partial
from statistics import median
from typing import Literal, NamedTuple, cast

import psutil
import torch

from siliconbench.analysis.bottleneck import Overlap, allowed_rate, experiment_answer, resources, suspect
from siliconbench.machine.facts import usable_cores
from siliconbench.record import axes, schema
from siliconbench.run import loader, zoo
from siliconbench.run.passes import Bench
from siliconbench.run.timing import Call, Report, block, nothing

Part = Literal["forward", "copy", "input", "balanced"]


class Parts(NamedTuple):
    """The end-to-end rate that the parts allow, the suspect (or "balanced"), seconds an image of each resource."""

    allowed_images_per_s: float
    suspect: Part
    resources: dict[str, dict[str, float]]


class Answer(NamedTuple):
    """What is recorded: the bottleneck, the experiment behind it, and why that is None."""

    bottleneck: Part
    experiment: schema.Experiment | None
    why: str = ""


def launch_s(bench: Bench) -> float:
    """The main process's seconds to launch one image's work on an idle device, 0 on the CPU: the median of nine. A step
    at a time: a full queue would take as long as the work. A copy that blocks is no launch, but a part of its own."""
    device, host, ready = axes.DEVICES[bench.device.type], bench.host_batch, bench.ready_batch
    if not device.accelerator:
        return 0.0
    whole, mark, seconds = bench.whole(lambda: host), bench.marks(), list[float]()
    step = (lambda: mark(whole())) if device.copies_beside else partial(bench.call, ready)
    for _ in range(9):
        bench.synchronize()
        seconds.append(block(step, nothing, 1))
    return median(seconds) / bench.case.batch_size


def combine(bench: Bench, passes: schema.Passes, workers: int) -> Parts:
    """What the parts, each measured alone, allow together."""
    parts = {"forward": passes.forward, "copy": passes.copy_, "input": passes.input}
    ceilings = {name: part.images_per_s if part else None for name, part in parts.items()}
    kind, load = axes.DEVICES[bench.device.type], passes.input
    overlap = Overlap(
        overlapped=workers > 0 or kind.copies_beside, workers=workers, device_is_cpu=not kind.accelerator,
        cores=usable_cores(), threads=torch.get_num_threads(), launch_s=launch_s(bench), copy_stream=kind.copies_beside,
        taken_s=load.cpu_s / load.images if load and workers else 0.0, physical=psutil.cpu_count(logical=False),
    )  # fmt: skip
    measured = passes.end_to_end.images_per_s if passes.end_to_end else 0.0
    suspected = cast(Part, suspect(ceilings, measured, overlap))
    return Parts(allowed_rate(ceilings, overlap)[0], suspected, resources(ceilings, overlap))


def without(bench: Bench, part: str, stream: loader.Loader) -> Call:
    """The step of the whole with this part replaced by data that is ready; copies overlap as in the whole. A copy that
    waits for the step before goes, but not its wait: an output is read where it would have been copied."""
    host, ready, device = bench.host_batch, bench.ready_batch, axes.DEVICES[bench.device.type]
    if part == "input":
        return bench.whole(lambda: host)
    if part == "forward":
        return bench.ahead(partial(next, stream))
    last = ready

    def step() -> None:
        nonlocal last
        next(stream)
        if device.accelerator and not device.copies_beside:
            zoo.leaves(last)[0].flatten()[0].item()
        last = bench.call(ready)

    return step


def experiment(bench: Bench, part: Part, stream: loader.Loader, whole: schema.Pass, report: Report = nothing) -> Answer:
    """The bottleneck: the suspect if the whole is faster without it, else "balanced"; no experiment: it can't tell."""
    if part == "balanced":
        return Answer("balanced", None, "no part stands out")
    images = min(whole.images, 5 * bench.case.batch_size)  # slow batches are blocks, and one block can't tell
    least_s = max(0.5, min(2.0, bench.case.min_seconds / 5))
    step, source = without(bench, part, stream), None if part == "input" else stream
    rest = bench.streamed(step, source, report, least_images=images, least_s=least_s)
    word = experiment_answer(*([p.block_images / s for s in p.equal_block_s] for p in (whole, rest)))
    if word == "can't tell":
        return Answer(part, None, "too few blocks to tell, or too different ones")
    found = {"images_per_s_with": whole.images_per_s, "images_per_s_without": rest.images_per_s}
    confirmed = word == "confirmed"
    return Answer(part if confirmed else "balanced", schema.Experiment(part=part, confirmed=confirmed, **found))
