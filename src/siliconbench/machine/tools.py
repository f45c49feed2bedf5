"""How tools, files and slow modules are asked: what is absent, hangs or answers nonsense makes its fact None."""

import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from types import ModuleType
from typing import Any, TypeVar

from siliconbench.record import host, schema

T = TypeVar("T")
S = TypeVar("S", bound=schema.Section)
Pairs = dict[str, tuple[Any, str]]  # each value with the reason that counts if it is None
PLATFORM: str = sys.platform
PROC, SYS = Path("/proc"), Path("/sys")
HEARD: dict[str, str] = {}  # what each tool that was asked said, for a report
MOST_BYTES = 2**20  # of a tool's output at a time; no tool asked here prints a tenth of it
LIMITED = ("/bin/sh", "-c", f'ulimit -f {MOST_BYTES // 512}; exec "$@"', "sh")  # in POSIX's units of 512 bytes


def tried(read: Callable[..., T], *args: Any) -> T | None:
    """What read(*args) gives, None if it raises: no outside source may stop the program, whatever it does."""
    try:
        return read(*args)
    except Exception:
        return None


def tool(*argv: str, timeout_s: float = 5.0) -> bytes | None:
    """What a tool prints; None if it is absent, fails, takes longer than timeout_s or prints over a megabyte."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin", "/usr/sbin", "/sbin"))
    env = os.environ | {"LC_ALL": "C", "PATH": path}
    try:
        with tempfile.TemporaryFile() as out:  # no pipe: a child that it leaves behind would hold that open
            child = Popen((*LIMITED, *argv), stdin=DEVNULL, stdout=out, stderr=DEVNULL, env=env, start_new_session=True)
            try:
                status = child.wait(timeout_s)
            finally:
                end(child)
            out.seek(0)
            HEARD[" ".join(argv)] = f"exit status {status}\n{text_of(printed := out.read())}"
            return printed if status == 0 else None
    except (OSError, ValueError, TimeoutExpired):
        return None


def end(child: Popen[bytes]) -> None:
    """Kills a child that leads a session of its own, and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(TimeoutExpired):
        child.wait(1)


def text_of(printed: bytes | None) -> str:
    """Printed bytes as text, empty for None and for what is no UTF-8."""
    return (tried((printed or b"").decode) or "").replace("\0", "").strip()


def content(*path: str | Path) -> str:
    """The text of a file, empty if it can't be read."""
    return text_of(tried(Path(*path).read_bytes))


def matched(pattern: str, text: str) -> str | None:
    """The pattern's group in a text of many lines, None without a match."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else None


def number(text: str | None, most: int = 10**6) -> int | None:
    """The whole number that a text is, None unless it lies between 1 and most."""
    value = tried(int, text)
    return value if value is not None and 1 <= value <= most else None


@contextmanager
def instead(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """While the body runs, these stand for modules that are not loaded yet; None: that can't be imported."""
    mine = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(mine)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in mine:
            del sys.modules[name]


def pip(package: str) -> str:
    """The command that installs a package for this Python: the system's own pip refuses, or serves another one."""
    return f".venv/bin/python -m pip install {package}"


def finite(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18  # NaN is not below it
    return float(value) if known else None


def highest(values: Iterable[Any]) -> float | None:
    """The highest of those values that are numbers, None without any."""
    return max((v for v in map(finite, values) if v is not None), default=None)


def clean(text: str | None) -> str | None:
    """A name fit for a record: at most 64 plain characters, the first a letter or digit; None if nothing is left."""
    plain = re.sub(r"[^A-Za-z0-9_.,()+/-]+", " ", text or "")
    return re.sub(r"^[^A-Za-z0-9]+", "", plain)[:64].strip() or None


def explained(pairs: Pairs) -> dict[str, Any]:
    """The values, texts made clean, and in `unknown` the reason for each that is None."""
    values = {name: clean(value) if isinstance(value, str) else value for name, (value, _) in pairs.items()}
    return values | {"unknown": {name: why for name, (_, why) in pairs.items() if values[name] is None}}


def section(kind: type[S], pairs: Pairs, **known: Any) -> S:
    """A section of the record from pairs and what is known; pydantic's ValidationError for what it does not take."""
    return kind(**explained(pairs), **known)


def gpu(name: str | None, cores: int | None, memory_bytes: int | None, why: str, **more: Any) -> host.Gpu:
    """One GPU, `more` being its other fields; why is the reason that counts if its memory is None."""
    known = {"name": name or "GPU", "cores": cores, "memory_bytes": memory_bytes, **more}
    reasons = dict.fromkeys(host.Gpu.model_fields, "the system does not tell") | {"memory_bytes": why}
    return section(host.Gpu, {name: (known.get(name), reason) for name, reason in reasons.items() if name != "unknown"})
