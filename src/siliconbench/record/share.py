"""`make share` and `make check`: what records hold, which of them are bad, and how to send them. Needs no torch.

A record is a stranger's text until its models have passed it, and its file's name always is: both are printed plainly.
"""

import getpass
import json
import re
import shlex
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from siliconbench import paths
from siliconbench.knobs import WrongKnob
from siliconbench.record import label as labels
from siliconbench.record import store
from siliconbench.record.schema import Record

LEFT_OUT = "Left out: who you are, the machine's own name, its serial numbers and addresses, your files and folders."


def schema() -> str:
    """The JSON Schema (2020-12) of a record, as text; sums and contradictions within a record are beyond it."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Record.model_json_schema(by_alias=True)
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def told(path: Path) -> str:
    """The last two parts of a path, fit to be printed."""
    return store.plain(f"{path.parent.name}/{path.name}")


def sorted_out(results: Path, name: str = "*") -> tuple[list[Record], dict[str, str]]:
    """The good records of these machines, and for each bad or stray file the reason. Hidden files are never read."""
    found = list(store.read(results, name))
    bad = {told(path): str(why) for path, why in found if isinstance(why, ValueError)}
    bad |= wrong_labels(sorted(results.glob(f"{name}/machine.toml")))
    seen = {path for path, _ in found}
    inner = [p for p in results.glob(f"{name}/*") if p not in seen and p.name != "machine.toml"]
    outer = [p for p in results.glob(name) if not p.is_dir()]
    stray = [path for path in sorted([*inner, *outer]) if not path.name.startswith(".")]
    bad |= {told(path): "it is neither a record nor machine.toml: it does not belong here" for path in stray}
    return [r for _, r in found if isinstance(r, Record)], bad


def wrong_labels(paths: list[Path]) -> dict[str, str]:
    """For each machine.toml that is no valid label, the reason."""
    bad = dict[str, str]()
    for path in paths:
        # import moved

        try:
            labels.label(path)
        except Exception as error:  # it may be hostile
            bad[told(path)] = store.plain(error)
    return bad


def named(bad: Mapping[str, str]) -> list[str]:
    """One line for each bad file."""
    return [f"bad: {name}: {why}" for name, why in bad.items()]


def counted(count: int, thing: str) -> str:
    """So many things, in words."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def check(results: Path) -> tuple[list[str], int]:
    """The lines of `make check`, and its exit status: 1 if a record, or the published schema, is bad."""
    good, bad = sorted_out(results)
    if not paths.SCHEMA.is_file() or paths.SCHEMA.read_text("utf-8") != schema():
        bad[told(paths.SCHEMA)] = "it is not what the models give: `python -m siliconbench schema` mends it"
    machines = len({r.machine.slug for r in good})
    summary = f"{counted(len(good), 'good record')} of {counted(machines, 'machine')} in {results}; {len(bad)} bad"
    return [*named(bad), summary], 1 if bad else 0


def contents(records: list[Record]) -> list[str]:
    """What one machine's records hold: how many of each model, their verdicts, their dates, what is told of it."""
    last = max(records, key=lambda r: r.created)
    models = Counter(r.case.model for r in records)
    words = Counter(r.verdict.word if r.verdict else "failed" for r in records)
    days = sorted(f"{r.created[:4]}-{r.created[4:6]}-{r.created[6:8]}" for r in records)
    channels = sorted({name for r in records if r.telemetry for name in r.telemetry.channels})
    return [
        f"Models: {listed(models)}.",
        f"Verdicts: {listed(words)}.",
        f"Measured: {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "") + " (UTC).",
        "Told of the machine: " + "; ".join(facts(last)) + ".",
        f"Told over time: {', '.join(channels) or 'nothing'}; and its load, swap, memory and power source at each run.",
        LEFT_OUT,
    ]


def listed(counts: Mapping[str, int]) -> str:
    """Each word with its count, the most frequent first."""
    return ", ".join(f"{word} {count}" for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def facts(last: Record) -> list[str]:
    """What a record tells of its machine and its software, one fact each."""
    m, s = last.machine, last.software
    plain = m.model_dump(include={"chip", "model", "cores", "os", "os_build", "arch", "driver"})
    plain |= {"memory": m.memory_bytes and f"{m.memory_bytes / 2**30:.0f} GiB"}
    plain |= {"GPU": ", ".join(g.name for g in m.gpus or []) or None}
    plain |= {"Python": s.python, "torch": s.torch, "siliconbench": s.commit or s.siliconbench}
    return [f"{name.replace('_', ' ')} {value}" for name, value in plain.items() if value is not None]


def personal(records: Iterable[Record]) -> list[str]:
    """The names of this user, machine and home folder that the records' texts hold, as whole words."""
    names = {getpass.getuser(), socket.gethostname(), socket.gethostname().split(".")[0], str(Path.home())}
    texts = "\n".join(re.sub(r'"\w+":', "", store.dumps(r)) for r in records)
    return sorted(n for n in names if len(n) > 2 and re.search(rf"(?<!\w){re.escape(n)}(?!\w)", texts, re.IGNORECASE))


def sending(results: Path, slug: str) -> list[str]:
    """How to send one machine's folder, in lines that can be pasted."""
    if not isinstance(results, Path):
        return [f"They are at {results}: who can read that place has them."]
    folder, data = f"reports/data/{slug}", results.resolve()
    copy = f"  mkdir -p reports/data && cp -R {shlex.quote(str(data / slug))} reports/data/"
    labelled = (data / slug / "machine.toml").is_file()
    return [
        f"To a friend: send the folder {results / slug}; it goes into their reports/data.",
        "To everyone: fork the project, then in your clone",
        *([] if data == paths.DATA else [copy]),
        f"  git checkout -b records-{slug}",
        f"  git add {folder}/*.json" + (f" {folder}/machine.toml" if labelled else ""),
        f'  git commit -m "Records of {slug}" && git push -u origin records-{slug}',
        "and open a pull request. `make check` there finds what is not a valid record.",
    ]


def share(results: Path, slug: str) -> tuple[list[str], int]:
    """The lines of `make share`, and its exit status: 1 if one of this machine's records is bad, or there is none."""
    good, bad = sorted_out(results, slug)
    lines = [f"{slug}: {counted(len(good), 'good record')} in {results / slug}", *named(bad)]
    if not good:
        return [*lines, "There is nothing to send. `make image` measures this machine, MACHINE= names another."], 1
    lines += contents(good) + [f"Look first: the records hold {name!r}." for name in personal(good)]
    if bad:
        return [*lines, f"Take the {counted(len(bad), 'bad file')} away, then `make share` again."], 1
    return [*lines, *sending(results, slug)], 0


def reached(address: str) -> Path:
    """The folder at this address; WrongKnob when it is not there or can't be reached."""
    results = store.place(address)
    try:
        if results.is_dir():
            return results
        why = "there is no such folder: `make image` makes it"
    except Exception as error:  # each storage has its own; what they say may name a key
        why = f"it can't be reached ({type(error).__name__}): see its address and your access"
    raise WrongKnob(f"RESULTS: {results}: {why}")
