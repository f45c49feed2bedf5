"""The answer to what was just asked, the same on the page and the terminal: this sweep's figures, what limits them and
whether to believe them, one next step, and the machine's place among those on record."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from siliconbench.analysis import stats
from siliconbench.analysis.advice import tuned
from siliconbench.analysis.cases import ALIKE, APART, LIKE, cases, chief, named, rate_words, span_words
from siliconbench.analysis.verdict import SLOW_MODES
from siliconbench.analysis.words import grouped, listed, significant

MOST, OLDER = 4, 12  # cases in one sentence, rows of older sweeps
WIDE = 1.5  # bounds further apart do not tell a healthy machine from a slow one
LIMITS = {"forward": "the model itself", "input": "data loading", "copy": "the copy", "balanced": "no part alone"}
MEND = {"worker": "WORKERS=0", **dict.fromkeys(("out_of_memory", "skipped", "killed"), "a smaller BATCH_SIZE")}
Name = Callable[[str], str]  # what a machine is called, by its slug


class Asked:
    """Of all runs on record (see cases.runs) this machine's newest sweep, single runs of a search aside: its runs, its
    cases (table), those with a figure (good), and the one of these that most other machines share (main)."""

    def __init__(self, every: pd.DataFrame, machine: str, name: Name) -> None:
        own = every[every["machine"] == machine]
        own = own if own["search"].all() else own[~own["search"].astype(bool)]
        self.runs = own[own["sweep"].isin(own.sort_values("created")["sweep"].tail(1))]
        self.every, self.machine, self.name, self.cases = every, machine, name, cases(every)
        self.table = named(cases(self.runs)).sort_values("images_per_s", ascending=False)
        self.good = self.table.dropna(subset=["images_per_s"])
        rows = [row for _, row in self.good.iterrows()]
        usual = [(row["reference"], row["model"] == "resnet50", row["batch_size"] == 64) for row in rows]
        ranks = [(len(self.like(row)), *of) for row, of in zip(rows, usual, strict=True)]
        self.main: Any = rows[ranks.index(max(ranks))] if rows else None
        self.starved = self.main is not None and self.main["bottleneck"] == "input"
        self.apart = (self.good["high"] > APART * self.good["low"]).any()  # DIFFER, in cases
        self.disturbed = 0 < len(self.runs) <= 2 * self.runs["disturbed"].astype(bool).sum()

    def like(self, row: pd.Series, *further: str, own: bool = False) -> pd.DataFrame:
        """This case on other machines, alike in further columns, each on its fastest device; own: on this machine at
        each batch size. The fastest comes first."""
        same = [k for k in LIKE if k != "batch_size"] if own else [*ALIKE, "sustained", *further]
        found = self.cases[~self.cases["search"].astype(bool) & self.cases["images_per_s"].notna()]
        found = found[((found["machine"] == self.machine) == own) & (found[same] == row[same]).all(axis=1)]
        return chief(found).sort_values("images_per_s", ascending=False).drop_duplicates(["machine", "batch_size"])


def answer(every: pd.DataFrame, machine: str, name: Name = str) -> list[str]:
    """What this machine's newest sweep says, beside all runs on record: figures, belief, next step, place."""
    asked = Asked(every, machine, name)
    found = ((holds(asked), sentence) for holds, sentence in STEPS)
    step = next(sentence.format(*what) if isinstance(what, tuple) else sentence for what, sentence in found if what)
    return [figures(asked), belief(asked), step, place(asked)]


def figure_words(case: pd.Series) -> str:
    """A case with its figure: resnet50, batch 64, cpu: 14.6 images/s (14.1 to 15.2)."""
    rate = rate_words(case["images_per_s"], case["low"], case["high"])
    return f"{case['name']}, batch {case['batch_size']}, {case['device']}: {rate}"


def day(sweep: str) -> str:
    """The date and time of a sweep, by its id: 2026-11-25 04:30."""
    return f"{sweep[:4]}-{sweep[4:6]}-{sweep[6:8]} {sweep[9:11]}:{sweep[11:13]}"


def figures(asked: Asked) -> str:
    """The sweep's figures, the fastest of each setting first."""
    if asked.table.empty:
        return f"{asked.name(asked.machine)}: no run is on record."
    turns = asked.table.groupby("name", sort=False).cumcount().sort_values(kind="stable")
    words = listed([figure_words(case) for _, case in asked.table.loc[turns.index].iterrows()], MOST)
    more = ", below" if len(turns) > MOST else ""
    return f"{asked.name(asked.machine)}, {day(asked.runs['sweep'].iat[0])[:10]}: {words}{more}."


def belief(asked: Asked) -> str:
    """What limits the sweep's figures, what its runs were worth and why, and whether to believe them."""
    limits, runs, why = dict[str, list[str]](), asked.runs, list[tuple[str, str]]()
    for _, case in asked.good.iterrows():
        part = LIMITS.get(case["bottleneck"], "not known")
        limits.setdefault(part, []).append(f"{case['name']} at {case['batch_size']}")
    parts = [f"{part} ({listed(of, 3, ', ')})" if len(limits) > 1 else part for part, of in limits.items()]
    for _, run in runs[runs["verdict"] != "clean"].iterrows():
        reasons = run["reasons"] if run["status"] == "ok" else [run["why"]]
        why += [(reason.removeprefix("A cause: ").partition(": ")[0].rstrip("."), "") for reason in reasons]
    worst = [words for words, of in sorted(grouped(why), key=lambda group: -len(group[1]))]
    outside = runs["disturbed"].astype(bool) & (runs["verdict"] != "wrong")
    worth = {"clean": 0} | dict(runs["verdict"].mask(outside, "disturbed").fillna("failed").value_counts())
    counts = ", ".join(f"{count} {word}" for word, count in worth.items())
    said = [f"The bottleneck is {'; '.join(parts)}."] if parts else []
    said += [f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {counts}{f' ({listed(worst, 2)})' if worst else ''}."]
    return " ".join([*said, next(sentence for holds, sentence in TRUST if holds(asked))])


Rules = list[tuple[Callable[[Asked], Any], str]]  # the first that holds is said
TRUST: Rules = [
    (lambda asked: asked.main is None, "There is no figure to believe."),
    (lambda asked: asked.good["runs"].min() == 1, "One run: within this run only, not for comparison."),
    (lambda asked: asked.apart, "Runs that differ so much give no figure to believe."),
    (lambda asked: asked.disturbed, "That is its speed beside other programs; left alone it is faster."),
    (lambda asked: asked.runs["verdict"].eq("clean").all(), "It can be believed, within its interval."),
    (lambda asked: True, "It can be believed within its interval, which has these doubts in it."),
]


def _lost(asked: Asked) -> tuple[str, ...]:
    gone = asked.table[asked.table["images_per_s"].isna() & asked.table["error"].notna()]
    ends = gone["error"].isin(["out_of_memory", "skipped"]) & gone["name"].isin(asked.good["name"])  # as it must
    for _, case in gone[~ends].iterrows():
        why = asked.runs.loc[asked.runs["error"] == case["error"], "why"].iat[0]
        return f"{case['name']} at batch {case['batch_size']}", why, MEND.get(case["error"], "another setting")
    return ()


def _costly(asked: Asked) -> bool:
    share, faults = ((asked.main[name] or 0) for name in ("system_share", "page_faults_per_image"))
    smaller = asked.like(asked.main, own=True)["batch_size"].min()  # 0.1: the model's own arithmetic leaves less
    return asked.main["device"] == "cpu" and share > 0.1 and faults > 100 and 8 < asked.main["batch_size"] == smaller


def _size(asked: Asked) -> tuple[str, ...]:
    sizes, same = asked.like(asked.main, own=True), asked.good[asked.good["name"] == asked.main["name"]]
    for _, best in sizes[sizes["low"] > same["high"].max()].iterrows():
        return str(best["batch_size"]), rate_words(best["images_per_s"], best["low"], best["high"])
    return ()


def _setting(asked: Asked) -> tuple[str, ...]:
    same = ["chip", "device", "model", "mode"]
    found = tuned(asked.cases[(asked.cases[same] == asked.main[same]).all(axis=1)]).sort_values("images/s")[::-1]
    mine = asked.good.loc[asked.good["model"] == asked.main["model"], "images_per_s"].max()
    for _, best in found[found["images/s"] > (1 + stats.MARGIN) * mine].iterrows():
        where = "here" if best["machine"] == asked.machine else f"on {asked.name(best['machine'])}, of the same chip"
        return where, best["fastest setting"], significant(best["images/s"], 4), asked.main["model"]
    return ()


def _unsearched(asked: Asked) -> tuple[str, ...]:
    own = asked.every[(asked.every["machine"] == asked.machine) & (asked.every["model"] == asked.main["model"])]
    return () if asked.main["mode"] == "train" or own["search"].any() else (asked.main["model"],)


STEPS: Rules = [
    (lambda asked: asked.runs["verdict"].eq("wrong").any(), "Do not use what is wrong: run it again, report the case."),
    (_lost, "{} failed ({}): choose {}."),
    (lambda asked: asked.main is None, "`make image` measures this machine."),
    (lambda asked: asked.runs["power_source"].eq("battery").any(), "It ran on battery: plug it in and measure again."),
    (lambda asked: asked.runs["power_mode"].isin(SLOW_MODES).any(), "Leave the low-power mode and measure again."),
    (lambda asked: asked.disturbed, "Close other programs, or wait until others leave it alone, and measure again."),
    (_costly, "Over a tenth of the CPU time goes to page faults: BATCH_SIZE=8 has fewer, see whether it is faster."),
    (lambda asked: asked.starved and tuple(asked.main[["input", "workers"]]) != ("fast", "auto"),
     "Data loading is the bottleneck: INPUT=fast WORKERS=auto, the defaults, load fastest."),
    (lambda asked: asked.starved, "Data loading is the bottleneck, with as many workers as help: it takes more cores."),
    (_size, "Use batch size {}: it is on record here with {}."),
    (_setting, "A faster setting is known {}: {}, {} images/s. `make best IMAGE_MODEL={}` finds the best here."),
    (lambda asked: asked.apart or asked.good["runs"].min() == 1, "REPEATS=5 tells how much the next run may differ."),
    (_unsearched, "`make best IMAGE_MODEL={}` looks for a faster setting with the same outputs."),
    (lambda asked: True, "`make report` compares it with all machines on record."),
]  # fmt: skip


def place(asked: Asked) -> str:
    """Where the sweep's main case stands among other machines, and whether that is healthy for its chip."""
    if asked.main is None:
        return "Without a figure it has no place among others."
    main, others, said = asked.main, asked.like(asked.main), list[str]()
    what, chip, rate = f"{main['name']}, batch {main['batch_size']}", main["chip"], float(main["images_per_s"])
    if others.empty:
        return f"No other machine on record has {what}: `make share` publishes yours."
    ahead = others["images_per_s"] > rate
    for _, other in pd.concat([others[ahead].tail(1), others[~ahead].head(1)]).iterrows():
        found = stats.compare(other["sessions"], main["sessions"], between=other["between"])
        close = ", too close to tell" if found.low is not None and found.word in ("same", "undecided") else ""
        said += [f"{asked.name(other['machine'])} ({significant(float(other['images_per_s']), 4)} images/s{close})"]
    every = f"all {len(others)} on record, the nearest is " if len(others) > 1 else ""
    words = f"{'slower' if ahead.all() else 'faster'} than {every}{said[0]}" if len(said) == 1 else " and ".join(said)
    alike = asked.like(main, "device", "chip")["images_per_s"].astype(float)
    healthy = f"Nobody else with this chip ({chip}) has it, so nothing shows whether it is healthy."
    healthy = f"Beside the same chip ({chip}): {health_words(rate, alike, 1)}" if len(alike) else healthy
    return f"At {what}, it is {'between ' if len(said) > 1 else ''}{words}. {healthy}"


def health_words(own: float, others: pd.Series, judged: int) -> str:
    """A machine's rate against those of the others of its chip; judged: of how many machines the page says so."""
    span, count = stats.prediction(others, judged), len(others)
    low, high = span or (others.min(), others.max())
    reach = significant(low, 4) if low == high else f"{significant(low, 4)} to {significant(high, 4)}"
    if not span:
        theirs = f"{count} {'other runs' if count == 1 else 'others run'} at {reach}"
        return f"{significant(own, 4)} images/s; {theirs}. It takes four others to say whether that is healthy."
    word = "below" if own < low else "above" if own > high else "within"
    end = {"below": ": look at its heat, its power mode, other programs"}.get(word, "")
    end = ": they differ too much to tell more" if word == "within" and high > WIDE * low else end
    return f"{significant(own, 4)} images/s, {word} where one more of its {count} others would lie ({reach}){end}."


def older(every: pd.DataFrame, machine: str) -> pd.DataFrame:
    """The figures of this machine's other sweeps, the newest first."""
    own, rows = every[(every["machine"] == machine) & ~every["search"].astype(bool)], list[tuple[object, ...]]()
    last = own.sort_values("created")["sweep"].tail(1)
    for _, case in named(cases(own[~own["sweep"].isin(last)])).iterrows():
        for sweep, rates in zip(case["sweeps"], case["sessions"], strict=True):
            found = stats.interval(rates, case["between"])[:3]
            rows.append((day(sweep), f"{case['name']}, batch {case['batch_size']}", found[0], span_words(*found)))
    rows.sort(key=lambda row: row[0], reverse=True)
    return pd.DataFrame(rows[:OLDER], columns=["begun (UTC)", "case", "images/s", "95 % interval"])
