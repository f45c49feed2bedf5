"""Which machine should I pick? From every record to one page: like is compared with like, and what can't be is said.

`make report` renders notebooks/compare.ipynb with what stands here.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from siliconbench import paths
from siliconbench.analysis import cases as case_table
from siliconbench.analysis import heat, stats
from siliconbench.analysis.stats import Comparison
from siliconbench.knobs import WrongKnob
from siliconbench.pages import machine as machine_page
from siliconbench.pages import render
from siliconbench.record import label as labels_module
from siliconbench.record import store
from siliconbench.record.label import Label
from siliconbench.record.schema import Record

ALIKE = [k for k in case_table.LIKE if k not in ("machine", "device", "sustained")]  # must agree to be ranked together


MOST_SHOWN = 12  # machines in one figure: more can't be told apart

MOST_TIMELINES = 3

MOST_LINES = 40  # of one list: beyond, their number is told

MOST_NAMED = 10  # records of one case that are named

OURS = "measured with this tool"


@dataclass
class Study:
    """All that the page is made of. Of a record only its row is kept, of each machine the newest and the longest."""

    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    newest: dict[str, Record] = field(default_factory=dict)
    longest: dict[str, Record] = field(default_factory=dict)  # the longest sustained run
    labels: dict[str, Label] = field(default_factory=dict)
    chips: dict[tuple[str, str], str] = field(default_factory=dict)  # by machine and device
    refused: list[str] = field(default_factory=list)

    def name(self, machine: str) -> str:
        """The machine's label where a person gave one, else its slug; both where two machines share the label."""
        if machine not in self.labels:
            return machine
        own = self.labels[machine].label
        twice = own in self.newest or sum(other.label == own for other in self.labels.values()) > 1
        return f"{own} ({machine})" if twice else own


def gather(results: Path) -> Study:
    """Every valid record and label under results; what was refused is named, with the reason."""
    study = Study()

    def good() -> Iterator[Record]:
        for path, found in store.read(results):
            if isinstance(found, ValueError):
                study.refused.append(f"{store.plain(path.parent.name)}/{store.plain(path.name)}: {found}")
                continue
            _keep(study, found)
            yield found

    study.runs = case_table.runs(good())
    study.cases = case_table.cases(_sized(study.runs))
    for path in sorted(results.glob("*/machine.toml")):
        try:
            study.labels[path.parent.name] = labels_module.label(path)
        except Exception as error:  # each storage has errors of its own: nothing stops the reading
            study.refused.append(f"{store.plain(path.parent.name)}/machine.toml: {store.plain(error)}")
    return study


def _sized(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs; one that failed before it knew its image size has that of its model's others (else 0, a mere key)."""
    if runs.empty:
        return runs
    known = pd.to_numeric(runs["image_px"])
    return runs.assign(image_px=known.fillna(known.groupby(runs["model"]).transform("max")).fillna(0).astype(int))


def _keep(study: Study, found: Record) -> None:
    slug = found.machine.slug
    study.newest[slug] = max(study.newest.get(slug, found), found, key=lambda r: r.created)
    gpu = next((g.name for g in found.machine.gpus or []), None)
    chip = found.machine.chip if found.case.device == "cpu" else found.software.device_name or gpu or found.machine.chip
    study.chips[slug, found.case.device] = chip or "unknown chip"
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
    return len(group), *same, int(group["runs"].sum()), [int(part) for part in re.findall(r"\d+", first["torch"])]


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
        return "No machine has a reference figure yet: `make image` measures this one."
    top = rank.iloc[0]
    if len(rank) == 1:
        told = f"{top['name']} makes {case_table.rate(top['images_per_s'], top['low'], top['high'])} at {scope(rank)}. "
        told += "There is no other machine to compare it with under the same conditions."
    else:
        pairs = stats.compare_all({row["machine"]: row["rates"] for _, row in rank[::-1].iterrows()})
        second, last = rank.iloc[1], rank.iloc[-1]
        told = _pair(second, top, pairs[second["machine"], top["machine"]], scope(rank)) + "."
        if len(rank) > 2:
            share = 100 * last["images_per_s"] / top["images_per_s"]
            told += (
                f" Of {len(rank)} machines {last['name']} is the slowest, at {share:.2g} % of the first one's speed."
            )
    doubted = [row["name"] for _, row in rank.head(2).iterrows() if not row["clean"]]
    told += f" No run of {' and '.join(doubted)} was clean: see the doubts below." if doubted else ""
    return told + _state(study, rank) + _worth(study, rank)


def _pair(slow: Any, fast: Any, found: Comparison, what: str) -> str:
    span = "" if found.low is None or found.high is None else f" ({found.low:.3g} to {found.high:.3g})"
    if found.word == "same":
        return f"{fast['name']} and {slow['name']} are equally fast within {100 * stats.MARGIN:.0f} % at {what}"
    if found.word == "faster":
        return f"{fast['name']} is {found.ratio:.3g} times as fast as {slow['name']}{span} at {what}"
    more = stats.runs_needed(slow["rates"], fast["rates"])
    if min(len(slow["rates"]), len(fast["rates"])) < 2:
        tell = "one run can't tell; REPEATS=5 can"
    elif more is None:
        tell = "the noise is too large for more runs to tell"
    else:  # 0: decided were it the only pair
        tell = f"{more} more {'run' if more == 1 else 'runs'} of each would tell" if more else "more runs would tell"
    whether = f"Whether {fast['name']} or {slow['name']} is faster at {what} is undecided"
    return f"{whether}: {found.ratio:.3g} times as fast{span}; {tell}"


def _state(study: Study, rank: pd.DataFrame) -> str:
    felt = {row["name"]: heat.conditions(_felt(study, row)) for _, row in rank.head(2).iterrows()}
    told = [f"{name} runs at {words}" for name, words in felt.items() if words]
    return f" {'; '.join(told)}." if told else ""


def _felt(study: Study, row: Any) -> Mapping[str, Any]:
    """Heat, fan and watts of a machine: of its longest sustained run, else the case's own highest."""
    return heat.of_run(study.longest[row["machine"]]) if row["machine"] in study.longest else row.to_dict()


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
    """The ranking as the page shows it: at most eight columns, none of which nothing is known."""
    if rank.empty:
        return pd.DataFrame({"machine": [], "images/s": []})
    felt = [_felt(study, row) for _, row in rank.iterrows()]
    columns = {
        "machine": [f"{n} ({d})" for n, d in zip(rank["name"], rank["device"], strict=True)],
        "images/s": rank["images_per_s"].tolist(),
        "95 % over runs": [_span(row) for _, row in rank.iterrows()],
        "of the fastest": (rank["images_per_s"] / rank["images_per_s"].iloc[0]).tolist(),
    }
    columns |= _owned(felt, "peak_c", "heat_of", "hottest, °C")
    columns["fan, rpm"] = pd.Series(
        [round(f["fan_rpm"]) if pd.notna(f["fan_rpm"]) else None for f in felt], dtype=object
    )
    columns |= _owned(felt, "mean_w", "joules_of", "power, W") | _worths(study, rank)
    columns["runs"] = [
        f"{r} clean" if c else f"{r}, none clean" for r, c in zip(rank["runs"], rank["clean"], strict=True)
    ]
    known = {name: values for name, values in columns.items() if pd.Series(values, dtype=object).notna().any()}
    if len(known) > 8 or len(rank) == 1:
        del known["of the fastest"]
    return pd.DataFrame(known)


def _span(row: Any) -> str | None:
    return case_table.rate(row["images_per_s"], row["low"], row["high"]).partition(" images/s ")[2].strip("()") or None


def _owned(felt: list[Mapping[str, Any]], value: str, owner: str, words: str) -> dict[str, Any]:
    """A column of whole numbers; its head says whose they are, or each cell where they are not all of one part."""
    known = [f if pd.notna(f[value]) else None for f in felt]
    owners = {f[owner] for f in known if f}
    if len(owners) > 1:
        return {words: [f"{f[value]:.0f} ({f[owner]})" if f else None for f in known]}
    return {" of the ".join([words, *owners]): pd.Series([round(f[value]) if f else None for f in known], dtype=object)}


def _worths(study: Study, rank: pd.DataFrame) -> dict[str, list[Any]]:
    """The column of images per second for a thousand of the currency, whose name stands in its head or each cell."""
    worth = {row["machine"]: per_price(study, row) for _, row in rank.iterrows()}
    units = {study.labels[machine].currency for machine, found in worth.items() if found}
    if len(units) > 1:
        return {
            "images/s per 1,000": [w and f"{w:.3g} ({study.labels[machine].currency})" for machine, w in worth.items()]
        }
    return {f"images/s per 1,000 {unit}": list(worth.values()) for unit in units}


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
    """What the figure of relative speed shows: the next ones' shares, and how many pairs can be told apart."""
    if len(rank) < 2:
        return "There are no two machines to set beside one another."
    near = [
        f"{r.name} at {100 * r.ratio:.3g} %" + ("" if pd.isna(r.low) else f" ({100 * r.low:.3g} to {100 * r.high:.3g})")
        for r in relative(rank).iloc[1:4].itertuples(index=False)
    ]
    pairs = stats.compare_all({row["name"]: row["rates"] for _, row in rank.iterrows()})
    differ = sum(pair.word in ("faster", "slower") for pair in pairs.values())
    told = f"Of {len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} {differ} differ (Holm, 5 % over all pairs)."
    for word, words in (("same", "Equally fast within 2 %"), ("undecided", "Undecided")):
        alike = [f"{a} and {b}" for (a, b), pair in pairs.items() if pair.word == word]
        told += f" {words}: {'; '.join(alike) if len(alike) < 4 else f'{len(alike)} pairs'}." if alike else ""
    return f"Of {rank.iloc[0]['name']}'s speed: {', '.join(near)}. {told}{shown(rank)}"


def shown(rank: pd.DataFrame) -> str:
    """Which machines a figure leaves out, in a sentence; nothing where it shows all."""
    return f" The figure shows the first {MOST_SHOWN} of {len(rank)}." if len(rank) > MOST_SHOWN else ""


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
            f"{nearest['batch_size']} makes "
            f"{case_table.rate(nearest['images_per_s'], nearest['low'], nearest['high'])}."
        )
    return capped(told)  # fmt: skip


def capped(told: list[str]) -> list[str]:
    """The first lines of a list, and how many more there are."""
    return told[:MOST_LINES] + ([f"and {len(told) - MOST_LINES} more"] if len(told) > MOST_LINES else [])


def like_main(study: Study, rank: pd.DataFrame) -> pd.DataFrame:
    """The reference cases of the ranking's model, image size and torch, in the ranking's order, named by what differs.

    What differs: the device of a machine that has several, and an input or a number of workers unlike the ranking's.
    """
    table = study.cases
    if rank.empty:
        return table.assign(name=[]) if table.empty else case_table.named(table)
    first = rank.iloc[0]
    table = table[table["reference"] & ~table["sustained"].astype(bool)]
    for key in ("model", "image_px", "torch"):
        table = table[table[key] == first[key]]
    several = table.groupby("machine")["device"].transform("nunique") > 1
    told = table["machine"].map(study.name) + (", " + table["device"]).where(several, "")
    told += (", " + table["input"] + " input").where(table["input"] != first["input"], "")
    told += (", " + table["workers"] + " workers").where(table["workers"] != first["workers"], "")
    place = table["machine"].map({machine: i for i, machine in enumerate(rank["machine"])}).fillna(len(rank))
    return table.assign(name=told, place=place).sort_values(["place", "input", "workers", "batch_size"])


def as_ranked(alike: pd.DataFrame, rank: pd.DataFrame) -> pd.DataFrame:
    """Of these cases those with the ranking's input and workers, at any batch size."""
    for key in ("input", "workers") if len(rank) else ():
        alike = alike[alike[key] == rank.iloc[0][key]]
    return alike


def parts(alike: pd.DataFrame, rank: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds an image of the model alone and of the whole, by machine, at the ranking's batch size."""
    table = (
        alike[alike["batch_size"] == rank.iloc[0]["batch_size"]].dropna(subset=["images_per_s"]) if len(rank) else rank
    )
    rows = [
        (case["name"], case_table.PARTS[part], 1000 / case[f"{part}_images_per_s"])
        for _, case in table.iterrows()
        for part in ("forward", "end_to_end")
        if pd.notna(case[f"{part}_images_per_s"])
    ]
    return pd.DataFrame(rows, columns=["case", "part", "ms"])


def parts_words(table: pd.DataFrame) -> str:
    """Where the whole is far slower than the model: the machine is not to blame, what feeds it is."""
    if table.empty:
        return "No case succeeded: there is nothing to take apart."
    wide = table.pivot_table(index="case", columns="part", values="ms", sort=False).reindex(
        columns=[case_table.PARTS["forward"], case_table.PARTS["end_to_end"]]
    )
    starved = [
        f"{case}: the model alone makes {1000 / alone:,.0f} images/s, the whole {1000 / whole:,.0f}"
        for case, alone, whole in wide.itertuples()
        if whole > 1.5 * alone
    ]
    more = f" The figure shows the first {MOST_SHOWN} of {len(wide)}." if len(wide) > MOST_SHOWN else ""
    if not starved:
        told = "Everywhere the whole makes at least two thirds of what the model alone does: the device sets the pace."
        return told + more
    told = "; ".join(starved[:4]) + (f"; and {len(starved) - 4} more" if len(starved) > 4 else "")
    return f"{told}. There it is the making of pictures that is timed, not the device.{more}"


def first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first cases that a figure can show."""
    return table[table["case"].isin(table["case"].unique()[:MOST_SHOWN])]


def few(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the machines that a figure can show: those with the highest figures."""
    names = table.groupby("name")["images_per_s"].max().fillna(0).nlargest(MOST_SHOWN).index if len(table) else []
    return table[table["name"].isin(names)]


def batch_words(table: pd.DataFrame) -> str:
    """For the first machines, the fastest batch size and the smallest that comes near it; and each case that failed."""
    groups = [group.dropna(subset=["images_per_s"]) for _, group in table.groupby("name", sort=False)]
    groups = [group for group in groups if len(group)]
    told = []
    for group in groups[:4]:
        top = group.loc[group["images_per_s"].idxmax()]
        near = group[group["images_per_s"] * (1 + stats.MARGIN) >= top["images_per_s"]]["batch_size"].min()
        speed = case_table.rate(top["images_per_s"], top["low"], top["high"])
        told.append(f"{top['name']} makes the most at batch {top['batch_size']}: {speed}")
        told[-1] += f", and at {near} within {100 * stats.MARGIN:.0f} % of it." if near < top["batch_size"] else "."
    lost = table[table["images_per_s"].isna()]
    failed = [f"{c['name']} at {c['batch_size']} ({c['error']})".replace("_", " ") for _, c in lost.head(6).iterrows()]
    more = f" and {len(lost) - 6} more" if len(lost) > 6 else ""
    told += [f"Failed, marked by a cross: {', '.join(failed)}{more}."] if failed else []
    told += [f"The figure shows the {MOST_SHOWN} fastest of {len(groups)}."] if len(groups) > MOST_SHOWN else []
    return " ".join(told) or "No case succeeded: there is no speed to show."


def timelines(study: Study) -> list[Record]:
    """The longest sustained runs that have samples, of three machines at most."""
    good = filter(heat.whole, study.longest.values())
    return sorted(good, key=lambda r: (-r.case.minutes, r.machine.slug))[:MOST_TIMELINES]


def kept(study: Study, found: Record) -> str:
    """How one machine kept its speed in its sustained run, with its heat, fan and watts."""
    return f"{study.name(found.machine.slug)}: {heat.words(found)}"


def also_sustained(study: Study) -> list[str]:
    """The same of each machine that no timeline shows; what to do where no machine has a sustained run."""
    drawn = timelines(study)
    told = [kept(study, found) for _, found in sorted(study.longest.items()) if found not in drawn]
    return (
        capped(told) if study.longest else ["No sustained run is among the records: `make image MINUTES=10` makes one."]
    )


def single(alike: pd.DataFrame) -> pd.DataFrame:
    """The cases whose requests are compared: the smallest of the batch sizes that most machines share."""
    timed = alike[alike["request_s"].map(len) > 0] if len(alike) else alike
    machines = timed.groupby("batch_size")["machine"].nunique()
    return timed[timed["batch_size"] == machines.idxmax()] if len(timed) else timed


def requests(table: pd.DataFrame) -> pd.DataFrame:
    """The requests of these cases, thinned to 200 quantiles each: name, ms."""
    rows = []
    for _, row in table.head(MOST_SHOWN).iterrows():
        seconds = pd.Series(row["request_s"], dtype=float)
        steps = min(200, len(seconds))
        wanted = [i / steps for i in range(steps + 1)]
        rows += [(row["name"], 1000 * s) for s in seconds.quantile(wanted, interpolation="higher")]
    return pd.DataFrame(rows, columns=["name", "ms"])


def requests_words(table: pd.DataFrame) -> str:
    """The median and the farthest percentile of the first machines' requests."""
    told = []
    for _, row in table.head(4).iterrows():
        middle, far = stats.percentile(row["request_s"], 0.5), stats.tail(row["request_s"])
        told += [f"{row['name']}: median {1000 * middle.value_s:.3g} ms" if middle else f"{row['name']}: too few"]
        told[-1] += f", {far[0]} {1000 * far[1].value_s:.3g} ms" if far else ""
    if not told:
        return "No request was timed."
    images = table.iloc[0]["batch_size"]
    return f"With {images} {'image' if images == 1 else 'images'} a request: {'; '.join(told)}.{shown(table)}"


def cost_table(study: Study, rank: pd.DataFrame) -> pd.DataFrame:
    """What an image costs in energy and in price, by machine; no column of which nothing is known."""
    if rank.empty:
        return pd.DataFrame({"machine": []})
    prices = [study.labels.get(machine) for machine in rank["machine"]]
    columns = {
        "machine": rank["name"].tolist(),
        "images/J": rank["images_per_j"].tolist(),
        "joules of the": rank["joules_of"].tolist(),
        "price": [f"{p.price:,.0f} {p.currency}" if p and p.price else None for p in prices],
    } | _worths(study, rank)
    known = {name: values for name, values in columns.items() if pd.Series(values, dtype=object).notna().any()}
    return pd.DataFrame(known)


def cost_words(study: Study, rank: pd.DataFrame) -> str:
    """Who makes most of a joule and of the money, as far as machines tell and persons have said."""
    known = rank[rank["images_per_j"].notna()] if len(rank) else rank
    told = "No machine of the ranking told its power." if known.empty else ""
    for owner, group in known.groupby("joules_of") if len(known) else ():
        best = group.loc[group["images_per_j"].astype(float).idxmax()]
        most = "makes the most" if len(group) > 1 else "is alone"
        told += f" By the joules of the {owner} {best['name']} {most}: {best['images_per_j']:.3g} images per joule."
    if len(known) and known["joules_of"].nunique() > 1:
        told += " Joules of unlike parts can't be set beside one another."
    unknown = "" if study.labels else " No price is given: a machine.toml beside a machine's records gives one."
    return (told + (_worth(study, rank) or unknown)).strip()


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
    what = "comes nearest to its own limit:" if len(known) > 1 else "reaches"
    return f"{best['machine']} {what} {best['of the peak, %']:.0f} % of its device's peak."


def health(study: Study) -> list[str]:
    """Each machine against the others of its chip, in words: at the reference case that most of them share."""
    told, chips = list[str](), dict[tuple[str, str], list[str]]()
    for (slug, device), chip in sorted(study.chips.items()):
        chips.setdefault((chip, device), []).append(slug)
    good = study.cases
    good = (
        good[good["reference"] & ~good["sustained"].astype(bool) & good["images_per_s"].notna()] if len(good) else good
    )
    for (chip, device), slugs in chips.items():
        mine = good[good["machine"].isin(slugs) & (good["device"] == device)] if len(good) else good
        groups = [group for _, group in mine.groupby(ALIKE) if len(group) > 1] if len(mine) else []
        if groups:
            told += _beside(study, max(groups, key=_weight), chip)
        else:
            names = " and ".join(map(study.name, slugs))
            told.append(f"{names}: no other {chip} with a case in common, so nothing tells whether it is healthy.")
    return capped(told) or ["No machine is among the records."]


def _beside(study: Study, group: pd.DataFrame, chip: str) -> list[str]:
    """For each machine of a chip, its speed over that of the middle one of the others."""
    words = {"same": "as fast as", "faster": "faster than", "slower": "slower than", "undecided": "not surely unlike"}
    told = []
    for _, row in group.iterrows():
        others = group[group["machine"] != row["machine"]].sort_values("images_per_s")
        middle = others.iloc[len(others) // 2]
        found = stats.compare(middle["rates"], row["rates"])
        among = "" if len(others) == 1 else f", the middle one of {len(others)} others"
        told.append(
            f"{study.name(row['machine'])}: {words[found.word]} {study.name(middle['machine'])}{among} "
            f"({chip}; {row['model']}, batch {row['batch_size']}): {found.ratio:.3g} times its speed."
        )
    return told


def tuned(study: Study) -> pd.DataFrame:
    """The best tuned setting of each machine and model, the machines by their labels."""
    found = case_table.tuned(study.cases)
    return found.assign(machine=[study.name(machine) for machine in found["machine"]])


def published(path: Path, study: Study) -> pd.DataFrame:
    """Figures from elsewhere, and beside them those of ours that were made by the original's protocol."""
    table = pd.read_csv(path)
    ours = study.cases
    if len(ours):
        ours = ours[ours["reference"] & (ours["input"] == "original") & (ours["workers"] == "0")]
        ours = ours[ours["images_per_s"].notna()].assign(label=lambda t: t["machine"].map(study.name))
        ours = ours.rename(columns={"peak_c": "temperature_c"}).assign(source=OURS)
    names = {
        "label": "machine", "images_per_s": "images/s", "low": "from", "high": "to", "model": "model",
        "batch_size": "batch", "temperature_c": "hottest, °C", "fan_rpm": "fan, rpm", "source": "source",
    }  # fmt: skip
    rows = [*table.to_dict("records"), *ours.to_dict("records")]
    both = pd.DataFrame(rows, columns=[*names]).rename(columns=names)
    measured = both["source"] == OURS
    both["machine"] += measured.map({True: " (measured here)", False: " (published)"})
    return both.drop(columns="source").assign(measured=measured)


def published_words(table: pd.DataFrame) -> str:
    """The fastest of the published figures, and of ours by the same protocol."""
    top = table[~table["measured"]].sort_values("images/s").iloc[-1]
    told = f"The fastest published figure is {top['images/s']:.0f} images/s: {top['machine']}."
    mine = table[table["measured"]].sort_values("images/s")
    if mine.empty:
        return f"{told} No run here used that protocol: INPUT=original WORKERS=0 makes one."
    return (
        f"{told} By the same protocol the fastest here is {mine.iloc[-1]['machine']}: {mine.iloc[-1]['images/s']:.0f}."
    )


def sources(path: Path) -> list[str]:
    """What each published figure is, and where it stands."""
    return [f"{r.label}: {r.what} ({r.source})." for r in pd.read_csv(path).itertuples()]


def doubts(study: Study) -> list[str]:
    """By machine, each reason for which a run is not clean or failed; then the files that were refused, and why."""
    runs = study.runs.groupby("machine") if len(study.runs) else ()
    told = [f"{study.name(slug)}: {doubt}" for slug, own in runs for doubt in machine_page.doubts(own)]
    return capped(told) + capped([f"refused: {why}" for why in study.refused])


def cards(study: Study) -> pd.DataFrame:
    """What each machine is and ran with, by its newest record: one row a machine."""
    rows = []
    for slug, newest in sorted(study.newest.items()):
        m, s = newest.machine, newest.software
        memory = m.memory_bytes and round(m.memory_bytes / 2**30)
        system, tool = (" ".join(filter(None, of)) or None for of in ((m.os, m.os_build), (s.siliconbench, s.commit)))
        rows.append((study.name(slug), m.chip, s.device_name, m.cores, memory, system, s.torch, tool))
    columns = ["machine", "chip", "device", "cores", "memory, GiB", "system", "torch", "siliconbench"]
    return pd.DataFrame(rows, columns=columns)


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
    return told + capped(files(study, rank))


def files(study: Study, rank: pd.DataFrame) -> list[str]:
    """By machine, the records of the ranking's case by the names of their files, and how many records it has."""
    told = []
    for slug, own in study.runs.groupby("machine"):
        case, names = rank[rank["machine"] == slug], list[str]()
        if len(case):
            same = (own[case_table.LIKE] == case.iloc[0][case_table.LIKE]).all(axis=1)
            names = [store.file_name(r, r.created, r.repeat) for r in own[same].itertuples()]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        behind = f"; those of the ranking: {', '.join(names[:MOST_NAMED])}{more}" if names else ""
        told.append(f"{study.name(slug)}: {len(own)} records in {slug}/{behind}")
    return told


def make_report(results: str) -> int:
    """The exit status of `make report`: the page and its picture, made of the records under RESULTS."""
    place = store.place(results)
    if os.environ.get("RESULTS") and not place.is_dir():
        raise WrongKnob(f"RESULTS: there is no folder {results}; name one that `make image` has filled")
    given = {
        "results": str(place.resolve()) if isinstance(place, Path) else results,
        "picture": str((paths.REPORTS / "compare.svg").resolve()),
        "published": str(paths.PUBLISHED),
    }
    print(render.render(paths.NOTEBOOKS / "compare.ipynb", paths.REPORTS / "compare.html", given))
    return 0
