"""Where records are: written whole or not at all, never overwritten, and read back with suspicion."""

import errno
import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from siliconbench.knobs import Stopped
from siliconbench.record import fields, schema

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk without room for more says
MOST_BYTES = 20_000_000  # of one file: a day of half-second blocks with 20 channels of 20,000 samples takes 12 MB


class Label(fields.Model):
    """What a person says of a machine, in its machine.toml. TOML has dates of its own: str writes them."""

    label: fields.Name
    price: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    rent: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None  # an hour
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    date: Annotated[str, BeforeValidator(str), StringConstraints(pattern=r"^20\d\d-[01]\d-[0-3]\d$")] | None = None
    source: fields.Text | None = None
    note: fields.Text | None = None


def unusual(case: schema.Case) -> list[str]:
    """Each axis in which a case differs from the usual, in a short word; its precision, device and batch size aside."""
    compiled = case.compile if isinstance(case.compile, str) else "compile" if case.compile else ""
    source, px = case.source.replace("torchvision", ""), f"{case.asked_px}px" if case.asked_px else ""
    words = (source, px, case.memory_format, compiled, case.mode, case.allocator, f"t{case.threads or ''}")
    return [word for word in words if word not in ("contiguous", "", "inference", "system", "t")]


def file_name(case: schema.Case, created: str, repeat: int) -> str:
    """The name of a record's file in its machine's folder, by each axis in which two runs of a sweep can differ."""
    words = "-".join((f"{case.model}-b{case.batch_size}-{case.device}-{case.precision}", *unusual(case)))
    return f"{words}-{created}-r{repeat}.json"


def now() -> str:
    """This moment in UTC, as records write it."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def plain(text: object) -> str:
    """A message fit for a record: one line of printable ASCII, paths and anything like markup taken out."""
    line = " ".join(str(text).split())
    line = re.sub(r"(?<![\w.])~?(/[\w.@+-]+){2,}/?", "(a path)", line)
    return re.sub(r"[^ -;=?-~]", "?", line)[:500].strip() or "no reason was given"


def reason(error: Exception) -> str:
    """Why something is no valid record or label, fit for a record: of a model's errors the first, with its field."""
    if not isinstance(error, ValidationError):
        return plain(error)
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part)[:40] for part in first["loc"][:6])
    message = first["msg"].removeprefix("Value error, ")
    return plain(f"{field}: {message}" if field else message)


def write_whole(path: Path, text: str) -> Path:
    """The path, after the file is there whole: written beside it, flushed to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".part") as folder:
        with Path(folder, path.name).open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        return Path(file.name).replace(path)


def folder_at(address: str) -> Path:
    """The folder at this address; for s3:// and its like, what acts as a Path (needs the extra `remote`)."""
    scheme, remote, rest = address.partition("://")
    if not remote or scheme in ("file", "local"):
        return Path(rest or address)
    from upath import UPath

    return cast(Path, UPath(address, use_listings_cache=False))  # others write there, too: never believe a cache


def write(record: schema.Record, results: Path) -> Path:
    """The path of the new record; FileExistsError where it is there already, Stopped where it can't be kept."""
    path = results / record.machine.slug / file_name(record.case, record.created, record.repeat)
    try:
        with suppress(FileExistsError):
            if not isinstance(path, Path):
                path.fs.pipe_file(path.path, dumps(record).encode(), mode="create")
                return path
            if not path.exists():
                return write_whole(path, dumps(record))
    except Exception as error:  # each storage has its own; what they say may name a key
        why = error.strerror if isinstance(error, OSError) and isinstance(path, Path) else type(error).__name__
        raise Stopped(f"{path}: the record can't be kept ({why}): make room, then `make` goes on from there") from None
    raise FileExistsError(f"{path} is there already")


def dumps(record: schema.Record) -> str:
    """The record as JSON: sorted keys, one line a field, so that two versions compare well."""
    text = json.dumps(record.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True)
    return re.sub(r"\[[^\[\]{}\"]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text) + "\n"


def content(path: Path, most: int) -> bytes:
    """The bytes of a file or a stored object; ValueError if it is a link, no plain file, or larger than most bytes."""
    if isinstance(path, Path):
        if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
            raise ValueError("it is a link, in a linked folder, or no plain file")
        with path.open("rb") as file:
            data = file.read(most + 1)
    else:
        data = path.fs.cat_file(path.path, start=0, end=most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return data


def load(path: Path) -> schema.Record:
    """The record in one file; ValueError with the reason when it is not one."""
    data = content(path, MOST_BYTES)
    try:
        record = schema.Record.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ValueError(reason(error)) from None
    objects = list[list[tuple[str, Any]]]()  # their keys and values: readers differ in which of two alike keys counts
    json.loads(data, object_pairs_hook=objects.append, parse_float=len, parse_int=len)  # the numbers are not needed
    for pairs in (pairs for pairs in objects if len(dict(pairs)) < len(pairs)):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice} is there twice")
    name = file_name(record.case, record.created, record.repeat)
    if (path.parent.name, path.name) != (record.machine.slug, name):
        raise ValueError(plain(f"its name should be {record.machine.slug}/{name}"))
    return record


def load_label(path: Path) -> Label:
    """The label in one machine.toml; ValueError with the reason when it is not one."""
    try:
        return Label.model_validate(tomllib.loads(content(path, 10_000).decode()))
    except (ValueError, RecursionError) as error:
        raise ValueError(reason(error)) from None


def tried(path: Path, read_by: Callable[[Path], Any] = load) -> Any:
    """What is in the file, or why it can't be read: it may be hostile, and each storage has errors of its own."""
    try:
        return read_by(path)
    except Exception as error:  # nothing stops the reading
        return ValueError(plain(error))


def read(results: Path, machine: str = "*") -> Iterator[tuple[Path, schema.Record | ValueError]]:
    """Each file under results that calls itself a record, in the order of names: the record, or why it is none."""
    found = sorted(results.glob(f"{machine}/*.json"))
    with ThreadPoolExecutor(16) as pool:  # elsewhere each object is a wait for the network; here no thread starts
        yield from zip(found, map(tried, found) if isinstance(results, Path) else pool.map(tried, found), strict=True)


def read_all(folders: Iterable[Path], machine: str = "*") -> Iterator[tuple[Path, schema.Record | ValueError]]:
    """What `read` gives of each of these folders in turn; what was there before, by its case and raw seconds, once."""
    seen = set[bytes]()
    for folder in folders:
        for path, found in read(folder, machine):
            parts = (found.case, found.passes or found) if isinstance(found, schema.Record) else ()
            told = path.parent.name + "".join(part.model_dump_json() for part in parts) if parts else str(path)
            mark = hashlib.sha256(told.encode(errors="surrogateescape")).digest()
            if mark not in seen:
                yield path, found
            seen.add(mark)


def newest_machine(*folders: Path) -> str:
    """The slug of the machine with the newest record; Stopped when there is none."""
    read_back = [found for _, found in read_all(folders)]
    good = [(r.created, r.machine.slug) for r in read_back if isinstance(r, schema.Record)]
    if not good:
        refused = f"; {len(read_back)} refused, the first was {read_back[0]}" if read_back else ""
        raise Stopped(f"there is no record: `make image` makes some{refused}")
    return max(good)[1]
