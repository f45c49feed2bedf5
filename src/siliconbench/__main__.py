"""One door for every make target: knobs and folders are checked in a blink, before anything slow is loaded."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from siliconbench import knobs, paths


@contextmanager
def lock() -> Iterator[None]:
    """Holds the only measurement of this folder; WrongKnob when another one measures here now."""
    writable(paths.RUNS, "reports")
    try:
        with FileLock(paths.RUNS / ".lock", timeout=0):
            yield
    except Timeout:
        raise knobs.WrongKnob("another measurement runs here now: two at once would slow one another") from None


def writable(folder: Path, name: str) -> None:
    """Makes the folder; WrongKnob if files can't be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise knobs.WrongKnob(f"{name}: can't write to {folder} ({error.strerror}); allow it or name another") from None


def reachable(results: str) -> None:
    """Makes sure that records can be written to this folder or address; WrongKnob if not."""
    from siliconbench.record.store import folder_at

    folder = folder_at(results)
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


def image() -> int:
    """The exit status of `make image`: 0 all is well, 1 runs failed."""
    given = knobs.read(os.environ)
    reachable(given["RESULTS"])
    with lock():
        from siliconbench.pages.render import machine_page
        from siliconbench.sweep.runner import make_image

        return make_image(given, machine_page)


def best() -> int:
    """The exit status of `make best`: 0 a setting was found, 1 none runs."""
    given = knobs.read_best(os.environ)
    reachable(given["RESULTS"])
    with lock():
        from siliconbench.pages.render import machine_page
        from siliconbench.sweep.best import find

        return find(given, machine_page)


def trust() -> int:
    """The exit status of `make trust`: 0 where A is not told from itself, 1 where it is or a run failed."""
    given = knobs.read_trust(os.environ)
    with lock():
        from siliconbench.pages.render import trust_page
        from siliconbench.sweep.trust import make_trust

        return make_trust(given, trust_page)


def report() -> int:
    """The exit status of `make report`, which renders the page that compares machines."""
    from siliconbench.pages.compare import make_report

    return make_report(knobs.read(os.environ, ["RESULTS"])["RESULTS"])


def share() -> int:
    """The exit status of `make share`: 1 if one of this machine's records is bad, or there is none."""
    from siliconbench.machine import facts
    from siliconbench.record import share

    given = knobs.read(os.environ, ["RESULTS", "MACHINE"])
    results = share.existing(given["RESULTS"])
    return printed(*share.share(results, given["MACHINE"] or facts.machine().slug))


def check() -> int:
    """The exit status of `make check`: 1 if a record, or the published schema, is bad."""
    from siliconbench.record import share

    return printed(*share.check(share.existing(knobs.read(os.environ, ["RESULTS"])["RESULTS"])))


def printed(lines: list[str], status: int) -> int:
    """The status, its lines printed."""
    print(*lines, sep="\n")
    return status


def schema() -> int:
    """The exit status of writing the published schema anew: 0."""
    from siliconbench.record import share, store

    print(store.write_whole(paths.SCHEMA, share.schema()).relative_to(paths.ROOT))
    return 0


def doctor() -> int:
    """The exit status of `make doctor`: 0 when the machine is fit to be measured now, 1 when it is not."""
    from siliconbench.machine import doctor

    return doctor.main()


TARGETS: dict[str, Callable[[], int]] = {
    target.__name__: target for target in (image, best, trust, report, share, check, schema, doctor)
}


def main() -> int:
    """The exit status of a target: its own, 2 for a wrong knob or target, 130 when interrupted."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if name in TARGETS:
            return TARGETS[name]()
        given = " ".join(sys.argv[1:])[:60]
        print(f"siliconbench: given {given!r}; allowed: one of {', '.join(TARGETS)}", file=sys.stderr)
    except knobs.WrongKnob as error:
        print(f"make {name}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted: what is measured stays; the same command goes on from there.", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
