"""Which machine should I pick? From every record to one page: like is compared with like, and what can't be is said.

`make report` renders notebooks/compare.ipynb with what stands here.
"""

import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, StringConstraints, ValidationError

from siliconbench import heat, knobs, record, stats, summary
from siliconbench.record import Model, Name, Record, Text

ALIKE = [k for k in summary.LIKE if k not in ("machine", "device", "sustained")]  # must agree to be ranked together
MOST_SHOWN = 12  # machines in one figure: more can't be told apart
MOST_TIMELINES = 3
MOST_LABEL_BYTES = 10_000
PUBLISHED = ["label", "images_per_s", "model", "batch_size", "what", "temperature_c", "fan_rpm", "price", "source"]


class Label(Model):
    """What a person says of a machine, by hand, in reports/data/<machine>/machine.toml."""

    label: Name
    price: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    date: Annotated[str, StringConstraints(pattern=r"^20\d\d-[01]\d-[0-3]\d$")] | None = None
    source: Text | None = None
    note: Text | None = None


def label(path: Path) -> Label:
    """The label in one machine.toml; ValueError with the reason when it is not one."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_LABEL_BYTES:
        raise ValueError(f"it is no plain file of at most {MOST_LABEL_BYTES:,} bytes")
    try:
        return Label.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(record.plain(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(record.plain(error)) from None


@dataclass
class Study:
    """All that the page is made of. Of a record only its row is kept, of each machine the newest and the longest."""

    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    newest: dict[str, Record] = field(default_factory=dict)
    longest: dict[str, Record] = field(default_factory=dict)  # the longest sustained run
    labels: dict[str, Label] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def name(self, machine: str) -> str:
        """The machine's label where a person gave one, else its slug."""
        return self.labels[machine].label if machine in self.labels else machine


def gather(results: Path) -> Study:
    """Every valid record and label under results; what was refused is named, with the reason."""
    study = Study()

    def good() -> Iterator[Record]:
        for path, found in record.read(results):
            if isinstance(found, ValueError):
                study.refused.append(f"{record.plain(path.parent.name)}/{record.plain(path.name)}: {found}")
                continue
            _keep(study, found)
            yield found

    study.runs = summary.runs(good())
    study.cases = summary.cases(study.runs)
    for path in sorted(results.glob("*/machine.toml")):
        try:
            study.labels[path.parent.name] = label(path)
        except (ValueError, OSError) as error:
            study.refused.append(f"{record.plain(path.parent.name)}/machine.toml: {error}")
    return study


def _keep(study: Study, found: Record) -> None:
    slug = found.machine.slug
    study.newest[slug] = max(study.newest.get(slug, found), found, key=lambda r: r.created)
    if found.case.minutes and found.passes:
        study.longest[slug] = max(study.longest.get(slug, found), found, key=lambda r: (r.case.minutes, r.created))


def ranking(study: Study) -> pd.DataFrame:
    """The cases that are compared, a row a machine, fastest first: the reference case that most machines share.

    Each machine enters with its fastest device. Of equals, resnet50 at batch 64 leads, then the case with most runs.
    """
    table = study.cases
    if table.empty:
        return table
    table = table[table["reference"] & ~table["sustained"].astype(bool) & table["images_per_s"].notna()]
    table = table.sort_values("images_per_s", ascending=False).drop_duplicates([*ALIKE, "machine"])
    groups = [group for _, group in table.groupby(ALIKE, sort=True)]
    return max(groups, key=_weight).assign(name=lambda t: t["machine"].map(study.name)) if groups else table


def _weight(group: pd.DataFrame) -> tuple[Any, ...]:
    first = group.iloc[0]
    same = (first["input"] == "fast", first["model"] == "resnet50", first["batch_size"] == 64)
    return len(group), *same, int(group["runs"].sum()), float(first["torch"].replace("unknown", "0"))


def scope(rank: pd.DataFrame) -> str:
    """What the ranking compares, in words: resnet50, batch 64, fp32, end to end, torch 2.15."""
    first = rank.iloc[0]
    words = [first["model"], f"batch {first['batch_size']}", first["precision"], "end to end"]
    words += [] if first["input"] == "fast" else [f"{first['input']} input"]
    words += [] if first["workers"] == "auto" else [f"{first['workers']} workers"]
    return ", ".join([*words, f"torch {first['torch']}"])


def verdict(study: Study, rank: pd.DataFrame) -> str:
    """The page's first sentences: who is faster, by how much, how sure, in what; then heat, fan and price."""
    if rank.empty:
        return "No machine has been measured yet: `make image` measures this one."
    top = rank.iloc[0]
    if len(rank) == 1:
        told = f"{top['name']} makes {summary.rate(top['images_per_s'], top['low'], top['high'])} ({scope(rank)}). "
        return told + "There is no other machine to compare it with under the same conditions." + _state(study, rank)
    pairs = stats.compare_all({row["machine"]: row["rates"] for _, row in rank[::-1].iterrows()})
    second = rank.iloc[1]
    told = _pair(second, top, pairs[second["machine"], top["machine"]])
    told += f" ({scope(rank)})."
    if len(rank) > 2:
        last = rank.iloc[-1]
        share = last["images_per_s"] / top["images_per_s"]
        told += f" Of {len(rank)} machines {last['name']} is the slowest, at {share:.2g} of that."
    if not rank["clean"].head(2).all():
        told += " Not all of these figures rest on clean runs."
    return told + _state(study, rank) + _worth(study, rank)


def _pair(slow: Any, fast: Any, found: stats.Comparison) -> str:
    span = "" if found.low is None or found.high is None else f" ({found.low:.3g} to {found.high:.3g})"
    if found.word == "same":
        return f"{fast['name']} and {slow['name']} are equally fast within {100 * stats.MARGIN:.0f} %"
    if found.word == "faster":
        return f"{fast['name']} is {found.ratio:.3g} times as fast as {slow['name']}{span}"
    more = stats.runs_needed(slow["rates"], fast["rates"])
    if min(len(slow["rates"]), len(fast["rates"])) < 2:
        tell = "one run can't tell; REPEATS=5 can"
    else:
        tell = f"{more} more runs of each would tell" if more else "the noise is too large for more runs to tell"
    whether = f"Whether {fast['name']} or {slow['name']} is faster is undecided"
    return f"{whether}: {found.ratio:.3g} times as fast{span}; {tell}"


def _state(study: Study, rank: pd.DataFrame) -> str:
    told = [
        f"{row['name']} runs at {words}" for _, row in rank.head(2).iterrows() if (words := _conditions(study, row))
    ]
    return f" {', '.join(told)}." if told else ""


def _conditions(study: Study, row: Any) -> str:
    """Heat, fan and watts of a machine: of its longest sustained run, else the case's own highest."""
    if row["machine"] in study.longest:
        return heat.conditions(heat.of_run(study.longest[row["machine"]]))
    return heat.conditions(row)


def per_price(study: Study, row: Any) -> float | None:
    """Images per second for 1,000 of the machine's currency; None without a price."""
    given = study.labels.get(row["machine"])
    return 1000 * row["images_per_s"] / given.price if given and given.price else None


def _worth(study: Study, rank: pd.DataFrame) -> str:
    priced = [(row, worth) for _, row in rank.iterrows() if (worth := per_price(study, row))]
    if len(priced) < 2 or len({study.labels[row["machine"]].currency for row, _ in priced}) > 1:
        return ""
    priced.sort(key=lambda pair: -pair[1])
    (best, most), (_, next_most) = priced[:2]
    currency = study.labels[best["machine"]].currency
    return f" Per 1,000 {currency} {best['name']} gives the most, {most / next_most:.2g} times as much as the next."


def rank_table(study: Study, rank: pd.DataFrame) -> pd.DataFrame:
    """The ranking as the page shows it: at most eight columns, no price column where no price is known."""
    if rank.empty:
        return pd.DataFrame({"machine": [], "images/s": []})
    figures = zip(rank["images_per_s"], rank["low"], rank["high"], strict=True)
    worth = [per_price(study, row) for _, row in rank.iterrows()]
    units = [study.labels[m].currency if m in study.labels else None for m in rank["machine"]]
    columns = {
        "machine": [f"{n} ({d})" for n, d in zip(rank["name"], rank["device"], strict=True)],
        "images/s": rank["images_per_s"].tolist(),
        "95 % over runs": [summary.rate(*f).partition(" images/s ")[2].strip("()") or None for f in figures],
        "of the fastest": (rank["images_per_s"] / rank["images_per_s"].iloc[0]).tolist(),
        "heat, fan, power": [_conditions(study, row) or None for _, row in rank.iterrows()],
        "images/J": rank["images_per_j"].tolist(),
        "per 1,000": [f"{w:.3g} ({u})" if w else None for w, u in zip(worth, units, strict=True)],
        "runs": [f"{r} ({c} clean)" for r, c in zip(rank["runs"], rank["clean"], strict=True)],
    }
    return pd.DataFrame(columns if any(worth) else {k: v for k, v in columns.items() if k != "per 1,000"})


def relative(rank: pd.DataFrame) -> pd.DataFrame:
    """Each machine's speed over the first one's, with Welch's interval: name, ratio, low, high, clean."""
    rows = []
    for _, row in rank.head(MOST_SHOWN).iterrows():
        found = stats.compare(rank.iloc[0]["rates"], row["rates"])
        same = row["machine"] == rank.iloc[0]["machine"]
        low, high = (None, None) if same else (found.low, found.high)
        rows.append((row["name"], found.ratio, low, high, row["clean"] > 0))
    return pd.DataFrame(rows, columns=["name", "ratio", "low", "high", "clean"])


def relative_words(rank: pd.DataFrame) -> str:
    """What the figure of relative speed shows."""
    if len(rank) < 2:
        return "One machine: there is nothing to set beside it."
    words = stats.compare_all({row["name"]: row["rates"] for _, row in rank.iterrows()})
    counted = pd.Series([pair.word for pair in words.values()]).replace({"slower": "faster"}).value_counts()
    told = ", ".join(f"{n} {'decided' if word == 'faster' else word}" for word, n in counted.items())
    more = f" The figure shows the first {MOST_SHOWN}." if len(rank) > MOST_SHOWN else ""
    return f"Of {len(words)} pairs: {told} (Holm, 5 % over all pairs; same means within 2 %).{more}"


def apart(study: Study, rank: pd.DataFrame) -> list[str]:
    """Each machine that is not in the ranking, and why: in what its nearest case differs."""
    table = study.cases
    if table.empty or rank.empty:
        return []
    told, first = [], rank.iloc[0]
    for machine in sorted(set(table["machine"]) - set(rank["machine"])):
        mine = table[(table["machine"] == machine) & table["reference"] & table["images_per_s"].notna()]
        differ = [[k for k in ALIKE if row[k] != first[k]] for _, row in mine.iterrows()]
        keys = min(differ, key=len, default=None)
        if keys is None:
            told.append(f"{study.name(machine)} is not ranked: it has no reference run that succeeded.")
            continue
        nearest = mine.iloc[differ.index(keys)]
        why = ", ".join(f"{k.replace('_', ' ')} {nearest[k]}, not {first[k]}" for k in keys) or "only a sustained run"
        told.append(
            f"{study.name(machine)} is not ranked with these: {why}. Its {nearest['model']} at batch "
            f"{nearest['batch_size']} makes {summary.rate(nearest['images_per_s'], nearest['low'], nearest['high'])}."
        )
    return told  # fmt: skip


def like_main(study: Study, rank: pd.DataFrame) -> pd.DataFrame:
    """Every reference case of the ranking's model, all machines, inputs and torch versions, named by what differs."""
    if rank.empty:
        return summary.named(study.cases)
    table = study.cases[study.cases["reference"] & ~study.cases["sustained"].astype(bool)]
    table = table[table["model"] == rank.iloc[0]["model"]]
    told = table["machine"].map(study.name)
    for key, form in {"device": "{}", "input": "{}", "workers": "{} workers", "torch": "torch {}"}.items():
        if table.groupby("machine")[key].nunique().max() > 1:
            told = told + table[key].map(lambda value, form=form: ", " + form.format(value))
    return table.assign(name=told)


def parts(study: Study, rank: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds an image of the model alone and of the whole, by machine, at the ranking's batch size."""
    table = like_main(study, rank)
    if table.empty:
        return pd.DataFrame(columns=["case", "part", "ms"])
    table = table[(table["batch_size"] == rank.iloc[0]["batch_size"]) & table["images_per_s"].notna()].head(MOST_SHOWN)
    rows = [
        (case["name"], words, 1000 / case[f"{part}_images_per_s"])
        for _, case in table.iterrows()
        for part, words in summary.PARTS.items()
        if part in ("forward", "end_to_end") and pd.notna(case[f"{part}_images_per_s"])
    ]
    return pd.DataFrame(rows, columns=["case", "part", "ms"])


def parts_words(table: pd.DataFrame) -> str:
    """Where the whole is far slower than the model: the machine is not to blame, what feeds it is."""
    if table.empty:
        return "No case succeeded: there is nothing to take apart."
    wide = table.pivot_table(index="case", columns="part", values="ms", sort=False)
    whole, alone = wide[summary.PARTS["end_to_end"]], wide[summary.PARTS["forward"]]
    starved = [
        f"{case}: the model alone makes {1000 / alone[case]:,.0f} images/s, the whole {1000 / whole[case]:,.0f}"
        for case in wide.index
        if whole[case] > 1.5 * alone[case]
    ]
    if not starved:
        return "Everywhere the whole is within a third of the model alone: the device sets the pace."
    return "; ".join(starved[:4]) + ". There it is the making of pictures that is timed, not the device."


def few(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the machines that a figure can show: those with the highest figures, and those that failed."""
    names = table.groupby("name")["images_per_s"].max().nlargest(MOST_SHOWN).index if len(table) else []
    return table[table["name"].isin(names)]


def timelines(study: Study) -> list[Record]:
    """The longest sustained runs, of three machines at most."""
    return sorted(filter(heat.whole, study.longest.values()), key=lambda r: (-r.case.minutes, r.machine.slug))[
        :MOST_TIMELINES
    ]


def sustained_words(study: Study) -> list[str]:
    """For each machine with a sustained run, how it kept its speed, with its heat, fan and watts."""
    told = [f"{study.name(slug)}: {heat.words(found)}" for slug, found in sorted(study.longest.items())]
    return told or ["No sustained run is among the records: `make image MINUTES=10` makes one."]


def requests(rank: pd.DataFrame) -> pd.DataFrame:
    """The requests of the ranked cases, thinned to 200 quantiles a machine: name, ms."""
    rows = []
    for _, row in rank.head(MOST_SHOWN).iterrows():
        seconds = pd.Series(row["request_s"], dtype=float)
        if len(seconds):
            wanted = (
                [i / 200 for i in range(201)]
                if len(seconds) > 200
                else [i / (len(seconds)) for i in range(len(seconds))]
            )
            rows += [(row["name"], 1000 * s) for s in seconds.quantile(wanted, interpolation="higher")]
    return pd.DataFrame(rows, columns=["name", "ms"])


def requests_words(rank: pd.DataFrame) -> str:
    """The median and the farthest percentile of the machines' requests."""
    told = []
    for _, row in rank.head(4).iterrows():
        middle, far = stats.percentile(row["request_s"], 0.5), stats.tail(row["request_s"])
        if middle and far:
            told.append(
                f"{row['name']}: median {1000 * middle.value_s:.3g} ms, {far[0]} {1000 * far[1].value_s:.3g} ms"
            )
    return "; ".join(told) + "." if told else "No request was timed."


def energy_words(rank: pd.DataFrame) -> str:
    """Images per joule of the machines that can tell, and whose joules they are."""
    known = rank[rank["images_per_j"].notna()] if "images_per_j" in rank else rank
    told = [
        f"{r['name']} makes {r['images_per_j']:.3g} images per joule ({r['joules_of']})" for _, r in known.iterrows()
    ]
    unlike = (
        " Joules of unlike parts can't be set beside one another."
        if known.get("joules_of", pd.Series()).nunique() > 1
        else ""
    )
    return ("; ".join(told[:MOST_SHOWN]) + "." + unlike) if told else "No machine of the ranking told its power."


def limit_table(rank: pd.DataFrame) -> pd.DataFrame:
    """How near the model alone comes to the device's own limit, by machine."""
    if rank.empty:
        return pd.DataFrame({"machine": []})
    share = 100 * rank["utilisation"].astype(float)
    return pd.DataFrame(
        {"machine": rank["name"], "model alone, images/s": rank["forward_images_per_s"], "of the peak, %": share}
    )


def limit_words(limits: pd.DataFrame) -> str:
    """The nearest to its limit, read aloud."""
    known = limits.dropna()
    if known.empty:
        return "No run measured its device's limit."
    best = known.loc[known["of the peak, %"].idxmax()]
    return f"{best['machine']} comes nearest to its own limit: {best['of the peak, %']:.0f} % of its device's peak."


def health(study: Study) -> list[str]:
    """Each machine against the others of its chip, at the reference cases that both have, in words."""
    told, chips = list[str](), dict[str, list[str]]()
    for slug, newest in sorted(study.newest.items()):
        chips.setdefault(newest.software.device_name or newest.machine.chip or "unknown chip", []).append(slug)
    good = (
        study.cases[study.cases["reference"] & study.cases["images_per_s"].notna()] if len(study.cases) else study.cases
    )
    for chip, slugs in chips.items():
        if len(slugs) == 1:
            told.append(
                f"{study.name(slugs[0])}: no other {chip} is among the records, so nothing tells whether it is healthy."
            )
        for a, b in combinations(slugs, 2):
            keys = [*ALIKE, "device"]
            both = good[good["machine"] == a].merge(good[good["machine"] == b], on=keys, suffixes=("", "_b"))
            found = [(stats.compare(r["rates"], r["rates_b"]), r) for _, r in both.iterrows()]
            words = [f"{c.word} at {r['model']} b{r['batch_size']} ({c.ratio:.3g} times)" for c, r in found[:3]]
            told.append(f"{study.name(b)} against {study.name(a)} ({chip}): {', '.join(words) or 'no case in common'}.")
    return told[:40] or ["No machine is among the records."]


def tuned(study: Study) -> pd.DataFrame:
    """The best tuned setting of each machine and model: what won it, over the best reference figure; one row each."""
    table = study.cases[study.cases["images_per_s"].notna()] if len(study.cases) else study.cases
    rows = []
    for (machine, model, mode), group in table.groupby(["machine", "model", "mode"]) if len(table) else ():
        best = group[~group["reference"]]
        if best.empty:
            continue
        top = best.loc[best["images_per_s"].idxmax()]
        ways = [
            top["precision"],
            top["memory_format"],
            "compiled" if top["compile"] else "eager",
            f"batch {top['batch_size']}",
        ]
        plain = group[group["reference"] & ~group["sustained"].astype(bool)]
        found = stats.compare(plain.loc[plain["images_per_s"].idxmax()]["rates"], top["rates"]) if len(plain) else None
        span = f" ({found.low:.3g} to {found.high:.3g})" if found and found.low and found.high else ""
        gain = f"{found.ratio:.3g}{span}" if found else None
        agree = "yes" if top["agreed"] else "not compared"
        rows.append(
            (study.name(machine), model, mode, ", ".join(ways), top["images_per_s"], gain, agree, int(top["runs"]))
        )
    columns = ["machine", "model", "mode", "fastest setting", "images/s", "times reference", "outputs agree", "runs"]
    return pd.DataFrame(rows, columns=columns)


def tuned_words(table: pd.DataFrame) -> str:
    """The greatest gain over the reference, read aloud."""
    if table.empty:
        return "No tuned run is among the records: `make best` looks for the fastest setting of a model."
    told = [
        f"{r['machine']} runs {r['model']} ({r['mode']}) fastest with {r['fastest setting']}: "
        + f"{r['images/s']:,.0f} images/s"
        + (f", {r['times reference']} times its best reference figure" if r["times reference"] else "")
        for _, r in table.head(4).iterrows()
    ]
    return "; ".join(told) + "."


def published(path: Path, study: Study) -> pd.DataFrame:
    """Figures from elsewhere, and beside them those of ours that were made by the original's protocol."""
    table = pd.read_csv(path)[PUBLISHED]
    ours = study.cases
    if len(ours):
        ours = ours[
            (ours["input"] == "original") & (ours["workers"] == "0") & ours["images_per_s"].notna() & ours["reference"]
        ]
    rows = [
        {
            "label": study.name(c["machine"]), "images_per_s": c["images_per_s"], "model": c["model"],
            "batch_size": c["batch_size"],
            "what": "end to end, original input, 0 workers", "temperature_c": c["peak_c"], "fan_rpm": c["fan_rpm"],
            "price": None, "source": "measured with this tool",
        }
        for _, c in ours.iterrows()
    ]  # fmt: skip
    both = pd.DataFrame(table.to_dict("records") + rows, columns=PUBLISHED)
    return both.rename(columns=lambda c: c.replace("_per_s", "/s").replace("_", " "))


def published_words(table: pd.DataFrame) -> str:
    """The fastest of the published figures, and of ours by the same protocol."""
    ours = table["source"] == "measured with this tool"
    top = table[~ours].loc[table[~ours]["images/s"].idxmax()]
    told = f"The fastest published figure is {top['images/s']:.0f} images/s ({top['label']})."
    if not ours.any():
        return f"{told} No run here used that protocol: INPUT=original WORKERS=0 makes one."
    mine = table[ours].loc[table[ours]["images/s"].idxmax()]
    return (
        f"{told} By the same protocol {mine['label']} makes {mine['images/s']:.0f} here: one core makes the pictures."
    )


def doubts(study: Study) -> list[str]:
    """Why runs are not clean, and which files were refused and why; of very many the first, and how many more."""
    told = summary.doubts(study.runs)
    refused = [f"refused: {why}" for why in study.refused]
    more = [
        f"and {len(some) - 40} more {what}"
        for some, what in ((told, "reasons"), (refused, "refused files"))
        if len(some) > 40
    ]
    return told[:40] + refused[:40] + more


def cards(study: Study) -> pd.DataFrame:
    """What each machine is and ran with, by its newest record: one row a machine."""
    rows = []
    for slug, newest in sorted(study.newest.items()):
        m, s = newest.machine, newest.software
        rows.append((study.name(slug), m.chip, s.device_name, m.cores, m.memory_bytes and m.memory_bytes / 2**30,
                     " ".join(filter(None, [m.os, m.os_build])) or None, s.torch, s.commit))  # fmt: skip
    return pd.DataFrame(
        rows, columns=["machine", "chip", "device", "cores", "memory, GiB", "system", "torch", "siliconbench"]
    )


def again(study: Study, rank: pd.DataFrame) -> list[str]:
    """How to repeat the ranking's measurement, what prices stand on, and where the records lie."""
    if rank.empty:
        return []
    first = rank.iloc[0]
    told = [
        f"make image IMAGE_MODEL={first['model']} BATCH_SIZE={first['batch_size']} INPUT={first['input']} "
        f"WORKERS={first['workers']} makes the ranking's case on another machine; make report makes this page."
    ]
    for _, given in sorted(study.labels.items()):
        if given.price:
            source = f"{given.source or 'source not given'}, {given.date or 'date not given'}"
            told.append(f"{given.label}: {given.price:,.0f} {given.currency} ({source}). {given.note or ''}".strip())
    counts = study.runs.groupby("machine").size()
    return told + [f"{study.name(slug)}: {n} records in reports/data/{slug}/" for slug, n in counts.items()]


def main() -> int:
    """The exit status of `make report`: the page and its picture, made of the records under RESULTS."""
    try:
        results = knobs.read(os.environ)["RESULTS"]
    except knobs.WrongKnob as wrong:
        print(f"make report: {wrong}", file=sys.stderr)
        return 2
    from siliconbench import notebook
    from siliconbench.sweep import NOTEBOOKS, REPORTS

    given = {
        "results": str(place.resolve() if isinstance(place := record.place(results), Path) else results),
        "picture": str((REPORTS / "compare.svg").resolve()),
    }
    given["published"] = str(Path(__file__).parents[2] / "reports" / "published.csv")
    print(notebook.render(NOTEBOOKS / "compare.ipynb", REPORTS / "compare.html", given, REPORTS / "runs"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
