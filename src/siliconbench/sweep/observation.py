"""One observation of `make trust`, in a fresh process of its own that loads only what it measures with."""

import gc
import itertools
import json
import sys
from collections.abc import Callable
from functools import partial

from siliconbench.record.schema import Case
from siliconbench.run.timing import block


def planted(step: Callable[[], object], every: int) -> Callable[[], object]:
    """The step, done twice each `every`-th time; the same step where every is 0."""
    turns = itertools.cycle([step] * (every - 1) + [lambda: (step(), step())])
    return (lambda: next(turns)()) if every else step


def observe(case: str, every: int, least: int, *cold: int) -> str:
    """The forward pass of a case, both as JSON, of `least` batches and more, each `every`-th of them done twice; before
    it, as cold_s, the seconds of the first call and of so many more, block by block."""
    gc.disable()  # what is being loaded is not to be searched for garbage, nor is all of it while something is timed
    from siliconbench.run import passes

    gc.freeze()
    gc.enable()
    bench = passes.set_up(Case.model_validate_json(case))
    step = partial(bench.call, bench.ready_batch)
    cold_s = [bench.first_forward_s, *(block(step, bench.synchronize, steps) for steps in cold)]
    timed = bench.timed(planted(step, every), least_images=least * bench.case.batch_size)
    return json.dumps({"cold_s": cold_s} | timed.model_dump(include={"images_per_s", "block_images", "block_s"}))


if __name__ == "__main__":
    print(observe(sys.argv[1], *map(int, sys.argv[2:])))
