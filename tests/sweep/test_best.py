"""BATCH_SIZE=auto and `make best`: the search, against machines whose law of speed is written here."""

import re
import subprocess
import sys
from functools import partial

import pytest
import torch

from siliconbench import knobs
from siliconbench.knobs import WrongKnob
from siliconbench.record.schema import Case, Record
from siliconbench.sweep import best, plan
from tests.samples import sample

CPU = torch.device("cpu")
START = Case(model="resnet18", batch_size=1, device="cpu")


def run(case, rate, order=1, repeat=1, agree=True, swap=0, error=None):
    """The record of a run of this case, at this rate; or of its failure."""
    data = sample(rate or 1.0) | {"case": case.model_dump() | {"image_px": 224}, "repeat": repeat}
    data["sweep"] = data["sweep"] | {"order": order, "runs": order}
    if error:
        own = ("passes", "latency", "limits", "memory", "checks", "verdict")
        data = {k: v for k, v in data.items() if k not in own} | {"status": "failed", "unknown": {}}
        return Record.model_validate(data | {"error": {"kind": error, "message": "for a test"}})
    data["memory"]["swap_growth_bytes"] = swap
    found = {"images": 64, "largest_difference": 0.1, "tolerance": 0.4, "top1_agreement": 1.0, "agree": agree}
    data["checks"] |= {"outputs": found, "unknown": dict.fromkeys(("cause", "compiled"), "none")}
    return Record.model_validate(data)


def sizes(*rates, **last):
    """Runs at batch sizes 1, 2, 4, … at these rates; the last as told."""
    cases = [START.model_copy(update={"batch_size": 2**i}) for i in range(len(rates))]
    told = [{}] * (len(rates) - 1) + [last]
    return [run(c, r, i, **more) for i, (c, r, more) in enumerate(zip(cases, rates, told, strict=True), 1)]


def test_batch_sizes_double_while_the_speed_rises():
    assert [c.batch_size for c in plan.larger(sizes(10.0))] == [2]
    assert [c.batch_size for c in plan.larger(sizes(10.0, 20.0, 21.0))] == [8]
    assert plan.larger(sizes(10.0, 20.0, 20.5, 20.1)) == []
    assert plan.ends(sizes(10.0, 20.0, 20.5, 20.1)) == "neither 4 nor 8 images a batch are faster than 2"


def test_one_dip_does_not_end_the_doubling():
    assert plan.larger(sizes(10.0, 9.0))
    assert plan.larger(sizes(10.0, 9.0, 14.0, 13.0))
    assert not plan.larger(sizes(10.0, 9.0, 8.0))


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ({"error": "out_of_memory"}, "memory ends at batch size 4"),
        ({"swap": 10**10}, "swapping starts at batch size 4"),
        ({"error": "killed"}, "no run succeeded at batch size 4"),
        ({"agree": False}, "no run succeeded at batch size 4"),
    ],
)
def test_what_else_ends_the_doubling(last, why):
    assert plan.ends(sizes(10.0, 20.0, 40.0, **last)) == why


def test_with_repeats_a_rise_must_be_beyond_the_interval():
    at = [START.model_copy(update={"batch_size": b}) for b in (1, 2, 4)]
    scattered = [
        run(at[i], r, repeat=n)
        for i, rs in enumerate([(9, 10, 11), (8, 12, 14), (7, 12, 15)])
        for n, r in enumerate(rs, 1)
    ]
    tight = [
        run(at[i], r, repeat=n)
        for i, rs in enumerate([(10, 10, 10.1), (10.4, 10.5, 10.5), (11, 11, 11)])
        for n, r in enumerate(rs, 1)
    ]
    assert not plan.larger(scattered)
    assert [c.batch_size for c in plan.larger(tight)] == [8]


def searched(law, device=CPU, repeats=3, start=START):
    """The records of a whole search on a machine with this law: a case's rate, or what fails, or wrong outputs."""
    further, records, todo = partial(best.search, device, repeats, 2021), [], [(start, 1)]
    while todo:
        for case, repeat in todo:
            found = law(case)
            records.append(run(case, found.pop("rate", None), len(records) + 1, repeat, **found))
        assert len(records) < 60
        todo = further(records)
    return records


def law(case, **wrong):
    """Speed by batch size until 32, doubled by channels_last, tripled by bf16, half by torch.compile."""
    gain = (case.memory_format == "channels_last") + 1
    gain *= 3 if case.precision == "bf16" else 1
    return {"rate": 10.0 * min(case.batch_size, 32) * gain / (2 if case.compile else 1)} | wrong


def test_the_search_finds_the_fastest_setting_and_holds_it_against_the_reference():
    records = searched(law)
    finals = [r.case for r in records if r.repeat > 1]
    assert len(finals) == 6
    chosen = {(c.precision, c.memory_format, c.compile, c.batch_size) for c in finals}
    assert chosen == {("bf16", "channels_last", False, 32), ("fp32", "contiguous", False, 64)}
    told = best.result(records)
    assert told[0].startswith(
        "Fastest for resnet18 on the cpu: bf16, channels last, eager, batch 32: 1\u202f920 images/s (1\u202f920 to"
    )
    assert told[1].startswith("6.00 times the reference end to end (6.00 to 6.00, 95 %): faster")
    assert len(records) == 8 + 3 + 6  # stage by stage: 1 to 128, three variants, the finalists


def test_nothing_is_searched_after_the_finals_and_the_winner_ran_in_them():
    """The reference's batch size is faster in its final runs: what ended the doubling then must not be asked anew."""
    seen = []

    def late(case):
        seen.append(case)
        gain = (3 if case.precision == "bf16" else 1) * (1.2 if case.batch_size == 64 and seen.count(case) > 1 else 1)
        return {"rate": gain * 10.0 * (case.batch_size if case.batch_size > 64 else min(case.batch_size, 16))}

    records = searched(late)
    assert [(r.case.batch_size, r.repeat) for r in records if r.case.reference and r.repeat == 1][-1] == (64, 1)
    assert {(r.case.batch_size, r.case.precision) for r in records[-6:]} == {(64, "fp32"), (16, "bf16")}
    assert all(r.repeat > 1 for r in records[-6:])
    beyond = [START.model_copy(update={"batch_size": b}) for b in (128, 256)]  # as a search of old went on
    for r in (records, records + [run(c, late(c)["rate"], len(records) + i) for i, c in enumerate(beyond, 1)]):
        assert best.search(CPU, 3, 2021, r) == []
        assert "bf16, contiguous, eager, batch 16: 480" in best.result(r)[0]


def test_what_is_fast_and_wrong_is_never_chosen():
    told = best.result(searched(lambda c: law(c, agree=c.precision != "bf16")))
    assert "fp32, channels last, eager, batch 32" in told[0]


def test_what_fails_is_passed_over_and_memory_bounds_the_reference():
    def small(case):
        short = case.batch_size > 16
        return {"error": "out_of_memory"} if short else {"error": "failed"} if case.compile else law(case)

    records = searched(small)
    assert {r.case.batch_size for r in records if r.repeat > 1} == {16}
    assert "batch 16" in best.result(records)[0]


def test_a_gain_that_is_none_leaves_the_reference_setting():
    told = best.result(searched(lambda c: {"rate": 10.0 * min(c.batch_size, 64)}))
    assert told[0].startswith("Fastest for resnet18 on the cpu: fp32, contiguous, eager, batch 64")
    assert told[1] == best.agreement(searched(law)[0])


def test_a_gain_that_scatters_is_not_called_the_fastest():
    seen = []

    def uneven(case):
        seen.append(case)
        slow = case.precision == "bf16" and seen.count(case) == 2
        return {"rate": law(case)["rate"] / (4 if slow else 1)}

    told = best.result(searched(uneven))
    assert told[0].startswith("None is surely faster than the reference for resnet18 on the cpu: fp32, contiguous")
    assert told[1].startswith("tried at last: bf16, channels last, eager, batch 32: ")
    assert ": undecided" in told[2] and re.fullmatch(r"REPEATS=\d would probably tell.", told[3])


def test_where_nothing_runs_it_says_so():
    assert "No setting ran to its end" in best.result(searched(lambda c: {"error": "failed"}))[0]


def test_the_lines_of_python_run():
    case = START.model_copy(
        update={"model": "squeezenet1_1", "batch_size": 2, "precision": "bf16", "memory_format": "channels_last"}
    )
    script = best.code(run(case, 1.0)) + "\nprint(classes.shape, classes.dtype)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "torch.Size([2]) torch.int64\n"), done.stderr


def test_the_cuda_lines_set_both_flags():
    lines = best.code(run(START.model_copy(update={"device": "cuda", "precision": "tf32", "compile": True}), 1.0))
    assert lines.count("allow_tf32 = True") == 2 and "torch.compile(model)" in lines
    compile(lines, "best", "exec")


@pytest.mark.parametrize("given", [{"BATCH_SIZE": "8"}, {"PRECISION": "bf16"}, {"IMAGE_MODEL": "resnet18 alexnet"}])
def test_what_the_search_chooses_can_not_be_given(given):
    with pytest.raises(WrongKnob, match=next(iter(given))):
        knobs.read_best(given)


def test_auto_stands_alone():
    assert knobs.read({"BATCH_SIZE": "auto"})["BATCH_SIZE"] == [None]
    with pytest.raises(WrongKnob, match="auto alone"):
        knobs.read({"BATCH_SIZE": "auto 8"})
    assert [c.batch_size for c in plan.cases(knobs.read({"BATCH_SIZE": "auto"}), "cpu")] == [1]
