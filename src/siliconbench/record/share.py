"""`make share` and `make check`, without torch. A stranger's record, and any file's name, are printed plainly."""

import getpass
import json
import re
import shlex
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from siliconbench import paths
from siliconbench.knobs import WrongKnob
from siliconbench.record import store
from siliconbench.record.label import load_label
from siliconbench.record.schema import OLDER, Record


def schema() -> str:
    """The JSON Schema (2020-12) of a record, as text; sums and contradictions within a record are beyond it."""
    published = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Record.model_json_schema(by_alias=True)
    return json.dumps(published, indent=1, sort_keys=True) + "\n"


def sorted_out(address: str, machine: str = "*") -> tuple[Path, list[Record], dict[Path, ValueError]]:
    """The folder at this address, these machines' good records, and the bad or stray files there, each with the reason;
    hidden files are never read. WrongKnob when there is no folder, or it can't be reached."""
    results, why = store.folder_at(address), "there is no such folder: `make image` makes it"
    try:
        there = results.is_dir()
    except Exception as error:  # each storage has its own; what they say may name a key
        there, why = False, f"it can't be reached ({type(error).__name__}): see its address and your access"
    if not there:
        raise WrongKnob(f"RESULTS: {results}: {why}")
    found: dict[Path, Any] = dict(store.read(results, machine))
    for path in sorted([*results.glob(f"{machine}/*"), *(p for p in results.glob(machine) if not p.is_dir())]):
        if path.name == "machine.toml" and path.parent != results:
            found[path] = store.tried(path, load_label)
        elif path not in found and not path.name.startswith("."):
            found[path] = ValueError("it is neither a record nor machine.toml: it does not belong here")
    bad = {path: why for path, why in found.items() if isinstance(why, ValueError)}
    return results, [r for r in found.values() if isinstance(r, Record)], bad


def refusals(bad: Mapping[Path, ValueError]) -> list[str]:
    """A line for each refused file, the end of its path and the reason; one for all that a machine has of schema 1."""
    older = Counter(store.plain(path.parent.name) for path, why in bad.items() if str(why) == OLDER)
    lines = [f"{name}: {counted(count, 'record')} {OLDER}" for name, count in older.items()]
    others = ((path, why) for path, why in bad.items() if str(why) != OLDER)
    return lines + [f"{store.plain(f'{path.parent.name}/{path.name}')}: {why}" for path, why in others]


def counted(count: int, thing: str) -> str:
    """So many things, in words."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def check(address: str) -> int:
    """The exit status of `make check`, its lines printed: 1 if a record, or the published schema, is bad."""
    results, good, bad = sorted_out(address)
    if not paths.SCHEMA.is_file() or paths.SCHEMA.read_text("utf-8") != schema():
        bad[paths.SCHEMA] = ValueError("it is not what the models give: `python -m siliconbench schema` mends it")
    machines, lines = counted(len({r.machine.slug for r in good}), "machine"), [f"bad: {n}" for n in refusals(bad)]
    print(*lines, f"{counted(len(good), 'good record')} of {machines} in {results}; {len(bad)} bad", sep="\n")
    return 1 if bad else 0


def contents(records: list[Record]) -> list[str]:
    """What one machine's records hold: how many of each model, their verdicts, their dates, the machine's facts."""
    last = max(records, key=lambda r: r.created)
    m, s = last.machine, last.software
    facts = m.model_dump(include={"chip", "model", "cores", "os", "os_build", "arch", "driver"})
    facts |= {"memory": m.memory_bytes and f"{m.memory_bytes / 2**30:.0f} GiB", "Python": s.python, "torch": s.torch}
    facts |= {"GPU": ", ".join(g.name for g in m.gpus or []) or None, "siliconbench": s.commit or s.siliconbench}
    known = [f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None]
    days = {f"{r.created[:4]}-{r.created[4:6]}-{r.created[6:8]}" for r in records}
    channels = sorted({name for r in records if r.telemetry for name in r.telemetry.channels})
    return [
        f"Models: {by_count([r.case.model for r in records])}.",
        f"Verdicts: {by_count([r.verdict.word if r.verdict else 'failed' for r in records])}.",
        f"Measured: {' to '.join(dict.fromkeys((min(days), max(days))))} (UTC).",
        f"Of the machine: {'; '.join(known)}.",
        f"Over time: {', '.join(channels) or 'nothing'}; and its load, swap, memory and power source at each run.",
        "Left out: who you are, the machine's own name, its serial numbers and addresses, your files and folders.",
    ]


def by_count(words: list[str]) -> str:
    """Each word with its count, the most frequent first."""
    return ", ".join(f"{word} {count}" for word, count in Counter(sorted(words)).most_common())


def personal(records: list[Record]) -> list[str]:
    """The names of this user, machine and home folder that the records' texts hold, as full words."""
    host, names = socket.gethostname(), set[str]()
    for own in (getpass.getuser, lambda: str(Path.home())):
        with suppress(KeyError, OSError, ImportError, RuntimeError):  # a user id without an entry has neither
            names.add(own())
    texts = "\n".join(re.sub(r'"\w+":', "", store.dumps(r)) for r in records)
    hits = (n for n in names | {host, host.split(".")[0]} if len(n) > 2)
    return sorted(n for n in hits if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", texts, re.IGNORECASE))


def sending(results: Path, slug: str) -> list[str]:
    """How to send one machine's folder, in lines that can be pasted."""
    if not isinstance(results, Path):
        return [f"They are at {results}: who can read that address has them."]
    folder, data = f"reports/data/{slug}", results.resolve()
    label = f" {folder}/machine.toml" if (data / slug / "machine.toml").is_file() else ""
    copy = f"  mkdir -p reports/data && cp -R {shlex.quote(str(data / slug))} reports/data/"
    return [
        f"To a friend: send the folder {results / slug}; it goes into their reports/data.",
        "To everyone: fork the project, then in your clone",
        *([copy] if data != paths.DATA else []),
        f"  git checkout -b records-{slug} && git add {folder}/*.json{label}",
        f'  git commit -m "Records of {slug}" && git push -u origin records-{slug}',
        "and open a pull request. `make check` there finds what is not a valid record.",
    ]


def share(address: str, slug: str) -> int:
    """The exit status of `make share`, its lines printed: 1 if a record of this machine is bad, or there is none."""
    results, good, bad = sorted_out(address, slug)
    if not good:
        lines = ["There is nothing to send. `make image` measures this machine, MACHINE= names another."]
    else:
        lines = contents(good) + [f"Look first: the records hold {name!r}." for name in personal(good)]
        mend = f"Move the {counted(len(bad), 'bad file')} to a folder elsewhere, then `make share` again."
        lines += [mend] if bad else sending(results, slug)
    refused = [f"bad: {line}" for line in refusals(bad)]
    print(f"{slug}: {counted(len(good), 'good record')} in {results / slug}", *refused, *lines, sep="\n")
    return 1 if bad or not good else 0
