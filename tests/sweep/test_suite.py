"""`make suite`: locked to its protocol, resumable, and what it says at its end."""

import re

import pytest

from siliconbench import knobs
from siliconbench.record import protocol, store
from siliconbench.run import device, models
from siliconbench.sweep import plan, runner
from tests.conftest import KNOBS
from tests.samples import PARTS
from tests.samples import suite as swept
from tests.sweep.test_plan import left, machine

TAKEN = {"USE_GPU": "0", "MACHINE": "mine", "TELEMETRY": "0", "FRESH": "1", "RESULTS": "elsewhere"}


def planned(tmp_path, **text):
    given = knobs.read_suite({"RESULTS": str(tmp_path), **text})
    return plan.planned(given, "cpu", machine(slug="m"), given["SUITE"], lambda _: [])


def test_without_a_knob_it_is_the_protocol_and_its_records_say_so(tmp_path):
    this = planned(tmp_path)
    assert {run.case for run in this.runs} == set(protocol.cases("cpu")) and len(this.runs) == 18
    record = left(this, 1)
    assert record.sweep.suite == "sb26" and protocol.followed(record.sweep, record.case) == "sb26"


def test_what_changes_no_protocol_stays_free():
    given = knobs.read_suite(TAKEN)
    assert (given["SUITE"], given["CHANGED"], given["USE_GPU"]) == ("sb26", [], False)
    assert set(plan.cases(given, "cpu")) == set(protocol.cases("cpu"))


@pytest.mark.parametrize("name", sorted(set(knobs.KNOBS) - set(TAKEN)))
def test_every_other_knob_makes_it_a_custom_run(name, tmp_path):
    text = {"IMAGE_MODEL": "resnet18", "BATCH_SIZE": "2", "WORKERS": "1"}.get(name, knobs.KNOBS[name].default)
    given = knobs.read_suite({name: text})
    assert (given["SUITE"], given["CHANGED"]) == ("custom", [name])
    assert left(planned(tmp_path, **{name: text}), 1).sweep.suite == "custom"


def test_it_goes_on_where_it_was_and_only_the_same_command_does(tmp_path):
    this = planned(tmp_path)
    left(this, 1), left(this, 2)
    assert set(planned(tmp_path).done) == {1, 2} and planned(tmp_path).sweep_id == this.sweep_id
    assert not planned(tmp_path, SEED="1").done and not planned(tmp_path, FRESH="1").done
    image = knobs.read({"RESULTS": str(tmp_path)}) | {"NUM_IMAGES": None, "REPEATS": 3, "MIN_SECONDS": 6.0}
    image |= {"IMAGE_MODEL": list(protocol.MODELS), "BATCH_SIZE": [1, 64]}
    assert not plan.planned(image, "cpu", machine(slug="m"), "", lambda _: []).done


def test_it_ends_with_the_line_to_quote_and_its_intervals():
    head, spans = runner.quote(swept(11.2))
    assert head == "sb26: single 224, bulk 2,240 images/s (AMD EPYC, 2 cores, torch 2.15)"
    assert spans.startswith("95 %: single 210.3 to 238.5, bulk 2,1")
    assert spans.endswith(" The model alone: single 246, bulk 2,464 images/s.")


def test_an_accelerator_is_called_by_its_own_name():
    def card(data):
        data["case"]["device"] = "cuda"
        data["software"] |= {"device_name": "NVIDIA H200", "unknown": dict(data["software"]["unknown"])}
        del data["software"]["unknown"]["device_name"]

    assert runner.quote(swept(1.0, every=card))[0].endswith("(NVIDIA H200, torch 2.15)")


def test_a_failed_case_is_named_and_there_is_no_figure():
    def fail(data):
        data |= {"status": "failed", "error": {"kind": "out_of_memory", "message": "no room"}, "unknown": {}}
        data |= dict.fromkeys(PARTS)

    assert runner.quote(swept(vit_b_16_64=fail)) == [
        "sb26: incomplete, no figure: vit_b_16 at batch 64: out_of_memory."
    ]


def test_a_custom_run_of_a_tuned_case_says_so_at_its_start_in_its_record_and_at_its_end(tmp_path, monkeypatch, capsys):
    """The other variant of the CPU, a training, is the one that record/test_remote.py sends away."""
    monkeypatch.chdir(tmp_path)
    asked = {"PRECISION": "bf16", "LAYOUT": "channels_last", "COMPILE": "1", "BATCH_SIZE": "1"}
    asked |= {"IMAGE_MODEL": "siliconbench.examples.own_model:build"}
    given = knobs.read_suite(KNOBS | asked | TAKEN | {"RESULTS": str(tmp_path)})
    status = runner.make_suite(given, lambda slug, results: f"no page of {slug}")
    told = capsys.readouterr().out
    first, *_, last = told.splitlines()
    assert first == last and re.fullmatch(r"A custom run, by [A-Z_, ]+: it gives no figures of sb26\.", first)
    assert {*KNOBS, *asked} == set(re.findall("[A-Z]+_?[A-Z]+", first))
    (path,) = tmp_path.rglob("*-r1.json")
    r = store.load(path)
    assert r.sweep.suite == "custom" and "sb26: " not in told
    if why := models.no_compiler(device.choose(False)):
        assert (r.error.kind, r.error.message, status) == ("unsupported", why, 1)
        return
    assert status == 0 and r.status == "ok" and r.memory.peak_process_bytes > 0, told
    assert r.case.compile and r.checks.compiled and r.checks.outputs.agree
