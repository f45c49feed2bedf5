"""A machine's own page: what its sentences say of few records, of failed ones and of doubtful ones."""

import re

import pytest

from siliconbench import paths
from siliconbench.analysis import advice, answer, cases
from siliconbench.pages import charts, render, tables, verify
from siliconbench.record import store
from siliconbench.record.schema import Record
from tests import samples
from tests.browser import check_page, open_page


def run(rate, repeat=1, **case):
    return Record.model_validate(samples.sample(rate, **case) | {"repeat": repeat})


def lost(**case):
    return Record.model_validate(samples.lost(**case))


def test_a_case_that_ran_out_of_memory_is_on_a_page_that_can_be_verified(tmp_path, monkeypatch, capsys, chromium):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "DATA", tmp_path / "published")
    for record in (run(100.0), run(101.0, 2), lost(batch_size=64, image_px=None)):
        store.write(record, tmp_path / "records")
    page = render.machine_page("amd-epyc-2-cores", tmp_path / "records")
    text = (tmp_path / page).read_text("utf-8")
    assert "Failed, marked by a cross: resnet18 at 64 (out of memory)" in text
    assert "at batch size 64 memory ends" in text
    assert "0 (0 clean, 1 failed)" in text and "2 (2 clean)" in text
    check_page(chromium, tmp_path / page)
    monkeypatch.setenv("PAGE", page)
    assert verify.make_verify(str(tmp_path / "records")) == 0 and "identical" in capsys.readouterr().out
    (tmp_path / "none").mkdir()
    assert verify.make_verify(str(tmp_path / "none")) == 1 and "other records" in capsys.readouterr().out


def test_the_page_of_many_models_sizes_and_settings_has_axes_for_each_model(tmp_path, chromium, rendered):
    """Twelve models at six batch sizes in four settings: one pair of axes can tell twelve of those 48 lines apart."""
    settings = [{}, {"precision": "bf16"}, {"memory_format": "channels_last"}, {"compile": True}]
    for i in range(12):
        for n, size in enumerate((1, 4, 8, 32, 64, 256)):
            for m, setting in enumerate(settings):
                known = {"model": f"model_{i:02d}", "batch_size": size, **setting}
                failed = size == 256 and i % 5 == 0
                record = lost(**known) if failed else run(9.0 * (i + 1) * (n + 1) * (m + 1), **known)
                store.write(record, tmp_path / "records")
    folders = {"results": str(tmp_path / "records"), "data": str(tmp_path / "none")}
    page = rendered("machine", tmp_path / "many.html", machine="amd-epyc-2-cores", **folders)
    check_page(chromium, page)
    with open_page(chromium, page, 390) as (shown, *_):
        assert not shown.locator("details[open]").count()
        shown.get_by_role("link", name="How long does one request take?").click()
        shown.locator("details[open] table").wait_for(state="visible")
    text = page.read_text("utf-8")
    drawn = next(alt for alt in re.findall(r'<img alt="([^"]*)"', text) if "is fastest at batch" in alt)
    assert "model_00 at 256 (out of memory)" in drawn and "The figure shows" not in drawn
    assert "The figure shows 12 of 288 cases." in text and len(text) < 2_000_000


def test_one_figure_has_axes_for_each_model_or_a_point_where_there_is_one_batch_size():
    def table(models, sizes, settings=("fp32", "tf32")):
        every = [run(10.0 * n, model=m, batch_size=n, precision=p) for m in models for n in sizes for p in settings]
        return tables.by_model(tables.labelled(cases.cases(cases.runs(every))))

    def drawn(found):
        charts.theme()
        fig = charts.curves(found, "batch_size", "images_per_s", "images per batch", "images/s")
        axes = [axes for axes in fig.axes if axes.get_visible()]
        titles, lines = [a.get_title("left") for a in axes], {str(e.get_label()) for a in axes for e in a.containers}
        charts.svg(fig)
        return titles, lines

    assert drawn(table(("a", "b", "c"), (1, 8))) == (["a", "b", "c"], {tables.PLAIN, "tf32"})
    assert drawn(table(("a", "b"), (1, 8), ["fp32"])) == (["a", "b"], {tables.PLAIN})
    assert drawn(table("a", (1, 8)))[0] == [""] and drawn(table(("a", "b"), (8,)))[0] == [""]
    many = table([f"m{i:02d}" for i in range(15)], (1, 8))
    assert len(many) == 12 * 2 * 2 and tables.cut_sentence(len(many), 60) == " The figure shows 48 of 60 cases."


@pytest.mark.parametrize("records", [[], [lost(image_px=None)], [run(100.0)], [run(100.0), lost(batch_size=64)]])
def test_every_sentence_can_be_said_of_few_records(records):
    runs = cases.runs(records)
    table = tables.labelled(cases.cases(runs))
    said = [
        *answer.answer(answer.Asked(runs, "amd-epyc-2-cores")),
        tables.speed_sentence(table),
        tables.time_sentence(table),
    ]
    said += [tables.request_sentence(tables.request_table(table)), tables.limit_sentence(table)]
    said += [tables.heat_sentence(table), tables.energy_sentence(table)]
    assert tables.tuned_sentence(advice.tuned(table)) == ""
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
        "Neighbouring blocks differ by 9 to 14 %: run again. (6 of resnet18 at 8)"
    ]


def test_what_a_whole_lacks_of_what_its_parts_allow_is_said_and_no_more_is():
    table = tables.labelled(cases.cases(cases.runs([run(100.0), run(50.0, batch_size=16)])))
    said = tables.time_sentence(table.assign(allowed_images_per_s=[121.95, 50.5]))
    assert "82 % of what its parts allow (18 % unexplained)" in said and "99 % of what its parts allow (b" in said


def test_energy_of_unlike_parts_or_ways_stands_apart():
    table = tables.labelled(cases.cases(cases.runs([run(100.0), run(50.0, batch_size=16)])))
    table = table.assign(images_per_j=[5.0, 6.0], mean_w=[20.0, 8.0], joules_of=["GPU, counted", "GPU, sampled"])
    said = tables.energy_sentence(table)
    assert "By energy (GPU, counted), resnet18, batch 8 alone has a figure" in said and "unlike ways" in said
    assert tables.shown(table, tables.HEAT)["images/J"].tolist() == ["5 (GPU, counted)", "6 (GPU, sampled)"]


def test_a_request_has_its_interval_over_runs_and_the_limit_says_what_binds():
    many = [run(100.0, n) for n in (1, 2, 3)]
    table = tables.labelled(cases.cases(cases.runs(many)))
    (request,) = tables.request_table(table).to_dict("records")
    assert (request["requests"], request["median ms"], request["tail"]) == (9, pytest.approx(90.0), "slowest")
    assert " to " in request["median's 95 %"]
    assert tables.shown(table, tables.LIMIT)["bound by"].tolist() == ["compute"]


def test_a_head_says_whose_heat_it_is_and_each_cell_does_where_they_differ():
    table = tables.labelled(cases.cases(cases.runs([run(100.0), run(50.0, batch_size=16)])))
    one = table.assign(peak_c=[60.4, 70.0], heat_of="GPU")
    assert tables.shown(one, tables.HEAT)["hottest, °C (GPU)"].tolist() == [60, 70]
    two = one.assign(heat_of=["GPU", "CPU"])
    assert tables.shown(two, tables.HEAT)["hottest, °C"].tolist() == ["60 (GPU)", "70 (CPU)"]
    assert "fan, rpm" not in tables.shown(one, tables.HEAT)


def test_throughput_over_resolution_has_a_point_a_size_and_one_for_that_which_was_refused():
    made = [
        run(100.0, image_px=160),
        run(40.0, image_px=224),
        lost(image_px=None, asked_px=320),
        run(9.0, model="alexnet"),
    ]
    table = tables.over_px(tables.labelled(cases.cases(cases.runs(made))))
    assert list(table["image_px"]) == [160, 224, 320] and table["name"].nunique() == 1
    assert (
        tables.px_sentence(table)
        == "In images/s: resnet18, batch 8: 100.0 at 160 px, 40.00 at 224 px, failed at 320 px."
    )
    alone = tables.over_px(tables.labelled(cases.cases(cases.runs([run(100.0)]))))
    assert alone.empty and tables.px_sentence(alone) == ""
