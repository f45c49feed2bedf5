"""Which machine should I pick? What only the comparison says, as notebooks/compare.ipynb shows it: `make report`."""

import re
from pathlib import Path

import pandas as pd

from siliconbench import paths
from siliconbench.analysis import advice, heat, stats
from siliconbench.analysis.answer import health_words
from siliconbench.analysis.cases import ALIKE, PARTS, POOL, case_words, compared, rate_words, speed_words
from siliconbench.analysis.words import listed, percent_words, ratio_words, significant
from siliconbench.pages import tables
from siliconbench.pages.ranking import Study, comparable, scope, timelines, weight, with_state
from siliconbench.record import share
from siliconbench.record.axes import DEVICES
from siliconbench.record.named import word as word_of

OF_FASTEST = tables.Column("of the fastest", "share")
WORTH = tables.Column("images/s per 1,000", "worth", "currency")
RANK = [
    tables.Column("machine", lambda row: f"{row['label']} ({row['device']})"),
    tables.IMAGES_PER_S, tables.INTERVAL, OF_FASTEST, tables.HOTTEST, tables.FAN, tables.POWER, WORTH, tables.RUNS,
]  # fmt: skip
PRICE = tables.Column("price", lambda row: f"{row['price']:,.0f} {row['currency']}" if row["price"] > 0 else None)
COST = [tables.Column("machine", "label"), tables.IMAGES_PER_J, PRICE, WORTH]
LIMIT = [COST[0], *tables.LIMIT[1:]]
CARD = ("chip", "device", "cores", "memory", "system", "torch, torchvision", "siliconbench")
EPOCH = 1.28e6  # images, as ImageNet has
PUBLISHED = {
    "label": "machine", "images_per_s": "images/s", "low": "from", "high": "to", "model": "model",
    "batch_size": "batch", "temperature_c": "hottest, °C", "fan_rpm": "fan, rpm",
}  # fmt: skip


def lead_sentence(study: Study, rank: pd.DataFrame) -> str:
    """The page's first sentences: who is faster, by how much, how sure, in what; then heat, fan and price."""
    if rank.empty:
        refused = f" Refused: {listed(study.refused, 2)}." if study.refused else ""
        return f"No machine has a reference figure yet: `make image` measures this one.{refused}"
    best, last = rank.iloc[0], rank.iloc[-1]
    if len(rank) == 1:
        words = f"{best['name']} runs {scope(rank)} at {speed_words(best)}. "
        words += "There is no other machine to compare it with under the same conditions."
    else:
        words = pair_sentence(rank.iloc[1], best, compared(rank[::-1])[rank.iloc[1]["machine"], best["machine"]])
    if len(rank) > 2:
        share = percent_words(last["share"])
        words += f" Of {len(rank)} machines {last['name']} is the slowest, at {share} of the first one's speed."
    doubted = " and ".join(row["name"] for _, row in rank.head(2).iterrows() if not row["clean"])
    words += f" No run of {doubted} was clean: see the doubts below." if doubted else ""
    for _, row in with_state(study, rank.head(2)).iterrows():
        if row["disturbed"]:
            calm = stats.interval(row["undisturbed"], row["between"])[:3] if any(row["undisturbed"]) else None
            said = f"Without its disturbed runs {row['name']} is at {rate_words(*calm)}." if calm else ""
            words += f" {said}" if said else f" Every run of {row['name']} was disturbed."
        state = heat.conditions_words(row)
        words += f" {row['name']} runs at {state}." if state else ""
    return f"{words} {worth_sentence(rank)}".strip()


def pair_sentence(slow: pd.Series, fast: pd.Series, found: stats.Comparison) -> str:
    """Which of two machines is faster, by how much; where that is undecided, what would decide it."""
    what = scope(pd.DataFrame([fast]))
    if found.word == "same":
        return f"{fast['name']} and {slow['name']} are equally fast within {100 * stats.MARGIN:.0f} % at {what}."
    ratio = f"{ratio_words(found.ratio)} times as fast"
    span = "" if found.low is None else f" ({ratio_words(found.low)} to {ratio_words(found.high)})"
    if found.word == "faster":
        return f"{fast['name']} is {ratio} as {slow['name']}{span} at {what}."
    undecided = f"Whether {fast['name']} or {slow['name']} is faster at {what} is undecided: {ratio}{span}"
    return f"{undecided}; {what_would_tell(slow, fast)}."


def what_would_tell(slow: pd.Series, fast: pd.Series) -> str:
    """What would decide between two machines: runs, sessions on other days, a quieter host."""
    a, b, between = slow["sessions"], fast["sessions"], slow["between"]
    more, days = stats.runs_needed(a, b, between=between), min(len(a), len(b))
    if min(slow["runs"], fast["runs"]) < 2:
        return "one run can't tell; REPEATS=5 says more"
    if stats.compare(a, b, between=between).word != "undecided" and (slow["disturbed"] or fast["disturbed"]):
        return "the disturbed runs sway it, or it is one of many pairs: more runs on a quiet machine would tell"
    if more is None and days < stats.ALONE:
        return f"more runs of that day can't tell, {stats.ALONE} sessions of each on different days may"
    if more is None:
        return "the noise is too large for more runs to tell"
    what = "session" if days >= stats.ALONE else "run"
    return f"{more} more {what}{'' if more == 1 else 's'} of each would tell" if more else f"more {what}s would tell"


def worth_sentence(rank: pd.DataFrame) -> str:
    """Which machine gives most speed for the money; empty without two prices in one currency."""
    priced = rank[rank["price"] > 0].sort_values("worth", ascending=False, kind="stable")
    if len(priced) < 2 or priced["currency"].nunique() > 1:
        return ""
    best, ratio = priced.iloc[0], ratio_words(priced.iloc[0]["worth"] / priced.iloc[1]["worth"])
    return f"Per 1,000 {best['currency']} {best['name']} gives the most, {ratio} times as much as the next."


def rank_table(study: Study, rank: pd.DataFrame) -> pd.DataFrame:
    """The ranking as the page shows it: at most eight columns, none of which nothing is known."""
    table = tables.shown(with_state(study, rank), RANK)
    return table.drop(columns=OF_FASTEST.heading) if len(table.columns) > 8 or len(rank) == 1 else table


def relative(rank: pd.DataFrame) -> pd.DataFrame:
    """Each machine's speed over the first one's, with Welch's interval over sessions: name, ratio, low, high, clean."""
    rank, first = rank.head(tables.MOST_SHOWN), rank.iloc[0]["sessions"]
    table = pd.DataFrame([stats.compare(first, own, between=rank.iloc[0]["between"]) for own in rank["sessions"]])
    table.loc[0, ["low", "high"]] = None
    return table.assign(name=[*rank["name"]], clean=[*(rank["clean"] > 0)])


def between_words(table: pd.DataFrame) -> str:
    """In a sentence, the scatter from day to day that intervals and comparisons of these cases have in them."""
    if table.empty:
        return ""
    sd = percent_words(float(f"{table['between'].iat[0]:.2g}"))
    if table["assumed"].iat[0]:
        return f"A rate is taken to scatter by {sd} from one day to the next: no case has three sessions to tell it by."
    return f"From one day to the next a rate scatters by {sd}, by the cases with three sessions and more."


def relative_sentence(rank: pd.DataFrame) -> str:
    """What the figure of relative speed shows: the next ones' shares, and how many pairs differ."""
    if len(rank) < 2:
        return "There are no two machines to set beside one another."
    near = []
    for r in relative(rank).iloc[1:4].itertuples():
        span = "" if pd.isna(r.low) else f" ({percent_words(r.low)} to {percent_words(r.high)})"
        near.append(f"{r.name} at {percent_words(r.ratio)}{span}")
    found, names = compared(rank[::-1]), dict(zip(rank["machine"], rank["name"], strict=True))
    differ = sum(pair.word in ("faster", "slower") for pair in found.values())
    words = f"Of {len(found)} {'pair' if len(found) == 1 else 'pairs'} {differ} differ (Holm, 5 % over all pairs)."
    words += f" {between_words(rank)}"
    for word, heading in (("same", "Equally fast within 2 %"), ("undecided", "Undecided")):
        same = [f"{names[b]} and {names[a]}" for (a, b), pair in found.items() if pair.word == word]
        words += f" {heading}: {'; '.join(same) if len(same) < 4 else f'{len(same)} pairs'}." if same else ""
    return f"Of {rank.iloc[0]['name']}'s speed: {', '.join(near)}. {words}{tables.cut_sentence(len(rank))}"


def batch_lines(ranked: pd.DataFrame) -> list[str]:
    """For each machine which batch size to use, where its speed falls, and which of its cases swing within one run."""
    groups = [group for _, group in ranked.groupby("name", sort=False)]
    told = [words for group in groups for words in (advice.sweet_spot(group), advice.cliff(group)) if words]
    labels = [f"{case['name']}, batch {case['batch_size']}" for _, case in ranked.iterrows()]
    return told + tables.swings(ranked.assign(label=labels))


def memory_table(study: Study) -> pd.DataFrame:
    """Peak memory in GiB by model and batch size, the largest over the reference runs; a column a device type."""
    runs = study.runs.query("reference").dropna(subset=["peak_bytes"])
    runs["GiB"], runs["on"] = runs["peak_bytes"].astype(float) / 2**30, [DEVICES[k].title for k in runs["device"]]
    rows = ["model", *(["image_px"] if runs["image_px"].nunique() > 1 else []), "batch_size"]
    table = runs.pivot_table("GiB", rows, "on", "max").rename_axis(columns=None).reset_index()
    return table.rename(columns={"image_px": "image, px", "batch_size": "batch"})


def epoch_lines(study: Study) -> list[str]:
    """The hours of one epoch of 1.28 million images, by each machine's fastest training of a model."""
    table = study.cases.query("mode == 'train'").dropna(subset=["images_per_s"])
    table = table.sort_values("images_per_s", ascending=False).drop_duplicates(["machine", "model"])
    lines = [
        f"{study.name(case['machine'])}: {significant(EPOCH / case['images_per_s'] / 3600)} hours for "
        f"{case_words(case, ['batch_size', 'precision', 'device'])}, at {speed_words(case)}."
        for _, case in table.iterrows()
    ]
    return lines or ["Training was not measured yet: `make image MODE=train` tells the hours of an epoch."]


def parts_sentence(table: pd.DataFrame) -> str:
    """Where end to end is far slower than the model: the machine is not to blame, what feeds it is."""
    if table.empty:
        return "No case succeeded: there are no parts to show."
    ms = table.pivot_table(index="case", columns="part", values="ms", sort=False)
    rates = 1000 / ms.reindex(columns=[PARTS["forward"], PARTS["end_to_end"]])
    starved = [
        f"{case}: {significant(alone)} images/s for the model alone, {significant(total)} end to end"
        for case, alone, total in rates.itertuples()
        if alone > 1.5 * total
    ]
    words = "End to end, every machine reaches at least two thirds of the model's own rate: the device sets the pace."
    if starved:
        words = f"{listed(starved, 4)}. There data loading and preprocessing are what is timed, not the device."
    return words + tables.cut_sentence(len(rates))


def other_sustained(study: Study) -> list[str]:
    """How each machine held its speed that no timeline shows; what to do where no machine has a sustained run."""
    others = [(slug, record) for slug, record in sorted(study.longest.items()) if record not in timelines(study)]
    lines = [f"{study.name(slug)}: {heat.sustained_words(record)}" for slug, record in others]
    return lines if study.longest else ["No sustained run is among the records: `make image MINUTES=10` adds one."]


def request_sentence(asked: pd.DataFrame) -> str:
    """How many images a request has, and the quickest of these cases."""
    images = asked.iloc[0]["batch_size"] if len(asked) else 0
    lead = f"With {images} {'image' if images == 1 else 'images'} a request. " if images else ""
    return f"{lead}{tables.request_sentence(tables.request_table(asked))}{tables.cut_sentence(len(asked))}"


def health(study: Study) -> list[str]:
    """Each machine's speed against the others of its chip, at the case that most of them share; see health_words()."""
    lines = list[str]()
    for (chip, _), own in comparable(study).dropna(subset=["images_per_s"]).groupby(["chip", "device"], sort=False):
        group = max((group for _, group in own.groupby(ALIKE)), key=weight)
        group, rows = (group, group) if len(group) > 1 else (group[:0], own.drop_duplicates("machine"))
        for _, row in rows.iterrows():
            others = group.loc[group["machine"] != row["machine"], "images_per_s"]
            who = f"{study.name(row['machine'])} ({chip}; {row['model']}, batch {row['batch_size']})"
            lines.append(f"{who}: {health_words(float(row['images_per_s']), others, len(group))}")
    return lines or ["No machine is among the records."]


def published(path: Path, study: Study) -> pd.DataFrame:
    """Figures from elsewhere, and beside them those of ours that followed the original's protocol."""
    ours = study.cases.dropna(subset=["images_per_s"]).rename(columns={"peak_c": "temperature_c"})
    ours = ours.query("reference and input == 'original' and workers == '0'")
    ours = ours.assign(label=ours["machine"].map(study.name), measured=True)
    rows = [*pd.read_csv(path).assign(measured=False).to_dict("records"), *ours.to_dict("records")]
    both = pd.DataFrame(rows, columns=[*PUBLISHED, "measured"]).rename(columns=PUBLISHED)
    both["machine"] += both["measured"].map({True: " (measured here)", False: " (published)"})
    return both


def published_sentence(table: pd.DataFrame) -> str:
    """The fastest of the published figures, and of ours by the same protocol."""
    top = tables.top(table[~table["measured"]], "images/s")
    words = f"The fastest published figure is {top['images/s']:.0f} images/s: {top['machine']}."
    if not table["measured"].any():
        return f"{words} No run here used that protocol: INPUT=original WORKERS=0 does."
    own = tables.top(table[table["measured"]], "images/s")
    return f"{words} By the same protocol the fastest here is {own['machine']}: {own['images/s']:.0f}."


def doubts(study: Study) -> list[str]:
    """The files that were refused, and why; then by machine, each reason for which a run is not clean or failed."""
    refused = listed(study.refused, 20)
    own = [(study.name(slug), doubt) for slug, runs in study.runs.groupby("machine") for doubt in tables.doubts(runs)]
    return [*([f"refused: {refused}"] if refused else []), *(f"{name}: {doubt}" for name, doubt in own)]


def repeat_lines(study: Study, rank: pd.DataFrame) -> list[str]:
    """How to repeat the ranking's measurement, what prices stand on, and by machine how many records lie where."""
    if rank.empty:
        return []
    command = "make image IMAGE_MODEL={asked} BATCH_SIZE={batch_size} INPUT={input} WORKERS={workers}"
    again = command.format(asked=word_of(*rank.iloc[0][["source", "model"]]), **rank.iloc[0])
    again = re.sub("INPUT=folder [0-9a-f]+", "INPUT=path/to/folder", again)
    lines = [f"{again} measures the ranking's case on another machine; make report renders this page."]
    for given in (label for _, label in sorted(study.labels.items()) if label.price):
        source = f"{given.source or 'source not given'}, {given.date or 'date not given'}"
        lines.append(f"{given.label}: {given.price:,.0f} {given.currency} ({source}). {given.note or ''}".strip())
    for slug, own in study.runs.groupby("machine"):
        names = list(own.merge(rank[POOL], on=POOL)["file"])
        behind = f"; those of the ranking: {listed(names, 10, ', ')}" if names else ""
        lines.append(f"{study.name(slug)}: {len(own)} records in {slug}/{behind}")
    return lines


def make_report(results: str) -> int:
    """The exit status of `make report`: the page of the published records, or with one's own its own beside it."""
    own = share.own_folder(share.older(results))
    if own and any(own.glob("*/*.json")):
        print(page_of(paths.REPORTS / "report.html", str(own.resolve() if isinstance(own, Path) else own)))
    else:
        print(page_of(paths.REPORTS / "compare.html"))
    return 0


def page_of(page: Path, results: str = "") -> Path:
    """The path of the page, rendered from the published records and those at this address, its figure beside it."""
    parameters = {"results": results, "data": str(paths.DATA), "published": str(paths.PUBLISHED)}
    parameters |= {"figure_path": str(page.with_suffix(".svg").resolve())}
    from siliconbench.pages import render  # slow to import, and the page itself, which imports this, needs none of it

    return render.render(paths.NOTEBOOKS / "compare.ipynb", page, parameters)
