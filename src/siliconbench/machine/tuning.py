"""What of a case its process must have in its environment before it starts: the allocator, the number of threads."""

import os
from ctypes.util import find_library
from typing import Any

from siliconbench.knobs import Given, number, wrong
from siliconbench.machine import facts, tools

# By these glibc keeps what is freed: nothing is mapped apart, nothing trimmed. By the page faults 2.36 takes either of
# the first two; mallopt(3) bounds the threshold by 32 MiB, which is too little, so a glibc may refuse the second.
KEPT = {"MALLOC_MMAP_MAX_": "0"} | dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**42))
OTHERS = {"GLIBC_TUNABLES": "glibc.malloc", "LD_PRELOAD": "malloc"}  # what else changes the allocator, and by what
NONE = "system: no other is here, neither glibc's nor an installed tcmalloc"


def tuned() -> dict[str, str]:
    """The variables by which glibc keeps memory, or an installed tcmalloc takes its place; none where neither is."""
    if str(tools.tried(os.confstr, "CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
        return KEPT
    found = tools.PLATFORM == "linux" and (find_library("tcmalloc_minimal") or find_library("tcmalloc"))
    return {"LD_PRELOAD": found} if found else {}


def variables(case: dict[str, Any]) -> dict[str, str]:
    """What the environment of a process needs for a case of this allocator and these threads."""
    threads = {"OMP_NUM_THREADS": str(case["threads"])} if case.get("threads") else {}
    return threads | (tuned() if case.get("allocator") == "tuned" else {})


def untrue(allocator: str) -> str | None:
    """Why this process's allocator, which was chosen when it started, is not the one asked for; None where it is."""
    known = {name: os.environ.get(name, "") for name in (*KEPT, *OTHERS)}
    if allocator == "system":
        set_to = [name for name, text in known.items() if text and OTHERS.get(name, "") in text]
        return f"{', '.join(set_to)} makes it another: unset that, or ALLOCATOR=tuned" if set_to else None
    needed = tuned()
    loaded = "LD_PRELOAD" in needed and "tcmalloc" in tools.content(tools.PROC, "self", "maps")
    if loaded or (needed == KEPT and needed.items() <= known.items()):
        return None
    line = " ".join(f"{name}={value}" for name, value in needed.items())
    return f"ALLOCATOR=tuned needs {line} in the environment that Python starts in" if needed else NONE


def check(given: Given) -> None:
    """Nothing; WrongKnob where ALLOCATOR asks for what is not here, or THREADS for more than the usable cores."""
    for name in given["ALLOCATOR"]:
        if why := untrue(name) if name == "system" else NONE if not tuned() else None:
            raise wrong("ALLOCATOR", name, why)
    if (most := max((n for n in given["THREADS"] if n), default=1)) > (cores := facts.usable_cores()):
        raise wrong("THREADS", str(most), f"{number(1, cores, auto=True)[0]}, the cores that this process may use")
