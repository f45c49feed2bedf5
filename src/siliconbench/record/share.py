"""`make share` and `make check`, without torch. A stranger's record, and any file's name, are printed plainly."""

import getpass
import json
import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from siliconbench import knobs, paths
from siliconbench.record import host, store
from siliconbench.record.schema import OLDER, Record

COMMON = ("air", "apple", "mac", "max", "mini", "pro", "studio", "ultra")  # users' names that chips have, too


def schema() -> str:
    """The JSON Schema (2020-12) of a record, as text; sums and contradictions within a record are beyond it."""
    published = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Record.model_json_schema(by_alias=True)
    return json.dumps(published, indent=1, sort_keys=True) + "\n"


def own_folder(address: str) -> Path | None:
    """The folder at this address; None: the published one, or the default not made yet; else WrongKnob."""
    results, why = store.folder_at(address), "there is no such folder: `make image` makes it"
    try:
        there = results.is_dir()
    except Exception as error:  # each storage has its own; what they say may name a key
        there, why = False, f"it can't be reached ({type(error).__name__}): see its address and your access"
    if not there and results != paths.MINE:
        raise knobs.WrongKnob(f"RESULTS: {results}: {why}")
    return results if there and not (isinstance(results, Path) and results.resolve() == paths.DATA) else None


def sorted_out(folders: Iterable[Path], machine: str = "*") -> tuple[list[Record], dict[Path, ValueError]]:
    """These machines' good records in the folders, each once, and the bad or stray files, each with its reason."""
    found: dict[Path, Any] = dict(store.read_all(folders, machine))
    for folder in folders:
        for path in sorted([*folder.glob(f"{machine}/*"), *(p for p in folder.glob(machine) if not p.is_dir())]):
            if path.name == "machine.toml" and path.parent != folder:
                found[path] = store.tried(path, store.load_label)
            elif (path.parent == folder or path.suffix != ".json") and not path.name.startswith("."):
                found[path] = ValueError("it is neither a record nor machine.toml: it does not belong here")
    bad = {path: why for path, why in found.items() if isinstance(why, ValueError)}
    return [r for r in found.values() if isinstance(r, Record)], bad


def older(address: str) -> str:
    """The address, after a line is printed that says where records of 0.1 lie on this disk, if any do."""
    own = store.folder_at(address)
    folders = dict.fromkeys((paths.DATA, own.resolve() if isinstance(own, Path) else paths.DATA))
    every = (path for folder in folders for path in sorted(folder.glob("*/*.json")))
    is_older = re.compile(rb'"schema": ?1\b').search  # told without checking them all, which takes a second a thousand
    read = (p.parent for p in every if isinstance(store.tried(p, lambda p: is_older(p.read_bytes())), re.Match))
    if found := Counter(read):
        where = ", ".join(f"{path.parent}/{store.plain(path.name)}" for path in found)
        print(f"{where}: {counted(found.total(), 'record')} {OLDER}", flush=True)
    return address


def refusals(bad: Mapping[Path, ValueError]) -> list[str]:
    """A line for each refused file, the end of its path and the reason; one for all that a machine has of schema 1."""
    older = Counter(store.plain(path.parent.name) for path, why in bad.items() if str(why) == OLDER)
    lines = [f"{name}: {counted(count, 'record')} {OLDER}" for name, count in older.items()]
    others = ((path, why) for path, why in bad.items() if str(why) != OLDER)
    return lines + [f"{store.plain(f'{path.parent.name}/{path.name}')}: {why}" for path, why in others]


def counted(count: int, thing: str) -> str:
    """So many things, in words; thousands are parted as in all figures."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}".replace(",", "\u202f")


def check(address: str) -> int:
    """The exit status of `make check`, its lines printed: 1 if a record, own or published, or the schema is bad."""
    folders = [*filter(None, (own_folder(address), paths.DATA))]
    good, bad = sorted_out(folders)
    if not paths.SCHEMA.is_file() or paths.SCHEMA.read_text("utf-8") != schema():
        bad[paths.SCHEMA] = ValueError("it is not what the models give: `python -m siliconbench schema` mends it")
    machines, lines = counted(len({r.machine.slug for r in good}), "machine"), [f"bad: {n}" for n in refusals(bad)]
    where = " and ".join(map(str, folders))
    print(*lines, f"{counted(len(good), 'good record')} of {machines} in {where}; {len(bad)} bad", sep="\n")
    return 1 if bad else 0


def contents(records: list[Record]) -> list[str]:
    """What one machine's records hold: how many of each model, their verdicts, their dates, the machine's facts."""
    last = max(records, key=lambda r: r.created)
    m, s = last.machine, last.software
    facts = m.model_dump(include={"chip", "model", "cores", "os", "os_build", "arch", "driver"})
    facts |= {"memory": m.memory_bytes and f"{m.memory_bytes / 2**30:.0f} GiB", "Python": s.python, "torch": s.torch}
    facts |= {"GPU": ", ".join(g.name for g in m.gpus or []) or None, "siliconbench": s.commit or s.siliconbench}
    known = [f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None]
    verdicts = [r.verdict.word if r.verdict else "failed" for r in records]
    counts = (Counter(sorted(words)).most_common() for words in ([r.case.model for r in records], verdicts))
    models, judged = (", ".join(f"{word} {count}" for word, count in found) for found in counts)
    days = {f"{r.created[:4]}-{r.created[4:6]}-{r.created[6:8]}" for r in records}
    channels = sorted({name for r in records if r.telemetry for name in r.telemetry.channels})
    return [
        f"Models: {models}.",
        f"Verdicts: {judged}.",
        f"Measured: {' to '.join(dict.fromkeys((min(days), max(days))))} (UTC).",
        f"Of the machine: {'; '.join(known)}.",
        f"Over time: {', '.join(channels) or 'nothing'}; and its load, swap, memory and power source at each run.",
        "Left out: who you are, the machine's own name, its serial numbers and addresses, your files and folders.",
    ]


def own_names() -> set[str]:
    """The names of this user, this machine and the home folder, so far as they name anybody."""
    host, names = socket.gethostname(), set[str]()
    for own in (getpass.getuser, lambda: str(Path.home())):
        with suppress(KeyError, OSError, ImportError, RuntimeError):  # a user id without an entry has neither
            names.add(own())
    return {n for n in names | {host, host.split(".")[0]} if len(n) > 2 and n.lower() not in COMMON}


def personal(records: list[Record]) -> list[str]:
    """The own names that the records' texts hold, as full words."""
    texts = "\n".join(re.sub(r'"\w+":', "", store.dumps(r)) for r in records)
    return sorted(n for n in own_names() if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", texts, re.IGNORECASE))


def another(results: Path, machine: host.Machine) -> str | None:
    """That this machine's name is another's, in words, by chip and cores of the last record of that name; else None."""
    found = (r for _, r in store.read(results, machine.slug) if isinstance(r, Record))
    last = max(found, key=lambda r: r.created, default=None)
    both = (last.machine if last else machine, machine)
    there, here = (f"{m.chip}, {m.cores} cores, {m.gpu_cores}".rstrip(", ") for m in both)
    return None if there == here else f"{machine.slug} is another machine ({there}; here {here})"


def published(good: list[Record], label: Path) -> list[Path]:
    """The new files in reports/data, all or none; Stopped where another machine has the name there."""
    if other := another(paths.DATA, good[-1].machine):
        raise knobs.Stopped(f"{paths.DATA}: {other}: measure with a name of your own (MACHINE=)")
    there, made = [r for _, r in store.read(paths.DATA, good[-1].machine.slug)], list[Path]()
    try:
        for record in (r for r in good if r not in there):
            made.append(store.write(record, paths.DATA))
        if label.is_file() and not (goal := paths.DATA / label.parent.name / label.name).exists():
            made.append(store.write_whole(goal, label.read_text("utf-8")))
    except BaseException:
        for path in made:
            path.unlink()
        raise
    return made


def offered(good: list[Record]) -> list[Record]:
    """The records but for those of the user's own models and images, unless they agree: here, or by SHARE_OWN=1."""
    own = sorted({r.case.model for r in good if r.case.source == "own" or r.case.folder})
    if not own or os.environ.get("SHARE_OWN", "").strip() == "1":
        return good
    what = f"records of your own models or images ({', '.join(own)}): a name, fingerprints, sizes, no source, no image"
    if sys.stdin.isatty() and input(f"Copy the {what}, too? [y/N] ").strip().lower() in ("y", "yes"):
        return good
    print(f"Left out: the {what}; SHARE_OWN=1 copies them.")
    return [r for r in good if r.case.source != "own" and not r.case.folder]


def share(address: str, slug: str, page: Callable[[Path], Path]) -> int:
    """The exit status of `make share`: 1 if a record is bad or none is there; page renders what others see."""
    results = own_folder(address) or paths.DATA
    good, bad = sorted_out([results], slug)
    good = good if bad else offered(good)
    lines = [f"{slug}: {counted(len(good), 'good record')} in {results / slug}", *(f"bad: {n}" for n in refusals(bad))]
    if bad and good:
        lines += [f"Move the {counted(len(bad), 'bad file')} to a folder elsewhere, then `make share` again."]
    elif not good:
        others = ", ".join(sorted({store.plain(path.parent.name) for path in results.glob("*/*.json")} - {slug}))
        lines += [f"Nothing to send: `make image` measures this machine, MACHINE= names another ({others or 'none'})."]
    else:
        lines += contents(good) + [f"Look first: the records hold {name!r}." for name in personal(good)]
        new, branch = published(good, results / slug / "machine.toml"), f"records-{slug}"
        shown = page(paths.DATA.with_name("compare.html"))
        lines += [
            f"{counted(len(new), 'new file')} in {paths.DATA / slug}; with them: {shown}",
            "To a friend: send that folder; it goes into their reports/data.",
            "To everyone: fork the project, then in this clone (the address is that of your fork)",
            f"  git remote add fork ADDRESS; git checkout -b {branch}",
            f"  git add reports/data/{slug} reports/compare.html reports/compare.svg reports/ladder.svg",
            f'  git commit -m "Records of {slug}" && git push -u fork {branch}',
            "and open a pull request. `make test` there finds what is not as it should be.",
        ]
    print(*lines, sep="\n")
    return 1 if bad or not good else 0
