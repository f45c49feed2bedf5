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
    from siliconbench.record.store import place

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


def image() -> int:
    """The exit status of `make image`: 0 all is well, 1 runs failed."""
    given = knobs.read(os.environ)
    reachable(given["RESULTS"])
    with lock():
        from siliconbench.pages import render
        from siliconbench.sweep import runner

        return runner.make_image(given, render.machine_page)


def best() -> int:
    """The exit status of `make best`: 0 a setting was found, 1 none runs."""
    given = knobs.read_best(os.environ)
    reachable(given["RESULTS"])
    with lock():
        from siliconbench.pages import render
        from siliconbench.sweep import best

        return best.find(given, render.machine_page)


def trust() -> int:
    """The exit status of `make trust`: 0 where A is not told from itself, 1 where it is or a run failed."""
    given = knobs.read_trust(os.environ)
    with lock():
        from siliconbench.pages import render
        from siliconbench.sweep import trust

        return trust.make_trust(given, render.trust_page)


def report() -> int:
    """The exit status of `make report`, which renders the page that compares machines."""
    from siliconbench.pages import compare

    return compare.make_report(knobs.read(os.environ, ["RESULTS"])["RESULTS"])


def share() -> int:
    """The exit status of `make share`: 1 if one of this machine's records is bad, or there is none."""
    from siliconbench.machine import facts
    from siliconbench.record import share

    given = knobs.read(os.environ, ["RESULTS", "MACHINE"])
    results = share.reached(given["RESULTS"])
    return told(share.share(results, given["MACHINE"] or facts.slug(facts.facts())))


def check() -> int:
    """The exit status of `make check`: 1 if a record, or the published schema, is bad."""
    from siliconbench.record import share

    return told(share.check(share.reached(knobs.read(os.environ, ["RESULTS"])["RESULTS"])))


def schema() -> int:
    """Writes the published schema anew: 0."""
    from siliconbench.record import share, store

    print(store.write_whole(paths.SCHEMA, share.schema()).relative_to(paths.ROOT))
    return 0


def doctor() -> int:
    """The exit status of `make doctor`: 0 when the machine is fit to be measured now, 1 when it is not."""
    from siliconbench.machine import doctor

    return doctor.main()


def told(found: tuple[list[str], int]) -> int:
    """The status, its lines printed."""
    print(*found[0], sep="\n")
    return found[1]


TARGETS: dict[str, Callable[[], int]] = {
    f.__name__: f for f in (image, best, trust, report, share, check, schema, doctor)
}


def main() -> int:
    """The exit status of a target: its own, 2 for a wrong knob or target, 130 when interrupted."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in TARGETS:
        given = " ".join(sys.argv[1:])[:60]
        print(f"siliconbench: given {given!r}; allowed: one of {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    try:
        return TARGETS[name]()
    except knobs.WrongKnob as error:
        print(f"make {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted: what is measured stays; the same command goes on from there.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
