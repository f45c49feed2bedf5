"""The plan of a sweep: its cases, their order, and what it remembers without a memory."""

import itertools
from collections import Counter

import pytest

from siliconbench import knobs, paths
from siliconbench.analysis import ladder
from siliconbench.record import store
from siliconbench.record.host import Machine
from siliconbench.record.schema import Error, Record
from siliconbench.sweep import failure, plan, terminal
from tests.samples import sample


def given(**text):
    return knobs.read({k.upper(): v for k, v in text.items()})


def machine(**facts):
    return Machine.model_validate(sample()["machine"] | facts)


def planned(tmp_path, here=None, **text):
    return plan.planned(given(results=str(tmp_path), **text), "cpu", here or machine(slug="m"), "", lambda _: [])


def left(this, order, disturbed=False, rate=100.0, used=0, wrong=False):
    """The record, written, of a run of this plan that is ok."""
    run, created = this.runs[order - 1], f"20261123T14{order:02d}00Z"
    data = sample(rate) | this.known(order, created) | {"machine": this.machine.model_dump()}
    data |= {"case": run.case.model_dump() | {"image_px": 224}}
    data["checks"]["workers"] |= {"used": used}
    word = "wrong" if wrong else "contended" if disturbed else "clean"
    found = Record.model_validate(data | {"verdict": {"word": word, "reasons": [], "disturbed": disturbed}})
    store.write(found, this.results)
    return found


def leave(this, *orders):
    for order in orders:
        failure.failed(this, order, store.now(), Error(kind="failed", message="for a test"))


def test_a_sweep_that_only_repeats_what_others_disturbed_says_no_time_of_nought(tmp_path):
    this = planned(tmp_path, repeats="2")
    done = {order: left(this, order, disturbed=True) for order in (1, 2)}
    *_, told = terminal.header(given(results=str(tmp_path), repeats="2"), this._replace(done=done))
    assert told.startswith("About ") and not told.startswith("About 0 ")


def test_the_cases_are_every_combination():
    cases = plan.cases(given(image_model="resnet18 alexnet", batch_size="1 8", precision="fp32 bf16"), "cpu")
    asked = itertools.product(("resnet18", "alexnet"), (1, 8), ("fp32", "bf16"))
    assert Counter((c.model, c.batch_size, c.precision) for c in cases) == Counter(asked)


def test_every_knob_of_a_case_reaches_it():
    text = {"layout": "channels_last", "compile": "1", "mode": "train", "input": "original", "workers": "3"}
    (case,) = plan.cases(given(num_images="7", min_seconds="0.5", minutes="2", seed="4", **text), "cpu")
    assert (case.memory_format, case.compile, case.mode, case.input) == ("channels_last", True, "train", "original")
    mode, four = {"compile": "0 max-autotune", "allocator": "tuned", "threads": "auto 2"}, plan.cases
    found = {(c.compile, c.allocator, c.threads) for c in four(given(**mode), "cpu")}
    assert found == set(itertools.product((False, "max-autotune"), ("tuned",), (None, 2)))
    assert (case.workers, case.num_images, case.min_seconds, case.minutes, case.seed) == (3, 7, 0.5, 2.0, 4)
    assert (case.model, case.batch_size, case.precision, case.device) == ("resnet50", 64, "fp32", "cpu")


def test_the_order_is_seeded_and_every_repeat_has_every_case_once():
    cases = plan.cases(given(image_model="resnet18 alexnet", batch_size="1 8 64"), "cpu")
    order = plan.shuffled(cases, 4, 2021, "a sweep")
    assert order == plan.shuffled(cases, 4, 2021, "a sweep") != plan.shuffled(cases, 4, 1, "a sweep")
    rounds = [order[i : i + 6] for i in range(0, 24, 6)]
    assert all(Counter(part) == Counter(cases) for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
    numbered = plan.numbered(order, [])
    assert [run.repeat for run in numbered] == [n for n in range(1, 5) for _ in cases]


def test_each_sweep_has_an_order_of_its_own_though_the_seed_is_one(tmp_path):
    firsts = []
    for second in range(40):
        order = plan.shuffled(range(6), 1, 2021, f"20261123T1400{second:02d}Z-0123456789")
        firsts += [order[0]]
    assert max(Counter(firsts).values()) < 20 and len(set(firsts)) == 6
    this = planned(tmp_path, batch_size="1 2 4 8 16 32", repeats="2")
    leave(this, 1)
    assert planned(tmp_path, batch_size="1 2 4 8 16 32", repeats="2").runs == this.runs  # gone on with, in its order


def swept(tmp_path, disturbed, rate=lambda order: 100.0, **text):
    """A sweep's records, each run as `disturbed` says by its order; planned anew from the disk before each run."""
    further, records = lambda found: plan.onward(int(text["repeats"]), 2021, False, found), []
    here = machine(slug="m")
    while True:
        this = plan.planned(given(results=str(tmp_path), **text), "cpu", here, "", further)
        runs, have = list(this.runs), dict(this.done)
        while have.keys() >= set(range(1, len(runs) + 1)) and have:
            runs += further([have[order] for order in range(1, len(runs) + 1)])
        this, order = this._replace(runs=runs), len(have) + 1
        if records and not have:  # a sweep of its own: the last one has nothing left
            return records
        records += [left(this, order, disturbed(order), rate(order))]


def test_a_disturbed_run_is_measured_again_and_all_of_them_count(tmp_path):
    records = swept(tmp_path, {2, 5, 7}.__contains__, repeats="3", batch_size="1 8")
    assert [r.sweep.order for r in records] == [*range(1, 10)]  # six, one more each for 2 and 5, and one for 7
    for size in (1, 8):
        mine = [r for r in records if r.case.batch_size == size]
        assert [r.repeat for r in mine] == list(range(1, len(mine) + 1))
        assert sum(not r.verdict.disturbed for r in mine) == 3
    assert len({r.sweep.id for r in records}) == 1
    assert len(ladder.rates(records)) == 9


def test_runs_that_are_always_disturbed_come_to_an_end(tmp_path):
    records = swept(tmp_path, lambda order: True, repeats="2", batch_size="1 8")
    assert Counter(r.case.batch_size for r in records) == {1: 4, 8: 4}


def test_a_quick_look_is_not_measured_again(tmp_path):
    records = swept(tmp_path, lambda order: True, repeats="2", batch_size="1 8", min_seconds="0.3")
    assert len(records) == 4


def test_what_is_measured_again_does_not_hang_on_how_fast_it_was(tmp_path):
    orders = []
    for name, rate in (("slow", lambda order: 1.0 + order), ("fast", lambda order: 1e4 / order)):
        found = swept(tmp_path / name, {1, 3}.__contains__, rate, repeats="2", batch_size="8")
        orders += [[(r.case, r.repeat) for r in found]]
    assert orders[0] == orders[1] and len(orders[0]) == 4


def test_what_failed_is_not_measured_again_and_what_is_wrong_counts_nowhere(tmp_path):
    this = planned(tmp_path, repeats="2")
    leave(this, 1)
    records = [r for _, r in store.read(tmp_path)] + [left(this, 2, wrong=True)]
    assert plan.onward(2, 2021, False, records) == []
    assert ladder.rates(records) == []


def test_an_interrupted_sweep_is_found_by_the_same_command_only(tmp_path, monkeypatch):
    first = planned(tmp_path, repeats="3")
    leave(first, 1, 3)
    same = planned(tmp_path, repeats="3")
    assert same.sweep_id == first.sweep_id
    assert set(same.done) == {1, 3}
    assert planned(tmp_path, repeats="3", fresh="1").sweep_id[17:] == first.sweep_id[17:]
    assert not planned(tmp_path, repeats="4").done
    leave(same, 2)
    monkeypatch.setattr(store, "now", lambda: "20300101T000000Z")
    anew = planned(tmp_path, repeats="3")
    assert anew.sweep_id.startswith("2030") and not anew.done


def test_a_folder_that_holds_another_machine_is_left_alone(tmp_path):
    store.write(Record.model_validate(sample()), tmp_path)
    assert planned(tmp_path, machine()).runs
    assert planned(tmp_path, machine(slug="new", cores=1)).runs
    told = (
        r"^MACHINE: amd-epyc-2-cores is another machine \(AMD EPYC, 2 cores; here AMD EPYC, 4 cores\), with records in"
    )
    with pytest.raises(knobs.WrongKnob, match=f"{told} {tmp_path}: give"):
        planned(tmp_path, machine(cores=4))


def test_the_name_of_a_published_machine_that_is_another_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    store.write(Record.model_validate(sample()), paths.DATA)
    with pytest.raises(knobs.WrongKnob, match=f"here Chip, 2 cores.* with records in {tmp_path}/data"):
        planned(tmp_path / "mine", machine(chip="Chip"))
    assert planned(tmp_path / "mine", machine()).runs and not planned(tmp_path / "mine", machine()).done


def test_a_clone_on_another_machine_goes_on_with_none_of_its_sweeps(tmp_path):
    """The other machine has a name of its own: it reads nothing of what came with the clone, and changes none of it."""
    here = planned(tmp_path, machine(slug="amd-epyc-k3fq"), repeats="2")
    leave(here, 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    there = planned(tmp_path, machine(slug="amd-epyc-x7bd"), repeats="2")
    assert set(here.done) == set(there.done) == set() and there.sweep_id[17:] != here.sweep_id[17:]
    leave(there, 1)
    assert len(list(store.read(tmp_path, "amd-epyc-x7bd"))) == 1
    assert {path: path.read_bytes() for path in before} == before
