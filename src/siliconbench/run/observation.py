"""One observation of `make trust`, in a fresh process of its own that loads only what it measures with."""

import gc
import itertools
import sys
from collections.abc import Callable

from siliconbench.record.schema import Case


def planted(step: Callable[[], object], every: int) -> Callable[[], object]:
    """The step, done twice each `every`-th time; the same step where every is 0."""
    turns = itertools.cycle([step] * (every - 1) + [lambda: (step(), step())])
    return (lambda: next(turns)()) if every else step


def observe(case: str, every: int, least: int) -> str:
    """The forward pass of a case, both as JSON, of `least` batches and more, each `every`-th of them done twice."""
    gc.disable()  # what is being loaded is not to be searched for garbage, nor is all of it while something is timed
    from siliconbench.run import passes

    gc.freeze()
    gc.enable()
    bench = passes.set_up(Case.model_validate_json(case))
    step, batch = bench.call, bench.ready_batch
    timed = bench.timed(planted(lambda: step(batch), every), least_images=least * bench.case.batch_size)
    return timed.model_dump_json(include={"images_per_s", "block_images", "block_s"})


if __name__ == "__main__":
    print(observe(sys.argv[1], *map(int, sys.argv[2:])))
