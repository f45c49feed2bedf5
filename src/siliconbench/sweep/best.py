"""`make best`: the fastest setting of one model with the CPU's outputs: single runs, then two finalists interleaved."""

from functools import partial
from typing import Any

import torch

from siliconbench.analysis import cases, stats
from siliconbench.knobs import Given
from siliconbench.machine import facts
from siliconbench.record.axes import LAYOUTS, PRECISIONS
from siliconbench.record.schema import Case, Record
from siliconbench.run.device import choose, lacks
from siliconbench.sweep import runner, terminal
from siliconbench.sweep.plan import Runs, again, asked, larger, numbered, planned, rates, short_of_memory, shuffled


def finalists(records: list[Record]) -> list[Case]:
    """The reference (fp32, contiguous, eager, 64 images a batch or as many as memory held) and the chosen setting, by
    the runs of the search: each in its turn must bring more than 2 %. Empty where none succeeded."""
    chosen, best, size, mine = None, 0.0, 64, [r for r in records if r.sweep.search]
    for case in dict.fromkeys(asked(r.case) for r in sorted(mine, key=lambda r: r.sweep.order)):
        runs = [r for r in mine if asked(r.case) == case]
        if short_of_memory(runs):
            size = max(1, min(size, case.batch_size // 2)) if case.reference else size
        elif (found := rates(runs)) and (rate := stats.interval(found).mean) > 1.02 * best:
            chosen, best = case, rate
    plain = {"batch_size": size, "precision": "fp32", "memory_format": "contiguous", "compile": False}
    plain |= {"allocator": "system", "threads": None}
    return [asked(chosen, **plain), chosen] if chosen else []


def search(device: torch.device, repeats: int, seed: int, records: list[Record]) -> Runs:
    """The next stage, by the runs of those before it; the last one is the two finalists, `repeats` times each."""
    narrow = [p for p, axis in PRECISIONS.items() if device.type in axis.searched_on and not lacks(device, p)]
    stages: dict[str, list[Any]] = {"memory_format": ["channels_last"], "precision": narrow, "compile": [True]}
    if not all(r.sweep.search for r in records):
        return again(records, repeats, seed)
    if more := again(records, 1, seed, search=True):
        return more
    if sizes := larger([r for r in records if r.case.reference]):
        return numbered(sizes, records, search=True)
    last = finalists(records)
    for field, values in stages.items():
        if last and values and not any(getattr(r.case, field) in values for r in records):
            return numbered([asked(last[1], **{field: value}) for value in values], records, search=True)
    return numbered(shuffled(list(dict.fromkeys(last)), repeats, seed, records[0].sweep.id), records)


def code(r: Record) -> str:
    """Lines of Python that classify a batch in this run's setting."""
    c, precision = r.case, PRECISIONS[r.case.precision]
    to = f'device="{c.device}", dtype=torch.{precision.dtype}'
    layout = f"memory_format=torch.{LAYOUTS[c.memory_format]}"
    flags = "".join(f"torch.backends.{part}.allow_tf32 = {precision.tf32}\n" for part in ("cuda.matmul", "cudnn"))
    mode = f', mode="{c.compile}"' if isinstance(c.compile, str) else ""
    compiled = f"\nmodel = torch.compile(model{mode})" if c.compile else ""
    return f"""import torch
from torchvision.models import get_model

{flags if c.device == "cuda" else ""}model = get_model("{c.model}", weights=None)  # weights="DEFAULT": trained ones
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
    """How much faster one setting's runs are than another's, in a sentence, and whether they surely are: all runs that
    count say so, and those that nobody disturbed would give no other word."""
    whole = stats.compare(rates(plain), rates(mine))
    a, b = (rates([r for r in runs if r.verdict and not r.verdict.disturbed]) for runs in (plain, mine))
    other = a and b and whole.word not in ("undecided", stats.word_of(stats.difference(a, b).log))
    word = "undecided, since the undisturbed runs alone say otherwise" if other else whole.word
    span = f" ({whole.low:.2f} to {whole.high:.2f}, 95 %)" if whole.low and whole.high else " (one run each)"
    parts = [[r.passes.forward.images_per_s for r in runs if r.passes and r.passes.forward] for runs in (plain, mine)]
    model = f"; the model alone {stats.compare(parts[0], parts[1]).ratio:.2f} times" if all(parts) else ""
    return f"{whole.ratio:.2f} times the reference end to end{span}: {word}{model}.", word == "faster"


def figure(runs: list[Record]) -> str:
    """A finalist's setting and its rate end to end with its interval on any day, as its page has it, in words."""
    setting = cases.case_words(runs[0].case, cases.SETTING).partition(", ")[2]
    return f"{setting}: {cases.rate_words(*stats.interval(rates(runs), stats.BETWEEN)[:3])} end to end"


def result(records: list[Record]) -> list[str]:
    """What the search found, by the finalists' runs: the setting, its gain, its outputs, and the Python to use it."""
    finals, last = [r for r in records if not r.sweep.search and rates([r])], finalists(records)
    plain, mine = ([r for r in finals if asked(r.case) == c] for c in (last or (None, None)))
    winner, head, lines = mine or plain, "Fastest", list[str]()
    if not winner:
        return ["No setting ran to its end with the right outputs: the lines above say why."]
    if not plain:
        lines = ["The reference setting did not run to its end: there is nothing to compare with."]
    elif mine and mine[0].case != plain[0].case:
        sentence, surely = gain(plain, mine)
        lines = [sentence, f"reference: {figure(plain)}"]
        if not surely:
            more = stats.runs_needed(rates(plain), rates(mine))
            enough = [f"REPEATS={more + max(len(plain), len(mine))} would probably tell."] if more else []
            winner, head = plain, "None is surely faster than the reference"
            lines = [f"tried at last: {figure(mine)}", sentence, *enough]
    head += f" for {winner[0].case.model} on the {winner[0].case.device}: {figure(winner)}."
    return [head, *lines, agreement(winner[0]), "To use it:", "", code(winner[0]), ""]


def find(given: Given, page: runner.Page) -> int:
    """The exit status of `make best`: 0 when a setting was found, 1 when none runs."""
    device, repeats = choose(given["USE_GPU"]), given["REPEATS"]
    machine, further = facts.machine(given["MACHINE"]), partial(search, device, repeats, given["SEED"])
    plan = planned(given | {"REPEATS": 1}, device.type, machine, f"best of {repeats}", further, trial=True)
    runs = (13 if device.type == "cpu" else 20) + 2 * repeats  # batch sizes, one run a variant, the finalists
    about = terminal.minutes(runs * terminal.estimate(plan.runs[0].case) + 60)  # torch.compile
    print(f"{machine.slug}: the fastest {given['IMAGE_MODEL'][0]} on the {device.type}")
    print(f"About {runs} runs, {about}; {terminal.STOPS}")
    records = runner.stages(plan, further, lambda records: ["", *result(records)], page)
    return int(not rates([r for r in records if not r.sweep.search]))
