"""BATCH_SIZE=auto: from records alone, whether a setting's batch size should double once more, and if not why."""

from siliconbench.analysis import stats, verdict
from siliconbench.record.schema import Case, Record

LARGEST = 65536  # images per batch

LITTLE = 1.05  # of single runs: a rise of less than 5 % is none


def settings(records: list[Record]) -> dict[Case, list[Record]]:
    """The records by what was asked for, batch size aside."""
    found: dict[Case, list[Record]] = {}
    for r in records:
        found.setdefault(r.case.model_copy(update={"batch_size": 1, "image_px": None}), []).append(r)
    return found


def by_size(records: list[Record]) -> dict[int, list[Record]]:
    """The records by batch size, smallest first."""
    sizes = sorted({r.case.batch_size for r in records})
    return {size: [r for r in records if r.case.batch_size == size] for size in sizes}


def larger(records: list[Record]) -> list[Case]:
    """Each setting at twice its largest batch size, unless it ends there."""
    return [
        setting.model_copy(update={"batch_size": 2 * max(by_size(mine))})
        for setting, mine in settings(records).items()
        if not ends(mine)
    ]


def rates(records: list[Record]) -> list[float]:
    """Images per second, end to end, of the runs that succeeded with the right outputs."""
    right = [r for r in records if r.checks and (r.checks.outputs is None or r.checks.outputs.agree)]
    return [r.passes.end_to_end.images_per_s for r in right if r.passes and r.passes.end_to_end]


def rises(a: list[float], b: list[float]) -> bool:
    """Whether rates b lie above rates a, beyond their interval; of single runs, beyond 5 %."""
    found = stats.compare(a, b)
    return found.ratio > LITTLE if found.low is None else found.low > 1


def fastest(sizes: dict[int, list[Record]]) -> int:
    """The batch size with the highest rate; those that failed count as 0."""
    speeds = {size: rates(mine) for size, mine in sizes.items()}
    return max(speeds, key=lambda size: stats.interval(speeds[size]).mean if speeds[size] else 0.0)


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
    sizes = by_size(records)
    last = max(sizes)
    if short := short_of_memory(sizes[last]):
        return f"{short} at batch size {last}"
    if not rates(sizes[last]):
        return f"no run succeeded at batch size {last}"
    if last >= LARGEST:
        return f"{last} images a batch are the most that is tried"
    *before, previous, _ = [0, *sizes]
    best = fastest({size: sizes[size] for size in before[1:]}) if len(sizes) > 2 else None
    if best is None or any(rises(rates(sizes[best]), rates(sizes[late])) for late in (previous, last)):
        return None
    return f"neither {previous} nor {last} images a batch are faster than {best}"
