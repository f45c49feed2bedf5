"""How many worker processes feed the model best: a few numbers tried, in turns, each by the whole as it will be timed.
Once for a case and a sweep: chosen anew in each run, its noise would be that of the runs."""

import math
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from siliconbench.machine import facts, tools
from siliconbench.record import axes, fields, schema
from siliconbench.run import folder, images, loader, passes

WORTH = 0.05  # a loader that takes less of the time is left in the main process: the most that others could bring
BETTER = 1.02  # more workers must bring more than 2 % to be worth having
ROUNDS = 3  # trials of each number, in turns: what changes meanwhile meets all of them; of batches of seconds, 2
NOISE = 2.5  # standard errors of a difference within which the best of a few numbers may be no better at all


def candidates(alone: float, needed: float, on_cpu: bool, cores: int) -> list[int]:
    """Which numbers of workers are worth a try, from the images/s that one process makes alone and that are needed."""
    if on_cpu and needed < WORTH * alone:
        return [0]
    most = max(1, cores if on_cpu else cores - 1)
    enough = math.ceil(1.3 * needed / alone)  # a worker brings less than a process alone: its batches are sent
    tries = {min(most, enough), min(most, 2 * enough)}
    return sorted(tries | ({0} if on_cpu or enough <= 1 else {max(1, most // 2)} if len(tries) == 1 else set()))


def choice(rates: Mapping[int, Sequence[float]], on_cpu: bool) -> int:
    """The number of workers to use, by images/s of at least two trials of each. Of those that tie with the best (within
    2 % or the trials' scatter): on a CPU, whose cores the model needs, the fewest; else the middle one."""
    y = {n: [math.log(r) for r in tried] for n, tried in rates.items()}
    trials, mean = sum(map(len, y.values())), {n: fmean(logs) for n, logs in y.items()}
    variance = sum((v - mean[n]) ** 2 for n, logs in y.items() for v in logs) / (trials - len(y))
    tie = max(math.log(BETTER), NOISE * math.sqrt(2 * variance * len(y) / trials))
    tied = sorted(n for n in mean if max(mean.values()) - mean[n] <= tie)
    return tied[0 if on_cpu else (len(tied) - 1) // 2]


def described(bench: passes.Bench, source: loader.Loader) -> fields.Folder:
    """The record's numbers of the folder, and the images/s of this loader from a cold page cache: all that it is timed
    for is made after its clock has started, what it had made ahead, warm, goes by."""
    (_, _, about, files), cold = folder.surveyed(bench.case.seed, bench.case.num_images), None
    while source.workers and sum(source.made) - source.taken < source.workers * loader.PREFETCH:  # who reads warms it
        time.sleep(0.01)
    batches = len(files) // (size := bench.case.batch_size)
    if not (why := folder.emptied(files) if batches else "the run reads fewer images than one batch holds"):
        start = time.perf_counter()
        source.jump(0)
        for _ in range(batches):
            next(source)
        cold = batches * size / (time.perf_counter() - start)
    for file in files[batches * size if cold else 0 :]:
        Path(file).read_bytes()
    return tools.section(fields.Folder, {"cold_images_per_s": (cold, why)}, read=len(files), **about)


def feed(
    bench: passes.Bench, needed: float, chosen: int | None = None, chosen_in: int | None = None
) -> tuple[loader.Loader, schema.Workers]:
    """The stream that feeds the model, and how its number of workers was found: WORKERS as asked, else as the run
    chosen_in of this sweep chose, else the best of a few tried. needed: the images/s that the model takes."""
    asked, on_cpu = bench.case.workers, not axes.DEVICES[bench.device.type].accelerator
    used, streams, rates = chosen if asked is None else asked, dict[int, loader.Loader](), dict[int, list[float]]()
    if used is None:
        alone = loader.stream(bench, 0)
        made = bench.streamed(partial(next, alone), alone, on_device=False, least_s=0.5, least_images=1)
        tries = candidates(made.images_per_s, needed, on_cpu, facts.usable_cores())
        streams = {n: loader.stream(bench, n) for n in tries} if len(tries) > 1 else {}
        rates, slow = {n: [] for n in streams}, bench.case.batch_size > needed  # a batch takes over a second
        least_s, few = min(1.0, bench.case.min_seconds), (1 if slow else 3) * bench.case.batch_size
        for number in (2 if slow else ROUNDS) * list(streams):
            tried = bench.whole(partial(next, streams[number]))
            rates[number].append(bench.streamed(tried, streams[number], least_s=least_s, least_images=few).images_per_s)
        used = choice(rates, on_cpu) if rates else tries[0]
    source = streams.get(used) or loader.stream(bench, used)
    return source, schema.Workers(
        used=used, start_method=multiprocessing.get_start_method() if used else "none",
        tried=[schema.Tried(workers=n, images_per_s=r) for n, r in rates.items()],
        chosen_in=chosen_in if asked is None else None,
        encoded=images.pool(bench.case.seed)[1] if bench.case.input.startswith("jpeg") else None,
        folder=described(bench, source) if bench.case.folder else None,
    )  # fmt: skip
