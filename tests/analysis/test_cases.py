"""From records to tables and sentences: the figures are those of the records, whatever is missing."""

import pandas as pd
import pytest
from scipy import stats as scipy_stats

from siliconbench.analysis import cases
from siliconbench.record.schema import Record
from tests.samples import sample


def run(rate=100.0, repeat=1, verdict="clean", **case):
    data = sample(rate, **case)
    data["repeat"] = repeat
    data["verdict"] = {"word": verdict, "reasons": [] if verdict == "clean" else [f"It was {verdict}."]}
    return Record.model_validate(data)


def lost(kind="out_of_memory", **case):
    data = {k: v for k, v in sample(**case).items() if k not in ("passes", "latency", "limits", "memory", "checks")}
    data |= {"status": "failed", "error": {"kind": kind, "message": "no room"}, "unknown": {}}
    return Record.model_validate(data | {"telemetry": None, "verdict": None})


def table(*records):
    return cases.cases(cases.runs(records))


def test_a_case_has_the_interval_that_scipy_gives():
    import numpy as np

    rates = [100.0, 102.0, 99.0, 101.0, 103.0]
    (case,) = table(*(run(r, i + 1) for i, r in enumerate(rates))).to_dict("records")
    logs = np.log(rates)
    low, high = scipy_stats.t.interval(0.95, 4, logs.mean(), scipy_stats.sem(logs))
    assert case["images_per_s"] == pytest.approx(np.exp(logs.mean()))
    assert (case["low"], case["high"]) == (pytest.approx(np.exp(low)), pytest.approx(np.exp(high)))
    assert (case["runs"], case["clean"], case["failed"]) == (5, 5, 0)


def test_a_figure_rests_on_the_clean_runs_if_there_are_any():
    (case,) = table(run(100.0), run(50.0, 2, "contended"), run(102.0, 3)).to_dict("records")
    assert case["images_per_s"] == pytest.approx((100 * 102) ** 0.5)
    assert (case["runs"], case["left_out"]) == (2, 1)
    (flagged,) = table(run(50.0, 1, "noisy"), run(60.0, 2, "contended")).to_dict("records")
    assert (flagged["runs"], flagged["clean"]) == (2, 0)


def test_a_run_with_wrong_outputs_never_counts():
    data = sample(500.0)
    data["checks"]["outputs"] = {"images": 64, "largest_difference": 3.0, "tolerance": 0.01, "top1_agreement": 0.1}
    data["checks"]["outputs"]["agree"] = False
    del data["checks"]["unknown"]["outputs"]
    (case,) = table(Record.model_validate(data), run(100.0, 2)).to_dict("records")
    assert case["images_per_s"] == pytest.approx(100)


def test_unlike_runs_are_never_one_figure():
    made = table(run(100.0), run(90.0, input="original"), run(80.0, precision="bf16"), run(70.0, batch_size=16))
    assert len(made) == 4
    assert len(set(cases.named(made)["name"])) == 3


def test_failed_cases_stay():
    made = table(run(100.0), lost(batch_size=64))
    failed = made[made["batch_size"] == 64].iloc[0]
    assert failed["failed"] == 1 and pd.isna(failed["images_per_s"])


def test_a_case_of_which_every_run_failed_has_a_row_with_its_error():
    failed = lost(batch_size=64, image_px=None)
    for made in (table(run(100.0), failed), table(failed)):
        (row,) = made[made["batch_size"] == 64].to_dict("records")
        assert (row["error"], row["failed"], row["runs"]) == ("out_of_memory", 1, 0)
        assert pd.isna(row["images_per_s"])
    sized = cases.runs([run(100.0), failed])
    assert sized["image_px"].tolist() == [224, 224]
    told = cases.batch_advice(table(run(100.0), run(101.0, 2), failed))
    assert "resnet18: at batch size 64 memory ends." in told


UNLIKE = {
    "memory_format": ("channels_last", "channels last"),
    "compile": (True, "compiled"),
    "mode": ("train", "training"),
    "input": ("original", "original input"),
    "workers": (2, "2 workers"),
    "image_px": (256, "256 px"),
    "precision": ("bf16", "bf16"),
    "device": ("cuda", "cuda"),
    "minutes": (10.0, "sustained"),
}


@pytest.mark.parametrize("axis", UNLIKE)
def test_a_name_tells_apart_every_axis_in_words(axis):
    value, words = UNLIKE[axis]
    names = cases.named(table(run(100.0), run(90.0, **{axis: value})))["name"].tolist()
    assert len(set(names)) == 2 and f"resnet18, {words}" in names
    assert not any("True" in name or "False" in name or "_" in name for name in names)


def test_a_case_is_named_as_its_row_is():
    case = run(100.0, memory_format="channels_last", compile=True, mode="train", workers=2).case
    assert cases.case_words(case) == "resnet18, cpu, channels last, compiled, training, 2 workers"
    assert cases.case_words(run().case) == "resnet18, cpu"


def test_unlike_torch_is_told_apart():
    data = sample(90.0)
    data["software"]["torch"] = "2.11.0+cpu"
    names = cases.named(table(run(100.0), Record.model_validate(data)))["name"]
    assert set(names) == {"resnet18, torch 2.15", "resnet18, torch 2.11"}


def test_runs_that_differ_wildly_have_no_interval_to_show():
    (case,) = table(run(432.0), run(12.8, 2)).to_dict("records")
    assert case["high"] > 1e6  # what the statistics say of two such runs
    told = cases.rate_words(case["images_per_s"], case["low"], case["high"])
    assert told == "74.4 images/s (its runs differ too much for an interval)"


def test_where_memory_runs_short_the_speed_falls_before_any_error():
    def at(batch, rates, grown=0):
        for i, rate in enumerate(rates):
            data = sample(rate, batch_size=batch)
            data |= {"repeat": i + 1, "memory": data["memory"] | {"swap_growth_bytes": grown}}
            yield Record.model_validate(data)

    rising = [*at(8, [100, 101, 102]), *at(16, [120, 121, 122])]
    fallen = [*rising, *at(32, [60, 61, 62], grown=300 * 10**6), *at(64, [50, 51, 52])]
    assert cases.cliff(cases.named(table(*rising))) is None
    told = cases.cliff(cases.named(table(*fallen)))
    assert "batch size 32" in told and "50 % of that at 16" in told and "swap grew by 300 MB" in told
    ended = cases.cliff(cases.named(table(*rising, lost(batch_size=32))))
    assert "at batch size 32 memory ends" in ended


def test_the_sweet_spot_is_the_smallest_that_is_not_surely_slower():
    def size(batch, *rates):
        return [run(r, i + 1, batch_size=batch) for i, r in enumerate(rates)]

    told = cases.sweet_spot(cases.named(table(*size(1, 50, 51, 49), *size(8, 99, 100, 101), *size(64, 101, 100, 102))))
    assert told.startswith("resnet18: batch size 8 gives 100.0 images/s")
    assert "64" in told
    assert "one batch size" in cases.sweet_spot(cases.named(table(run(100.0))))
