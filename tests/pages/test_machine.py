"""A machine's own page: what its sentences say of few records, of failed ones and of doubtful ones."""

import pytest

from siliconbench.analysis import advice, cases
from siliconbench.pages import render, tables
from siliconbench.record import store
from siliconbench.record.schema import Record
from tests import samples
from tests.browser import check_page


def run(rate, repeat=1, **case):
    return Record.model_validate(samples.sample(rate, **case) | {"repeat": repeat})


def lost(**case):
    return Record.model_validate(samples.lost(**case))


def test_a_case_that_ran_out_of_memory_is_on_the_page(tmp_path, monkeypatch, chromium):
    monkeypatch.chdir(tmp_path)
    for record in (run(100.0), run(101.0, 2), lost(batch_size=64, image_px=None)):
        store.write(record, tmp_path / "records")
    page = render.machine_page("amd-epyc-2-cores", tmp_path / "records")
    text = (tmp_path / page).read_text("utf-8")
    assert "Failed, marked by a cross: resnet18 at 64 (out of memory)" in text
    assert "at batch size 64 memory ends" in text
    assert "0 (0 clean, 1 failed)" in text and "2 (2 clean)" in text
    check_page(chromium, tmp_path / page)


@pytest.mark.parametrize("records", [[], [lost(image_px=None)], [run(100.0)], [run(100.0), lost(batch_size=64)]])
def test_every_sentence_can_be_said_of_few_records(records):
    runs = cases.runs(records)
    table = tables.labelled(cases.cases(runs))
    said = [tables.lead_sentence(table, "m"), tables.speed_sentence(table), tables.time_sentence(table)]
    said += [tables.request_sentence(tables.request_table(table)), tables.limit_sentence(table)]
    said += [tables.heat_sentence(table), tables.energy_sentence(table), tables.tuned_sentence(advice.tuned(table))]
    said += [*advice.batch_advice(table), tables.trust_sentence(runs), *tables.doubts(runs)]
    assert all(isinstance(s, str) and s and "nan" not in s and "None" not in s for s in said), said
    assert len(tables.shown(table, tables.CASES)) == len(table)
    assert set(tables.parts(table).columns) == {"case", "part", "ms"}
    assert list(tables.card(records).columns) == ["what", "value"]


def test_doubts_that_differ_in_figures_alone_are_one():
    verdicts = [
        {"word": "noisy", "reasons": [f"Neighbouring blocks differ by {n} %: run again."], "disturbed": False}
        for n in range(9, 15)
    ]
    runs = [Record.model_validate(samples.sample() | {"repeat": n, "verdict": v}) for n, v in enumerate(verdicts, 1)]
    assert tables.doubts(cases.runs(runs)) == [
        "Neighbouring blocks differ by 9 to 14 %: run again. (resnet18 b8 r1, resnet18 b8 r2, resnet18 b8 r3,"
        " resnet18 b8 r4 and 2 more)"
    ]
    assert tables.spanned(["1.84 of 20", "1.9 of 20", "10.2 of 20"]) == "1.84 to 10.2 of 20"


def test_a_head_says_whose_heat_it_is_and_each_cell_does_where_they_differ():
    table = tables.labelled(cases.cases(cases.runs([run(100.0), run(50.0, batch_size=16)])))
    one = table.assign(peak_c=[60.4, 70.0], heat_of="GPU")
    assert tables.shown(one, tables.HEAT)["hottest, °C (GPU)"].tolist() == [60, 70]
    two = one.assign(heat_of=["GPU", "CPU"])
    assert tables.shown(two, tables.HEAT)["hottest, °C"].tolist() == ["60 (GPU)", "70 (CPU)"]
    assert "fan, rpm" not in tables.shown(one, tables.HEAT)
