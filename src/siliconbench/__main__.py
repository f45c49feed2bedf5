"""One door for every make target: knobs and folders are checked in a blink, before anything slow is loaded."""

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

from siliconbench import knobs, paths

# jsonschema, behind papermill, would load it to check addresses that no notebook has: two seconds to build a grammar.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

FILES = 10_240  # open at once, at most


def writable(folder: Path, name: str) -> None:
    """Makes the folder; WrongKnob if files can't be made in it, or at this address."""
    try:
        if isinstance(folder, Path):
            folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").write_bytes(b"")
        with suppress(Exception):
            (folder / ".writable").unlink()
    except Exception as error:  # each storage has its own; what they say may name a key
        why = f"({type(error).__name__}); see its address and your access"
        if isinstance(folder, Path) and isinstance(error, OSError):
            why = f"({error.strerror}); allow it or name another"
        raise knobs.WrongKnob(f"{name}: can't write to {folder} {why}") from None


def late(name: str) -> Any:
    """The function of this module, loaded now: only after the knobs are checked."""
    return resolve_name(f"siliconbench.{name}")


def awake() -> Popen[bytes] | None:
    """What keeps the system from sleeping until this process ends, and a line that says so; None where nothing does."""
    stay = ["systemd-inhibit", "--what=idle:sleep", "--who=siliconbench", "--why=measuring", "cat"]  # cat ends with us
    if sys.platform == "darwin":
        stay = ["caffeinate", "-i", "-m", "-w", str(os.getpid())]
    with suppress(OSError):
        child = Popen(stay, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
        time.sleep(0.2)
        if child.poll() is None:
            print("The system is kept awake meanwhile; a closed lid is not.", flush=True)
            return child
    return None


def named(given: str) -> str:
    """The machine's name: that which is given, else its own; WrongKnob where none can be kept."""
    return given or late("machine.naming:own")(late("machine.facts:machine")("unnamed"))


def measure(read: Callable[[Mapping[str, str]], knobs.Given], work: str, page: str, records: bool = True) -> int:
    """The exit status of a target's work, given its knobs and what renders its page; records: whether it writes any."""
    if (goal := os.environ.get("GOAL", "").strip()) and read is not knobs.read_best:
        raise knobs.wrong("GOAL", goal, "nothing, it is a knob of `make best`")
    given = read(os.environ)
    late("machine.tuning:check")(given)
    if records:
        writable(late("record.store:folder_at")(given["RESULTS"]), "RESULTS")
        given["MACHINE"] = named(given["MACHINE"])
        late("record.share:older")(given["RESULTS"])
    writable(paths.RUNS, "reports")
    late("machine.lock:alone")()  # until this process ends
    _child = awake()  # as long
    return int(late(work)(given, late(page)))


def share() -> int:
    """The exit status of `make share`; the machine is this one where none is named."""
    given = knobs.read(os.environ, ["RESULTS", "MACHINE"])
    return late("record.share:share")(given["RESULTS"], named(given["MACHINE"]), late("pages.render:page_of"))


def schema() -> int:
    """The exit status of writing the published schema anew: 0."""
    print(late("record.store:write_whole")(paths.SCHEMA, late("record.share:schema")()).relative_to(paths.ROOT))
    return 0


TARGETS: dict[str, Callable[[], int]] = {
    "image": partial(measure, knobs.read, "sweep.runner:make_image", "pages.render:machine_page"),
    "suite": partial(measure, knobs.read_suite, "sweep.runner:make_suite", "pages.render:machine_page"),
    "best": partial(measure, knobs.read_best, "sweep.best:find", "pages.render:machine_page"),
    "trust": partial(measure, knobs.read_trust, "sweep.trust:make_trust", "pages.render:trust_page", records=False),
    "mistakes": partial(measure, knobs.read_mistakes, "sweep.mistakes:make_mistakes", "pages.render:render", False),
    "pages": partial(measure, knobs.read_mistakes, "pages.lab:make_pages", "pages.render:render", False),
    "report": lambda: late("pages.render:make_report")(knobs.read(os.environ, ["RESULTS"])["RESULTS"]),
    "verify": lambda: late("pages.verify:make_verify")(knobs.read(os.environ, ["RESULTS"])["RESULTS"]),
    "share": share,
    "check": lambda: late("record.share:check")(knobs.read(os.environ, ["RESULTS"])["RESULTS"]),
    "schema": schema,
    "lab": lambda: late("pages.lab:make_lab")(),
    "doctor": lambda: late("machine.doctor:main")(),
}


def main() -> int:
    """The exit status of a target: its own, 1 if it stopped, 2 for a wrong knob or target, 130 if interrupted."""
    name, (soft, hard) = " ".join(sys.argv[1:]), resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FILES:  # a Mac's terminal gives 256, too few for many loader processes; what is started inherits it
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard) if hard >= 0 else FILES, hard))
    try:
        if name in TARGETS:
            return TARGETS[name]()
        print(f"siliconbench: given {name[:60]!r}; allowed: one of {', '.join(TARGETS)}", file=sys.stderr)
    except (knobs.WrongKnob, knobs.Stopped, OSError) as error:
        print(f"make {name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, knobs.WrongKnob) else 1
    except KeyboardInterrupt:
        print("\nInterrupted: what is measured stays; the same command goes on from there.", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
