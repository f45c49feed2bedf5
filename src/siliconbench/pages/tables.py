"""Tables of cases and their sentences. `name`: a figure's line, batch size aside; `label`: one case, or one machine."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import pandas as pd

from siliconbench.analysis import answer, heat
from siliconbench.analysis.cases import PARTS, named
from siliconbench.analysis.words import grouped, listed, percent_words, significant, span_words, speed_words
from siliconbench.record.schema import Record
from siliconbench.record.share import counted

UNEXPLAINED = 0.9  # below this share of what its parts allow, what a whole lacks is said
SWING = 1.5  # from so much between a run's slow blocks and its quick ones on, its mean stands for no moment
MOST_SHOWN = 12  # names in one figure: more can't be distinguished
PLAIN = "the reference setting"  # where nothing tells a case apart but its model


class Column(NamedTuple):
    """A column: heading, the field or function of a row that it reads, whose heat or energy that is, what is shown."""

    heading: str
    read: str | Callable[[pd.Series], object]
    owner: str = ""
    then: Callable[[Any], object] = lambda value: value


def runs_words(row: Any) -> str:
    """How many runs of how many sessions a case's figure rests on or leaves out; and its figure by undisturbed ones."""
    counts = [f"{row['clean']} clean"]
    counts += [f"{row[n]} {n.replace('_', ' ')}" for n in ("disturbed", "failed", "left_out") if row[n]]
    sessions = sum(map(bool, row["sessions"]))
    words = f"{row['runs']}{f' in {sessions} sessions' if sessions > 1 else ''} ({', '.join(counts)})"
    return f"{words}\nundisturbed: {significant(row['undisturbed_images_per_s'], 4)}" if row["disturbed"] else words


IMAGES_PER_S = Column("images/s", "images_per_s")
INTERVAL = Column("95 % interval", lambda row: span_words(row["images_per_s"], row["low"], row["high"]))
HOTTEST = Column("hottest, °C", "peak_c", "heat_of", round)
FAN = Column("fan, rpm", "fan_rpm", then=round)
POWER = Column("power, W", "mean_w", "joules_of", round)
LABEL = Column("case", "label")
CASES = [
    Column("case", "name"), Column("batch", "batch_size"), IMAGES_PER_S, INTERVAL,
    Column("memory, GiB", "peak_bytes", then=lambda held: held / 2**30), Column("model alone", "forward_images_per_s"),
    Column("bottleneck", "bottleneck", then=lambda part: PARTS.get(part, part)), Column("runs", runs_words),
]  # fmt: skip
HEAT = [LABEL, HOTTEST, FAN, POWER, Column("images/J", "images_per_j", "joules_of"),
        Column("battery, % per 1,000 images", "battery_percent_per_1000_images")]  # fmt: skip
UTILIZATION = Column("of the peak, %", "utilization", then=lambda share: 100 * share)
BOUND = Column("bound by", "roof", then=lambda roof: {"bandwidth": "memory bandwidth"}.get(roof, roof))
LIMIT = [LABEL, Column("model alone, images/s", "forward_images_per_s"), UTILIZATION, BOUND]


def shown(table: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The table with the first column and the known others; headings, or else cells, say whose heat or energy it is."""
    rows, frame = [row for _, row in table.iterrows()], {}
    for column in columns:
        read = column.read if callable(column.read) else itemgetter(column.read)
        cells = [None if pd.isna(value) else column.then(value) for value in map(read, rows)]
        known = {row[column.owner] for row, cell in zip(rows, cells, strict=True) if column.owner and cell is not None}
        if len(known) > 1:
            cells = [c and f"{c:,.4g} ({row[column.owner]})" for row, c in zip(rows, cells, strict=True)]
        if column is columns[0] or any(cell is not None for cell in cells):
            heading = column.heading + (f" ({known.pop()})" if len(known) == 1 else "")
            frame[heading] = pd.Series(cells, dtype=object)
    return pd.DataFrame(frame)


def top(table: pd.DataFrame, name: str) -> pd.Series:
    """The row with the highest figure in this column."""
    return table.loc[table[name].astype(float).idxmax()]


def few(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a figure can show: those of the names with the highest figures."""
    names = table.groupby("name")["images_per_s"].max().fillna(0).nlargest(MOST_SHOWN).index if len(table) else []
    return table[table["name"].isin(names)]


def by_model(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a figure with axes for each model (`panel`) can show: of the models, and of what is not usual in
    their cases (`name`), those of most cases; of one model, the fastest."""
    if table["model"].nunique() < 2:
        return few(table)
    names = [case["name"].removeprefix(case["model"]).removeprefix(", ") or PLAIN for _, case in table.iterrows()]
    table = table.assign(panel=table["model"], name=names)
    for column in ("panel", "name"):
        table = table[table[column].isin(table[column].value_counts().index[:MOST_SHOWN])]
    return table


def cut_sentence(drawn: int, count: int) -> str:
    """How many of so many cases a figure shows; empty where it shows all."""
    return f" The figure shows {drawn} of {count} cases." if drawn < count else ""


def labelled(cases: pd.DataFrame) -> pd.DataFrame:
    """The cases with their names, and labels that say the batch size, too."""
    table = named(cases)
    return table.assign(label=[f"{c['name']}, batch {c['batch_size']}" for _, c in table.iterrows()])


def speed_sentence(table: pd.DataFrame) -> str:
    """For the first names, the fastest batch size; and each case that failed."""
    best = table.loc[table.dropna(subset=["images_per_s"]).groupby("name", sort=False)["images_per_s"].idxmax()][:4]
    words = [f"{c['name']} is fastest at batch {c['batch_size']}: {speed_words(c)}." for _, c in best.iterrows()]
    failed = table[table["images_per_s"].isna()].to_dict("records")
    lost = [f"{c['name']} at {c['batch_size']} ({(c['error'] or 'wrong outputs').replace('_', ' ')})" for c in failed]
    words += [f"Failed, marked by a cross: {listed(lost, 6, ', ')}."] if lost else []
    return " ".join(words) or "No case succeeded: there is no speed to show."


def over_px(table: pd.DataFrame) -> pd.DataFrame:
    """The cases that were measured at several image sizes: name, without that."""
    names = [c["label"].replace(f", {c['image_px']} px", "") for _, c in table.iterrows()]
    table = table.assign(name=names).sort_values(["name", "image_px"])
    return table[table.groupby("name")["image_px"].transform("nunique") > 1]


def px_sentence(table: pd.DataFrame) -> str:
    """For the first of these cases, the speed at each image size, or why there is none."""
    said = []
    for name, group in table.groupby("name"):
        rates = [significant(rate, 4) if rate > 0 else "failed" for rate in group["images_per_s"]]
        said += [f"{name}: {', '.join(f'{r} at {px} px' for r, px in zip(rates, group['image_px'], strict=True))}"]
    return f"In images/s: {listed(said, 4)}." if said else ""


def parts(table: pd.DataFrame, names: Iterable[str] = PARTS) -> pd.DataFrame:
    """Milliseconds an image of these parts of each case that has a figure: case, part, ms."""
    good = table.dropna(subset=["images_per_s"]).set_index("label")
    ms = pd.DataFrame({PARTS[name]: 1000 / good[f"{name}_images_per_s"].astype(float) for name in names})
    return ms.stack(future_stack=True).dropna().rename_axis(["case", "part"]).reset_index(name="ms")


def time_sentence(table: pd.DataFrame) -> str:
    """For the first cases, the time of an image, how near that comes to what its parts allow, and the bottleneck."""
    words = []
    for _, case in table.dropna(subset=["images_per_s"]).iterrows():
        rate, allowed = case["images_per_s"], case["allowed_images_per_s"]
        share = f", {percent_words(rate / allowed)} of what its parts allow" if pd.notna(allowed) else ""
        share += f" ({100 - 100 * rate / allowed:.0f} % unexplained)" if share and rate < UNEXPLAINED * allowed else ""
        part = "none stands out" if case["bottleneck"] == "balanced" else PARTS.get(case["bottleneck"], "not known")
        words.append(f"{case['label']} takes {significant(1000 / rate)} ms an image{share} (bottleneck: {part})")
    return f"{listed(words, 6)}." if words else "No case succeeded: there are no parts to show."


def request_table(table: pd.DataFrame) -> pd.DataFrame:
    """The median and the farthest percentile of a request's milliseconds, by case."""
    rows = []
    for _, case in table.iterrows():
        if found := case["requests"]:
            spans = [span_words(*(x and 1000 * x for x in part[:3])) for part in (found.median_s, found.tail_s)]
            times = (1000 * found.median_s.mean, spans[0], found.tail, 1000 * found.tail_s.mean, spans[1])
            rows.append((case["label"], case["batch_size"], found.number, *times))
    columns = ["case", "images", "requests", "median ms", "median's 95 %", "tail", "tail ms", "tail's 95 %"]
    return pd.DataFrame(rows, columns=columns)


def request_sentence(requests: pd.DataFrame) -> str:
    """The quickest requests: their median and farthest percentile."""
    quickest = [
        f"{r['case']} with a median of {significant(r['median ms'])} ms ({r['tail']}: {significant(r['tail ms'])} ms)"
        for _, r in requests.sort_values("median ms", kind="stable").iterrows()
    ]
    return f"Quickest: {listed(quickest, 4)}." if quickest else "Too few requests were timed to give a median."


def heat_sentence(table: pd.DataFrame) -> str:
    """The hottest case."""
    if table["peak_c"].isna().all():
        return "No temperature was read here: `make doctor` says what this machine can read."
    hot = top(table, "peak_c")
    return f"The hottest is {hot['label']}: {heat.conditions_words(hot)}."


def energy_sentence(table: pd.DataFrame) -> str:
    """Who processes most images per joule, for each part whose energy was measured, and each way to."""
    words = []
    for owner, group in table.dropna(subset=["images_per_j"]).groupby("joules_of"):
        best = top(group, "images_per_j")
        who = f"{best['label']} {'gets the most' if len(group) > 1 else 'alone has a figure'}"
        words.append(f"By energy ({owner}), {who}: {significant(best['images_per_j'])} images per joule.")
    unlike = " Energy of unlike parts, or had in unlike ways, can't be compared." if len(words) > 1 else ""
    return " ".join(words) + unlike if words else "No run here read power or energy."


def limit_sentence(table: pd.DataFrame) -> str:
    """The case that comes nearest to its device's limit."""
    known = table["utilization"].count()
    if not known:
        return "No run measured its device's limit."
    best, verb = top(table, "utilization"), "comes nearest to its own limit:" if known > 1 else "reaches"
    return f"{best['label']} {verb} {percent_words(best['utilization'])} of its device's peak."


def swings(table: pd.DataFrame) -> list[str]:
    """Each case whose speed swings within one run, and what its figure then is; the others are not named."""
    columns = ["label", "slow_images_per_s", "quick_images_per_s", "images_per_s"]
    return [
        f"{label} swings within one run: nine of ten blocks lie between {significant(slow)} and {significant(quick)} "
        "images/s. Its figure is the mean over that, no steady speed."
        for label, slow, quick, rate in table.dropna(subset=columns)[columns].itertuples(index=False)
        if quick >= SWING * slow and slow <= rate <= quick  # else runs of few blocks, of which none is known, count too
    ]


def tuned_sentence(table: pd.DataFrame) -> str:
    """The fastest setting of each machine and model, and its gain over the reference, if it has one."""
    words = []
    for _, r in table.iterrows():
        times = f"; over its best reference figure: {r['times reference']}" if pd.notna(r["times reference"]) else ""
        how = f"{'no faster' if ': 0.' in times else 'fastest'} with {r['fastest setting']}"
        words += [f"{r['machine']}, {r['model']}: {how}, {significant(r['images/s'], 4)} images/s{times}"]
    return f"{listed(words, 4)}." if words else ""


def trust_sentence(runs: pd.DataFrame) -> str:
    """How many runs there are, what they were worth, and which of them a figure rests on."""
    return f"{counted(len(runs), 'run')}: {answer.worth(runs)}. Figures rest on all that neither failed nor are wrong."


def doubts(runs: pd.DataFrame, who: Callable[[pd.Series], str] = "{0[model]} at {0[batch_size]}".format) -> list[str]:
    """Each reason for which a run is not clean or failed, and each finding, once, with its span and the runs of it."""
    said = list[tuple[str, str]]()
    for _, r in runs.iterrows():
        reasons = [f"{r['error']}: {r['why']}"] if r["status"] == "failed" else [*r["reasons"], *r["findings"]]
        said += [(reason, who(r)) for reason in reasons]
    counts = [(reason, Counter(of).most_common()) for reason, of in grouped(said)]
    return [f"{reason} ({listed([f'{n} of {name}' for name, n in of], 4, ', ')})" for reason, of in counts]


def joined(values: Iterable[object], separator: str = " ") -> str | None:
    """What is known of these values, in one text; None where nothing is."""
    return separator.join(str(value) for value in values if value) or None


FACTS: dict[str, Callable[[Record], object]] = {
    "chip": lambda r: r.machine.chip, "model": lambda r: r.machine.model,
    "cores": lambda r: joined([r.machine.cores, (levels := r.machine.core_levels) and
                               f"({', '.join(f'{level.cores} {level.name}' for level in levels)})"]),
    "GPU": lambda r: joined([gpu.title for gpu in r.machine.gpus or []], ", ") or "none found",
    "device": lambda r: r.software.device_name,
    "memory": lambda r: r.machine.memory_bytes and f"{r.machine.memory_bytes / 2**30:.0f} GiB",
    "system": lambda r: joined([r.machine.os, r.machine.os_build]), "driver": lambda r: r.machine.driver,
    "power": lambda r: r.checks and joined(attrgetter("power_source", "power_mode", "governor")(r.checks.before), ", "),
    "thermal pressure": lambda r: r.checks and r.checks.before.thermal_pressure, "Python": lambda r: r.software.python,
    "torch, torchvision": lambda r: f"{r.software.torch}, {r.software.torchvision}",
    "threads": lambda r: r.software.threads and f"{r.software.threads} of {r.machine.logical_cores or '?'} processors",
    "siliconbench": lambda r: joined([r.software.siliconbench, r.software.commit]),
}  # fmt: skip


def card(records: Sequence[Record]) -> pd.DataFrame:
    """What the machine is and what ran on it, by the newest record: two columns."""
    newest = max(records, key=lambda r: r.created, default=None)
    facts = {name: read(newest) for name, read in FACTS.items()} if newest else {}
    return pd.DataFrame([(name, str(fact)) for name, fact in facts.items() if fact], columns=["what", "value"])
