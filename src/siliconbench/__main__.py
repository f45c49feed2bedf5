"""`make image` and `make best`: knobs and folders are checked first, in a blink; only then is anything slow loaded."""

import fcntl
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from siliconbench import knobs


def lock(folder: Path) -> TextIO:
    """The open file that holds this folder's only sweep; WrongKnob when another one measures here now."""
    writable(folder, "reports")
    handle = (folder / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise knobs.WrongKnob("another `make image` measures here now: two at once would slow one another") from None
    return handle


def writable(folder: Path, name: str) -> None:
    """None if files can be made in the folder (which is made, too); WrongKnob if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise knobs.WrongKnob(f"{name}: can't write to {folder} ({error.strerror}); allow it or name another") from None


def reachable(results: str) -> None:
    """None if records can be written to this folder or address; WrongKnob if not."""
    from siliconbench.record import place

    folder = place(results)
    if isinstance(folder, Path):
        writable(folder, "RESULTS")
        return
    try:
        (folder / ".writable").write_bytes(b"")
    except Exception as error:  # each storage has its own; what they say may name a key
        kind = type(error).__name__
        raise knobs.WrongKnob(f"RESULTS: can't write to {folder} ({kind}); see its address and your access") from None
    with suppress(Exception):
        (folder / ".writable").unlink()


def main() -> int:
    """The exit status of `make image` or `make best`: 0 all is well, 1 runs failed, 2 a wrong knob, 130 interrupted."""
    best = sys.argv[1:] == ["best"]
    try:
        given = (knobs.read_best if best else knobs.read)(os.environ)
        reachable(given["RESULTS"])
        held = lock(Path("reports/runs"))
    except knobs.WrongKnob as error:
        print(f"make {'best' if best else 'image'}: {error}", file=sys.stderr)
        return 2
    try:
        with held:
            if best:  # torch takes seconds to load
                from siliconbench.best import find as go
            else:
                from siliconbench.sweep import make_image as go
            return go(given)
    except KeyboardInterrupt:
        print("\nInterrupted: what is measured stays; the same command goes on from there.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
