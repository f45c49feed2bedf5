"""`make best`: the fastest setting of one model on this machine whose outputs are still those of the CPU.

Stage by stage, each keeping the best so far: batch size by doubling, layout, precision, compilation. Single runs
choose. Then the chosen and the reference setting run anew, interleaved: what luck chose does not stay ahead there.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from siliconbench.analysis import stats
from siliconbench.machine import facts as machine_facts
from siliconbench.record.schema import Case, Record
from siliconbench.run import device as devices
from siliconbench.run import models
from siliconbench.sweep import batch_size, runner, terminal
from siliconbench.sweep.runner import Further, Runs

WORTH = 1.02  # a change that brings less than 2 % is not kept

USUAL = 64  # images a batch of the reference setting


def options(device: torch.device) -> list[tuple[str, list[Any]]]:
    """The stages after the batch size: a field of the case and the values to try. 16 bits of the CPU are bfloat16."""
    narrow = ["bf16"] if device.type == "cpu" else ["tf32", "fp16", "bf16"]
    narrow = [precision for precision in narrow if not devices.lacks(device, precision)]
    return [("memory_format", ["channels_last"]), ("precision", narrow), ("compile", [True])]


def kept(records: list[Record]) -> Record | None:
    """The run whose setting is the best so far: each in its turn must bring more than 2 %; None if none succeeded."""
    best = None
    for r in sorted(records, key=lambda r: r.sweep.order):
        mine = [] if batch_size.short_of_memory([r]) else batch_size.rates([r])
        if mine and (best is None or mine[0] > WORTH * batch_size.rates([best])[0]):
            best = r
    return best


def asked(r: Record, **changes: Any) -> Case:
    """What a run was asked for, with changes."""
    return r.case.model_copy(update={"image_px": None} | changes)


def reference(records: list[Record], best: Record) -> Case:
    """The setting to beat: fp32, contiguous, eager, 64 images a batch, or as many as memory holds."""
    short = [r.case.batch_size for r in records if r.case.reference and batch_size.short_of_memory([r])]
    plain = {"precision": "fp32", "memory_format": "contiguous", "compile": False}
    return asked(best, batch_size=min([USUAL, *(size // 2 for size in short if size > 1)]), **plain)


def search(device: torch.device, repeats: int, seed: int) -> Further:
    """The next stage, told by the runs of those before it; at the end the two finalists, `repeats` times."""

    def further(records: list[Record]) -> Runs:
        best = kept(records)
        if more := batch_size.larger([r for r in records if r.case.reference]):
            return [(case, 1) for case in more]
        if best is None or any(r.repeat > 1 for r in records):
            return []
        for field, values in options(device):
            if values and not any(getattr(r.case, field) in values for r in records):
                return [(asked(best, **{field: value}), 1) for value in values]
        finalists = list(dict.fromkeys([reference(records, best), asked(best)]))
        return [(case, repeat + 1) for case, repeat in runner.shuffled(finalists, repeats, seed)]

    return further


def code(r: Record) -> str:
    """Lines of Python that classify a batch in this run's setting."""
    c, tf32 = r.case, r.case.precision == "tf32"
    to = f'device="{c.device}", dtype={models.DTYPES[c.precision]}'
    layout = f"memory_format={models.LAYOUTS[c.memory_format]}"
    flags = ["torch.backends.cuda.matmul", "torch.backends.cudnn"] if c.device == "cuda" else []
    lines = [
        "import torch",
        "from torchvision.models import get_model",
        "",
        *(f"{flag}.allow_tf32 = {tf32}" for flag in flags),
        f'model = get_model("{c.model}", weights=None).eval()  # weights="DEFAULT": trained ones',
        f"model = model.to({to}).to({layout})",
        *(["model = torch.compile(model)"] if c.compile else []),
        f"pictures = torch.rand({c.batch_size}, 3, {c.image_px}, {c.image_px})  # yours, normalised",
        "with torch.inference_mode():",
        f"    classes = model(pictures.to({to}, {layout})).argmax(1)",
    ]
    return "\n".join(lines)


def words(c: Case) -> str:
    """A setting in words."""
    ways = (c.precision, c.memory_format.replace("_", " "), "compiled" if c.compile else "eager")
    return f"{', '.join(ways)}, batch {c.batch_size}"


def agreement(r: Record) -> str:
    """Whether a run's outputs are the CPU's, in a sentence."""
    found = r.checks.outputs if r.checks else None
    if found is None or found.largest_difference is None or found.top1_agreement is None:
        return "Its outputs are the CPU's in fp32: it is that very computation."
    return (
        f"Its outputs agree with the CPU's in fp32: the largest difference is {found.largest_difference:.2g} of their "
        f"scatter ({found.tolerance:g} is allowed), the class is the same for {100 * found.top1_agreement:.0f} %."
    )


def gain(plain: list[Record], mine: list[Record]) -> tuple[str, bool]:
    """How much faster one setting's runs are than another's, in a sentence, and whether they surely are."""
    found = stats.compare(batch_size.rates(plain), batch_size.rates(mine))
    span = f" ({found.low:.2f} to {found.high:.2f}, 95 %)" if found.low and found.high else " (one run each)"
    slow, fast = (
        [r.passes.forward.images_per_s for r in some if r.passes and r.passes.forward] for some in (plain, mine)
    )
    model = f"; the model alone {stats.compare(slow, fast).ratio:.2f} times" if slow and fast else ""
    return f"{found.ratio:.2f} times the reference end to end{span}: {found.word}{model}.", found.word == "faster"


def more_repeats(plain: list[Record], mine: list[Record]) -> list[str]:
    """How many repeats would probably decide between two settings; nothing when even 50 more would not."""
    more = stats.runs_needed(batch_size.rates(plain), batch_size.rates(mine))
    return [f"REPEATS={more + max(len(plain), len(mine))} would probably tell."] if more else []


def result(records: list[Record]) -> list[str]:
    """What the search found, by the finalists' runs: the setting, its gain, its outputs, and the Python to use it."""
    finals = [r for r in records if r.repeat > 1]
    chosen = kept([r for r in records if r.repeat == 1])
    mine = [r for r in finals if chosen and asked(r) == asked(chosen) and batch_size.rates([r])]
    plain = [r for r in finals if chosen and asked(r) == reference(records, chosen) and batch_size.rates([r])]
    if not mine and not plain:
        return ["No setting ran to its end with the right outputs: the lines above say why."]
    told, use, head = [], (mine or plain)[0], "Fastest"
    if mine and plain and mine[0].case != plain[0].case:
        text, surely = gain(plain, mine)
        told = [text, f"reference: {terminal.told(batch_size.rates(plain))}"]
        if not surely:
            told = [f"tried at last: {words(mine[0].case)}", text, *more_repeats(plain, mine)]
            use, head = plain[0], "None is surely faster than the reference"
    elif not plain:
        told = ["The reference setting did not run to its end: there is nothing to compare with."]
    own = batch_size.rates(mine if use in mine else plain)
    head += f" for {use.case.model} on the {use.case.device}: {words(use.case)}: {terminal.told(own)}."
    return [head, *told, agreement(use), "To use it:", "", code(use), ""]


def estimate(given: dict[str, Any], device: torch.device) -> str:
    """About how long the search takes, in words: its batch sizes, one run a variant, and the finalists."""
    sizes, variants = 8 if device.type == "cpu" else 12, sum(len(values) for _, values in options(device))
    runs = sizes + variants + 2 * given["REPEATS"]
    seconds = runs * terminal.estimate(given["MIN_SECONDS"], 0, device.type) + 60  # torch.compile
    return f"About {runs} runs, {terminal.minutes(seconds)}; Ctrl-C stops, and the same command goes on later."


def find(given: dict[str, Any], page: Callable[[str, Path], str]) -> int:
    """The exit status of the whole search: 0 when a setting was found, 1 when none runs."""
    start, facts, device = time.perf_counter(), machine_facts.facts(), devices.choose(given["USE_GPU"])
    further = search(device, given["REPEATS"], given["SEED"])
    plan = runner.plan(given | {"REPEATS": 1}, device.type, facts, f"best of {given['REPEATS']}", further)
    if why := runner.another_machine(plan.results / plan.slug, facts):
        print(f"make best: {why}: give this one a name of its own with MACHINE=", file=sys.stderr)
        return 2
    print(f"{plan.slug}: the fastest {given['IMAGE_MODEL'][0]} on the {device.type}", estimate(given, device), sep="\n")
    records = runner.stages(plan, further, sys.stdout)
    print("", *result(records), sep="\n")
    print(f"{page(plan.slug, plan.results)} ({terminal.minutes(time.perf_counter() - start)})")
    return 0 if any(r.repeat > 1 and batch_size.rates([r]) for r in records) else 1
