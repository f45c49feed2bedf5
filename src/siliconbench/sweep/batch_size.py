"""BATCH_SIZE=auto: from records alone, whether a setting's batch size should double once more, and if not why."""

from siliconbench.analysis import stats, verdict
from siliconbench.record.schema import Case, Record
from siliconbench.sweep.plan import asked

LARGEST = 65536  # images per batch
LITTLE = 1.05  # of single runs: a rise of less than 5 % is none


def settings(records: list[Record]) -> dict[Case, list[Record]]:
    """The records by what was asked for, batch size aside."""
    groups: dict[Case, list[Record]] = {}
    for r in records:
        groups.setdefault(asked(r.case, batch_size=1), []).append(r)
    return groups


def larger(records: list[Record]) -> list[Case]:
    """Each setting at twice its largest batch size, unless it ends there."""
    rising = [mine for mine in settings(records).values() if not ends(mine)]
    largest = [max((r.case for r in mine), key=lambda c: c.batch_size) for mine in rising]
    return [asked(c, batch_size=2 * c.batch_size) for c in largest]


def rates(records: list[Record]) -> list[float]:
    """Images per second, end to end, of the runs that succeeded with the right outputs."""
    right = [r for r in records if r.checks and (r.checks.outputs is None or r.checks.outputs.agree)]
    return [r.passes.end_to_end.images_per_s for r in right if r.passes and r.passes.end_to_end]


def short_of_memory(records: list[Record]) -> str | None:
    """In words, what says that the memory does not hold this batch size, or None."""
    if any(r.error and r.error.kind == "out_of_memory" for r in records):
        return "memory ends"
    swap = max((r.memory.swap_growth_bytes or 0 for r in records if r.memory), default=0)
    return "swapping starts" if swap > verdict.SWAP_BYTES else None


def ends(records: list[Record]) -> str | None:
    """Why the batch sizes of one setting need double no further, in words; None while they should.

    They end with memory, with swapping, or where two sizes in a row are no faster, beyond the interval, than the best
    before them: one alone may be a dip.
    """
    sizes = sorted({r.case.batch_size for r in records})
    speeds = {size: rates([r for r in records if r.case.batch_size == size]) for size in sizes}
    last = sizes[-1]
    if short := short_of_memory([r for r in records if r.case.batch_size == last]):
        return f"{short} at batch size {last}"
    if not speeds[last]:
        return f"no run succeeded at batch size {last}"
    if last >= LARGEST:
        return f"{last} images a batch are the most that is tried"
    if len(sizes) < 3:
        return None
    *before, previous, _ = sizes
    best = max(before, key=lambda size: stats.interval(speeds[size]).mean if speeds[size] else 0.0)
    changes = [stats.compare(speeds[best], speeds[late]) for late in (previous, last)]
    rises = any(change.ratio > LITTLE if change.low is None else change.low > 1 for change in changes)
    return None if rises else f"neither {previous} nor {last} images a batch are faster than {best}"
