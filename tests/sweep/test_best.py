"""BATCH_SIZE=auto and `make best`: the searches, against machines whose law of speed is written here."""

import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from siliconbench import knobs
from siliconbench.analysis import cases, ladder
from siliconbench.knobs import WrongKnob
from siliconbench.machine import facts, tuning
from siliconbench.record import store
from siliconbench.record.named import named
from siliconbench.record.schema import Case, Record
from siliconbench.run import models, passes, timing
from siliconbench.sweep import best, lines, look, plan, runner, search, terminal
from siliconbench.sweep.search import Search
from tests.samples import sample

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


OPTIONS = {
    "threads": (None, 2),
    "compile": (False, True),
    "allocator": ("system", "tuned"),
    "precision": ("fp32", "bf16"),
    "memory_format": ("contiguous", "channels_last"),
}
PLAIN = START.model_copy(update={"batch_size": 64})


def search_of(law, options=OPTIONS, plain=PLAIN, sized=True, most=200, noise=0.0, seed=1):
    """The search on a machine with this law of images/s (0: it fails), and how often it looked."""
    rng, looks = np.random.default_rng(seed), []

    def look(case, least):
        looks.append(case)
        return law(case) * math.exp(rng.normal(0, noise))

    found = Search(plain, options, sized, look, lambda case: len(looks) < most)
    found.run()
    return found, looks


def grid(law, options=OPTIONS, sizes=tuple(2**i for i in range(11))):
    """The best rate of all settings."""
    settings = itertools.product(*options.values(), sizes)
    return max(law(PLAIN.model_copy(update=dict(zip([*options, "batch_size"], s, strict=True)))) for s in settings)


@pytest.mark.parametrize("images_per_s", [0.1, 0.7, 3.0, 30.0])
def test_a_slow_model_is_searched_by_batches_that_take_no_minute(images_per_s):
    """The allocator pays from 16 images on alone, in 16 bits."""

    def law(case):
        sure = case.precision == "bf16"
        pays = sure and case.allocator == "tuned" and case.batch_size >= 16
        return images_per_s * (2.4 if sure else 1) * (1.5 if pays else 1)

    found, looks = search_of(law)
    took_s = sorted(case.batch_size / law(case) for case in looks)
    assert took_s[-2] <= search.BATCH_S or took_s[-2] <= 1 / images_per_s
    assert found.fastest().precision == "bf16" and found.rungs(found.fastest())[0] == PLAIN
    assert found.fastest().allocator == "tuned" or images_per_s < 3


def test_an_allocator_that_looks_in_one_process_had_warmed_for_the_plain_one_is_found():
    """A look at the plain allocator after others reads as if it were the tuned one; one in a fresh process does not."""
    seen = set()

    def look(case, least):
        warmed = case not in seen and len(seen) > 1
        seen.add(case)
        return (145.0 if case.allocator == "tuned" else 150.0 if warmed else 100.0) * (1 + (case.precision == "bf16"))

    found = Search(PLAIN, OPTIONS | {"compile": (False,), "threads": (None,)}, False, look, lambda case: True)
    found.run()
    best = found.fastest()
    assert (best.allocator, best.precision) == ("tuned", "bf16")


def test_what_pays_by_itself_is_looked_at_together_first():
    """On a CPU without instructions for bf16, a tenth as fast there, the search's time went to combinations with it."""

    def law(case):
        factors = {"precision": ("bf16", 0.1), "allocator": ("tuned", 2.0), "memory_format": ("channels_last", 1.5)}
        return 10.0 * math.prod(f for axis, (value, f) in factors.items() if getattr(case, axis) == value)

    found, looks = search_of(law)
    for top in (search_of(law, most=7)[0].fastest(), found.fastest()):
        assert (top.precision, top.allocator, top.memory_format) == ("fp32", "tuned", "channels_last")
    hopeless = [i for i, case in enumerate(looks) if case.precision == "bf16" and case.allocator == "tuned"]
    assert hopeless[0] > [case.compile for case in looks].index(True)


def smooth(case):
    """Speed by batch size until 32; the allocator doubles it for large batches, bf16 triples it, a compiler gains."""
    gain = 1.3 if case.memory_format == "channels_last" else 1.0
    gain *= 3 if case.precision == "bf16" else 1
    gain *= min(2.0, 1 + case.batch_size / 64) if case.allocator == "tuned" else 1
    return 10.0 * min(case.batch_size, 32) * gain * (1.2 if case.compile else 1) * (0.6 if case.threads else 1)


def test_the_search_finds_the_best_of_the_whole_grid_by_few_looks():
    found, looks = search_of(smooth)
    assert found.rate == pytest.approx(grid(smooth), rel=0.01)
    assert len(looks) == len(set(looks)) < 60 < len(OPTIONS) ** 2 * 11  # of 352 settings
    assert sum(bool(case.compile) for case in looks) < 10  # they take longest


AXES = [(axis, values[1]) for axis, values in OPTIONS.items()] + [("batch_size", 128)]


@pytest.mark.parametrize(
    "pair",
    [p for p in itertools.combinations(AXES, 2) if {"compile", "batch_size"} != {p[0][0], p[1][0]}],
    ids=lambda p: f"{p[0][0]}-{p[1][0]}",
)
def test_two_choices_that_pay_only_together_are_found(pair):
    """Each alone costs a tenth (a larger batch nothing: it is beside that of the plain program), both gain 2.4."""

    def planted(case):
        on = [getattr(case, axis) == value for axis, value in pair]
        return 100.0 * (2.4 if all(on) else 0.9 if any(on) and case.batch_size != 128 else 1.0)

    found, _ = search_of(planted)
    assert found.rate == 240.0
    assert all(getattr(found.fastest(), axis) == value for axis, value in pair)


def test_on_an_accelerator_16_bits_that_pay_with_graphs_alone_are_found():
    """As on an H100 at batch 1: eager waits for its launches, fp16's own more; graphs show the device's own speed."""
    modes = (False, True, "reduce-overhead")
    options = {
        "compile": modes,
        "precision": ("fp32", "tf32", "fp16"),
        "memory_format": ("contiguous", "channels_last"),
    }

    def launched(case):
        own_ms = {"fp32": 2.5, "tf32": 1.5, "fp16": 0.86}[case.precision]
        own_ms *= 0.9 if case.memory_format == "channels_last" and case.precision == "fp16" else 1.0
        wait_ms = {False: 7.6 if case.precision == "fp16" else 5.2, True: 3.0, "reduce-overhead": 0.1}[case.compile]
        return 1000 / max(own_ms, wait_ms)

    plain = Case(model="resnet50", batch_size=1, device="cuda")
    found, looks = search_of(launched, options, plain, sized=False)
    best = found.fastest()
    assert (best.precision, best.memory_format, best.compile) == ("fp16", "channels_last", "reduce-overhead")
    assert len(set(looks)) <= 14


def test_what_is_fast_and_wrong_or_fails_is_never_chosen():
    found, _ = search_of(lambda c: 0.0 if c.precision == "bf16" or c.compile else smooth(c))
    assert (found.fastest().precision, found.fastest().compile) == ("fp32", False)
    assert found.rate == pytest.approx(10.0 * 32 * 1.3 * 2, rel=0.01)


def test_memory_that_ends_halves_the_plain_batch_and_ends_the_climb():
    found, _ = search_of(lambda c: 0.0 if c.batch_size > 16 else smooth(c))
    assert found.plain.batch_size == 16 == found.fastest().batch_size
    assert search_of(lambda c: 0.0)[0].rate == 0.0


def test_the_search_ends_by_its_time_with_the_best_so_far():
    found, looks = search_of(smooth, most=5)
    assert len(looks) == 5 and found.rate == max(map(smooth, looks))


def test_what_ties_is_the_simplest_and_a_lucky_look_crowns_nothing():
    """Where nothing matters the plain setting stays, however lucky a look was."""
    flat = [search_of(lambda c: 100.0, most=40, noise=0.005, seed=seed)[0].fastest() for seed in range(10)]
    assert sum(case == PLAIN for case in flat) >= 8
    for seed in range(10):
        found, _ = search_of(smooth, noise=0.05, seed=seed)
        assert smooth(found.fastest()) >= 0.93 * grid(smooth)


def test_of_batch_sizes_within_2_percent_the_smallest_is_taken():
    """As on an H200, where 8,192 images were 0.6 % faster than 4,096: a minute of the runs in full for nothing."""

    def law(case):
        return 100.0 * (2.0 if case.precision == "bf16" else 1.0) * (1 - 2.0 / (case.batch_size + 2))

    found, looks = search_of(law)
    best = found.fastest()
    assert best.precision == "bf16" and max(case.batch_size for case in looks) > best.batch_size
    sizes = [2**i for i in range(12)]
    top = max(case.batch_size for case in looks)
    assert best.batch_size == next(n for n in sizes if 1.02 * (1 - 2.0 / (n + 2)) >= 1 - 2.0 / (top + 2))


def test_the_rungs_lead_from_the_plain_setting_to_the_best_a_choice_at_a_time():
    found, _ = search_of(smooth)
    rungs = found.rungs(found.fastest())
    assert rungs[0] == PLAIN and rungs[-1] == found.fastest()
    changes = [search.differ(a, b) for a, b in itertools.pairwise(rungs)]
    assert all(len(change) == 1 for change in changes) and changes[0] == ["precision"]  # what brings most comes first


def test_a_search_goes_on_from_what_it_kept(tmp_path, monkeypatch, capsys):
    """What was looked at is not looked at again, and a ladder that was found stands."""
    narrow, kept = PLAIN.model_copy(update={"precision": "bf16"}), tmp_path / "search.json"
    monkeypatch.setattr(best, "SEARCH_S", 0.0)
    monkeypatch.setattr(best.Looks, "child", lambda *_: pytest.fail("nothing is left to look at"))
    kept.write_text(json.dumps({"looks": [[PLAIN.model_dump(), 10.0], [narrow.model_dump(), 20.0]], "rungs": []}))
    assert best.searched(PLAIN, OPTIONS, False, kept) == [PLAIN, narrow]
    assert "ended by its time" in capsys.readouterr().out
    assert json.loads(kept.read_text())["rungs"] == [PLAIN.model_dump(), narrow.model_dump()]
    assert best.searched(PLAIN, {}, False, kept) == [PLAIN, narrow] and not capsys.readouterr().out


def test_the_looks_of_a_ladder_are_records_of_the_model_alone(tmp_path):
    """Real ones, each in a process of its own: of the plain program, and of one with another allocator in 16 bits."""
    told = {"GOAL": "latency", "IMAGE_MODEL": "squeezenet1_1", "RESULTS": str(tmp_path), "MIN_SECONDS": "0.2"}
    given = knobs.read_best(told | {"REPEATS": "1"})
    plain = plan.cases(given, "cpu")[0]
    tuned = {"allocator": "tuned"} if tuning.tuned() else {"memory_format": "channels_last"}
    narrow = best.options(torch.device("cpu"), facts.machine("m"))["precision"][-1]  # none on a CPU with AVX2 alone
    steps = [plain, plain.model_copy(update=tuned | {"precision": narrow})]
    this = plan.planned(given, "cpu", facts.machine("m"), "best latency", lambda _: [], steps)
    assert [run.search for run in this.runs] == [True] * 2
    bar = terminal.Bar(this.runs, {})
    records = [runner.run(this, order, [], bar) for order in (1, 2)]
    bar.close()
    assert all(r.status == "ok" and r.sweep.search and r.latency and not r.passes.end_to_end for r in records)
    assert all(r.unknown["limits"] == r.passes.unknown["end_to_end"] for r in records)
    assert all(r.checks.page_faults_per_image is not None for r in records)
    assert all(r.checks.outputs.agree for r in records if not r.case.reference)
    assert [rung.case for rung in ladder.rungs(records)] == steps
    then = best.in_full(1, records)
    assert {run.case for run in then} == {steps[0], ladder.best(ladder.rungs(records)).case}
    assert not any(run.search for run in then) and all(run.repeat == 1 for run in then)
    assert (
        cases.runs(records).empty
        and len(plan.planned(given, "cpu", this.machine, "best latency", list, steps).done) == 2
    )
    assert terminal.line(records[0]).endswith(records[0].verdict.word)


def test_a_setting_for_which_no_time_is_left_is_not_looked_at_and_that_is_known():
    """As a compiled one, which takes half a minute, where ten seconds are left: the cheap ones go on."""
    seen, rates = [], {"fp32": 1.0, "bf16": 2.0}
    options, looked = {"compile": (False, True), "precision": tuple(rates)}, lambda case, _: rates[case.precision]
    found = Search(
        PLAIN, options, False, lambda case, _: seen.append(case) or looked(case, _), lambda case: not case.compile
    )
    found.run()
    assert found.cut and found.best.precision == "bf16" and not any(case.compile for case in seen)
    whole = Search(PLAIN, {"compile": (False,)}, False, lambda case, least: 1.0, lambda case: True)
    whole.run()
    assert not whole.cut


def test_a_look_whose_process_ends_hangs_or_raves_is_an_error_and_the_next_one_works(monkeypatch):
    """Each child is a real process: first three that fail so, one after the other, then the package's own."""
    failing = {"exit": "input()", "hang": "import time; input(); time.sleep(60)", "noise": "input(); print('{')"}
    said, left, real = [], list(failing), best.Looks.child

    def child(self, case):
        if not left:
            return real(self, case)
        command = [sys.executable, "-c", failing[left.pop(0)]]
        self.children["x"] = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
        return self.children["x"]

    monkeypatch.setattr(best.Looks, "child", child)
    looks = best.Looks(False, lambda case, rate, why: said.append(why))
    case = Case(model="squeezenet1_1", batch_size=2, device="cpu", min_seconds=0.1)
    for fault in failing:
        monkeypatch.setattr(best, "LOOK_S", 1.5 if fault == "hang" else 60.0)
        assert (
            looks.look(case, 0.0) == 0.0 and said[-1] and all(one.poll() is not None for one in looks.children.values())
        )
        assert (fault == "hang") == ("took over" in said[-1])
    assert looks.look(case, 0.0) > 0
    before = looks.child(case).pid  # what decides is seen by a process that has freed nothing yet
    assert looks.look(case, 1e-9) > 0 and looks.child(case).pid == before
    assert looks.look(case, 0.0) > 0 and looks.child(case).pid != before
    assert looks.look(case.model_copy(update={"precision": "tf32"}), 0.0) == 0.0
    assert "tf32" in said[-1]
    looks.close()


def test_a_look_at_a_slow_setting_counts_its_pass_and_checks_outputs_once(tmp_path, monkeypatch):
    case = Case(model="squeezenet1_1", batch_size=2, device="cpu", min_seconds=0.2, memory_format="channels_last")
    sweep = {"id": "20261130T000000Z-0123456789", "runs": 2, "order": 1, "search": True}
    told = {"case": case.model_dump(), "request": False, "sweep": sweep, "created": "", "machine": "m"}
    monkeypatch.setattr(timing, "BLOCK_S", 1e-9)  # one batch a block, however quick this machine is
    for repeat, slow_s in ((1, 60.0), (2, 0.0)):
        monkeypatch.setattr(look, "SLOW_S", slow_s)
        look.look(told | {"repeat": repeat, "results": str(tmp_path / str(repeat))})
    first, second = (record for _, record in store.read_all([tmp_path / "1", tmp_path / "2"]))
    assert first.checks.outputs.agree and second.checks.unknown["outputs"] == look.CHECKED
    assert first.checks.repeat_block_s != first.passes.forward.block_s
    assert second.checks.repeat_block_s == second.passes.forward.block_s
    assert 0 <= second.checks.page_faults_per_image < 1e5 and 0 <= second.checks.system_share < 1


def test_a_look_ends_with_a_first_call_that_shows_it_won_t_come_near():
    """bf16 on a CPU without instructions for it takes ten times as long, and a look took a minute to say so."""
    bench = passes.set_up(Case(model="squeezenet1_1", batch_size=2, device="cpu", min_seconds=0.1))
    calls, slow = [], replace(bench, first_forward_s=20.0, call=lambda batch: calls.append(bench.call(batch)))
    assert look.rate(slow, False, 0.41) == 0.1 and not calls
    for kept, least in ((slow, 0.39), (replace(slow, first_forward_s=0.5), 100.0)):
        assert look.rate(kept, False, least) > 0.39 and calls
        calls.clear()


def test_the_lines_of_python_rebuild_that_very_model(monkeypatch, request):
    """Of each source, in a process of its own that runs one after the other, each in a fresh namespace."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    words = ["squeezenet1_1", "siliconbench.examples.own_model:build", "timm:mobilenetv3_small_050"]
    here = words if importlib.util.find_spec("timm") else words[:2]
    more = {"batch_size": 2, "precision": "bf16", "memory_format": "channels_last"}
    made = [START.model_copy(update=named(word) | more) for word in here]
    shows = "\nprint(output.dtype, *((n, tuple(t.shape)) for n, t in model.state_dict().items()))"
    command = [sys.executable, "-c", "import sys\nfor script in sys.argv[1:]: exec(script, {})"]
    command += [lines.code(run(case, 1.0)) + shows for case in made]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    same = [[(n, tuple(t.shape)) for n, t in models.build(case).model.state_dict().items()] for case in made]
    wanted = [f"torch.bfloat16 {' '.join(map(str, shapes))}" for shapes in same]
    assert (done.returncode, done.stdout.splitlines()) == (0, wanted), done.stderr
    if here != words:
        request.getfixturevalue("timm")


def test_the_lines_for_a_detector_download_nothing():
    told = lines.code(run(START.model_copy(update={"model": "fasterrcnn_mobilenet_v3_large_320_fpn"}), 1.0))
    assert "weights=None, weights_backbone=None" in told and compile(told, "best", "exec")


def test_the_shell_s_lines_come_before_python_s_where_the_setting_needs_any():
    told = lines.using(run(START.model_copy(update={"allocator": "tuned", "threads": 2}), 1.0))
    assert told.startswith("export OMP_NUM_THREADS=2\n") and told.endswith("\nEND")
    assert told.count("export ") == 1 + len(tuning.tuned())
    assert lines.using(run(START, 1.0)) == lines.code(run(START, 1.0))


def test_the_cuda_lines_set_both_flags():
    told = lines.code(run(START.model_copy(update={"device": "cuda", "precision": "tf32", "compile": True}), 1.0))
    assert told.count("allow_tf32 = True") == 2 and "torch.compile(model)" in told
    compile(told, "best", "exec")
    graphs = lines.code(run(START.model_copy(update={"device": "cuda", "compile": "reduce-overhead"}), 1.0))
    assert 'torch.compile(model, mode="reduce-overhead")' in graphs


@pytest.mark.parametrize(
    "given",
    [
        {"BATCH_SIZE": "8"},
        {"PRECISION": "bf16"},
        {"IMAGE_MODEL": "resnet18 alexnet"},
        {"ALLOCATOR": "tuned", "GOAL": "latency"},
        {"BATCH_SIZE": "auto", "GOAL": "latency"},
        {"GOAL": "speed"},
    ],
)
def test_what_the_search_chooses_can_not_be_given(given):
    with pytest.raises(WrongKnob, match=next(iter(given))):
        knobs.read_best(given)


def test_auto_stands_alone():
    assert knobs.read({"BATCH_SIZE": "auto"})["BATCH_SIZE"] == [None]
    with pytest.raises(WrongKnob, match="auto alone"):
        knobs.read({"BATCH_SIZE": "auto 8"})
    assert [c.batch_size for c in plan.cases(knobs.read({"BATCH_SIZE": "auto"}), "cpu")] == [1]


def test_a_request_has_the_batch_size_that_is_asked_for():
    assert knobs.read_best({})["BATCH_SIZE"] == [64]
    assert knobs.read_best({"GOAL": "latency"})["BATCH_SIZE"] == [1]
    assert knobs.read_best({"GOAL": "latency", "BATCH_SIZE": "4"})["BATCH_SIZE"] == [4]
