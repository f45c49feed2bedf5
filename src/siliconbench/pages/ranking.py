"""From every record to what is compared: like with like, and for what can't be compared the reason why."""

import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from siliconbench.analysis.cases import ALIKE, LIKE, POOL, case_words, cases, chief, named, runs
from siliconbench.analysis.words import speed_words, told_apart
from siliconbench.record import share, store
from siliconbench.record.schema import OLDER, Record

SAME = ["source", "model", "made"]  # what a model is


@dataclass
class Study:
    """All that the page is made of. Of a record only its row stays, of each machine the newest and the longest."""

    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)  # each with its machine's price, rent and currency
    newest: dict[str, Record] = field(default_factory=dict)
    longest: dict[str, Record] = field(default_factory=dict)  # the longest sustained run
    looks: list[Record] = field(default_factory=list)  # of the ladders of `make best`
    labels: dict[str, store.Label] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of the machines, as people are shown them
    files: list[Path] = field(default_factory=list)  # that were read
    bad: dict[Path, ValueError] = field(default_factory=dict)  # the files that were refused

    def read(self, own: Path | None, published: Path) -> Iterator[Record]:
        """Every valid record of both folders once; what is refused is noted, but records of 0.1 among the published."""
        for path, record in store.read_all(filter(None, (own, published))):
            if isinstance(record, ValueError):
                if path.parent.parent != published or str(record) != OLDER:
                    self.bad[path] = record
                continue
            self.files.append(path)
            self.looks += [record] if record.sweep.search else []
            slug = record.machine.slug
            self.newest[slug] = max(self.newest.get(slug, record), record, key=lambda r: r.created)
            if record.case.minutes and record.passes:
                kept = self.longest.get(slug, record)
                self.longest[slug] = max(kept, record, key=lambda r: (r.case.minutes, r.created))
            yield record


def gather(published: Path, own: Path | None = None) -> Study:
    """Every valid record and label in these folders, one's own before; what was refused is named, with the reason."""
    study = Study()
    gc.disable()  # to search so many new objects for garbage time and again takes as long as all else
    try:
        study.runs = runs(study.read(own, published))
        study.cases = cases(study.runs)
    finally:
        gc.freeze()  # nor is what stays searched later
        gc.enable()
    for path in (path for folder in (own, published) if folder for path in sorted(folder.glob("*/machine.toml"))):
        label = store.tried(path, store.load_label)
        if isinstance(label, ValueError):
            study.bad[path] = label
        else:
            study.labels.setdefault(path.parent.name, label)
            study.files.append(path)
    for name, kind in {"price": float, "rent": float, "currency": object}.items():
        told = [getattr(study.labels.get(machine), name, None) for machine in study.cases["machine"]]
        study.cases[name] = pd.Series(told, dtype=kind)
    plain = {slug: record.machine.title for slug, record in study.newest.items()}
    plain |= {slug: label.label for slug, label in study.labels.items() if slug in plain}
    mine = {path.parent.name for path in own.glob("*/*.json")} if own else set[str]()
    study.names, study.cases["mine"] = told_apart(plain, mine), study.cases["machine"].isin(mine)
    return study


def comparable(study: Study) -> pd.DataFrame:
    """The reference cases of short runs, failed ones too; of a machine's populations that of most runs."""
    return chief(study.cases.query("reference and not sustained"))


def others(study: Study, rank: pd.DataFrame) -> Iterator[str]:
    """The runs of the ranking's case that are no part of a machine's figure, as their conditions were others."""
    rows = study.cases.query("reference").dropna(subset=["images_per_s"]).merge(rank[LIKE])
    ranked = {row["machine"]: row for row in rank.to_dict("records")}
    for row in rows.to_dict("records"):
        own = ranked[row["machine"]]
        if differ := [k for k in POOL if row[k] != own[k]]:
            what = f"{share.counted(row['runs'], 'run')} with {case_words(row, differ).partition(', ')[2]}"
            yield f"Left out of the figure of {own['name']}: {what}, {speed_words(row)}."


def ranking(study: Study) -> pd.DataFrame:
    """The case that most machines share, the fastest device of each, fastest first."""
    table = comparable(study).dropna(subset=["images_per_s"]).sort_values("images_per_s", ascending=False)
    groups = [group for _, group in table.drop_duplicates([*ALIKE, "machine"]).groupby(ALIKE, sort=True)]
    table = max(groups, key=weight) if groups else table
    return table.assign(name=table["machine"].map(study.names.get), label=lambda ranked: ranked["name"])


def weight(group: pd.DataFrame) -> tuple[int | list[int], ...]:
    """What decides which group is compared: one's own among others, the greatest; resnet50 at batch 64, most runs."""
    case, mine = group.iloc[0], group["machine"].nunique() > 1 and bool(group["mine"].any())
    same = (case["input"] == "fast", case["model"] == "resnet50", case["batch_size"] == 64)
    return mine, len(group), *same, int(group["runs"].sum()), [int(part) for part in re.findall(r"\d+", case["torch"])]


def not_ranked(study: Study, rank: pd.DataFrame) -> list[str]:
    """Each machine that is not in the ranking, and why: in what its nearest case differs."""
    lines, first = list[str](), rank.iloc[0] if len(rank) else pd.Series()
    for machine in sorted(set(study.cases["machine"]) - set(rank["machine"])) if len(rank) else ():
        own = study.cases[study.cases["machine"] == machine].query("reference").sort_values("runs", ascending=False)
        rows = [row for _, row in own.dropna(subset=["images_per_s"]).iterrows()]
        if not rows:
            lines.append(f"{study.names[machine]} is not ranked: it has no reference run that succeeded.")
            continue
        case = min(rows, key=lambda row: sum(row[k] != first[k] for k in ALIKE))
        why = ", ".join(f"{k.replace('_', ' ')} {case[k]}, not {first[k]}" for k in ALIKE if case[k] != first[k])
        own_speed = f"Its {case['model']} at batch {case['batch_size']} runs at {speed_words(case)}."
        lines.append(
            f"{study.names[machine]} is not in the first ranking: {why or 'only a sustained run'}. {own_speed}"
        )
    for (_, model), own in study.runs[study.runs["made"] != ""].groupby(["source", "model"]):
        built = own.groupby("made")["machine"].unique()
        marks = [f"{made} ({', '.join(study.names[one] for one in sorted(by))})" for made, by in built.items()]
        lines.append(f"{model} is not the same thing everywhere, so it is ranked apart: {'; '.join(marks)}.")
    return [*lines, *others(study, rank)]


def alike(study: Study, rank: pd.DataFrame) -> pd.DataFrame:
    """The reference cases of the ranking's model, image size, torch and method, in its order, named by what differs."""
    if rank.empty:
        cases = study.cases.assign(machine=study.cases["machine"].map(study.names.get))
        return named(cases).assign(label=lambda table: table["name"])
    case, table = rank.iloc[0], comparable(study).merge(rank[:1][[*SAME, "image_px", "torch", "method"]])
    several = table.groupby("machine")["device"].transform("nunique") > 1
    names = table["machine"].map(study.names.get) + (", " + table["device"]).where(several, "")
    for key in ("input", "workers"):
        names += (", " + table[key] + f" {key}").where(table[key] != case[key], "")
    table = table.assign(name=names, label=names, order=pd.Categorical(table["machine"], rank["machine"]))
    return table.sort_values(["order", "input", "workers", "batch_size"])


def timelines(study: Study) -> list[Record]:
    """The longest sustained runs that have samples, of three machines at most."""
    good = (r for r in study.longest.values() if r.telemetry and r.passes and r.passes.end_to_end)
    return sorted(good, key=lambda r: (-r.case.minutes, r.machine.slug))[:3]
