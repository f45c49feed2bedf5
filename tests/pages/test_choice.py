"""What a reader may choose: by Python's own words, whatever is chosen, and in a real browser."""

import json
import math
import random
import re
import shutil

import numpy as np
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from siliconbench import paths
from siliconbench.__main__ import main
from siliconbench.analysis import stats
from siliconbench.pages import choice, ranking, render, verify
from siliconbench.record import store
from siliconbench.record.schema import Record
from tests.browser import check_page, open_page
from tests.pages.fleet import leave, lose
from tests.pages.test_render import cell
from tests.samples import sample


def views(folder, **at):
    """The choices of these records, those with these places on the axes alone."""
    names = dict(zip(("model", "px", "batch", "setting", "measure"), range(5), strict=True))
    every = list(choice.views(ranking.gather(folder)))
    return [view for view in every if all(view["at"][names[name]] == value for name, value in at.items())]


RATE, REQUEST = (measure.heading for measure in choice.MEASURES[:2])


def test_each_measure_is_what_the_records_give(tmp_path):
    leave(tmp_path, "quick", [200.0, 202.0, 198.0])
    leave(tmp_path, "slow", [100.0, 101.0, 99.0])
    for slug, price, rent in (("quick", 4000, 2.0), ("slow", 1000, 0.5)):
        (tmp_path / slug / "machine.toml").write_text(f'label = "{slug}"\nprice = {price}\nrent = {rent}\n')
    (rate,), (ms,) = views(tmp_path, measure=RATE), views(tmp_path, measure=REQUEST)
    geometric = [float(np.exp(np.log(rates).mean())) for rates in ([200, 202, 198], [100, 101, 99])]
    assert [row[0] for row in rate["rows"]] == ["quick", "slow"]
    assert [row[1] for row in rate["rows"]] == pytest.approx(geometric, rel=1e-4)
    median_ms = 1000 * float(np.median(sample()["latency"]["request_s"]))
    assert [row[1] for row in ms["rows"]] == pytest.approx([median_ms] * 2, rel=1e-4)
    (money,) = [view for view in views(tmp_path) if "1,000" in view["heading"]]
    assert [(row[0], row[1]) for row in money["rows"]] == [
        ("slow", pytest.approx(geometric[1], rel=1e-4)), ("quick", pytest.approx(geometric[0] / 4, rel=1e-4)),
    ]  # fmt: skip
    (rented,) = [view for view in views(tmp_path) if "rented" in view["heading"]]
    cost = [0.5 * 1e6 / geometric[1] / 3600, 2.0 * 1e6 / geometric[0] / 3600]
    assert [row[1] for row in rented["rows"]] == pytest.approx(cost, rel=1e-3)
    assert rented["rows"][0][0] == "slow" and rented["pairs"][0][1][0].endswith("behind")


def test_a_pair_is_said_from_both_sides_and_tested_with_all_the_others(tmp_path):
    rng, rates = random.Random(3), {}
    for slug, mean in {"a": 100.0, "b": 104.0, "c": 150.0}.items():
        rates[slug] = [mean * rng.gauss(1, 0.004) for _ in range(5)]
        leave(tmp_path, slug, rates[slug], chip=slug)
    (view,) = views(tmp_path, measure=RATE)
    names = [row[0].partition(",")[0] for row in view["rows"]]
    assert names == ["c", "b", "a"]
    for i in range(3):
        assert view["pairs"][i][i] is None
        for j in range(3):
            if i != j:
                there, back = view["pairs"][i][j], view["pairs"][j][i]
                assert there[1] * back[1] == pytest.approx(1, abs=1e-3)
                assert {there[0].rpartition(", ")[2], back[0].rpartition(", ")[2]} in (
                    {"ahead", "behind"},
                    {"undecided"},
                )
                logs = [math.fsum(map(math.log, rates[names[n]])) / 5 for n in (i, j)]
                assert there[1] == pytest.approx(math.exp(logs[1] - logs[0]), rel=1e-3)
    words = [pair[0] for line in view["pairs"] for pair in line if pair]
    assert any(word.endswith("ahead") for word in words) and any(word.endswith("undecided") for word in words)


def test_with_a_base_its_own_pairs_alone_are_tested(tmp_path):
    rng = np.random.default_rng(2)
    groups = {k: list(100 * np.exp(rng.normal(0.01 * k, 0.01, 5))) for k in range(12)}
    found = stats.compare_all(groups, base=3)
    alone = sorted((stats.compare(groups[3], groups[k]).p, k) for k in groups if k != 3)
    adjusted = np.maximum.accumulate([min(1.0, (11 - i) * p) for i, (p, _) in enumerate(alone)])  # Holm, by hand
    assert set(found) == {(3, k) for k in groups if k != 3}
    assert [found[3, k].p for _, k in alone] == pytest.approx(list(adjusted))


def test_a_failed_case_stands_below_the_others_and_the_command_asks_for_what_is_shown(tmp_path):
    leave(tmp_path, "one", [100.0, 101.0], batch_size=64, image_px=160, input="original", workers=0)
    lose(tmp_path, "two", batch_size=64, image_px=160, input="original", workers=0)
    (view,) = views(tmp_path, measure=RATE)
    assert [row[1:3] for row in view["rows"]][1] == [None, "out of memory"]
    asked = "IMAGE_MODEL=resnet50 BATCH_SIZE=64 INPUT=original WORKERS=0 IMAGE_PX=160"
    assert view["command"] == f"make image {asked}"


def test_a_command_asks_for_what_is_shown_and_tells_no_folder(tmp_path):
    leave(tmp_path, "one", [100.0, 101.0], image_px=160)
    row = ranking.gather(tmp_path).cases.iloc[0].to_dict() | {"input": "folder 0123456789ab"}
    rate, request = choice.MEASURES[:2]
    end = "INPUT=path/to/folder IMAGE_PX=160"
    for used, measure, batch, told in (
        (choice.USED[0], rate, "8", "make image IMAGE_MODEL=resnet50 BATCH_SIZE=8"),
        (choice.USED[1], rate, "8", "make best IMAGE_MODEL=resnet50"),
        (choice.USED[1], request, "8", "make best IMAGE_MODEL=resnet50 GOAL=latency BATCH_SIZE=8"),
        (choice.USED[1], request, choice.BEST, "make best IMAGE_MODEL=resnet50 GOAL=latency"),
    ):
        assert choice.command(row, used, measure, batch) == f"{told} {end}"


def test_a_failed_case_counts_for_no_choice_and_no_machine_stands_twice(tmp_path):
    for slug in "abc":
        for size in (8, 64):
            leave(tmp_path / "data", slug, [100.0 * size, 101.0 * size], batch_size=size, chip=slug)
    lose(tmp_path / "mine", "d", batch_size=64)
    leave(tmp_path / "mine", "d", [45.0, 46.0], batch_size=8, chip="d")
    study = ranking.gather(tmp_path / "data", tmp_path / "mine")
    every = list(choice.views(study))
    assert every[0]["at"][2] == "8" == str(ranking.ranking(study)["batch_size"].iat[0])
    assert all(len({row[0] for row in view["rows"]}) == len(view["rows"]) for view in every)


def test_of_more_than_forty_machines_each_is_compared_with_the_first_alone(tmp_path):
    for i in range(choice.EVERY_PAIR + 2):
        leave(tmp_path, f"m{i:02d}", [100.0 + i, 100.5 + i], chip=f"chip {i}")
    (view,) = views(tmp_path, measure=RATE)
    assert [bool(line) for line in view["pairs"]] == [True] + [False] * (choice.EVERY_PAIR + 1)
    assert view["pairs"][0].count(None) == 1
    assert "with the first" in view["holm"] and "all pairs with the first" in choice.block([view]).data


def test_each_at_its_fastest_batch_size_is_said_of_machines_with_several_alone(tmp_path):
    for slug, sizes in {"swept": (1, 8), "too": (1, 8), "once": (8,)}.items():
        for size in sizes:
            leave(tmp_path, slug, [100.0 * size, 101.0 * size], batch_size=size, chip=slug)
    (fastest,), (eight,) = (views(tmp_path, batch=size, measure=RATE) for size in (choice.BEST, "8"))
    assert [len(view["rows"]) for view in (fastest, eight)] == [2, 3]


def test_runs_that_differ_too_much_give_a_figure_that_is_not_to_be_used(tmp_path):
    leave(tmp_path, "one", [20.0, 300.0, 40.0])
    (view,) = views(tmp_path, measure=RATE)
    assert "don't use: its runs differ too much" in view["rows"][0][3] and "don't use it" in view["says"]


def test_one_s_own_machine_is_in_the_sentence_wherever_it_stands(tmp_path):
    for rate, slug in enumerate("abcd", 1):
        leave(tmp_path / ("mine" if slug == "b" else "data"), slug, [100.0 * rate, 101.0 * rate], chip=slug)
    (view,) = (v for v in choice.views(ranking.gather(tmp_path / "data", tmp_path / "mine")) if v["at"][4] == RATE)
    assert "(yours) is number 3, at 50 % of the first. Of 4 machines a" in view["says"]


def test_the_first_choice_is_what_most_machines_ran_among_what_oneself_ran_beside_others(tmp_path):
    for slug in "abc":
        leave(tmp_path / "data", slug, [100.0, 101.0], chip=slug, batch_size=64)
    for folder, slug in (("data", "a"), ("mine", "d")):
        leave(tmp_path / folder, slug, [100.0, 101.0], chip=slug, batch_size=8)
    for own, size in ((None, 64), (tmp_path / "mine", 8)):
        study = ranking.gather(tmp_path / "data", own)
        assert ranking.ranking(study)["batch_size"].unique() == [size]
        assert next(choice.views(study))["at"][2] == str(size)
    leave(tmp_path / "own", "e", [100.0, 101.0], batch_size=1)  # which no other ran
    assert ranking.ranking(ranking.gather(tmp_path / "data", tmp_path / "own"))["batch_size"].unique() == [64]


def test_the_tuned_setting_is_offered_where_there_is_one_with_right_outputs(tmp_path):
    leave(tmp_path, "one", [100.0, 101.0])
    assert not views(tmp_path, setting=choice.USED[1])
    leave(tmp_path, "one", [300.0, 303.0], precision="bf16")
    assert not views(tmp_path, setting=choice.USED[1])  # the outputs were not compared
    for path in tmp_path.glob("one/*bf16*"):
        data = json.loads(path.read_text())
        right = {"images": 64, "largest_difference": 0.1, "tolerance": 0.4, "top1_agreement": 1.0, "image_scatter": 0.5}
        data["checks"] |= {"outputs": right | {"agree": True}}
        data["checks"]["unknown"].pop("outputs")
        path.write_text(store.dumps(Record.model_validate(data)))
    leave(tmp_path, "plain", [900.0, 909.0])  # how fast it would be by another setting is not known
    (view,) = views(tmp_path, setting=choice.USED[1], measure=RATE)
    (row,) = view["rows"]
    assert row[1] == pytest.approx(301.5, rel=1e-3) and row[4].startswith("bf16")
    assert view["command"] == "make best IMAGE_MODEL=resnet50"


@pytest.fixture(scope="module")
def fleet_page(tmp_path_factory, rendered):
    """The comparison of six machines, each with two models at two batch sizes."""
    folder = tmp_path_factory.mktemp("choice")
    for i, name in enumerate("abcdef"):
        for model, factor in (("resnet50", 1.0), ("resnet18", 2.0)):
            for size in (1, 8):
                leave(folder / "data", f"m{i}", [factor * size * (50.0 + 20 * i), factor * size * (50.2 + 20 * i)],
                      chip=f"chip {name}", model=model, batch_size=size)  # fmt: skip
    given = {"results": "", "data": str(folder / "data"), "published": str(paths.PUBLISHED)}
    return rendered("compare", folder / "page.html", **given, figure_path=str(folder / "page.svg"))


def test_a_choice_is_followed_by_table_sentence_and_address(chromium, fleet_page):
    check_page(chromium, fleet_page)
    with open_page(chromium, fleet_page, 1200) as (page, errors, requests):
        assert page.locator("#standing").is_hidden() and page.locator("#choice").is_visible()
        model, *_, measure, base = page.locator("#choice select").all()
        assert page.locator("#choice tbody tr").count() == 6
        model.select_option("resnet18")
        assert "resnet18" in page.locator("#choice .finding").inner_text() and "resnet18" in page.url
        assert "IMAGE_MODEL=resnet18" in page.locator("#choice code").inner_text()
        first = page.locator("#choice tbody tr").first
        assert first.locator("td").nth(1).inner_text().startswith("100 %")
        base.select_option(index=5)  # the slowest
        assert not first.locator("td").nth(1).inner_text().startswith("100 %") and "ahead" in first.inner_text()
        measure.select_option(REQUEST)
        assert "median" in page.locator("#choice thead").inner_text()
        page.locator("#choice thead button").first.focus()
        page.keyboard.press("Enter")
        names = page.locator("#choice tbody th").all_inner_texts()
        assert names == sorted(names)
        took_ms = page.evaluate(
            "() => { const s = document.querySelector('#choice select'), t = performance.now(); s.value = 'resnet50';"
            " s.onchange(); return performance.now() - t }"
        )
        assert took_ms < 100 and not page.evaluate("!!window.ran") and not errors and not requests
        where, told = page.url, page.locator("#choice .finding").inner_text()
        page.goto("about:blank")
        page.goto(where)
        assert page.locator("#choice .finding").inner_text() == told
        assert page.locator("#choice select").first.bounding_box()["y"] < 900  # whom it is sent to sees it at once
        head = page.locator("#choice thead th").nth(1)  # ms: the best first are the least first
        assert "ascending" in head.get_attribute("aria-sort") and "↑" in head.inner_text()


def test_without_a_script_the_first_choice_stands_whole(chromium, fleet_page):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(fleet_page.resolve().as_uri())
    assert page.locator("#standing tbody tr").count() == 6 and page.locator("#choice").is_hidden()
    assert "times as fast as" in page.locator("#standing .finding").inner_text()
    assert "make image IMAGE_MODEL=resnet50" in page.locator("#standing .note").inner_text()
    context.close()


def test_only_the_page_s_own_script_runs(fleet_page):
    text = fleet_page.read_text("utf-8")
    data = re.search(r'id="views"[^>]*>(.*?)</script>', text, re.DOTALL)[1]
    assert not set("<>&\u2028\u202e") & set(data) and "script-src 'sha256-" in text
    assert json.loads(data)["views"][0]["rows"] and text.count("<script") == 2


def test_verify_says_identical_or_the_first_difference(tmp_path, monkeypatch, capsys, fleet_page):
    text = fleet_page.read_text("utf-8")
    assert verify.difference(text, text) == ""
    assert verify.difference(text, re.sub(verify.CODE, "code 0123456789ab", text)).startswith("nothing but")
    assert "records" in verify.difference(text, re.sub(r"m3 [0-9a-f]{12}", "m3 0123456789ab", text))
    shown = re.search(r'"says":"([^"]*)"', text)[1]
    assert "line" in verify.difference(text.replace(shown, "Another is ahead."), text)
    monkeypatch.setenv("PAGE", str(tmp_path / "none.html"))
    monkeypatch.setattr("sys.argv", ["siliconbench", "verify"])
    assert main() == 2 and "PAGE" in capsys.readouterr().err
    (tmp_path / "none.html").write_text("<h1>a page of something else</h1>")
    assert main() == 2 and "allowed: the path of a page of" in capsys.readouterr().err


def test_a_hash_is_the_same_wherever_files_lie_and_tells_two_of_one_name_apart(tmp_path):
    one, two = tmp_path / "a/same.py", tmp_path / "b/same.py"
    for path, text in ((one, "1"), (two, "2")):
        path.parent.mkdir()
        path.write_text(text)
    known = verify.digest([one, two])
    assert known == verify.digest([two, one])
    moved = shutil.copytree(tmp_path, tmp_path.with_name("moved") / "deep")
    assert known == verify.digest(moved.rglob("*.py"))
    one.write_text("2"), two.write_text("1")
    assert known != verify.digest([one, two])


HOSTILE = [
    "</script><script>window.ran=1</script>",
    "__proto__",
    "a\u2028b\u202e<!--",
    '"]}//<img src=x onerror=ran=1>',
]


@pytest.mark.parametrize("csp", [True, False])
def test_hostile_words_are_shown_and_run_nothing(chromium, tmp_path, csp):
    """Records can't hold such names; were one of them to come through, it is text all the same."""
    rows = [[name, 1.0, name, name, name] for name in (*HOSTILE, "x" * 1_000_000)]
    pairs = [[[name, 1.0, 0.9, 1.1] for name in HOSTILE] + [None] for _ in rows]
    view = {"at": [HOSTILE[i % 4] for i in range(5)], "heading": HOSTILE[0], "rows": rows, "says": HOSTILE[1],
            "pairs": pairs, "command": HOSTILE[3], "holm": HOSTILE[2]}  # fmt: skip
    path = tmp_path / "page.html"
    cells = [new_markdown_cell("# Title"), cell(choice.block([view]))]
    path.write_text(render.to_html(new_notebook(cells=cells)), "utf-8")
    with open_page(chromium, path, 1200, csp=csp) as (page, errors, requests):
        page.locator("#choice select").last.select_option(index=1)
        names = page.locator("#choice tbody th").all_inner_texts()
        assert len(names) == 5 and names[0] == HOSTILE[0] and names[1] == "__proto__" and "\u202e" not in names[2]
        assert not page.evaluate("!!window.ran || ({}).polluted !== undefined") and not errors and not requests
        assert page.locator("script").count() == 2 and page.locator("#choice img").count() == 0
