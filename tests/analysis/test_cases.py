"""From records to tables and sentences: the figures are those of the records, whatever is missing."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from siliconbench.analysis import advice, cases, stats, words
from siliconbench.pages import compare
from siliconbench.record import host
from siliconbench.record.schema import Record
from tests.samples import sample


def run(rate=100.0, repeat=1, verdict="clean", day=1, disturbed=False, edit=lambda data: None, **case):
    """A record; of another day, that is of another sweep; with other edits of its data."""
    data = sample(rate, **case)
    data["repeat"] = repeat
    data["sweep"]["id"] = f"202611{day:02d}T140000Z-0123456789"
    reasons = [] if verdict == "clean" else [f"It was {verdict}."]
    data["verdict"] = {"word": verdict, "reasons": reasons, "disturbed": disturbed}
    edit(data)
    return Record.model_validate(data)


def put(path, value):
    """The edit of a record's data that puts the value at this path."""

    def edit(data):
        *parts, last = path.split(".")
        for part in parts:
            data = data[part]
        data[last] = value
        data.get("unknown", {}).pop(last, None)

    return edit


def lost(kind="out_of_memory", **case):
    data = {k: v for k, v in sample(**case).items() if k not in ("passes", "latency", "limits", "memory", "checks")}
    data |= {"status": "failed", "error": {"kind": kind, "message": "no room"}, "unknown": {}}
    return Record.model_validate(data | {"telemetry": None, "verdict": None})


def table(*records):
    return cases.cases(cases.runs(records))


def several(rates, **more):
    return [run(rate, i + 1, **more) for i, rate in enumerate(rates)]


def test_a_case_has_the_interval_that_scipy_gives_and_the_day_in_it():
    rates = [100.0, 102.0, 99.0, 101.0, 103.0]
    (case,) = table(*several(rates)).to_dict("records")
    logs, within = np.log(rates), scipy_stats.sem(np.log(rates))
    assert case["images_per_s"] == pytest.approx(np.exp(logs.mean()))
    narrow, wide = (
        scipy_stats.t.interval(0.95, 4, logs.mean(), within),
        scipy_stats.norm.interval(0.95, logs.mean(), 0.03),
    )
    assert case["high"] > max(np.exp(narrow[1]), np.exp(wide[1])) and case["low"] < min(
        np.exp(narrow[0]), np.exp(wide[0])
    )
    assert case["high"] / case["low"] < 1.16
    assert (case["runs"], case["clean"], case["failed"], case["between"], case["assumed"]) == (5, 5, 0, 0.03, True)
    assert "3 %" in compare.between_words(table(*several(rates))) and compare.between_words(table()) == ""


@pytest.mark.parametrize(("value", "ranked"), [(None, True), ("0", True), ("1", False)])
def test_an_own_model_that_leans_on_the_cpu_is_never_of_the_reference(value, ranked):
    data = sample(100.0)
    data["software"]["environment"] = {} if value is None else {"PYTORCH_ENABLE_MPS_FALLBACK": value}
    assert cases.runs([Record.model_validate(data)])["reference"].tolist() == [ranked]


def test_all_right_runs_count_whatever_was_found_in_them():
    """Once a figure rested on the clean runs alone: 4 to 8 good ones were "one run", without an interval."""
    made = [run(100.0), run(90.0, 2, "contended", disturbed=True), run(102.0, 3, "throttled"), run(99.0, 4, "noisy")]
    (case,) = table(*made, run(500.0, 5, "wrong")).to_dict("records")
    assert case["images_per_s"] == pytest.approx((100 * 90 * 102 * 99) ** 0.25)
    assert (case["runs"], case["clean"], case["disturbed"], case["left_out"]) == (4, 1, 1, 1)
    assert case["undisturbed_images_per_s"] == pytest.approx((100 * 102 * 99) ** (1 / 3))
    (flagged,) = table(run(50.0, 1, "contended", disturbed=True)).to_dict("records")
    assert (flagged["runs"], flagged["undisturbed_images_per_s"]) == (1, None)
    (wrong,) = table(run(500.0, 1, "wrong")).to_dict("records")
    assert pd.isna(wrong["images_per_s"]) and wrong["runs"] == 0


def test_a_peak_from_which_others_took_is_none_to_be_measured_by():
    beside, alone = (run(100.0, n, edit=put("limits.utilization", share)) for n, share in ((1, 1.89), (2, 0.72)))
    assert table(beside, alone)["utilization"].tolist() == [0.72] and table(beside)["utilization"].isna().all()


def test_a_run_with_wrong_outputs_never_counts():
    found = {"images": 64, "largest_difference": 3.0, "tolerance": 0.01, "top1_agreement": 0.1, "agree": False}
    wrong = run(500.0, edit=put("checks.outputs", found | {"image_scatter": None, "unknown": {"image_scatter": "no"}}))
    (case,) = table(wrong, run(100.0, 2)).to_dict("records")
    assert case["images_per_s"] == pytest.approx(100)


def simulated(rng, machine, truth, share, by=1 / 1.15):
    """Five runs of a machine, this share of them disturbed, and as many again for those, once."""
    made, count = [], 5
    while len(made) < count:
        disturbed = rng.random() < share
        count = min(10, count + disturbed)
        rate = 100 * truth * np.exp(rng.normal(0, 0.005)) * (by if disturbed else 1.0)
        made.append((rate, disturbed))
    rows = {"machine": machine, "sweeps": ["s"], "disturbed": sum(d for _, d in made), "between": 0.03}
    return rows | {"sessions": [[r for r, _ in made]], "undisturbed": [[r for r, d in made if not d]]}


def test_a_machine_that_was_always_disturbed_is_not_called_slower_than_one_that_never_was():
    rng = np.random.default_rng(21)
    two = [pd.DataFrame([simulated(rng, "a", 1.0, 0.0), simulated(rng, "b", 1.0, 1.0)]) for _ in range(20)]
    assert {cases.compared(one)["a", "b"].word for one in two} == {"undecided"}
    both = [pd.DataFrame([simulated(rng, "a", 1.0, 1.0), simulated(rng, "b", 1.3, 1.0)]) for _ in range(20)]
    assert {cases.compared(one)["a", "b"].word for one in both} == {"faster"}


@pytest.mark.parametrize("share", [0.4, 0.86])
def test_disturbed_runs_make_no_false_verdict_and_hide_no_difference(share):
    rng, words = np.random.default_rng(int(100 * share)), {}
    for truth in (1.0, 1.25):
        told = []
        for _ in range(300):
            day = np.exp(rng.normal(0, 0.03, 2)) * (1.0, truth)
            two = pd.DataFrame([simulated(rng, m, day[i], share) for i, m in enumerate("ab")])
            told.append(cases.compared(two)["a", "b"].word)
        words[truth] = np.array(told)
    assert np.mean(np.isin(words[1.0], ["faster", "slower"])) <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5
    assert np.mean(words[1.25] == "faster") >= 0.9


def test_where_the_undisturbed_runs_say_otherwise_it_is_undecided():
    quiet = several([100, 101, 99, 100.5, 99.5])
    shaken = several([80, 81, 79, 80.5], disturbed=True, verdict="contended")
    shaken += [run(100.2, 5), run(99.8, 6)]
    other = [
        run(r.passes.end_to_end.images_per_s, i, edit=put("machine.slug", "other")) for i, r in enumerate(quiet, 1)
    ]
    both = table(*shaken, *other)
    word = cases.compared(both)["amd-epyc-2-cores", "other"].word
    assert word == "undecided"
    much = [run(100.2, i, edit=put("machine.slug", "other")) for i in (1, 2, 3)]
    slow = table(*several([50, 51, 49], disturbed=True, verdict="contended"), run(50.2, 4), *much)
    assert cases.compared(slow)["amd-epyc-2-cores", "other"].word == "faster"


def test_a_session_is_a_sweep_and_the_figure_knows_how_many():
    days = [run(rate * level, i + 1, day=day) for day, level in ((1, 1.0), (2, 1.05), (3, 0.97)) for i, rate in
            enumerate([100, 101, 99])]  # fmt: skip
    (case,) = table(*days).to_dict("records")
    assert [len(session) for session in case["sessions"]] == [3, 3, 3] and not case["assumed"]
    assert len(case["sweeps"]) == 3 and len(case["rates"]) == 9
    assert 0.03 < case["between"] < 0.04
    assert "three sessions and more" in compare.between_words(table(*days))


UNLIKE_STATES = [
    ("software.threads", 1, "1 threads"), ("case.min_seconds", 2.0, "2 s a pass"),
    ("checks.workers.used", 2, "workers used: 2"), ("software.device_name", "Other", "Other"),
    ("checks.before.power_source", "battery", "battery"), ("checks.before.power_mode", "low power", "low power"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "words"), UNLIKE_STATES)
def test_runs_of_unlike_states_are_never_one_figure_yet_the_same_case(path, value, words):
    made = table(*several([100, 101, 102]), *several([90, 91], edit=put(path, value)))
    assert sorted(made["runs"]) == [2, 3] and len(made.drop_duplicates(cases.LIKE)) == 1
    assert cases.named(made).set_index("runs")["name"].to_dict() == {3: "resnet18", 2: f"resnet18, {words}"}
    elsewhere = [run(r, edit=lambda d: (put(path, value)(d), put("machine.slug", "other")(d))) for r in (90, 91)]
    assert {"resnet18, amd-epyc-2-cores", "resnet18, other"} == set(
        cases.named(table(*several([100, 101]), *elsewhere))["name"]
    )


def test_a_gpu_is_another_at_another_limit_or_driver_branch():
    def gpu(limit, driver):
        known = {"name": "H100", "power_limit_w": limit}
        rest = dict.fromkeys(set(host.Gpu.model_fields) - {*known, "unknown"})

        def edit(data):
            put("machine.gpus", [known | rest | {"unknown": dict.fromkeys(rest, "none")}])(data)
            put("machine.driver", driver)(data)

        return edit

    limits = ((700.0, "570.86"), (700.0, "570.124"), (500.0, "570.1"), (700.0, "580.2"))
    made = [run(100, 1, device="cuda", edit=gpu(*of)) for of in limits]
    assert sorted(table(*made)["runs"]) == [1, 1, 2]


@pytest.mark.parametrize(("path", "value"), [("method", 3), ("case.source", "timm"), ("case.ranks", 2)])
def test_another_method_or_case_is_no_like_one(path, value):
    assert len(table(run(100), run(90, edit=put(path, value))).drop_duplicates(cases.LIKE)) == 2


def test_a_look_counts_nowhere():
    search = put("sweep.search", True)
    (case,) = table(run(130.0, edit=search), run(100.0, 2), run(101.0, 3)).to_dict("records")
    assert case["rates"] == [100.0, 101.0] and case["left_out"] == 0
    assert table(run(130.0, edit=search)).empty


def test_a_models_batch_sizes_are_one_line_whatever_workers_each_of_them_took():
    took = {1: 1, 8: 5, 64: 15}
    made = [run(100.0, batch_size=b, edit=put("checks.workers.used", n)) for b, n in took.items()]
    more = [run(99.0, 2, batch_size=64, edit=put("checks.workers.used", 4))]
    named = cases.named(table(*made, *more))
    assert sorted(named["name"]) == ["resnet18"] * 3 + ["resnet18, workers used: 4"]


def test_requests_are_those_of_runs():
    made = [run(100.0, i, edit=put("latency.request_s", [s, 1.1 * s, 5 * s])) for i, s in ((1, 0.1), (2, 0.12))]
    (case,) = table(*made).to_dict("records")
    assert case["requests"].median_s.mean == pytest.approx(1.1 * (0.1 * 0.12) ** 0.5)
    assert (case["requests"].tail, case["requests"].number, len(case["request_s"])) == ("slowest", 6, 6)


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
    told = advice.batch_advice(table(run(100.0), run(101.0, 2), failed))
    assert "resnet18: at batch size 64 memory ends." in told


UNLIKE = {
    "memory_format": ("channels_last", "channels last"),
    "compile": (True, "compiled"),
    "allocator": ("tuned", "tuned allocator"),
    "threads": (2, "2 threads asked"),
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
    again = cases.named(table(run(90.0, **{axis: value})))["name"].tolist()
    assert again == [f"resnet18, {words}"] or axis in ("image_px", "device", "minutes")  # these have no usual value
    assert len(set(names)) == 2 and f"resnet18, {words}" in names
    assert not any("True" in name or "False" in name or "_" in name for name in names)


def test_modes_of_compilation_are_cases_of_their_own_beside_the_plain_ones():
    modes = [False, True, "reduce-overhead", "max-autotune"]
    names = cases.named(table(*(run(100.0, compile=mode) for mode in modes)))["name"]
    assert sorted(names) == ["resnet18", *(f"resnet18, {w}" for w in ("compiled", "max-autotune", "reduce-overhead"))]


def test_a_case_that_stands_alone_is_named_by_all_that_is_unusual():
    """Once an H100's 193.9 images/s by the original's protocol stood there as "resnet50, batch 64"."""
    more = {"memory_format": "channels_last", "compile": True, "mode": "train", "workers": 2, "input": "original"}
    (name,) = cases.named(table(run(100.0, minutes=0.5, **more)))["name"]
    assert name == "resnet18, channels last, compiled, training, original input, 2 workers"
    assert cases.named(table(run(100.0)))["name"].tolist() == ["resnet18"]
    assert cases.case_words(run().case, ("precision", "batch_size")) == "resnet18, fp32, batch 8"


def test_a_chip_has_its_cores_where_its_name_is_shared():
    """On a Mac torch calls every GPU by one name; a cloud calls every size of its machines by one chip."""
    gpu = {"name": "Apple M1 Max", "cores": 32}
    gpu |= dict.fromkeys(rest := set(host.Gpu.model_fields) - {*gpu, "unknown"}) | {"unknown": dict.fromkeys(rest, "x")}
    named = put("software.device_name", "Apple GPU (Metal)")
    mac = run(100.0, device="mps", edit=lambda d: (put("machine.gpus", [gpu])(d), named(d)))
    card = run(100.0, device="cuda", edit=put("machine.gpus", [gpu | {"name": "NVIDIA H100", "cores": 16896}]))
    assert cases.runs([run(), mac, card])["chip"].tolist() == [
        "AMD EPYC, 2 cores",
        "NVIDIA H100",
        "Apple M1 Max, 32 cores",
    ]


def test_a_peak_is_of_the_accelerators_memory_or_of_the_cpus_process_and_never_of_another():
    (held,) = table(run(100.0))["peak_bytes"]
    (unknown,) = table(run(100.0, device="mps"))["peak_bytes"]
    (card,) = table(run(100.0, device="cuda", edit=put("memory.peak_device_bytes", 5 * 10**8)))["peak_bytes"]
    assert (held, unknown, card) == (10**9, None, 5 * 10**8)


def test_unlike_torch_is_told_apart():
    data = sample(90.0)
    data["software"]["torch"] = "2.11.0+cpu"
    names = cases.named(table(run(100.0), Record.model_validate(data)))["name"]
    assert set(names) == {"resnet18, torch 2.15", "resnet18, torch 2.11"}


@pytest.mark.parametrize("rates", [(432.0, 12.8), (270.0, 600.0), (100.0, 130.0)])
def test_runs_that_differ_wildly_have_no_interval_to_show(rates):
    """Never again "56 to 2,822"."""
    (case,) = table(*several(rates)).to_dict("records")
    assert case["high"] > 4 * case["low"]
    told = words.rate_words(case["images_per_s"], case["low"], case["high"])
    assert told.endswith("images/s (its runs differ too much for an interval)")
    assert "(its runs differ" in words.times_words(stats.compare(rates, [100, 101]))
    assert words.times_words(stats.compare([100, 101], [200, 201])) == "2 (1.93 to 2.06)"
