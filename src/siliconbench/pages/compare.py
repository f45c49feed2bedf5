"""Which machine should I pick? What only the comparison says, as notebooks/compare.ipynb shows it."""

from pathlib import Path

import pandas as pd

from siliconbench.analysis import answer, heat, stats, telemetry
from siliconbench.analysis.cases import ALIKE, PARTS, case_words
from siliconbench.analysis.words import THIN, listed, percent_words, ratio_words, significant, speed_words
from siliconbench.pages import choice, tables
from siliconbench.pages.ranking import Study, comparable, weight
from siliconbench.record import axes, protocol, share

LIMIT = [tables.Column("machine", "label"), *tables.LIMIT[1:]]
SUSTAINED = [tables.Column(name, name) for name in ("machine", "case", "minutes", "images/s")]
SUSTAINED += [tables.HOTTEST, tables.FAN, tables.POWER]
CARD = ("chip", "device", "cores", "memory", "system", "torch, torchvision", "siliconbench")
PUBLISHED = {
    "label": "machine", "images_per_s": "images/s", "low": "from", "high": "to", "model": "model",
    "batch_size": "batch", "temperature_c": "hottest, °C", "fan_rpm": "fan, rpm",
}  # fmt: skip


def suite_sentence(ranked: dict[str, pd.DataFrame]) -> str:
    """Who is first by the suite's figures, each ranked, or who share that place; empty where fewer than two have it."""
    said, doubted = list[str](), dict[str, None]()
    for figure, table in ((name, table) for name, table in ranked.items() if len(table) > 1):
        first = [f"{r['label']}, {significant(r['images_per_s'], 4)}" for _, r in table[table["rank"] == 1].iterrows()]
        at = f"at batch {protocol.FIGURES[figure]} ({figure}){', undecided' if len(first) > 1 else ''}"
        said += [f"{at}: {' or '.join(first)} images/s"]
        doubted |= dict.fromkeys(table[:2].query("clean == 0")["label"])
    return f"The fastest by {protocol.NAME}, the suite, {'; '.join(said)}.{choice.doubt(doubted)}" if said else ""


def lead_sentence(study: Study, rank: pd.DataFrame, ranked: dict[str, pd.DataFrame]) -> str:
    """The page's first sentences: who is faster, by how much, how sure, in what; then heat, fan and price."""
    if rank.empty:
        refused = f" Refused: {listed(share.refusals(study.bad), 2)}." if study.bad else ""
        return f"No machine has a reference figure yet: `make image` measures this one.{refused}"
    mine = {*study.cases.loc[study.cases["mine"], "machine"]}  # before others, whoever runs this reads of themselves
    theirs = mine and not any(mine & {*table["machine"]} for table in ranked.values())
    words = (not theirs and suite_sentence(ranked)) or next(choice.views(study))["says"]
    for _, row in rank.head(2).iterrows():
        longest = study.longest.get(row["machine"])
        state = heat.conditions_words(heat.conditions(longest) if longest else row)
        words += f" {'' if longest else 'In short runs '}{row['name']} runs at {state}." if state else ""
    newest = f"The newest record is of {pd.Timestamp(study.runs['created'].max()[:8]).date()}."
    return " ".join(filter(None, (words, worth_sentence(rank), newest)))


def worth_sentence(rank: pd.DataFrame) -> str:
    """Which machine gives most speed for the money; empty without two prices in one currency."""
    worth = (rank["images_per_s"] / rank["price"].where(rank["price"] > 0)).dropna().sort_values(ascending=False)
    if len(worth) < 2 or rank.loc[worth.index, "currency"].nunique() > 1:
        return ""
    best, ratio = rank.loc[worth.index[0]], ratio_words(worth.iloc[0] / worth.iloc[1])
    return f"Per 1,000 {best['currency']} {best['name']} gives the most, {ratio} times as much as the next."


def between_words(table: pd.DataFrame) -> str:
    """In a sentence, the scatter from day to day that intervals and comparisons of these cases have in them."""
    if table.empty:
        return ""
    sd = percent_words(float(f"{table['between'].iat[0]:.2g}"))
    if table["assumed"].iat[0]:
        return f"A rate is taken to scatter by {sd} from one day to the next: no case has three sessions to tell it by."
    return f"From one day to the next a rate scatters by {sd}, by the cases with three sessions and more."


def memory_table(study: Study) -> pd.DataFrame:
    """Peak memory in GiB by model and batch size, the largest over the reference runs; a column a device type."""
    runs = study.runs.query("reference").dropna(subset=["peak_bytes"])
    runs["GiB"], runs["on"] = runs["peak_bytes"].astype(float) / 2**30, [axes.DEVICES[k].title for k in runs["device"]]
    rows = ["model", *(["image_px"] if runs["image_px"].nunique() > 1 else []), "batch_size"]
    table = runs.pivot_table("GiB", rows, "on", "max").rename_axis(columns=None).reset_index()
    return table.rename(columns={"image_px": "image, px", "batch_size": "batch"})


def epoch_lines(study: Study) -> list[str]:
    """The hours of one epoch of 1.28 million images, as ImageNet has, by each machine's fastest training of a model."""
    table = study.cases.query("mode == 'train'").dropna(subset=["images_per_s"])
    table = table.sort_values("images_per_s", ascending=False).drop_duplicates(["machine", "model"])
    return [
        f"{study.names[case['machine']]}: {significant(1.28e6 / case['images_per_s'] / 3600)} hours for "
        f"{case_words(case, ['batch_size', 'precision', 'device'])}, at {speed_words(case)}."
        for _, case in table.iterrows()
    ]


def parts_sentence(table: pd.DataFrame) -> str:
    """Where end to end is far slower than the model: the machine is not to blame, what feeds it is."""
    if table.empty:
        return "No case succeeded: there are no parts to show."
    rates = 1000 / table.pivot_table(index="case", columns="part", values="ms", sort=False)
    starved = [
        f"{case}: {significant(alone)} images/s for the model alone, {significant(total)} end to end"
        for case, alone, total in rates.reindex(columns=[PARTS["forward"], PARTS["end_to_end"]]).itertuples()
        if alone > 1.5 * total
    ]
    words = "End to end, every machine reaches at least two thirds of the model's own rate: the device sets the pace."
    if starved:
        words = f"{listed(starved, 4)}. There data loading and preprocessing are what is timed, not the device."
    return words + tables.cut_sentence(min(len(rates), tables.MOST_SHOWN), len(rates))


def sustained(study: Study) -> pd.DataFrame:
    """Each machine's longest sustained run: its speed, heat, fan and power, all of that one run."""
    rows = []
    for slug, r in sorted(study.longest.items()):
        if timed := r.passes and r.passes.end_to_end:
            case = case_words(r.case, ["batch_size", "precision", "device"])
            rows.append((study.names[slug], case, r.case.minutes, timed.images_per_s, *heat.conditions(r)))
    columns = [*(column.heading for column in SUSTAINED[:4]), *telemetry.Conditions._fields]
    return tables.shown(pd.DataFrame(rows, columns=columns), SUSTAINED)


def health(study: Study) -> list[str]:
    """Each machine's speed against the others of its chip, at the case that most of them share; see health_words()."""
    judged, rest = list[str](), list[str]()
    for (chip, _), own in comparable(study).dropna(subset=["images_per_s"]).groupby(["chip", "device"], sort=False):
        group = max((group for _, group in own.groupby(ALIKE)), key=lambda one: weight(one)[1:])  # one's own or not
        group, rows = (group, group) if len(group) > 1 else (group[:0], own.drop_duplicates("machine"))
        for _, row in rows.iterrows():
            others = group.loc[group["machine"] != row["machine"], "images_per_s"]
            who = f"{study.names[row['machine']]} ({chip}; {row['model']}, batch {row['batch_size']})"
            words = answer.health_words(float(row["images_per_s"]), others, len(group))
            (judged if len(others) and stats.prediction(others) else rest).append(f"{who}: {words}")
    most = tables.MOST_SHOWN
    more = [f"{len(rest) - most} more have fewer than four others of their chip."] if len(rest) > most else []
    return [*judged, *rest[:most], *more] or ["No machine is among the records."]


def published(path: Path, study: Study) -> pd.DataFrame:
    """Figures from elsewhere, and beside them those of ours that followed the original's protocol."""
    ours = study.cases.dropna(subset=["images_per_s"]).rename(columns={"peak_c": "temperature_c"})
    ours = ours.query("reference and input == 'original' and workers == '0'")
    ours = ours.assign(label=ours["machine"].map(study.names.get), measured=True)
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


def paradox(study: Study, others: pd.DataFrame) -> pd.DataFrame:
    """The published figures, ours by the same protocol, and our accelerators in parts: machine, images/s, how."""
    how = others["measured"].map({True: "measured here by its protocol", False: "published"})
    rows = [others[["machine", "images/s"]].assign(how=how)]
    done = study.cases.query("reference and not sustained").assign(machine=study.cases["machine"].map(study.names.get))
    by_it = done.query("input == 'original' and workers == '0' and device != 'cpu'")["machine"]
    same = others[["model", "batch"]].drop_duplicates().rename(columns={"batch": "batch_size"})
    today = done[done["machine"].isin(by_it) & (done["input"] == "fast")].merge(same)
    parts = {"forward_images_per_s": "the model alone", "images_per_s": "end to end, fed by enough processes"}
    rows += [today.melt("machine", list(parts), "how", "images/s").replace({"how": parts})]
    table = pd.concat(rows, ignore_index=True).dropna(subset="images/s").astype({"images/s": float})
    return table.assign(machine=table["machine"].str.replace(r" \((?:published|measured here)\)$", "", regex=True))


def doubts(study: Study) -> list[str]:
    """The files that were refused, and why; then each reason for which a run is not clean or failed, by machine."""
    refused = [f"refused: {listed(share.refusals(study.bad), 20)}"] if study.bad else []
    return refused + tables.doubts(study.runs, lambda run: study.names[run["machine"]])


def price_lines(study: Study) -> list[str]:
    """What each price stands on."""
    return [
        f"{given.label}: {f'{given.price:,.0f}'.replace(',', THIN)} {given.currency} "
        f"({given.source or 'source not given'}, {given.date or 'date not given'}). {given.note or ''}".strip()
        for given in (label for _, label in sorted(study.labels.items()) if label.price)
    ]
