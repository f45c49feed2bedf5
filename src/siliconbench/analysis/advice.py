"""What a machine's cases advise, and what people ask of it: answered from them, or by the command that measures it."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from siliconbench.analysis import bottleneck, stats
from siliconbench.analysis.cases import COMPARED, LIKE, SETTING, USUAL, beside, case_words, chief, compared, named
from siliconbench.analysis.words import listed, significant, speed_words, times_words

PLAIN = 64  # images a batch of the reference that a tuned setting is held against, or as many as memory held
WHERE = ("device", "batch_size")
FEW = ': fewer than two batch sizes ran twice, none can be recommended; BATCH_SIZE="1 8 64" REPEATS=5.'
PAYS = {  # axis: its value, the question, the command
    ("allocator", "tuned"): ("Does another allocator pay?", 'ALLOCATOR="system tuned"'),
    ("precision", "fp16"): ("Does fp16 pay?", 'PRECISION="fp32 fp16"'),
    ("precision", "bf16"): ("Does bf16 pay?", 'PRECISION="fp32 bf16"'),
    ("memory_format", "channels_last"): ("Does channels last pay?", 'LAYOUT="contiguous channels_last"'),
    ("compile", "compiled"): ("Does torch.compile pay, and after how many images?", 'COMPILE="0 1"'),
    ("compile", "reduce-overhead"): ("Do CUDA graphs pay?", 'COMPILE="0 reduce-overhead"'),
}


def sweet_spot(table: pd.DataFrame) -> str:
    """In a sentence, the smallest batch size surely within 5 % of the fastest (stats.near_best), else the fastest."""
    table = table.dropna(subset=["images_per_s"]).sort_values("batch_size")
    name = table["name"].iat[0] if len(table) else "this model"
    good = table[table["runs"] > 1]
    if len(good) < 2:
        return name + FEW
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
    """In a sentence, the first batch size slower than a smaller one (Holm), or at which memory ends; None without."""
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
    said = [w for _, mine in named(chief(table)).groupby("name") for w in (sweet_spot(mine), cliff(mine)) if w]
    few = [words.removesuffix(FEW) for words in said if words.endswith(FEW)]
    told = [words for words in said if not words.endswith(FEW)] + [listed(few, 3) + FEW] * bool(few)
    return told or ["Nothing was measured."]


def gain(plain: pd.Series, case: pd.Series) -> stats.Comparison:
    """The second case's rate over the first's; see cases.compared()."""
    table = pd.DataFrame({name: [plain[name], case[name]] for name in COMPARED})
    return compared(table.assign(side=["plain", "case"]), "side")["plain", "case"]


def tuned(table: pd.DataFrame) -> pd.DataFrame:
    """The fastest setting of each machine, model, image size, mode and input, over its reference: that which is faster
    still, else of the same sweep (of `make best`), else of the machine at batch 64, or as many as memory held."""
    rows, same = [], ["machine", "model", "source", "made", "mode", "input", "image_px", "torch", "device", "method"]
    table = table.dropna(subset=["images_per_s"])
    plains = table.query("reference and not sustained and batch_size <= @PLAIN").sort_values(["batch_size", "runs"])
    kinds = ["machine", "source", "model", "image_px", "mode", "input"]
    several = table.groupby(kinds[:3])["image_px"].transform("nunique") > 1
    for _, group in table[~table["reference"]].groupby(kinds):
        top = group.loc[group["images_per_s"].idxmax()]
        alike = plains[(plains[same] == top[same]).all(axis=1)]
        ahead = alike[alike["images_per_s"] > top["images_per_s"]].sort_values("images_per_s")
        together = alike[[bool(set(sweeps) & set(top["sweeps"])) for sweeps in alike["sweeps"]]]
        plain = next((rows for rows in (ahead, together) if len(rows)), alike)
        found = gain(plain.iloc[-1], top) if len(plain) else None
        times = found and times_words(found) + (", undecided" if found.high and found.word == "undecided" else "")
        unlike, alone = [k for k in ("mode", "input", "workers") if top[k] != USUAL[k]], top["forward_images_per_s"]
        starved = bool(alone and alone > 1.5 * top["images_per_s"])
        unlike += ["image_px"] * bool(several[top.name]) + ["workers_used"] * starved
        agree, setting = "yes" if top["agreed"] else "not compared", case_words(top, SETTING).partition(", ")[2]
        what = (top["machine"], top["images_per_s"], case_words(top, unlike))
        rows.append((*what, alone, times, int(top["runs"]), agree, setting))
    columns = ["machine", "images/s", "model", "the model alone", "times reference", "runs", "outputs agree"]
    best = pd.DataFrame(rows, columns=[*columns, "fastest setting"])
    return best.sort_values("images/s", ascending=False, ignore_index=True, kind="stable")


def twins(table: pd.DataFrame, axis: str, value: Any, plain: Any) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Each case without and with this value, alike in all else, those of most runs first."""
    good = chief(table[table["images_per_s"].notna() & ~table["sustained"]]).sort_values("runs", ascending=False)
    same = [name for name in LIKE if name != axis]
    those, plains = (good.loc[good[axis] == one, same].reset_index() for one in (value, plain))
    for place, twin in those.merge(plains, on=same)[["index_x", "index_y"]].to_numpy():
        yield good.loc[twin], good.loc[place]


def repaid(plain: pd.Series, case: pd.Series) -> str:
    """After how many images the seconds of compilation are won back, by the model alone; empty where unknown."""
    rates, spent_s = (plain["forward_images_per_s"], case["forward_images_per_s"]), case["compile_s"]
    if pd.isna(spent_s) or any(map(pd.isna, rates)) or rates[1] <= rates[0]:
        return ""
    return f"; {significant(spent_s)} s of compilation pay after {spent_s / (1 / rates[0] - 1 / rates[1]):,.0f} images"


def pays(table: pd.DataFrame, axis: str, value: Any) -> Iterator[str]:
    """In words, what this value brings in the cases that were measured with and without it; empty without any."""
    for plain, case in twins(table, axis, value, USUAL[axis]):
        others = [name for name in LIKE if name in USUAL and name != axis and case[name] != USUAL[name]]
        found = gain(plain, case)
        end = ", undecided" if found.high and found.word == "undecided" else ""
        end += repaid(plain, case) if axis == "compile" else ""
        yield f"{case_words(case, [*others, *WHERE])}: {times_words(found)} times{end}"


def beats_cpu(table: pd.DataFrame) -> Iterator[str]:
    """In words, from which batch size on the accelerator is surely faster than the CPU, by model."""
    faster = dict[str, list[int]]()
    for device in set(table["device"]) - {"cpu"}:
        for cpu, case in twins(table[table["reference"]], "device", device, "cpu"):
            sizes = faster.setdefault(case["model"], [])
            sizes += [case["batch_size"]] if gain(cpu, case).word == "faster" else []
    for model, sizes in faster.items():
        yield f"{model}: {f'from batch {min(sizes)} on' if sizes else 'at no size measured'}"


def feeds(table: pd.DataFrame) -> Iterator[str]:
    """In words, how many loader processes feed each model and device at its fastest, how many cores it would take."""
    parts = ["input_images_per_s", "forward_images_per_s"]
    good = table[table["images_per_s"].notna()].sort_values(parts[1], ascending=False)
    for _, case in good.drop_duplicates(["model", "device"]).dropna(subset=parts).iterrows():
        loaded, taken = case[parts]
        more = bottleneck.feeding(int(case["loading_cores"]), loaded, taken, case["device"] == "cpu")
        yield f"{case_words(case, WHERE)}: {case['workers_used']} of them; {more.rstrip('.') or 'that feeds it fully'}"


def most_held(table: pd.DataFrame) -> Iterator[str]:
    """In words, at which batch size memory ended, and the largest that ran, by model and device."""
    for (model, device), group in table.groupby(["model", "device"]):
        ends, ran = group[group["error"] == "out_of_memory"], group.dropna(subset=["images_per_s"])
        if len(ends) and len(ran):
            yield f"{model}, {device}: {ran['batch_size'].max()} ran, at {ends['batch_size'].min()} memory ends"


def answers(table: pd.DataFrame, model: str, gpu: bool = False) -> pd.DataFrame:
    """The questions, each with its answer from these cases of one machine, with a GPU or none, or with a command."""
    rows = [("From which batch size on does the accelerator beat the CPU?", beats_cpu(table),
             'BATCH_SIZE="1 8 64"`, then again with `USE_GPU=0')] * (gpu or {*table["device"]} != {"cpu"})  # fmt: skip
    rows += [(question, pays(table, *key), knob) for key, (question, knob) in PAYS.items()
             if "graphs" not in question or "cuda" in {*table["device"]}]  # fmt: skip
    rows += [("How many loader processes feed it?", feeds(table), "WORKERS=auto")]
    rows += [("What is the largest batch that memory holds?", most_held(table), "BATCH_SIZE=auto")]
    unknown = "not measured yet: `make image IMAGE_MODEL={} {}`".format
    told = [(question, listed([*found], 3) or unknown(model, knob)) for question, found, knob in rows]
    return pd.DataFrame(told, columns=["question", "answer"])
