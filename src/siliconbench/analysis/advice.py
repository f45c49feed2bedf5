"""What the cases of a model advise: which batch size to use, where the speed falls, what the fastest setting gains."""

import pandas as pd

from siliconbench.analysis import stats
from siliconbench.analysis.cases import COMPARED, SETTING, beside, case_words, chief, compared, named
from siliconbench.analysis.words import speed_words, times_words

PLAIN = 64  # images a batch of the reference that a tuned setting is held against, or as many as memory held


def sweet_spot(table: pd.DataFrame) -> str:
    """In a sentence, the smallest batch size surely within 5 % of the fastest (stats.near_best), else the fastest."""
    table = table.dropna(subset=["images_per_s"]).sort_values("batch_size")
    name = table["name"].iat[0] if len(table) else "this model"
    good = table[table["runs"] > 1]
    if len(good) < 2:
        return f'{name}: fewer than two batch sizes ran twice, none can be recommended; BATCH_SIZE="1 8 64" REPEATS=5.'
    sure = stats.near_best(beside(good, "batch_size"), between=good["between"].iat[0], paired=True)
    top = good.loc[good["images_per_s"].idxmax()]
    first = next((row for _, row in good.iterrows() if sure[row["batch_size"]]), top)
    speed, words = speed_words(first), f"{name}: batch size {first['batch_size']}"
    near = f"surely within {100 * stats.NEAR:.0f} % of the fastest"
    if not sure[first["batch_size"]]:
        words += f" is the fastest measured, with {speed}; not sure: none is {near}, so more runs may show another."
    elif first["batch_size"] == top["batch_size"]:
        words += f" gives {speed}, the fastest of those measured."
    else:
        words += f" gives {speed}, {near} (measured: {speed_words(top)} at {top['batch_size']})."
    once = ", ".join(map(str, sorted(set(table["batch_size"]) - set(good["batch_size"]))))
    return words + (f" Left out, as of one run: {once}." if once else "")


def cliff(table: pd.DataFrame) -> str | None:
    """In a sentence, the first batch size of one model that is slower than a smaller one, all pairs tested at once, or
    at which memory ends. Memory that runs short shows as a fall in speed, or as growing swap, before any error."""
    table = table.sort_values("batch_size").drop_duplicates("batch_size")
    good = table.dropna(subset=["images_per_s"])
    pairs, rates = compared(good, "batch_size"), dict(zip(good["batch_size"], good["images_per_s"], strict=True))
    for _, case in table.iterrows():
        size, where = case["batch_size"], f"{case['name']}: at batch size {case['batch_size']}"
        if size not in rates and case["error"] == "out_of_memory":
            return f"{where} memory ends."
        if faster := [a for (a, b), pair in pairs.items() if b == size and pair.word == "slower"]:
            best = max(faster, key=lambda smaller: rates[smaller])
            swap, held = case["swap_growth_bytes"], case["peak_bytes"]
            why = f", and swap grew by {swap / 1e6:.0f} MB" if (swap or 0) > 0 else ""
            why += f"; {held / 2**30:.1f} GiB held" if (held or 0) > 0 else ""
            return f"{where} the speed falls to {100 * pairs[best, size].ratio:.0f} % of that at {best}{why}."
    return None


def batch_advice(table: pd.DataFrame) -> list[str]:
    """For each model, in a sentence, which batch size to use; of a case in several states by the one of most runs."""
    groups = named(chief(table)).groupby("name")
    sentences = [words for _, group in groups for words in (sweet_spot(group), cliff(group)) if words]
    return sentences or ["Nothing was measured."]


def reference_of(top: pd.Series, cases: pd.DataFrame) -> pd.Series | None:
    """The reference case that a tuned one is held against: that of the same sweep (the finalist of `make best`), else
    the machine's. Of several batch sizes it is that at 64, or as many as memory held; None where there is none."""
    same = ["machine", "model", "source", "made", "mode", "input", "image_px", "torch", "device", "method"]
    plain = cases[cases["reference"] & ~cases["sustained"] & (cases[same] == top[same]).all(axis=1)]
    plain = plain[plain["batch_size"] <= PLAIN]
    together = plain[[bool(set(sweeps) & set(top["sweeps"])) for sweeps in plain["sweeps"]]]
    found = (together if len(together) else plain).sort_values(["batch_size", "runs"])
    return found.iloc[-1] if len(found) else None


def gain(plain: pd.Series, case: pd.Series) -> stats.Comparison:
    """The second case's rate over the first's; see cases.compared()."""
    table = pd.DataFrame({name: [plain[name], case[name]] for name in COMPARED})
    return compared(table.assign(side=["plain", "case"]), "side")["plain", "case"]


def tuned(table: pd.DataFrame) -> pd.DataFrame:
    """The fastest setting of each machine and model, over its reference case."""
    rows = []
    table = table.dropna(subset=["images_per_s"])
    for (_, _, model, mode), group in table[~table["reference"]].groupby(["machine", "source", "model", "mode"]):
        top = group.loc[group["images_per_s"].idxmax()]
        plain = reference_of(top, table)
        times = None if plain is None else times_words(gain(plain, top))
        agree, what = "yes" if top["agreed"] else "not compared", model if mode == "inference" else f"{model}, {mode}"
        setting = case_words(top, SETTING).removeprefix(f"{model}, ")
        rows.append((top["machine"], what, top["images_per_s"], times, int(top["runs"]), agree, setting))
    columns = ["machine", "model", "images/s", "times reference", "runs", "outputs agree", "fastest setting"]
    return pd.DataFrame(rows, columns=columns)
