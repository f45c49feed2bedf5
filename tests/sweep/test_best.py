"""BATCH_SIZE=auto and `make best`: the search, against machines whose law of speed is written here."""

import math
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from siliconbench import knobs
from siliconbench.analysis import stats
from siliconbench.knobs import WrongKnob
from siliconbench.record.schema import Case, Record
from siliconbench.sweep import best, plan
from tests.samples import sample

CPU = torch.device("cpu")
START = Case(model="resnet18", batch_size=1, device="cpu")


def run(case, rate, order=1, repeat=1, agree=True, swap=0, error=None, search=False, disturbed=False):
    """The record of a run of this case, at this rate; or of its failure."""
    data = sample(rate or 1.0) | {"case": case.model_dump() | {"image_px": 224}, "repeat": repeat}
    data["sweep"] = data["sweep"] | {"order": order, "runs": order, "search": search}
    if error:
        own = ("passes", "latency", "limits", "memory", "checks", "verdict")
        data = {k: v for k, v in data.items() if k not in own} | {"status": "failed", "unknown": {}}
        return Record.model_validate(data | {"error": {"kind": error, "message": "for a test"}})
    data["memory"]["swap_growth_bytes"] = swap
    found = {"images": 64, "largest_difference": 0.1, "tolerance": 0.4, "top1_agreement": 1.0, "image_scatter": 0.5}
    reasons = {key: why for key, why in data["checks"]["unknown"].items() if key != "outputs"}
    data["checks"] |= {"outputs": found | {"agree": agree}, "unknown": reasons}
    word = "contended" if disturbed else "clean" if agree else "wrong"
    return Record.model_validate(data | {"verdict": {"word": word, "reasons": [], "disturbed": disturbed}})


def sizes(*rates, **last):
    """Runs at batch sizes 1, 2, 4, … at these rates; the last as told."""
    cases = [START.model_copy(update={"batch_size": 2**i}) for i in range(len(rates))]
    told = [{}] * (len(rates) - 1) + [last]
    return [run(c, r, i, **more) for i, (c, r, more) in enumerate(zip(cases, rates, told, strict=True), 1)]


def test_batch_sizes_double_while_the_speed_rises():
    assert [c.batch_size for c in plan.larger(sizes(10.0))] == [2]
    assert [c.batch_size for c in plan.larger(sizes(10.0, 20.0, 21.0))] == [8]
    level = sizes(10.0, 20.0, 20.1, 20.0, 20.1)
    assert plan.larger(level[:4]) and not plan.larger(level)
    assert plan.ends(level) == "the last 3 doublings, up to 16 images a batch, surely bring less than 2 % each"


def test_one_dip_does_not_end_the_doubling():
    assert plan.larger(sizes(10.0, 9.0))
    assert plan.larger(sizes(10.0, 9.0, 14.0, 13.0))
    assert plan.larger(sizes(10.0, 9.5, 10.0, 9.5, 16.0))
    assert not plan.larger(sizes(10.0, 9.0, 8.0))


def auto(truth, repeats, sd, rng):
    """Where the search of BATCH_SIZE=auto ends, were these the true rates and sd the scatter of their logs over runs:
    the number of batch sizes measured, of one after the last true one memory has no room."""
    records = []
    for i, rate in enumerate(truth):
        case = START.model_copy(update={"batch_size": 2**i})
        records += [run(case, rate * math.exp(e), repeat=n) for n, e in enumerate(rng.normal(0, sd, repeats), 1)]
        if not plan.larger(records):
            return i + 1
    return len(truth) + 1


@pytest.mark.parametrize(("repeats", "step"), [(1, 1.10), (2, 1.10), (2, 1.05), (5, 1.05)])
def test_a_search_seldom_ends_while_the_speed_still_rises(repeats, step):
    """Of the searches by what is not surely faster, 64 % ended early with two repeats and 10 % a step."""
    rng, truth = np.random.default_rng(1), [100 * step**i for i in range(8)]
    early = sum(auto(truth, repeats, 0.05, rng) <= len(truth) for _ in range(40))
    assert early <= (3 if repeats == 1 else 2)


@pytest.mark.parametrize(("repeats", "sd", "by"), [(5, 0.01, 6), (2, 0.01, 7), (1, 0.01, 8), (5, 0.03, 8)])
def test_a_search_ends_soon_after_the_speed_is_level(repeats, sd, by):
    rng, truth = np.random.default_rng(2), [100 * 2 ** min(i, 3) for i in range(12)]  # level from the fourth size on
    ended = [auto(truth, repeats, sd, rng) for _ in range(20)]
    assert min(ended) >= 6 and np.quantile(ended, 0.9) <= by


def test_a_batch_longer_than_a_pass_is_the_last():
    short = START.model_copy(update={"min_seconds": 2.0})
    at = [run(short.model_copy(update={"batch_size": size}), rate) for size, rate in ((16, 10.0), (32, 15.0))]
    assert plan.ends(at) == "a batch of 32 takes 2.1 s, longer than MIN_SECONDS" and plan.ends(at[:1]) is None
    exact = [r.model_copy(update={"case": r.case.model_copy(update={"min_seconds": 0.0})}) for r in at]
    assert plan.larger(exact)


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


def searched(law, device=CPU, repeats=3, start=START, records=()):
    """The records of a whole search on a machine with this law: a case's rate, or what fails, or wrong outputs."""
    records, further = list(records), partial(best.search, device, repeats, 2021)
    todo = further(records) if records else [plan.Run(start, 1, True)]
    while todo:
        for case, repeat, search in todo:
            found = law(case)
            records.append(run(case, found.pop("rate", None), len(records) + 1, repeat, search=search, **found))
        assert len(records) < 80
        todo = further(records)
    return records


def finals(records):
    return [r for r in records if not r.sweep.search]


def law(case, **wrong):
    """Speed by batch size until 32, doubled by channels_last, tripled by bf16, half by torch.compile."""
    gain = (case.memory_format == "channels_last") + 1
    gain *= 3 if case.precision == "bf16" else 1
    return {"rate": 10.0 * min(case.batch_size, 32) * gain / (2 if case.compile else 1)} | wrong


def test_the_search_finds_the_fastest_setting_and_holds_it_against_the_reference():
    records = searched(law)
    last = [r.case for r in finals(records)]
    assert len(last) == 6
    chosen = {(c.precision, c.memory_format, c.compile, c.batch_size) for c in last}
    assert chosen == {("bf16", "channels_last", False, 32), ("fp32", "contiguous", False, 64)}
    told = best.result(records)
    assert told[0].startswith(
        "Fastest for resnet18 on the cpu: bf16, channels last, eager, batch 32: 1\u202f920 images/s (1\u202f80"
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
    assert [r.case.batch_size for r in records if r.case.reference and r.sweep.search][-1] == 64
    assert {(r.case.batch_size, r.case.precision) for r in finals(records)} == {(64, "fp32"), (16, "bf16")}
    assert records[-6:] == finals(records) and {r.repeat for r in records[-6:]} == {2, 3, 4}
    assert best.search(CPU, 3, 2021, records) == []
    assert "bf16, contiguous, eager, batch 16: 480" in best.result(records)[0]


def test_the_figure_is_of_the_finals_alone_and_a_lucky_run_crowns_nothing():
    """Eleven settings as fast as each other, 5 % of scatter: the luckiest single run of them lies some 8 % above."""
    rng, found, crowned, lucky = np.random.default_rng(3), [], 0, []
    for _ in range(30):
        records = searched(lambda case: {"rate": 100.0 * math.exp(rng.normal(0, 0.05))}, repeats=5)
        told = best.result(records)
        found += [float(re.search(r"batch \d+: ([\d.]+) images/s", told[0])[1])]
        crowned += told[0].startswith("Fastest") and "times the reference" in told[1]
        lucky += [max(r.passes.end_to_end.images_per_s for r in records if r.sweep.search)]
    assert np.mean(lucky) > 105 and np.mean(found) == pytest.approx(100, rel=0.015)
    assert crowned <= 3


def test_the_reference_is_the_final_one_of_this_sweep():
    """A search run of the reference class that was lucky, and slower batch sizes of it, change nothing in the gain."""
    records = searched(law)
    rest = [r.model_copy(update={"passes": run(r.case, 9e9).passes}) if r.sweep.search and r.case.batch_size == 1 else r
            for r in records]  # fmt: skip
    plain = [r for r in finals(records) if r.case.reference]
    assert {r.case.batch_size for r in plain} == {64}
    assert best.gain(plain, [r for r in finals(rest) if not r.case.reference])[0].startswith("6.00 times the reference")


def test_a_gain_that_the_undisturbed_runs_do_not_show_is_undecided():
    """Five of six reference runs disturbed, to 0.8 of their speed: faster by all runs, and nothing without them."""
    plain = [run(START, rate, disturbed=rate < 90) for rate in (80.0, 82.0, 81.0, 83.0, 80.0, 100.0)]
    mine = [run(START, rate) for rate in (99.0, 100.0, 101.0, 100.0)]
    assert stats.compare(plan.rates(plain), plan.rates(mine)).word == "faster"
    told, surely = best.gain(plain, mine)
    assert "undecided, since the undisturbed runs alone say otherwise" in told and not surely


def test_disturbed_runs_of_the_search_and_of_its_finals_are_measured_again():
    count = {}

    def noisy(case):
        count[case] = count.get(case, 0) + 1
        return law(case) | {"disturbed": count[case] in (1, 3)}

    records = searched(noisy)
    of = {case: [r for r in records if plan.asked(r.case) == case] for case in count}
    chosen = best.finalists(records)
    assert all([r.repeat for r in mine] == list(range(1, len(mine) + 1)) for mine in of.values())
    assert {len(mine) for case, mine in of.items() if case not in chosen} == {2}  # one more, and no more than one
    assert [len(of[case]) for case in chosen] == [2 + 3 + 1] * 2  # of the finals each's first was disturbed
    assert best.search(CPU, 3, 2021, records) == []


def test_what_is_fast_and_wrong_is_never_chosen():
    told = best.result(searched(lambda c: law(c, agree=c.precision != "bf16")))
    assert "fp32, channels last, eager, batch 32" in told[0]


def test_what_fails_is_passed_over_and_memory_bounds_the_reference():
    def small(case):
        short = case.batch_size > 16
        return {"error": "out_of_memory"} if short else {"error": "failed"} if case.compile else law(case)

    records = searched(small)
    assert {r.case.batch_size for r in finals(records)} == {16}
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
    graphs = best.code(run(START.model_copy(update={"device": "cuda", "compile": "reduce-overhead"}), 1.0))
    assert 'torch.compile(model, mode="reduce-overhead")' in graphs


@pytest.mark.parametrize("given", [{"BATCH_SIZE": "8"}, {"PRECISION": "bf16"}, {"IMAGE_MODEL": "resnet18 alexnet"}])
def test_what_the_search_chooses_can_not_be_given(given):
    with pytest.raises(WrongKnob, match=next(iter(given))):
        knobs.read_best(given)


def test_auto_stands_alone():
    assert knobs.read({"BATCH_SIZE": "auto"})["BATCH_SIZE"] == [None]
    with pytest.raises(WrongKnob, match="auto alone"):
        knobs.read({"BATCH_SIZE": "auto 8"})
    assert [c.batch_size for c in plan.cases(knobs.read({"BATCH_SIZE": "auto"}), "cpu")] == [1]
