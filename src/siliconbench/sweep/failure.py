"""What went wrong in a run: its kind, and its reason in one line."""

from nbclient.exceptions import DeadKernelError
from papermill import PapermillExecutionError

from siliconbench.record import store


def reason(error: Exception, killed_for_memory: bool) -> dict[str, str]:
    """The kind and the one-line message of what went wrong in a run."""
    if isinstance(error, PapermillExecutionError):
        text = f"{error.ename}: {error.evalue}"
        kinds = {"Refused": "unsupported", "OutOfMemoryError": "out_of_memory", "MemoryError": "out_of_memory"}
        kind = kinds.get(error.ename, "failed")
        if any(mark in text.lower() for mark in OUT_OF_MEMORY):
            kind = "out_of_memory"
        elif "DataLoader worker" in text:
            kind = "worker"
        return {"kind": kind, "message": store.plain(text)}
    if isinstance(error, DeadKernelError) or "Kernel died" in str(error):
        why = (
            "the machine ran out of memory and the system killed the run" if killed_for_memory else "the run was killed"
        )
        return {"kind": "out_of_memory" if killed_for_memory else "killed", "message": why}
    return {"kind": "failed", "message": store.plain(f"{type(error).__name__}: {error}")}


OUT_OF_MEMORY = ("out of memory", "defaultcpuallocator", "can't allocate memory", "cannot allocate memory", "bad_alloc")
