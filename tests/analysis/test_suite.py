"""The suite's figures: a geometric mean with its interval, by the protocol's own runs alone, and sure ranks."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean, t

from siliconbench.analysis import cases, stats, suite
from siliconbench.record import protocol
from tests.samples import PARTS
from tests.samples import suite as swept

BETWEEN = 0.03


def figures(*sweeps):
    return suite.figures(cases.cases(cases.runs(record for sweep in sweeps for record in sweep)))


def rows(logs, between=BETWEEN):
    """Cases, one of each model, by the logs of their rates: [model][session][run]."""
    sessions = [[np.exp(day) for day in model] for model in logs]
    sweeps = [[str(day) for day in range(len(logs[0]))]] * len(logs)
    return pd.DataFrame({"sessions": sessions, "sweeps": sweeps, "between": between})


# Its interval


def test_the_estimate_is_the_closed_form():
    rng = np.random.default_rng(1)
    logs = [[rng.normal(level, sd, runs)] for level, sd, runs in ((3, 0.01, 3), (4, 0.1, 5), (2, 0.03, 4))]
    found = suite.estimate(rows(logs))
    parts = np.array([np.var(own, ddof=1) / len(own) for (own,) in logs]) / 9
    freedom = np.array([2, 4, 3])
    assert found.log == pytest.approx(np.mean([np.mean(own) for (own,) in logs]))
    assert found.variance == pytest.approx(parts.sum() + BETWEEN**2)
    assert found.df == pytest.approx((parts.sum() + BETWEEN**2) ** 2 / ((parts**2 / freedom).sum() + BETWEEN**4 / 20))
    bare = suite.estimate(rows(logs, between=0.0))  # without days the textbook's t on the mean of three means
    assert bare.df == pytest.approx(parts.sum() ** 2 / (parts**2 / freedom).sum())
    assert bare.half(0.95) == pytest.approx(t.ppf(0.975, bare.df) * math.sqrt(parts.sum()))


def covered(sessions, runs, shared, rng, between, trials=400):
    """How often the interval holds the truth, of models that scatter by 1, 3 and 8 % from run to run."""
    hits = []
    for _ in range(trials):
        day = rng.normal(0, between, (1 if shared else 3, sessions, 1))
        logs = day + rng.normal(0, 1, (3, sessions, runs)) * np.array([0.01, 0.03, 0.08])[:, None, None]
        found = suite.estimate(rows(logs.tolist(), between))
        hits.append(abs(found.log) <= found.half(0.95))
    return np.mean(hits)


@pytest.mark.parametrize(
    ("sessions", "shared", "between"),
    [(1, True, 0.03), (1, False, 0.03), (1, True, 0.0), (3, True, 0.03), (6, True, 0.03)],
)
def test_the_interval_holds_the_truth_whether_the_models_share_their_days_or_not(sessions, shared, between):
    assert covered(sessions, 3, shared, np.random.default_rng(7), between) >= 0.93


def test_a_ninth_of_the_day_three_times_would_be_too_narrow():
    rng, hits = np.random.default_rng(3), []
    for _ in range(400):
        logs = rng.normal(0, BETWEEN) + rng.normal(0, 0.005, (3, 3))
        parts = [(1 / 3, stats.estimate(np.exp(own), BETWEEN)) for own in logs]
        found = stats.combined(*parts)
        hits.append(abs(found.log) <= found.half(0.95))
    assert np.mean(hits) < 0.85


# From records


def test_single_and_bulk_are_geometric_means_over_the_models():
    table = figures(swept()).set_index("figure")
    assert list(table.index) == ["single", "bulk"] and set(table["why"]) == {""}
    runs = [rate * gmean([0.99, 1.0, 1.01]) for rate in (10, 20, 40)]
    assert table.at["single", "images_per_s"] == pytest.approx(gmean(runs))
    assert table.at["bulk", "images_per_s"] == pytest.approx(10 * gmean(runs))
    assert table.at["single", "forward"] == pytest.approx(1.1 * gmean(runs))
    low, high = table.loc["single", ["low", "high"]]
    assert low * high == pytest.approx(gmean(runs) ** 2) and 1.10 < high / low < 1.16  # 3 % a day, twice
    assert suite.quoted(table.reset_index()) == "single 20.0, bulk 200 images/s"
    assert suite.quoted(table.reset_index().assign(images_per_s=[223.7, 3056.6])) == "single 224, bulk 3,057 images/s"


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data["sweep"].update(suite="custom"),
        lambda data: data["sweep"].pop("suite"),
        lambda data: data["sweep"].update(suite="sb27"),
        lambda data: data["case"].update(min_seconds=5.0),
        lambda data: data["case"].update(num_images=1000),
        lambda data: data["case"].update(seed=1),
        lambda data: data["case"].update(workers=2),
        lambda data: data["case"].update(image_px=192),
        lambda data: data["case"].update(precision="bf16"),
        lambda data: data["case"].update(minutes=1.0),
        lambda data: data["case"].update(allocator="tuned"),
    ],
)
def test_what_is_not_the_protocol_to_the_last_axis_is_none_whatever_it_calls_itself(edit):
    assert figures(swept(every=edit)).empty
    (row,) = figures(swept(vit_b_16_64=edit)).to_dict("records")
    assert row["why"] == "vit_b_16 at batch 64: 0 of 3 runs" and pd.isna(row["images_per_s"])


def fail(data):
    data |= {"status": "failed", "error": {"kind": "out_of_memory", "message": "no room"}, "unknown": {}}
    data |= dict.fromkeys(PARTS)


def wrong(data):
    data["verdict"] = {"word": "wrong", "reasons": ["Its outputs are not the CPU's."], "disturbed": False}


@pytest.mark.parametrize(("edit", "why"), [(fail, "out_of_memory"), (wrong, "wrong outputs")])
def test_a_case_that_failed_or_is_wrong_leaves_no_figure_until_a_sweep_has_it(edit, why):
    broken = swept(vit_b_16_64=edit)
    (row,) = figures(broken).to_dict("records")
    assert row["why"] == f"vit_b_16 at batch 64: {why}" and pd.isna(row["images_per_s"])
    assert set(figures(broken, swept(day=2))["why"]) == {""}


def test_an_interrupted_sweep_gives_none_and_hides_none():
    whole, begun = swept(), swept(day=2)[:4]
    (row,) = figures(begun).to_dict("records")
    assert row["why"] == "mobilenet_v3_small at batch 64: 1 of 3 runs"
    both, one = figures(whole, begun), figures(whole)
    assert set(both["why"]) == {""}
    assert both["images_per_s"].tolist() == pytest.approx(one["images_per_s"].tolist(), rel=0.01)


def test_sessions_are_pooled_and_of_several_states_the_newest_counts():
    single = figures(swept(1.0), swept(1.1, day=2)).iloc[0]
    assert single["images_per_s"] == pytest.approx(20 * math.sqrt(1.1), rel=1e-3)
    threads = {"every": lambda data: data["software"].update(threads=1)}
    assert figures(swept(1.0), swept(0.5, day=2, **threads)).iloc[0]["images_per_s"] == pytest.approx(10, rel=1e-3)
    assert figures(swept(1.0, day=2), swept(2.0, **threads)).iloc[0]["images_per_s"] == pytest.approx(20, rel=1e-3)


def test_versions_of_torch_and_of_the_method_are_never_one_figure():
    later = swept(2.0, day=2, every=lambda data: data.update(method=3))
    other = swept(3.0, day=3, every=lambda data: data["software"].update(torch="2.16.0"))
    table = figures(swept(), later, other)
    found = {(row.torch, row.method): row.images_per_s for row in table[table["figure"] == "single"].itertuples()}
    assert found == pytest.approx({("2.15", 2): 20, ("2.15", 3): 40, ("2.16", 2): 60}, rel=1e-3)


# Ranks


def single(*sweeps):
    table = figures(*sweeps)
    return suite.ranked(table[table["figure"] == "single"]).set_index("machine")


def test_only_what_is_surely_faster_ranks_before():
    ranks = single(swept(1.0, slug="a"), swept(1.04, slug="b"), swept(2.0, slug="c"), swept(1.0, slug="d"))["rank"]
    assert ranks.to_dict() == {"c": 1, "b": 2, "a": 2, "d": 2}


def test_many_machines_alike_share_one_rank():
    rng, shared = np.random.default_rng(4), []
    for _ in range(100):
        logs = [rng.normal(0, BETWEEN) + rng.normal(0, 0.02, (3, 1, 3)) for _ in range(8)]
        found = [suite.estimate(rows(own.tolist())) for own in logs]
        same = {"estimate": found, "images_per_s": [math.exp(x.log) for x in found], "calm": math.nan}
        table = pd.DataFrame(same).assign(models=[pd.Series({"resnet50": 1.0})] * 8)
        shared.append((suite.ranked(table)["rank"] == 1).all())
    assert np.mean(shared) >= 0.95


def test_the_ratios_say_what_a_figure_is_made_of_from_least_to_most():
    vit = {"vit_b_16_1": lambda data: data.update(passes=data["passes"] | {"end_to_end": slower(data)})}
    table = single(swept(2.0, slug="fast"), swept(1.0, slug="slow", **vit))
    assert pd.isna(table.at["fast", "ratios"])
    assert table.at["slow", "ratios"] == "vit_b_16 0.25, mobilenet_v3_small 0.5, resnet50 0.5"


def slower(data):
    whole = data["passes"]["end_to_end"]
    return whole | {"images_per_s": whole["images_per_s"] / 2, "seconds": 2 * whole["seconds"],
                    "block_s": [2 * s for s in whole["block_s"]]}  # fmt: skip


def test_a_machine_that_only_its_disturbed_runs_hold_back_is_not_called_slower():
    def disturb(data):
        if data["repeat"] != 3:  # the third is as fast as the quiet machine's mean
            data["passes"] = data["passes"] | {"end_to_end": slower(data)}
            data["verdict"] = {"word": "contended", "reasons": ["Others took it."], "disturbed": True}

    quiet, busy = swept(1.0, slug="quiet", runs=5), swept(1.0, slug="busy", runs=5, every=disturb)
    assert single(quiet, busy)["rank"].tolist() == [1, 1]


def test_one_machine_alone_is_first_and_nothing_is_ranked_of_nothing():
    table = single(swept())
    assert table["rank"].tolist() == [1] and table["ratios"].tolist() == [None]
    assert suite.ranked(figures([])).empty


def test_the_protocol_is_what_was_frozen():
    every, models = protocol.cases("cpu"), ("mobilenet_v3_small", "resnet50", "vit_b_16")
    found = {(c.model, c.batch_size, c.num_images, c.min_seconds, c.input, c.workers, c.seed) for c in every}
    assert found == {(m, n, 3 * n, 6.0, "fast", None, 2021) for m in models for n in (1, 64)} and len(every) == 6
    assert all(c.reference and not c.minutes and c.image_px is None for c in every)
    assert (protocol.NAME, protocol.REPEATS) == ("sb26", 3)
