"""What people ask of one machine: each question answered from its cases, or by the command that measures the answer."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from siliconbench.analysis.advice import gain
from siliconbench.analysis.bottleneck import feeding
from siliconbench.analysis.cases import LIKE, USUAL, case_words, chief
from siliconbench.analysis.words import listed, significant, times_words

WHERE = ("device", "batch_size")
PAYS = {  # axis: its value, the question, the command
    ("allocator", "tuned"): ("Does another allocator pay?", 'ALLOCATOR="system tuned"'),
    ("precision", "fp16"): ("Does fp16 pay?", 'PRECISION="fp32 fp16"'),
    ("precision", "bf16"): ("Does bf16 pay?", 'PRECISION="fp32 bf16"'),
    ("memory_format", "channels_last"): ("Does channels last pay?", 'LAYOUT="contiguous channels_last"'),
    ("compile", "compiled"): ("Does torch.compile pay, and after how many images?", 'COMPILE="0 1"'),
    ("compile", "reduce-overhead"): ("Do CUDA graphs pay?", 'COMPILE="0 reduce-overhead"'),
}


def twins(table: pd.DataFrame, axis: str, value: Any, plain: Any) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Each case without and with this value, alike in all else, those of most runs first."""
    good = chief(table[table["images_per_s"].notna() & ~table["sustained"]]).sort_values("runs", ascending=False)
    same, plains = [name for name in LIKE if name != axis], dict[Any, pd.Series]()
    for _, case in good[good[axis] == plain].iterrows():
        plains.setdefault(tuple(case[same]), case)
    for _, case in good[good[axis] == value].iterrows():
        if (twin := plains.get(tuple(case[same]))) is not None:
            yield twin, case


def repaid(plain: pd.Series, case: pd.Series) -> str:
    """After how many images the seconds of compilation are won back, by the model alone; empty where unknown."""
    rates, spent_s = (plain["forward_images_per_s"], case["forward_images_per_s"]), case["compile_s"]
    if pd.isna(spent_s) or any(map(pd.isna, rates)) or rates[1] <= rates[0]:
        return ""
    return f"; {significant(spent_s)} s of compilation pay after {spent_s / (1 / rates[0] - 1 / rates[1]):,.0f} images"


def pays(table: pd.DataFrame, axis: str, value: Any) -> str:
    """In words, what this value brings in the cases that were measured with and without it; empty without any."""
    said = list[str]()
    for plain, case in twins(table, axis, value, USUAL[axis]):
        others = [name for name in LIKE if name in USUAL and name != axis and case[name] != USUAL[name]]
        what = case_words(case, [*others, *WHERE])
        said += [f"{what}: {times_words(gain(plain, case))} times{repaid(plain, case) if axis == 'compile' else ''}"]
    return listed(said, 3)


def beats_cpu(table: pd.DataFrame) -> str:
    """In words, from which batch size on the accelerator is surely faster than the CPU, by model."""
    found = dict[str, list[tuple[int, bool]]]()
    for device in set(table["device"]) - {"cpu"}:
        for cpu, case in twins(table[table["reference"]], "device", device, "cpu"):
            found.setdefault(case["model"], []).append((case["batch_size"], gain(cpu, case).word == "faster"))
    said = list[str]()
    for model, sizes in found.items():
        first = min((size for size, faster in sizes if faster), default=None)
        said += [f"{model}: {'at no size measured' if first is None else f'from batch {first} on'}"]
    return listed(said, 3)


def feeds(table: pd.DataFrame) -> str:
    """In words, how many loader processes feed each model and device at its fastest, how many cores it would take."""
    said = list[str]()
    good = table[table["images_per_s"].notna()].sort_values("forward_images_per_s", ascending=False)
    for _, case in good.drop_duplicates(["model", "device"]).iterrows():
        loaded, taken = case["input_images_per_s"], case["forward_images_per_s"]
        if pd.isna(loaded) or pd.isna(taken):
            continue
        more = feeding(int(case["loading_cores"]), loaded, taken, case["device"] == "cpu") or "that feeds it fully"
        said += [f"{case_words(case, WHERE)}: {case['workers_used']} of them; {more}"]
    return listed(said, 3)


def most_held(table: pd.DataFrame) -> str:
    """In words, at which batch size memory ended, and the largest that ran, by model and device."""
    said = list[str]()
    for (model, device), group in table.groupby(["model", "device"]):
        ends, ran = group[group["error"] == "out_of_memory"], group.dropna(subset=["images_per_s"])
        if len(ends) and len(ran):
            said += [f"{model}, {device}: {ran['batch_size'].max()} ran, at {ends['batch_size'].min()} memory ends"]
    return listed(said, 3)


def answers(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The questions, each with its answer from these cases of one machine, or the command that tells it of a model."""
    rows = [("From which batch size on does the accelerator beat the CPU?", beats_cpu(table),
             'BATCH_SIZE="1 8 64"`, then again with `USE_GPU=0')]  # fmt: skip
    rows += [(question, pays(table, *key), knob) for key, (question, knob) in PAYS.items()]
    rows += [("How many loader processes feed it?", feeds(table), "WORKERS=auto")]
    rows += [("What is the largest batch that memory holds?", most_held(table), "BATCH_SIZE=auto")]
    unknown = "not measured yet: `make image IMAGE_MODEL={} {}`".format
    return pd.DataFrame([(q, found or unknown(model, knob)) for q, found, knob in rows], columns=["question", "answer"])
