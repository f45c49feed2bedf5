"""The plan of a sweep: its cases, their order, and what it remembers without a memory."""

import itertools
from collections import Counter

import pytest

from siliconbench import knobs
from siliconbench.record import store
from siliconbench.record.schema import Error, Machine, Record
from siliconbench.sweep import failure, plan
from tests.samples import sample


def given(**text):
    return knobs.read({k.upper(): v for k, v in text.items()})


def machine(**facts):
    return Machine.model_validate(sample()["machine"] | facts)


def planned(tmp_path, here=None, **text):
    return plan.planned(given(results=str(tmp_path), **text), "cpu", here or machine(slug="m"), "", lambda _: [])


def leave(this, *orders):
    for order in orders:
        failure.failed(this, order, store.now(), Error(kind="failed", message="for a test"))


def test_the_cases_are_every_combination():
    cases = plan.cases(given(image_model="resnet18 alexnet", batch_size="1 8", precision="fp32 bf16"), "cpu")
    asked = itertools.product(("resnet18", "alexnet"), (1, 8), ("fp32", "bf16"))
    assert Counter((c.model, c.batch_size, c.precision) for c in cases) == Counter(asked)


def test_every_knob_of_a_case_reaches_it():
    text = {"layout": "channels_last", "compile": "1", "mode": "train", "input": "original", "workers": "3"}
    (case,) = plan.cases(given(num_images="7", min_seconds="0.5", minutes="2", seed="4", **text), "cpu")
    assert (case.memory_format, case.compile, case.mode, case.input) == ("channels_last", True, "train", "original")
    assert (case.workers, case.num_images, case.min_seconds, case.minutes, case.seed) == (3, 7, 0.5, 2.0, 4)
    assert (case.model, case.batch_size, case.precision, case.device) == ("resnet50", 64, "fp32", "cpu")


def test_the_order_is_seeded_and_every_repeat_has_every_case_once():
    cases = plan.cases(given(image_model="resnet18 alexnet", batch_size="1 8 64"), "cpu")
    order = plan.shuffled(cases, 4, 2021)
    assert order == plan.shuffled(cases, 4, 2021) != plan.shuffled(cases, 4, 1)
    rounds = [order[i : i + 6] for i in range(0, 24, 6)]
    assert all(Counter(part) == Counter((case, n) for case in cases) for n, part in enumerate(rounds, 1))
    assert len({tuple(case for case, _ in part) for part in rounds}) > 1


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
    with pytest.raises(knobs.WrongKnob, match=r"epyc-2-cores holds .* 2 cores; here AMD EPYC, 4 cores.*MACHINE="):
        planned(tmp_path, machine(cores=4))
