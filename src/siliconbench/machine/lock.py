"""One measurement at a time on a machine, of all its users, by make as by hand: a lock that the system frees."""

import fcntl
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from siliconbench import knobs
from siliconbench.machine.tools import clean

TEMPORARY = "/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()  # the machine's; on a Mac a user's is his own
LOCK = os.environ.get("SILICONBENCH_LOCK") or f"{TEMPORARY}/siliconbench.lock"  # the variable is for the tests
HELD = list[int]()  # the open file by which this process has it
LEAVE = list[Callable[[], object]]()  # what is to end when it measures no more


def holder() -> str:
    """Who measures now, in words: the process that has the lock open, as far as this user may see it."""
    path = str(Path(LOCK).resolve())
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if path in (file.path for file in process.open_files()):
                kind, last = ["", "", *process.cmdline()][-2:]
                made = f"make {clean(last)}, " if kind == "siliconbench" else "a notebook, " * (kind == "-f")
                return f"{made}process {process.pid}"
    return "another user's"


def alone() -> None:
    """Makes this process the only one that measures, until free(), a notebook's cell that fails, or its end; WrongKnob
    while another one is. A kernel that make has started measures under make's own lock."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", int)()
    if shell:
        shell.events.register("post_run_cell", free)
    if HELD or os.environ.get("SILICONBENCH_PROGRESS") == "1":
        return
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        try:
            HELD.append(os.open(LOCK, flags))
        except FileNotFoundError:  # in a folder such as /tmp another user's file may not be opened with O_CREAT
            HELD.append(os.open(LOCK, flags | os.O_CREAT))
            os.fchmod(HELD[0], 0o444)
        fcntl.flock(HELD[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        why = f"{LOCK} can't be locked ({error.strerror}): have its owner remove it"
        free()
        if isinstance(error, BlockingIOError):
            why = f"another measurement runs here now ({holder()}): two at once would slow one another"
        raise knobs.WrongKnob(why) from None


def free(cell: Any = None) -> None:
    """Lets others measure, unless a cell is given that did not fail, also while forked children have the file open."""
    while LEAVE and not getattr(cell, "success", False):
        LEAVE.pop()()
    while HELD and not getattr(cell, "success", False):
        fcntl.flock(HELD[0], fcntl.LOCK_UN)
        os.close(HELD.pop())
