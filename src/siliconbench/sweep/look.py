"""Quick looks at settings for `make best`, in a process of their own: the model alone or, for latency, a request.

For its search many, one after the other, as lines of JSON come in; for its ladder one, kept as a record."""

import gc

if __name__ == "__main__":
    gc.disable()  # what is being loaded is not to be searched for garbage: that takes a second

import json
import os
import sys
from collections.abc import Iterable
from functools import partial
from statistics import median
from typing import Any

import torch

from siliconbench.record import store
from siliconbench.record.schema import Case, Outputs, Passes, Workers
from siliconbench.run import device, passes, result, selftest, timing

LOOK_S = 0.8  # how long, at least; of a batch that takes longer one
SLOW_S = 1.0  # what takes a batch so long is not repeated
CHECKED = "the first look at this setting checks them"
FIRST = 4.0  # times as fast as a first call of seconds is the most that a CPU's next may be: it has no kernels to load


def rate(bench: passes.Bench, request: bool, least: float) -> float:
    """The images/s of the model alone or, one request at a time, of a batch from the host's memory; medians of both.
    Where a CPU's first call shows that it won't come near `least`, those of that call."""
    size = bench.case.batch_size
    first = size / bench.first_forward_s
    if bench.case.device == "cpu" and not bench.case.compile and size > LOOK_S * first and first * FIRST < least:
        return first
    if request:
        taken = timing.requests(lambda: bench.call(bench.finish(bench.host_batch)), bench.synchronize, LOOK_S)
        return size / median(taken)
    step, batch = bench.call, bench.ready_batch
    once_s = timing.block(partial(step, batch), bench.synchronize, 1)
    steps, taken = max(1, round(LOOK_S / 8 / once_s)), list[float]()
    while once_s < LOOK_S and sum(taken) < LOOK_S:
        taken.append(timing.block(partial(step, batch), bench.synchronize, steps))
    return size * steps / median(taken or [once_s * steps])


def seen(case: Case, request: bool, least: float) -> tuple[float, str]:
    """The images/s of a setting; or 0 and why, as where its outputs are wrong: those of rates above `least` count."""
    try:
        bench = passes.set_up(case)
        found = rate(bench, request, least)
        outputs = selftest.outputs(bench) if found > least else None
        wrong = isinstance(outputs, Outputs) and not outputs.agree
        return (0.0, "its outputs are not the CPU's") if wrong else (found, "")
    except Exception as error:  # whatever a compiler or a device says: the search goes on with the rest
        return 0.0, store.plain(f"{type(error).__name__}: {error}")


def answer(lines: Iterable[str]) -> None:
    """Nothing; prints what is seen of each line's setting, and what else is printed meanwhile to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in lines:
        told = json.loads(line)
        print(json.dumps(seen(Case(**told["case"]), told["request"], told["least"])), file=answers, flush=True)
        if "torch._dynamo" in sys.modules:  # else to reset it would load it, which takes seconds
            torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def look(told: dict[str, Any]) -> None:
    """Nothing; writes the record of one setting: warmed up, timed, its page faults counted, and in the first look at it
    its outputs checked. What takes seconds a batch is not repeated: the pass itself is counted."""
    case = Case(**told["case"])
    log = result.Log(False, case)
    bench, neighbours, marks = passes.set_up(case), selftest.Neighbours(), list[Any]()
    least_s, step = case.min_seconds / 2, partial(bench.call, bench.ready_batch)

    def counted() -> None:
        marks.append(selftest.used())
        step()

    work = counted if case.device == "cpu" else step
    timed = bench.timed(work, least_s=least_s, warm_s=least_s, called_s=bench.called_s)
    ends, beside = [*marks[-len(timed.block_s) :][:1], selftest.used()], neighbours.seen()
    slow = case.device == "cpu" and timed.block_images == case.batch_size and median(timed.block_s) >= SLOW_S
    own = selftest.repeated(timed.start_s, timed.block_s, timed.images, *ends) if slow else None
    again = own or selftest.repeat(bench, timed)
    latency = passes.latency(bench) if told["request"] else None
    unknown = dict.fromkeys(("copy", "input", "end_to_end"), result.LOOK)
    measured = result.Measured(
        Passes(forward=timed, copy_=None, input=None, end_to_end=None, unknown=unknown), again, beside,
        Workers(used=0, start_method="none", tried=[], chosen_in=None), device.peak_memory(bench.device), latency,
        outputs=CHECKED if told["repeat"] > 1 else selftest.outputs(bench), precision=selftest.precision_proof(bench),
    )  # fmt: skip
    given = (told[name] for name in ("sweep", "repeat", "created", "machine"))
    store.write(result.record(bench, measured, log.stop(bench.zero_s), *given), store.folder_at(told["results"]))


if __name__ == "__main__":
    gc.enable()
    look(json.loads(sys.argv[1])) if sys.argv[1:] else answer(sys.stdin)
