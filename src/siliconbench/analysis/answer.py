"""The answer to what was just asked, on the page as on the terminal: figures, limits, belief, a next step, a place."""

from collections import Counter
from typing import Any

import pandas as pd

from siliconbench.analysis import advice, bottleneck, stats, verdict
from siliconbench.analysis.cases import ALIKE, LIKE, cases, chief, named
from siliconbench.analysis.words import APART, grouped, listed, significant, speed_words, told_apart
from siliconbench.record.named import word
from siliconbench.record.share import counted

MOST = 4  # cases in one sentence
LIMITS = {"forward": "the model itself", "input": "data loading", "copy": "the copy", "balanced": "no part alone"}
MEND = dict.fromkeys(("out_of_memory", "skipped", "killed"), ": a smaller BATCH_SIZE") | {"worker": ": WORKERS=0"}


class Asked:
    """Of all runs on record (see cases.runs) this machine's newest sweep: its runs, its cases (table), those with a
    figure (good), the one of these that most others share (main); names: by the slugs."""

    def __init__(self, every: pd.DataFrame, machine: str) -> None:
        self.every, self.machine = every, machine
        self.cases = cases(every).dropna(subset=["images_per_s"])
        self.names = {machine: machine} | told_apart(every.groupby("machine")["title"].last().to_dict())
        own = every[every["machine"] == machine]
        self.runs = own[own["sweep"].isin(own.sort_values("created")["sweep"].tail(1))]
        self.table = named(cases(self.runs)).sort_values("images_per_s", ascending=False)
        self.good = self.table.dropna(subset=["images_per_s"])
        rows = [row for _, row in self.good.iterrows()]
        usual = [(row["reference"], row["model"] == "resnet50", row["batch_size"] == 64) for row in rows]
        keys, others = [*ALIKE, "sustained"], self.cases[self.cases["machine"] != machine]
        shared = Counter(others.drop_duplicates([*keys, "machine"])[keys].itertuples(index=False, name=None))
        ranks = [(shared[tuple(row[keys])], *of) for row, of in zip(rows, usual, strict=True)]
        self.main: Any = rows[ranks.index(max(ranks))] if rows else None
        self.apart = [f"{c['name']} at {c['batch_size']}" for c in rows if (c["high"] or 0) > APART * (c["low"] or 1)]
        self.disturbed = 0 < len(self.runs) <= 2 * self.runs["disturbed"].sum()

    def alike(self, row: pd.Series, same: list[str], own: bool = False) -> pd.DataFrame:
        """The cases of other machines, or of this one, that have this row's values in these columns; fastest first."""
        mine, alike = self.cases["machine"] == self.machine, (self.cases[same] == row[same]).all(axis=1)
        return chief(self.cases[(mine == own) & alike]).sort_values("images_per_s", ascending=False)

    def others(self, row: pd.Series, *further: str) -> pd.DataFrame:
        """This case on other machines, alike in further columns, each on its fastest device; fastest first."""
        return self.alike(row, [*ALIKE, "sustained", *further]).drop_duplicates("machine")


def answer(asked: Asked) -> list[str]:
    """Its sentences: figures, belief, next step, place."""
    return [f"{asked.names[asked.machine]}, {figures(asked)}", belief(asked), step(asked), place(asked)]


def figure_words(case: pd.Series) -> str:
    """A case with its figure: resnet50, batch 64, cpu: 14.6 images/s (14.1 to 15.2)."""
    return f"{case['name']}, batch {case['batch_size']}, {case['device']}: {speed_words(case)}"


def figures(asked: Asked) -> str:
    """The sweep's date and its figures, the fastest of each setting first."""
    if asked.table.empty:
        return "no run is on record."
    turns = asked.table.groupby("name", sort=False).cumcount().sort_values(kind="stable")
    words = listed([figure_words(case) for _, case in asked.table.loc[turns.index].iterrows()], MOST)
    day, more = pd.Timestamp(asked.runs["sweep"].iat[0][:8]).date(), ", below" if len(turns) > MOST else ""
    return f"{day}: {words}{more}."


def worth(runs: pd.DataFrame) -> str:
    """How many of these runs are clean, noisy, wrong and so on, or failed; and of these how many others disturbed."""
    counts, disturbed = {"clean": 0} | dict(runs["verdict"].fillna("failed").value_counts()), runs["disturbed"].sum()
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    return words + (f"; others disturbed {disturbed} of them" if disturbed else "")


def belief(asked: Asked) -> str:
    """What limits the sweep's figures, what its runs were worth and why, and whether to believe them."""
    runs, why, cases_of = asked.runs, list[tuple[str, str]](), [case for _, case in asked.good.iterrows()]
    limits = grouped((LIMITS.get(c["bottleneck"], "not known"), f"{c['name']} at {c['batch_size']}") for c in cases_of)
    parts = [f"{part} ({listed(of, 3, ', ')})" if len(limits) > 1 else part for part, of in limits]
    for _, run in runs[runs["verdict"] != "clean"].iterrows():
        reasons = run["reasons"] if run["status"] == "ok" else [run["why"]]
        why += [(reason.removeprefix("A cause: ").partition(": ")[0].rstrip("."), "") for reason in reasons]
    worst = [words for words, of in sorted(grouped(why), key=lambda group: -len(group[1]))]
    counts = worth(runs)
    fed = ["loading_cores", "input_images_per_s", "forward_images_per_s", "device"]
    starved = asked.good.loc[asked.good["bottleneck"] == "input", fed].dropna().to_numpy()
    hungriest = sorted(starved, key=lambda case: case[1] / case[2])[:1]
    said = (
        f"The bottleneck is {'; '.join(parts)}." if parts else "",
        *(bottleneck.feeding(int(of[0]), of[1], of[2], shared=of[3] == "cpu") for of in hungriest),
        f"{counted(len(runs), 'run')}: {counts}{f' ({listed(worst, 2)})' if worst else ''}.",
        (asked.main is None and "There is no figure to believe.")
        or (asked.good["runs"].min() == 1 and "One run: within this run only, not for comparison.")
        or (asked.apart and f"The runs of {listed(asked.apart, 3, ', ')} differ too much to give a figure to believe.")
        or (asked.disturbed and "That is its speed beside other programs; left alone it may be faster.")
        or ((runs["verdict"] == "clean").all() and "It can be believed, within its interval.")
        or "It can be believed within its interval, which has these doubts in it.",
    )
    return " ".join(filter(None, said))


def trouble(asked: Asked) -> str:
    """What to do about runs that are wrong, or a case that failed though others do not explain it; empty if none."""
    if (asked.runs["verdict"] == "wrong").any():
        return "Do not use what is wrong: run it again, report the case."
    gone = asked.table[asked.table["images_per_s"].isna() & asked.table["error"].notna()]
    ends = gone["error"].isin(["out_of_memory", "skipped"]) & gone["name"].isin(asked.good["name"])  # as it must
    for _, case in gone[~ends].iterrows():
        what, mend = f"{case['name']} at batch {case['batch_size']}", MEND.get(case["error"], "")
        why = asked.runs.loc[asked.runs["error"] == case["error"], "why"].iat[0]
        return f"{what} failed ({why}){mend}."
    return "" if len(asked.good) else "`make image` measures this machine."


def remedy(asked: Asked) -> str:
    """The measured remedy where over a tenth of the CPU time goes to page faults, or one to try; empty without any."""
    main = asked.main  # its own arithmetic leaves the kernel less
    if (main["device"], main["allocator"]) != ("cpu", "system") or "macOS" in (main["os"] or ""):
        return ""
    alike = asked.alike(main, [column for column in LIKE if column != "allocator"], own=True)
    found = "" if (asked.good["allocator"] == "tuned").any() else "keeps the memory: try it"
    for _, row in alike[alike["allocator"] == "tuned"].iterrows():
        found = f"is on record here with {speed_words(row)}" if advice.gain(main, row).ratio > 1 + stats.MARGIN else ""
    cost = f"{100 * (main['system_share'] or 0):.0f} % of the CPU time goes to page faults"
    return f"{cost}: ALLOCATOR=tuned {found}." if found and (main["system_share"] or 0) > 0.1 else ""


def step(asked: Asked) -> str:
    """The most useful next step: the first sentence whose condition holds."""
    if found := trouble(asked):
        return found
    main, runs, good = asked.main, asked.runs, asked.good
    best = f"`make best IMAGE_MODEL={word(main['source'], main['model'])}`"
    sizes = asked.alike(main, [column for column in LIKE if column != "batch_size"], own=True)
    starved, usual = main["bottleneck"] == "input", main["input"] != "original" and main["workers"] == "auto"
    plain = "WORKERS=auto loads" if main["input"][:6] == "folder" else "INPUT=fast WORKERS=auto, the defaults, load"
    less = ", or INPUT=jpeg-device-resize" if main["input"] == "jpeg" and main["device"] != "cpu" else ""
    paged = remedy(asked)
    sizes = sizes[sizes["low"] > good.loc[good["name"] == main["name"], "high"].max()]
    use = "Use batch size {}: it is on record here with {}.".format
    quicker = [use(case["batch_size"], speed_words(case)) for _, case in sizes.iterrows()]
    same = ["chip", "device", "model", "source", "mode", "input", "image_px"]
    mine = good.loc[good["model"] == main["model"], "images_per_s"].max()
    known = advice.tuned(asked.cases[(asked.cases[same] == main[same]).all(axis=1)]).sort_values("images/s")[::-1]
    faster = [
        f"A faster setting is known {'here' if slug == asked.machine else f'on {asked.names[slug]}, of the same chip'}"
        f": {setting}, {significant(rate, 4)} images/s. {best} finds the best here."
        for slug, setting, rate in known[["machine", "fastest setting", "images/s"]].itertuples(index=False)
        if rate > (1 + stats.MARGIN) * mine
    ]
    own = asked.every[(asked.every["machine"] == asked.machine) & (asked.every["model"] == main["model"])]
    rules = (
        ((runs["power_source"] == "battery").any(), "It ran on battery: plug it in and measure again."),
        (runs["power_mode"].isin(verdict.SLOW_MODES).any(), "Leave the low-power mode and measure again."),
        (asked.disturbed, "Close other programs, or wait until others leave it alone, and measure again."),
        (paged, paged),
        (starved and not usual, f"Data loading is the bottleneck: {plain} fastest."),
        (starved, f"Data loading is the bottleneck, with as many workers as help: it takes more cores{less}."),
        (quicker, "".join(quicker[:1])), (faster, "".join(faster[:1])),
        (asked.apart or good["runs"].min() == 1, "REPEATS=5 tells how much the next run may differ."),
        (main["mode"] == "inference" and not own["searched"].any(),
         f"{best} looks for a faster setting with the same outputs."),
        (True, "`make report` compares it with all machines on record."),
    )  # fmt: skip
    return next(sentence for holds, sentence in rules if holds)


def place(asked: Asked) -> str:
    """Where the sweep's main case stands among other machines, and whether that is healthy for its chip."""
    if asked.main is None:
        return "Without a figure it has no place among others."
    main, others, said, rate = asked.main, asked.others(asked.main), list[str](), float(asked.main["images_per_s"])
    what = f"{main['name']}, batch {main['batch_size']}"
    if others.empty:
        older = asked.alike(main, [k for k in (*ALIKE, "sustained") if k != "torch"]).drop_duplicates("machine")
        seen = [f"{asked.names[o['machine']]} {speed_words(o)} by torch {o['torch']}" for _, o in older.iterrows()]
        told = f" by torch {main['torch']} (beside it, not to be ranked: {listed(seen, 3)})" if seen else ""
        return f"No other machine on record has {what}{told}: `make share` publishes yours."
    ahead = others["images_per_s"] > rate
    for _, other in pd.concat([others[ahead].tail(1), others[~ahead].head(1)]).iterrows():
        found = stats.compare(other["sessions"], main["sessions"], between=other["between"])
        near = ", one run can't tell which is faster" if found.low is None else ", too close to tell"
        close = near if found.word in ("same", "undecided") else ""
        said += [f"{asked.names[other['machine']]} ({significant(float(other['images_per_s']), 4)} images/s{close})"]
    every, nearest = (f"all {len(others)} on record, the nearest is ", "the nearest, ") if len(others) > 1 else ("", "")
    far = f"beside {nearest}" if close else f"{'slower' if ahead.all() else 'faster'} than {every}"
    alike = asked.others(main, "device", "chip")["images_per_s"]
    words = f"between {' and '.join(said)}" if len(said) > 1 else f"{far}{said[0]}"
    return f"At {what}, it is {words}. Beside the same chip ({main['chip']}): {health_words(rate, alike, 1)}"


def health_words(own: float, others: pd.Series, judged: int) -> str:
    """A machine's rate against those of the others of its chip; judged: of how many machines the page says so."""
    if others.empty:
        return f"{significant(own, 4)} images/s; no other of this chip ran this case: nothing shows if it is healthy."
    span, count = stats.prediction(others, judged), len(others)
    low, high = span or (others.min(), others.max())
    reach = significant(low, 4) if low == high else f"{significant(low, 4)} to {significant(high, 4)}"
    if not span:
        theirs = f"{count} {'other runs' if count == 1 else 'others run'} at {reach}"
        return f"{significant(own, 4)} images/s; {theirs}. It takes four others to say whether that is healthy."
    word = "below" if own < low else "above" if own > high else "within"
    end = {"below": ": look at its heat, its power mode, other programs"}.get(word, "")
    end = ": they differ too much to tell more" if word == "within" and high > 1.5 * low else end
    return f"{significant(own, 4)} images/s, {word} where one more of its {count} others would lie ({reach}){end}."
