"""`make best`: the fastest setting of one model on this machine whose outputs are still those of the CPU.

Single runs choose batch size, layout, precision and compilation, one after the other. Then the chosen and the
reference setting run anew, interleaved: what luck chose does not stay ahead there.
"""

from typing import Any

import torch

from siliconbench.analysis import stats
from siliconbench.analysis.cases import rate_words
from siliconbench.knobs import Given
from siliconbench.machine import facts
from siliconbench.record.axes import LAYOUTS, PRECISIONS
from siliconbench.record.schema import Case, Record
from siliconbench.run.device import choose, lacks
from siliconbench.sweep import batch_size, runner, terminal
from siliconbench.sweep.plan import Further, Runs, asked, planned, shuffled

WORTH = 1.02  # a change that brings less than 2 % is not kept
USUAL = 64  # images a batch of the reference setting


def tries(records: list[Record]) -> list[Record]:
    """The single runs that the finalists are chosen by: those before the first final run."""
    first = min((r.sweep.order for r in records if r.repeat > 1), default=len(records) + 1)
    return sorted((r for r in records if r.sweep.order < first), key=lambda r: r.sweep.order)


def kept(records: list[Record]) -> Record | None:
    """The try whose setting is the best: each in its turn must bring more than 2 %; None if none succeeded."""
    best = None
    for r in tries(records):
        mine = [] if batch_size.short_of_memory([r]) else batch_size.rates([r])
        if mine and (best is None or mine[0] > WORTH * batch_size.rates([best])[0]):
            best = r
    return best


def reference(records: list[Record], best: Record) -> Case:
    """The setting to beat: fp32, contiguous, eager, 64 images a batch, or as many as memory held in the tries."""
    short = [r.case.batch_size for r in tries(records) if r.case.reference and batch_size.short_of_memory([r])]
    plain = {"precision": "fp32", "memory_format": "contiguous", "compile": False}
    return asked(best.case, batch_size=min([USUAL, *(size // 2 for size in short if size > 1)]), **plain)


def search(device: torch.device, repeats: int, seed: int) -> Further:
    """The next stage, by the runs of those before it; the last one is the two finalists, `repeats` times each."""

    narrow = [p for p, axis in PRECISIONS.items() if device.type in axis.searched_on and not lacks(device, p)]
    stages: dict[str, list[Any]] = {"memory_format": ["channels_last"], "precision": narrow, "compile": [True]}

    def further(records: list[Record]) -> Runs:
        if any(r.repeat > 1 for r in records):
            return []
        if more := batch_size.larger([r for r in records if r.case.reference]):
            return [(case, 1) for case in more]
        if (best := kept(records)) is None:
            return []
        for field, values in stages.items():
            if values and not any(getattr(r.case, field) in values for r in records):
                return [(asked(best.case, **{field: value}), 1) for value in values]
        finalists = list(dict.fromkeys([reference(records, best), asked(best.case)]))
        return [(case, repeat + 1) for case, repeat in shuffled(finalists, repeats, seed)]

    return further


def code(r: Record) -> str:
    """Lines of Python that classify a batch in this run's setting."""
    c, precision = r.case, PRECISIONS[r.case.precision]
    to = f'device="{c.device}", dtype=torch.{precision.dtype}'
    layout = f"memory_format=torch.{LAYOUTS[c.memory_format]}"
    parts = ("cuda.matmul", "cudnn") if c.device == "cuda" else ()
    flags = "".join(f"torch.backends.{part}.allow_tf32 = {precision.tf32}\n" for part in parts)
    compiled = "\nmodel = torch.compile(model)" if c.compile else ""
    return f"""import torch
from torchvision.models import get_model

{flags}model = get_model("{c.model}", weights=None)  # weights="DEFAULT": trained ones
model = model.eval().to({to}).to({layout}){compiled}
images = torch.rand({c.batch_size}, 3, {c.image_px}, {c.image_px})  # yours, normalised
with torch.inference_mode():
    classes = model(images.to({to}, {layout})).argmax(1)"""


def agreement(r: Record) -> str:
    """Whether a run's outputs are the CPU's, in a sentence."""
    outputs = r.checks.outputs if r.checks else None
    if outputs is None or outputs.largest_difference is None or outputs.top1_agreement is None:
        return "Its outputs are the CPU's in fp32: it is that very computation."
    difference = f"{outputs.largest_difference:.2g} of their scatter ({outputs.tolerance:g} is allowed)"
    same = f"the class is the same for {100 * outputs.top1_agreement:.0f} %"
    return f"Its outputs agree with the CPU's in fp32: the largest difference is {difference}, {same}."


def gain(plain: list[Record], mine: list[Record]) -> tuple[str, bool]:
    """How much faster one setting's runs are than another's, in a sentence, and whether they surely are."""
    whole = stats.compare(batch_size.rates(plain), batch_size.rates(mine))
    span = f" ({whole.low:.2f} to {whole.high:.2f}, 95 %)" if whole.low and whole.high else " (one run each)"
    parts = [[r.passes.forward.images_per_s for r in runs if r.passes and r.passes.forward] for runs in (plain, mine)]
    model = f"; the model alone {stats.compare(parts[0], parts[1]).ratio:.2f} times" if all(parts) else ""
    return f"{whole.ratio:.2f} times the reference end to end{span}: {whole.word}{model}.", whole.word == "faster"


def figure(runs: list[Record]) -> str:
    """A finalist's setting and its rate end to end with its interval, in words."""
    c = runs[0].case
    ways = (c.precision, c.memory_format.replace("_", " "), "compiled" if c.compile else "eager")
    speed = rate_words(*stats.interval(batch_size.rates(runs))[:3])
    return f"{', '.join(ways)}, batch {c.batch_size}: {speed} end to end"


def result(records: list[Record]) -> list[str]:
    """What the search found, by the finalists' runs: the setting, its gain, its outputs, and the Python to use it."""
    chosen, finals = kept(records), [r for r in records if r.repeat > 1 and batch_size.rates([r])]
    mine = [r for r in finals if chosen and asked(r.case) == asked(chosen.case)]
    plain = [r for r in finals if chosen and asked(r.case) == reference(records, chosen)]
    if not mine and not plain:
        return ["No setting ran to its end with the right outputs: the lines above say why."]
    winner, head, lines = mine or plain, "Fastest", list[str]()
    if not plain:
        lines = ["The reference setting did not run to its end: there is nothing to compare with."]
    elif mine and mine[0].case != plain[0].case:
        sentence, surely = gain(plain, mine)
        lines = [sentence, f"reference: {figure(plain)}"]
        if not surely:
            more = stats.runs_needed(batch_size.rates(plain), batch_size.rates(mine))
            enough = [f"REPEATS={more + max(len(plain), len(mine))} would probably tell."] if more else []
            winner, head = plain, "None is surely faster than the reference"
            lines = [f"tried at last: {figure(mine)}", sentence, *enough]
    head += f" for {winner[0].case.model} on the {winner[0].case.device}: {figure(winner)}."
    return [head, *lines, agreement(winner[0]), "To use it:", "", code(winner[0]), ""]


def find(given: Given, page: runner.Page) -> int:
    """The exit status of `make best`: 0 when a setting was found, 1 when none runs."""
    device, repeats = choose(given["USE_GPU"]), given["REPEATS"]
    machine, further = facts.machine(given["MACHINE"]), search(device, repeats, given["SEED"])
    plan = planned(given | {"REPEATS": 1}, device.type, machine, f"best of {repeats}", further)
    runs = (11 if device.type == "cpu" else 16) + 2 * repeats  # batch sizes, one run a variant, the finalists
    about = terminal.minutes(runs * terminal.estimate(given["MIN_SECONDS"], 0, device.type) + 60)  # torch.compile
    print(f"{machine.slug}: the fastest {given['IMAGE_MODEL'][0]} on the {device.type}")
    print(f"About {runs} runs, {about}; {terminal.STOPS}")
    records = runner.stages(plan, further, lambda records: ["", *result(records)], page)
    return 0 if any(r.repeat > 1 and batch_size.rates([r]) for r in records) else 1
