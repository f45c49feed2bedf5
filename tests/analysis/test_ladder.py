"""The ladder of `make best`: its rungs in order, its factors, and what they come to, from records."""

import math

import pytest
from scipy.stats import ttest_ind

from siliconbench.analysis import ladder
from siliconbench.pages import charts
from siliconbench.record.schema import Record
from tests.samples import sample

RUNGS = [{}, {"allocator": "tuned"}, {"allocator": "tuned", "precision": "bf16"}]
RUNGS += [{"allocator": "tuned", "precision": "bf16", "memory_format": "channels_last", "batch_size": 64}]
RUNGS[:3] = [rung | {"batch_size": 64} for rung in RUNGS[:3]]


def look(rate, order, latency=False, full=False, word="clean", **case):
    """The record of a look of a rung at this rate, or of a run in full."""
    data = sample(rate, **case)
    data["sweep"] |= {"order": order, "runs": 99, "search": not full}
    data["verdict"]["word"] = word
    if not full:
        parts = ("copy", "input", "end_to_end")
        data["passes"] |= dict.fromkeys(parts) | {"unknown": dict.fromkeys(parts, "a look")}
        data["latency"] = data["latency"] if latency else None
        if latency:
            data["latency"] |= {
                "request_images": data["case"]["batch_size"],
                "request_s": [0.9 / rate, 1 / rate, 9 / rate],
            }
        else:
            data["unknown"] = data.get("unknown", {}) | {"latency": "a look"}
    return Record.model_validate(data)


def looks(rates, **more):
    """A whole ladder's looks, in the order of a shuffled sweep."""
    every = [(rung, rate) for rung, own in zip(RUNGS, rates, strict=True) for rate in own]
    return [look(rate, i, **rung, **more) for i, (rung, rate) in enumerate(every[::-1], 1)]


RATES = [(10, 11, 10.5), (24, 25, 24.5), (24.2, 24.9, 24.4), (60, 58, 62)]


def test_the_rungs_stand_in_order_and_say_what_each_changes():
    found = ladder.rungs(looks(RATES))
    assert [rung.words for rung in found] == [
        "fp32, contiguous, eager, batch 64", "tuned allocator", "bf16", "channels last",
    ]  # fmt: skip
    forward = [pytest.approx([1.1 * rate for rate in sorted(own)]) for own in RATES]
    assert [sorted(rung.rates) for rung in found] == forward


def test_the_factors_are_welch_s_and_multiply_to_the_whole():
    found = ladder.rungs(looks(RATES))
    _, *steps = [rung.step for rung in found]
    assert math.prod(step.ratio for step in steps) == pytest.approx(ladder.whole(found).ratio)
    logs = [[math.log(rate) for rate in own] for own in RATES]
    for a, b, step in zip(logs, logs[1:], steps, strict=False):
        oracle = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        assert (step.low, step.high) == pytest.approx((math.exp(oracle.low), math.exp(oracle.high)))


def test_a_rung_whose_interval_includes_one_is_no_gain():
    told = ladder.table(ladder.rungs(looks(RATES)))
    assert told["factor"].iat[0] == "the start"
    assert "no gain" in told["factor"].iat[2] and "no gain" not in told["factor"].iat[1]
    assert told["factor"].iat[1].startswith("× 2.33 (")
    slower = ladder.table(ladder.rungs(looks([(10, 10.1, 10.05), (5, 5.1, 5.05), *RATES[2:]])))
    assert slower["factor"].iat[1].endswith(", slower")


def test_a_request_is_the_median_of_a_run():
    found = ladder.rungs(looks(RATES, latency=True))
    assert sorted(found[0].rates) == pytest.approx([640, 672, 704])
    assert ladder.table(found)["speed"].iat[0].startswith("95.3 ms a request, ")


def test_wrong_and_failed_looks_count_nowhere_and_are_named():
    records = [r for r in looks(RATES) if r.case.precision != "bf16" or r.case.memory_format == "channels_last"]
    records += [look(25.0, 90, word="wrong", **RUNGS[2])]
    found = ladder.rungs(records)
    assert not found[2].rates and ladder.table(found)["factor"].iat[2] == "its outputs are not the CPU's"
    assert ladder.whole(found).ratio == pytest.approx(ladder.whole(ladder.rungs(looks(RATES))).ratio)
    assert len(ladder.bars(found)) == 3
    data = found[1].looks[0].model_dump(by_alias=True)
    data["checks"]["outputs"] = {"images": 16, "largest_difference": 2.0, "top1_agreement": 0.1, "tolerance": 0.1}
    data["checks"]["unknown"].pop("outputs")
    data["checks"]["outputs"] |= {"agree": False, "image_scatter": 0.5}
    assert found[1].rates and not ladder.rungs([*records, Record.model_validate(data)])[1].rates  # it speaks for all
    assert ladder.rungs([]) == [] and ladder.newest([look(1.0, 1, full=True)]) == []


def test_the_runs_in_full_say_what_it_comes_to_end_to_end():
    full = [
        look(rate, 50, full=True, **rung)
        for rung, own in ((RUNGS[0], (9, 9.1)), (RUNGS[3], (45, 45.5)))
        for rate in own
    ]
    records = looks(RATES) + full
    found = ladder.rungs(records)
    first, second = ladder.sentences(found, records)
    assert first.startswith("resnet18 on the CPU: 5.72 (") and "3 fresh processes a rung" in first
    assert second.startswith("In full, end to end: 5 (")
    assert ladder.newest(records) == [records]


def test_a_rung_that_brings_nothing_is_not_the_best():
    """Once a busy host's search ended with a setting half as fast as the plain one, and its lines were printed."""
    found = ladder.rungs(looks([*RATES[:3], (20, 21, 22)]))
    assert ladder.best(found).words == "tuned allocator" and ladder.best([]) is None
    (said,) = ladder.sentences(found, [])
    assert said.startswith("resnet18 on the CPU: 2.33 (") and said.endswith("what comes after the best brings nothing.")
    slower = ladder.rungs(looks([RATES[0], *[(5, 5.1, 5.2)] * 3]))
    assert ladder.best(slower) is slower[0] and ladder.whole(slower) is None
    assert "no other setting is faster" in ladder.sentences(slower, [])[0]


def test_of_two_batch_sizes_of_the_reference_the_plain_one_is_first_whatever_ran_first():
    for plain, best in ((64, 128), (64, 8), (16, 8)):
        sizes = [look(rate, i, batch_size=n) for i, (n, rate) in enumerate([(best, 20), (plain, 10), (best, 21)], 1)]
        assert [rung.case.batch_size for rung in ladder.rungs(sizes)] == [plain, best]


def test_looks_of_a_stranger_without_a_plain_setting_are_no_ladder():
    assert ladder.newest([look(10.0, 1, precision="bf16")]) == []


def test_the_ladder_that_surely_brings_most_comes_first():
    """Once: 10.8 (6.51 to 18.1) times took the place of 9.09 (9.06 to 9.11)."""
    wild = looks([(5, 15, 10), *RATES[1:3], (70, 71, 72)], model="resnet50")
    wild = [r.model_copy(update={"sweep": r.sweep.model_copy(update={"id": "20261130T000000Z"})}) for r in wild]
    both = ladder.newest(wild + looks(RATES))
    assert [mine[0].case.model for mine in both] == ["resnet18", "resnet50"]
    assert ladder.whole(ladder.rungs(both[1])).ratio > ladder.whole(ladder.rungs(both[0])).ratio


def test_what_was_timed_is_told_by_the_looks_not_by_the_runs_in_full():
    full = [look(9.0, 50, full=True, **RUNGS[0])]  # which has requests, too
    (mine,) = ladder.newest(full + looks(RATES))
    assert ladder.timed_words(ladder.rungs(mine)) == "the model alone"
    assert ladder.timed_words(ladder.rungs(looks(RATES, latency=True))) == "one request at a time"


def test_the_figure_says_the_factors():
    once = [own[:1] for own in RATES]  # REPEATS=1: no interval
    for rates in (RATES, once):
        drawn = charts.svg(charts.ladder(ladder.bars(ladder.rungs(looks(rates))), "images/s"))
        assert drawn.startswith(b"<?xml") and len(drawn) > 5000
    assert ladder.table(ladder.rungs(looks(once)))["speed"].iat[0] == "11.0 images/s (one run)"
