"""What people ask of one machine: by hand, from records alike in all but one axis."""

import re

import pytest

from siliconbench.analysis import advice, cases
from tests.analysis.test_answer import BUSY, failed, sweep
from tests.analysis.test_cases import put

PLAIN = [100.0, 101.0, 99.0]
NOTHING = "not measured yet: `make image IMAGE_MODEL=resnet50"


def asked(*records):
    """The answers by their questions."""
    table = advice.answers(cases.named(cases.cases(cases.runs(records))), "resnet50")
    return {row.question: row.answer for row in table.itertuples()}


def test_without_records_of_it_each_question_has_its_command():
    said = asked(*sweep(*PLAIN))
    fed = said.pop("How many loader processes feed it?")
    assert len(said) == 6 and all(answer.startswith(NOTHING) for answer in said.values())
    assert fed.startswith("resnet50, cpu, batch 64: ")
    table = advice.answers(cases.named(cases.cases(cases.runs(sweep(*PLAIN)))), "resnet50", gpu=True)
    assert len(table) == 8 and "USE_GPU=0" in table["answer"].iat[0]  # of an accelerator where there is one
    assert 'PRECISION="fp32 fp16"' in said["Does fp16 pay?"]


@pytest.mark.parametrize(("change", "question"), [
    ({"precision": "fp16"}, "Does fp16 pay?"), ({"precision": "bf16"}, "Does bf16 pay?"),
    ({"memory_format": "channels_last"}, "Does channels last pay?"),
])  # fmt: skip
def test_what_an_axis_brings_is_the_ratio_of_cases_alike_in_all_else(change, question):
    fast = sweep(*(2 * rate for rate in PLAIN), start=4, **change)
    other = sweep(*(9 * rate for rate in PLAIN), start=7, batch_size=8, **change)  # without a twin at that size
    said = asked(*sweep(*PLAIN), *fast, *other)
    assert re.fullmatch(r"resnet50, cpu, batch 64: 2 \(1\.9\d to 2\.0\d\) times", said[question])
    others = [answer for name, answer in said.items() if name not in (question, "How many loader processes feed it?")]
    assert others and all(answer.startswith(NOTHING) for answer in others)


def test_a_gain_that_disturbed_runs_sway_is_undecided():
    """The plain runs beside others were half as fast; without these the two are alike."""
    plain = [*sweep(*PLAIN), *sweep(50.0, 50.5, 49.5, start=4, edits=[BUSY])]
    said = asked(*plain, *sweep(*PLAIN, start=7, precision="bf16"))["Does bf16 pay?"]
    assert re.fullmatch(r"resnet50, cpu, batch 64: 1\.41 \(.*\) times, undecided", said)


def test_what_else_is_unusual_in_both_cases_is_said():
    narrow = sweep(*PLAIN, precision="bf16"), sweep(*PLAIN, start=4, precision="bf16", memory_format="channels_last")
    said = asked(*narrow[0], *narrow[1])["Does channels last pay?"]
    assert said.startswith("resnet50, bf16, cpu, batch 64: 1 (0.9")


def test_compilation_is_paid_by_the_seconds_that_each_image_saves():
    compiled = [
        put("checks.compiled", {"seconds": 30.0, "recompiles": 0}),
        lambda r: r["checks"]["unknown"].pop("compiled", ""),
    ]
    plain = sweep(*PLAIN)
    fast = sweep(*(2 * rate for rate in PLAIN), start=4, edits=compiled, compile=True)
    said = asked(*plain, *fast)["Does torch.compile pay, and after how many images?"]
    rates = [[r.passes.forward.images_per_s for r in runs] for runs in (plain, fast)]
    (eager,), (graph,) = ([(a * b * c) ** (1 / 3)] for a, b, c in rates)
    images = int(re.search(r"after ([\d,]+) images", said)[1].replace(",", ""))
    assert images / graph + 30.0 == pytest.approx(images / eager, rel=0.01)


def test_how_many_cores_feed_it_is_said_and_how_many_it_would_take():
    def starved(data):
        data["checks"]["workers"]["used"] = 2
        timed = data["passes"]["input"]
        slower = timed["seconds"] * timed["images_per_s"] / 50.0 / timed["seconds"]
        timed["block_s"] = [slower * seconds for seconds in timed["block_s"]]
        timed["seconds"], timed["images_per_s"] = slower * timed["seconds"], 50.0

    fed = asked(*sweep(*PLAIN))["How many loader processes feed it?"]
    assert fed.endswith(" of them; that feeds it fully")
    told = asked(*sweep(*PLAIN, edits=[starved]))["How many loader processes feed it?"]
    assert told.startswith(
        "resnet50, cpu, batch 64: 2 of them; 2 cores load 50.0 images/s; the model takes 110: it would"
    )
    assert told.endswith("take 5 cores beside the model's")


def test_the_accelerator_beats_the_cpu_from_the_first_size_that_surely_does():
    def both(size, cpu, gpu, start):
        return [*sweep(*cpu, batch_size=size, start=start),
                *sweep(*gpu, batch_size=size, start=start + 3, device="cuda")]  # fmt: skip

    records = [*both(1, PLAIN, PLAIN, 1), *both(8, PLAIN, [400.0, 404.0, 396.0], 7)]
    question = "From which batch size on does the accelerator beat the CPU?"
    assert asked(*records)[question] == "resnet50: from batch 8 on"
    assert asked(*both(1, PLAIN, [50.0, 50.5, 49.5], 1))[question] == "resnet50: at no size measured"


def test_the_largest_batch_is_said_where_memory_ended():
    said = asked(*sweep(*PLAIN), failed("out_of_memory", batch_size=256))[
        "What is the largest batch that memory holds?"
    ]
    assert said == "resnet50, cpu: 64 ran, at 256 memory ends"
