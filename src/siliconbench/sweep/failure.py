"""What becomes of a run that fails: the kind of its error, its reason in one line, its record, what it rules out."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from papermill import PapermillExecutionError

from siliconbench.machine.facts import versions
from siliconbench.record import host, store
from siliconbench.record.schema import Case, Error, Record, filled

if TYPE_CHECKING:  # which loads scipy and pandas, and a page that is rendered needs neither here
    from siliconbench.sweep.plan import Plan

MEMORY = r"memoryerror|out ?of ?memory|(can't|cannot) allocate memory|cpuallocator|bad_alloc|status_alloc_failed"
MEMORY += r"|invalid buffer size|larger than int_max|total bytes of ndarray > 2"  # as Metal says it
# What an error's text holds, and of what kind it then is; the first that fits counts.
KINDS = {MEMORY: "out_of_memory", "dataloader worker.*killed by signal: killed": "out_of_memory"}
KINDS |= {"dataloader worker": "worker", "^refused:": "unsupported", "": "failed"}


def reason(error: Exception, killed_for_memory: bool) -> Error:
    """The kind and the one-line message of what ended a run; killed_for_memory: the system ended a process then."""
    if "Kernel died" in str(error):
        if killed_for_memory:
            return Error(kind="out_of_memory", message="the machine ran out of memory and the system killed the run")
        return Error(kind="killed", message="the run was killed")
    told = (error.ename, error.evalue) if isinstance(error, PapermillExecutionError) else (type(error).__name__, error)
    text = "{}: {}".format(*told)
    kind = next(kind for pattern, kind in KINDS.items() if re.search(pattern, text.lower()))
    kind = "out_of_memory" if kind == "worker" and killed_for_memory else kind
    return Error.model_validate({"kind": kind, "message": store.plain(text)})


def beyond(case: Case, records: Iterable[Record]) -> bool:
    """Whether a run on a Mac's GPU that died had a larger batch than one that worked: macOS keeps no count of whom it
    ends for want of memory, and that is then taken for the cause."""
    worked = (r.case for r in records if r.passes and r.case.batch_size < case.batch_size)
    return case.device == "mps" and any(c.asked(batch_size=1) == case.asked(batch_size=1) for c in worked)


def failed(plan: "Plan", order: int, created: str, error: Error) -> Record:
    """The record, written, of a run that failed or was not tried."""
    known = {"status": "failed", "error": error, "case": plan.runs[order - 1].case, "machine": plan.machine}
    known |= {"software": filled(host.Software, versions(), "the run failed before it was asked")}
    record = Record.model_validate(known | plan.known(order, created))
    store.write(record, plan.results)
    return record


def too_large(case: Case, records: list[Record]) -> Error | None:
    """Why a case is not tried: at no larger batch size it ran out of memory in this sweep. None where it did not."""
    short = [r.case for r in records if r.error and r.error.kind == "out_of_memory"]
    sizes = [c.batch_size for c in short if c.asked(batch_size=1) == case.asked(batch_size=1)]
    if case.batch_size < min(sizes, default=case.batch_size + 1):
        return None
    return Error(kind="skipped", message=f"not tried: batch size {min(sizes)} ran out of memory")
