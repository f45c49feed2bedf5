"""The bottleneck of a run: what its parts allow together, the part to suspect, and what happens without that part."""

from dataclasses import dataclass
from typing import Literal, cast

import torch

from siliconbench.analysis.bottleneck import Overlap, allowed_rate, experiment_answer, resources, suspect
from siliconbench.machine.facts import usable_cores
from siliconbench.record.axes import DEVICES
from siliconbench.record.schema import Experiment, Pass, Passes, Synchronization
from siliconbench.run.passes import Bench, Stream
from siliconbench.run.timing import Call, Report, nothing

Part = Literal["forward", "copy", "input", "balanced"]


@dataclass(frozen=True)
class Parts:
    """The end-to-end rate that the parts allow, the suspect (or "balanced"), seconds an image of each resource."""

    allowed_images_per_s: float
    suspect: Part
    resources: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Answer:
    """What is recorded: the bottleneck, the experiment behind it, and why that is None."""

    bottleneck: Part
    experiment: Experiment | None
    why: str = ""


def combine(bench: Bench, passes: Passes, workers: int, launches: Synchronization) -> Parts:
    """What the parts, each measured alone, allow together; on an accelerator launches take the main process's time."""
    parts = {"forward": passes.forward, "copy": passes.copy_, "input": passes.input}
    ceilings = {name: part.images_per_s if part else None for name, part in parts.items()}
    device = DEVICES[bench.device.type]
    overlap = Overlap(
        overlapped=workers > 0 or device.copies_beside, workers=workers, device_is_cpu=not device.accelerator,
        cores=usable_cores(), threads=torch.get_num_threads(),
        launch_s=launches.launched_s / (launches.steps * bench.case.batch_size), copy_stream=device.copies_beside,
    )  # fmt: skip
    measured = passes.end_to_end.images_per_s if passes.end_to_end else 0.0
    suspected = cast(Part, suspect(ceilings, measured, overlap))
    return Parts(allowed_rate(ceilings, overlap)[0], suspected, resources(ceilings, overlap))


def without(bench: Bench, part: str, stream: Stream) -> Call:
    """The step of the whole with this part replaced by data that is ready; copies overlap as in the whole."""
    host, ready = bench.host_batch, bench.ready_batch
    if part == "input":
        return bench.whole(lambda: host)
    if part == "copy":
        return lambda: (next(stream), bench.call(ready))
    return bench.ahead(lambda: next(stream))


def experiment(bench: Bench, part: Part, stream: Stream, whole: Pass, report: Report = nothing) -> Answer:
    """The bottleneck: the suspect if the whole is faster without it, else "balanced"; no experiment: it can't tell."""
    if part == "balanced":
        return Answer("balanced", None, "no part stands out")
    images = min(whole.images, 5 * bench.case.batch_size)  # slow batches are blocks, and one block can't tell
    least_s = max(0.5, min(2.0, bench.case.min_seconds / 5))
    rest = bench.timed(without(bench, part, stream), report, least_images=images, least_s=least_s, window=2)
    word = experiment_answer(*([p.block_images / s for s in p.block_s] for p in (whole, rest)))
    if word == "can't tell":
        return Answer(part, None, "too few blocks to tell, or too different ones")
    rates = {"images_per_s_with": whole.images_per_s, "images_per_s_without": rest.images_per_s}
    confirmed = word == "confirmed"
    return Answer(part if confirmed else "balanced", Experiment(part=part, confirmed=confirmed, **rates))


def sentence(parts: Parts, answer: Answer, images_per_s: float) -> str:
    """What the parts allow, how near the whole comes to it, and what the bottleneck is, in a sentence."""
    word = f"the bottleneck is {answer.bottleneck}"
    if answer.bottleneck == "balanced":
        word = "nothing stands out as the bottleneck"
    elif answer.experiment is None:
        word = f"the bottleneck may be {answer.bottleneck} ({answer.why})"
    return (
        f"One image takes {1000 / images_per_s:.3g} ms where its parts allow {1000 / parts.allowed_images_per_s:.3g}: "
        f"the whole comes to {100 * images_per_s / parts.allowed_images_per_s:.0f} % of what they allow, and {word}."
    )
