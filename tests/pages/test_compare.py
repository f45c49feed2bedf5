"""The page that compares machines: right for none, one, two and thirty, and silent about nothing."""

import json
import random
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from siliconbench import paths
from siliconbench.__main__ import main
from siliconbench.analysis import advice
from siliconbench.analysis.words import THIN, percent_words, told_apart
from siliconbench.pages import choice, compare, ranking, render, tables, verify
from siliconbench.record import share, store
from siliconbench.record.schema import OLDER, Record
from tests.browser import check_page, open_page
from tests.conftest import git
from tests.pages import fleet
from tests.samples import PARTS, lost, older, sample, samples
from tests.samples import suite as swept

BUSY = "Chip of busy, 2 cores, 24 GiB"  # as people are shown fleet's machine "busy"


def called(slug):
    """A machine of which nothing is known but its chip, which has its slug's name: so people are shown just that."""
    known = {"slug": slug, "chip": slug[:20], "cores": None, "memory_bytes": None}
    machine = sample()["machine"]
    return (
        machine
        | known
        | {"unknown": machine["unknown"] | dict.fromkeys(("cores", "memory_bytes"), "this test has none")}
    )


def as_ranked(found, rank):
    """The cases that are shown by batch size, as notebooks/compare.ipynb picks them."""
    return ranking.alike(found, rank).merge(rank[:1][["input", "workers"]])


def write(folder, slug, rates, torch="2.15.0", telemetry=None, day=23, **case):
    """Records of a machine's session, a run for each rate; the case is resnet50 at batch 8 unless told otherwise."""
    for i, rate in enumerate(rates):
        data = sample(rate, **({"model": "resnet50"} | case))
        data["machine"] = called(slug)
        data["software"] = data["software"] | {"torch": torch}
        data["repeat"] = i + 1
        data["created"] = f"202611{day}T1400{len(list(folder.glob(f'{slug}/*.json'))):02d}Z"
        data["sweep"] = data["sweep"] | {"id": f"202611{day}T140000Z-0123456789"}
        if telemetry:
            data |= {"telemetry": telemetry, "unknown": {"energy": "none here"}}
        store.write(Record.model_validate(data), folder)


def lose(folder, slug, **case):
    """A record of a run of this machine that ran out of memory."""
    data = lost(**({"model": "resnet50"} | case))
    data["machine"] = called(slug)
    store.write(Record.model_validate(data), folder)


def hot(peak_c, rpm):
    return samples(-1.0, 60.0, 70, cpu_temperature_c=lambda t: peak_c, fan_rpm=lambda t: rpm)


def study(folder):
    found = ranking.gather(folder)
    return found, ranking.ranking(found)


def first(found):
    """The choice that the page opens with."""
    return next(choice.views(found))


def priced(folder, slug, name, price):
    (folder / slug / "machine.toml").write_text(f'label = "{name}"\nprice = {price}\ncurrency = "EUR"\n')


@pytest.fixture
def twins(tmp_path):
    """The finding of the study before this one: equally fast, but one is hot, loud and dearer."""
    for day in (10, 12, 14, 16):
        write(tmp_path, "m1-max-macbook-pro", [100.0, 100.2 + day / 100], telemetry=hot(99.0, 6012.0), day=day)
        write(tmp_path, "m1-max-mac-studio", [100.1, 100.0 + day / 100], telemetry=hot(57.0, 1480.0), day=day)
    priced(tmp_path, "m1-max-macbook-pro", "MacBook Pro (M1 Max)", 4200)
    priced(tmp_path, "m1-max-mac-studio", "Mac Studio (M1 Max)", 3000)
    return tmp_path


def test_the_finding_of_the_original_comes_out_by_itself(twins):
    words = compare.lead_sentence(*study(twins), {})
    assert "equally fast within 2 %" in words
    assert "99 °C (CPU), 6,012 rpm" in words and "57 °C (CPU), 1,480 rpm" in words
    assert "Per 1,000 EUR Mac Studio (M1 Max) gives the most, 1.4 times as much" in words


def test_a_faster_machine_is_called_so_with_its_interval(tmp_path):
    write(tmp_path, "quick", [200.0, 202.0, 198.0])
    write(tmp_path, "slow", [100.0, 101.0, 99.0])
    words = compare.lead_sentence(*study(tmp_path), {})
    assert "quick is 2 (1.83 to 2.18) times as fast as slow." in words


def test_undecided_says_what_would_tell(tmp_path):
    write(tmp_path, "one", [100.0, 104.0, 97.0])
    write(tmp_path, "two", [103.0, 99.0, 106.0])
    words = compare.lead_sentence(*study(tmp_path), {})
    assert "that is undecided: more runs of that day can't tell, 4 sessions of each on different days may" in words
    write(tmp_path, "three", [150.0])
    assert "one run can't tell; REPEATS=5 says more" in compare.lead_sentence(*study(tmp_path), {})


def test_two_machines_of_one_day_are_not_called_alike_until_other_days_are_known(tmp_path):
    for slug in ("one", "two"):
        write(tmp_path, slug, [100.0, 100.1, 99.9, 100.0, 100.1])
    found = study(tmp_path)[0]
    assert "one is 1 (" in first(found)["says"] and "that is undecided: " in first(found)["says"]
    assert "taken to scatter by 3 % from one day to the next" in compare.between_words(found.cases)
    for day in (10, 12, 14):
        for slug in ("one", "two"):
            write(tmp_path, slug, [100.0, 100.2], day=day)
    found, rank = study(tmp_path)
    assert "equally fast within 2 %" in compare.lead_sentence(found, rank, {})
    assert "by the cases with three sessions and more" in compare.between_words(found.cases)
    assert [row[3] for row in first(found)["rows"]] == ["11 in 4 sessions (11 clean)"] * 2


def test_both_figures_of_a_disturbed_machine_are_said_and_none_is_picked(tmp_path):
    write(tmp_path, "calm", [100.0, 100.5, 99.5, 100.2])
    fleet.leave(tmp_path, "busy", [130.0, 131.0, 129.0])
    fleet.leave(tmp_path, "busy", [60.0, 62.0], start=4, verdict=fleet.word("contended", fleet.TAKEN, True))
    found, rank = study(tmp_path)
    assert set(rank["runs"]) == {4, 5} and rank.set_index("machine").at["busy", "disturbed"] == 2
    words = compare.lead_sentence(found, rank, {})
    assert "that is undecided: " in words
    assert "5 (3 clean, 2 disturbed)\nundisturbed: 130.0" in [row[3] for row in first(found)["rows"]]
    assert first(found)["pairs"][0][1][0].endswith(", undecided")


def test_a_machine_whose_every_run_was_disturbed_is_ranked_and_that_is_said(tmp_path):
    fleet.leave(tmp_path, "busy", [60.0, 62.0], verdict=fleet.word("contended", fleet.TAKEN, True))
    found, rank = study(tmp_path)
    words = compare.lead_sentence(found, rank, {})
    assert f"{BUSY}: 60.99 images/s" in words and f"No run of {BUSY} was clean" in words
    (runs,) = [row[3] for row in first(found)["rows"]]
    assert runs == "2 (0 clean, 2 disturbed)\nundisturbed: –\ndon't use: others were at work in each"


def test_a_wrong_run_is_shown_and_counts_nowhere(tmp_path):
    write(tmp_path, "one", [100.0, 101.0])
    fleet.leave(tmp_path, "one", [900.0], start=3, verdict=fleet.word("wrong", fleet.OUTPUTS))
    found, rank = study(tmp_path)
    assert rank["images_per_s"].tolist() == [pytest.approx(100.5, abs=0.1)]
    assert [row[3] for row in first(found)["rows"]] == ["2 (2 clean, 1 left out)"]
    assert compare.doubts(found) == [f"{fleet.OUTPUTS} (1 of one)"]
    assert "1 wrong" in tables.trust_sentence(found.runs)


def test_versions_of_the_method_are_never_ranked_together(tmp_path):
    for slug in ("a", "b"):
        write(tmp_path, slug, [100.0, 101.0])
    write(tmp_path, "later", [300.0, 301.0])
    for path in (tmp_path / "later").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"method": 3}))
    found, rank = study(tmp_path)
    assert sorted(rank["machine"]) == ["a", "b"]
    assert ranking.not_ranked(found, rank)[0].startswith("later is not in the first ranking: method 3, not 2.")
    assert set(ranking.alike(found, rank)["machine"]) == {"a", "b"}


def test_threads_and_lengths_are_no_gate_but_never_one_figure(tmp_path):
    write(tmp_path, "a", [100.0, 101.0, 99.0], min_seconds=2.0)
    write(tmp_path, "a", [120.0, 121.0], min_seconds=1.0)
    write(tmp_path, "b", [90.0, 91.0], min_seconds=5.0)
    found, rank = study(tmp_path)
    assert rank["machine"].tolist() == ["a", "b"] and rank["runs"].tolist() == [3, 2]
    assert rank["images_per_s"].iat[0] == pytest.approx(100.0, abs=0.1)  # of most runs, not the fastest
    (told,) = ranking.not_ranked(found, rank)
    assert told.startswith("Left out of the figure of a: 2 runs with 1 s a pass, 120.5 images/s (")
    assert "1 s a pass" not in " ".join(as_ranked(found, rank)["name"])


def test_single_runs_of_a_search_are_never_ranked(tmp_path):
    write(tmp_path, "here", [100.0, 101.0])
    write(tmp_path, "there", [900.0])
    (path,) = (tmp_path / "there").glob("*.json")
    data = json.loads(path.read_text())
    data["sweep"]["search"] = True
    path.write_text(json.dumps(data))
    found, rank = study(tmp_path)
    assert rank["machine"].tolist() == ["here"]
    assert ranking.not_ranked(found, rank) == []


def test_a_case_that_swings_within_one_run_is_named_and_nothing_silly_recommended(tmp_path):
    rates = [210.0, 140.0, 320.0, 180.0, 250.0]
    fleet.leave(tmp_path, "card", rates, batch_size=1, swing=(133.0, 330.0))
    fleet.leave(tmp_path, "card", [13000.0, 13050.0, 12980.0], batch_size=256)
    found, rank = study(tmp_path)
    ranked = as_ranked(found, rank)
    assert advice.sweet_spot(ranked).startswith("Chip of card, 2 cores, 24 GiB: batch size 256 gives 13")
    (words,) = tables.swings(ranked.assign(label=ranked["name"]))
    assert words.startswith("Chip of card, 2 cores, 24 GiB swings within one run: nine of ten blocks lie between 1")
    assert words.endswith("Its figure is the mean over that, no steady speed.")
    table = tables.labelled(found.cases)
    assert [words.partition(",")[0] for words in tables.swings(table)] == ["resnet50"]
    few = table.assign(images_per_s=table["slow_images_per_s"] / 2)  # by runs of few blocks, of which no range is known
    assert not tables.swings(few)


def test_none_and_one(tmp_path):
    found, rank = study(tmp_path)
    assert "make image" in compare.lead_sentence(found, rank, {})
    write(tmp_path, "only", [100.0, 101.0])
    assert "There is no other machine" in compare.lead_sentence(*study(tmp_path), {})


def test_unlike_rows_are_not_ranked_together_and_the_page_says_why(tmp_path):
    write(tmp_path, "here", [100.0, 101.0])
    write(tmp_path, "there", [110.0, 111.0])
    write(tmp_path, "older", [300.0, 301.0], torch="2.11.0")
    write(tmp_path, "tuned", [900.0, 901.0], precision="bf16")
    found, rank = study(tmp_path)
    assert rank["machine"].tolist() == ["there", "here"]
    older, tuned = ranking.not_ranked(found, rank)
    assert "torch 2.11, not 2.15" in older and "tuned is not ranked: it has no reference run" in tuned
    assert advice.tuned(found.cases)["machine"].tolist() == ["tuned"]


def test_the_case_that_most_machines_share_is_ranked(tmp_path):
    for slug in ("a", "b", "c"):
        write(tmp_path, slug, [100.0, 101.0], model="resnet18")
    write(tmp_path, "a", [50.0, 51.0])
    assert len(study(tmp_path)[1]) == 3


def test_a_study_of_older_records_alone_says_so_at_once(tmp_path):
    for i in range(30):
        (tmp_path / "m").mkdir(exist_ok=True)
        (tmp_path / "m" / f"resnet18-b8-cpu-fp32-20261101T1400{i:02d}Z-r1.json").write_text(json.dumps(older()))
    found = ranking.gather(tmp_path / "published", tmp_path)
    rank = ranking.ranking(found)
    assert compare.lead_sentence(found, rank, {}).endswith(f" Refused: m: 30 records {OLDER}.")
    assert compare.doubts(found) == [f"refused: m: 30 records {OLDER}"]


def test_a_price_without_its_match_gives_no_sentence_and_no_column(twins):
    (twins / "m1-max-mac-studio" / "machine.toml").unlink()
    found, rank = study(twins)
    assert "Per 1,000" not in compare.lead_sentence(found, rank, {})
    per = [view for view in choice.views(found) if "1,000" in view["heading"]]
    assert {len(view["rows"]) for view in per} == {1} and all("(EUR)" in view["heading"] for view in per)
    (twins / "m1-max-macbook-pro" / "machine.toml").unlink()
    assert not [view for view in choice.views(study(twins)[0]) if "1,000" in view["heading"]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('label = "<b>bold</b>"', "label"),
        ('label = "fine"\nprice = -3', "price"),
        ('label = "fine"\nserial = "C02"', "serial"),
        ("label = ", "Invalid"),
        ("x" * 20_000, "larger than 10,000 bytes"),
        ("label = " + "[" * 5000, "recursion"),
    ],
)
def test_a_wrong_label_is_named_with_the_reason(twins, text, why):
    path = twins / "m1-max-mac-studio" / "machine.toml"
    path.write_text(text)
    found = ranking.gather(twins)
    (told,) = share.refusals(found.bad)
    assert "machine.toml" in told and why in told
    assert found.names["m1-max-mac-studio"] == "m1-max-mac-studio"


def test_a_label_behind_a_link_is_refused(twins, tmp_path_factory):
    away, path = tmp_path_factory.mktemp("away"), twins / "m1-max-mac-studio" / "machine.toml"
    path.replace(away / "machine.toml")
    path.symlink_to(away / "machine.toml")
    (twins / "linked").symlink_to(away)
    found = ranking.gather(twins)
    assert [why.partition(": ")[0] for why in share.refusals(found.bad)] == [
        "linked/machine.toml",
        "m1-max-mac-studio/machine.toml",
    ]
    assert all("link" in why for why in share.refusals(found.bad))


def test_a_label_may_say_its_date_as_toml_does(twins):
    path = twins / "m1-max-mac-studio" / "machine.toml"
    path.write_text('label = "Studio"\nprice = 3000.5\ndate = 2026-11-01\nsource = "the list"\nnote = "used"\n')
    assert f"Studio: 3{THIN}000 EUR (the list, 2026-11-01). used" in compare.price_lines(study(twins)[0])


def test_two_machines_of_one_label_stay_two(twins):
    priced(twins, "m1-max-mac-studio", "My Mac", 3000)
    priced(twins, "m1-max-macbook-pro", "My Mac", 4200)
    rank = study(twins)[1]
    assert set(rank["name"]) == {"My Mac (studio)", "My Mac (pro)"}


def test_a_torch_that_calls_itself_anything_is_ranked_all_the_same(tmp_path):
    write(tmp_path, "here", [100.0, 101.0], torch="2.9.1")
    write(tmp_path, "there", [100.0, 101.0], torch="2.11.0")
    write(tmp_path, "odd", [100.0, 101.0], torch="nightly (mine)")
    assert study(tmp_path)[1]["machine"].tolist() == ["there"]  # 2.11 is later than 2.9


def test_a_failed_run_that_never_knew_its_image_size_stays_beside_those_that_did(tmp_path):
    write(tmp_path, "one", [100.0, 101.0])
    lose(tmp_path, "one", batch_size=64, image_px=None)
    found, rank = study(tmp_path)
    table = as_ranked(found, rank)
    assert table["batch_size"].tolist() == [8, 64]
    assert "one at 64 (out of memory)" in tables.speed_sentence(tables.few(table))
    assert compare.doubts(found) == ["out_of_memory: no room (1 of one)"]


def test_each_machine_is_held_against_the_others_of_its_chip(tmp_path):
    for slug, rate in {"a": 100.0, "b": 101.0, "c": 80.0, "d": 99.5, "e": 100.6, "lone": 50.0}.items():
        write(tmp_path, slug, [rate, rate * 1.001, rate * 0.999])
        for path in (tmp_path / slug).glob("*.json") if slug != "lone" else ():
            data = json.loads(path.read_text())
            data["machine"]["chip"] = "Same Chip"
            path.write_text(json.dumps(data))
    told = compare.health(ranking.gather(tmp_path))
    assert told[-1].startswith("lone (lone; resnet50, batch 8): 50.00 images/s; no other") and len(told) == 6
    assert "80.00 images/s, below where one more of its 4 others would lie (9" in told[2]
    assert all("within where one more of its 4 others would lie" in words for words in told[:2] + told[3:5])
    assert "they differ too much to tell more" in told[0] and "look at its heat" in told[2]
    for slug in ("d", "e"):
        shutil.rmtree(tmp_path / slug)
    few = compare.health(ranking.gather(tmp_path))[:3]
    assert few[2].startswith(
        "Same Chip (c) (Same Chip; resnet50, batch 8): 80.00 images/s; 2 others run at 100.0 to 101.0. It takes"
    )


def test_two_of_a_chip_without_a_case_in_common_tell_nothing_of_one_another(tmp_path):
    for slug, size in (("a", 8), ("b", 64)):
        fleet.leave(tmp_path, slug, [100.0, 101.0], chip="M1 Max", batch_size=size)
    told = compare.health(ranking.gather(tmp_path))
    assert [line.partition(" (M1")[0][-3:] for line in told] == ["(a)", "(b)"]
    assert all("no other of this chip ran this case" in line for line in told)


def test_the_memory_that_a_model_needs_is_the_largest_peak_on_each_kind_of_device(tmp_path):
    held = {"peak_process_bytes": 3 * 2**30, "swap_growth_bytes": 0, "unknown": {"peak_device_bytes": "it is a CPU"}}
    write(tmp_path, "box", [100.0, 101.0])
    write(tmp_path, "box", [100.0], batch_size=64)
    write(tmp_path, "box", [100.0], precision="bf16", batch_size=512)
    (path,) = tmp_path.glob("box/*-b64-*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"memory": held | {"peak_device_bytes": None}}))
    write(tmp_path, "card", [900.0, 901.0], device="cuda", batch_size=64)
    for path, peak in zip(sorted(tmp_path.glob("card/*.json")), (2**30, 2**29), strict=True):
        known = held | {"peak_device_bytes": peak, "unknown": {}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"memory": known}))
    table = compare.memory_table(ranking.gather(tmp_path))
    assert table.columns.tolist() == ["model", "batch", "CPU", "NVIDIA GPU"]
    assert table["batch"].tolist() == [8, 64] and table["CPU"].tolist() == [10**9 / 2**30, 3.0]
    assert table["NVIDIA GPU"].isna().tolist() == [True, False] and table["NVIDIA GPU"].iat[1] == 1.0
    write(tmp_path, "box", [100.0], image_px=320)
    assert compare.memory_table(ranking.gather(tmp_path))["image, px"].tolist() == [224, 224, 320]


def test_an_epoch_takes_the_hours_that_the_fastest_training_tells(tmp_path):
    write(tmp_path, "box", [500.0])
    assert compare.epoch_lines(ranking.gather(tmp_path)) == []
    write(tmp_path, "box", [100.0, 100.0], mode="train", batch_size=64)
    write(tmp_path, "box", [50.0, 50.0], mode="train", batch_size=8)
    (line,) = compare.epoch_lines(ranking.gather(tmp_path))
    assert line.startswith(
        "box: 3.56 hours for resnet50, batch 64, fp32, cpu, at 100.0 images/s ("
    )  # 1.28e6 / 100 / 3600


def test_the_tuned_setting_is_set_beside_the_reference_of_the_same_input(tmp_path):
    write(tmp_path, "one", [100.0, 101.0])
    write(tmp_path, "one", [900.0, 901.0], input="original")
    write(tmp_path, "one", [200.0, 202.0], precision="bf16", memory_format="channels_last")
    (row,) = advice.tuned(ranking.gather(tmp_path).cases).to_dict("records")
    assert row["fastest setting"] == "bf16, channels last, eager, batch 8"
    assert row["times reference"].startswith("2 (1.") and row["outputs agree"] == "not compared"


def test_one_s_own_case_takes_nobody_out_of_the_judged(tmp_path):
    for slug in "abcdef":
        fleet.leave(tmp_path / "data", slug, [100.0, 101.0], chip="X", batch_size=64)
    fleet.leave(tmp_path / "data", "g", [50.0, 51.0], chip="X", batch_size=8)
    fleet.leave(tmp_path / "mine", "h", [50.0, 51.0], chip="X", batch_size=8)
    told = compare.health(ranking.gather(tmp_path / "data", tmp_path / "mine"))
    assert sum("within where one more of its 5 others would lie" in line for line in told) == 6


def test_the_suite_leads_and_doubts_whom_it_names():
    rows = {"label": ["a", "b", "c"], "images_per_s": [300.0, 200.0, 100.0], "rank": [1, 2, 3]}
    said = {
        clean: compare.suite_sentence({"single": pd.DataFrame(rows | {"clean": clean})})
        for clean in ((3, 3, 0), (0, 3, 3))
    }
    assert all("a, 300.0 images/s" in words and "at batch 1 (single)" in words for words in said.values())
    assert "clean" not in said[3, 3, 0] and "No run of a was clean" in said[0, 3, 3]
    assert compare.suite_sentence({"single": pd.DataFrame(rows | {"clean": 3})[:1]}) == ""
    shared = pd.DataFrame(rows | {"clean": 3, "rank": [1, 1, 3]})
    assert "undecided: a, 300.0 or b, 200.0 images/s" in compare.suite_sentence({"bulk": shared})


def test_what_is_slower_than_the_machine_s_own_reference_is_not_called_its_fastest(tmp_path):
    """As when `make best` fed both its ends by one core, while another sweep had enough."""
    write(tmp_path, "one", [300.0, 303.0], min_seconds=6)
    write(tmp_path, "one", [100.0, 101.0], day=24)
    write(tmp_path, "one", [150.0, 151.5], day=24, precision="bf16")
    found = advice.tuned(ranking.gather(tmp_path).cases)
    assert found["times reference"].iat[0].startswith("0.5 (") and len(found) == 1
    assert (
        "no faster with bf16, contiguous, eager, batch 8, 150.7 images/s; over its best reference figure: 0.5"
        in tables.tuned_sentence(found)
    )


def test_the_fastest_settings_are_by_image_size_and_what_has_no_reference_has_no_ratio(tmp_path):
    write(tmp_path, "one", [100.0, 101.0])
    for slug, rate, px in (("one", 200.0, 224), ("one", 900.0, 64), ("two", 300.0, 224)):
        write(tmp_path, slug, [rate], precision="bf16", image_px=px)
    found = advice.tuned(ranking.gather(tmp_path).cases)
    assert found["model"].tolist() == ["resnet50, 64 px", "resnet50", "resnet50, 224 px"]  # the fastest first
    assert (found["the model alone"] > found["images/s"]).all() and found["times reference"].notna().tolist()[2]
    lone = ranking.gather(tmp_path).cases.query("machine == 'two'").assign(forward_images_per_s=None)
    assert advice.tuned(lone)["the model alone"].isna().all()  # a stranger's record may lack that pass
    said = tables.tuned_sentence(found)
    assert "nan" not in said and said.count("its best reference figure") == 1


def test_a_results_folder_that_is_not_there_stops_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESULTS", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "argv", ["siliconbench", "report"])
    assert main() == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_page_is_the_same_of_moved_records(twins, tmp_path_factory, compared):
    moved = shutil.copytree(twins, tmp_path_factory.mktemp("elsewhere") / "deep" / "records")
    pages = [compared(records, records.parent / "compare.html") for records in (twins, moved)]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_what_lies_in_both_folders_counts_once_and_a_label_of_ones_own_goes_before(tmp_path):
    own, data = tmp_path / "mine", tmp_path / "data"
    write(own, "here", [100.0, 101.0])
    shutil.copytree(own, data)
    write(data, "there", [90.0, 91.0])
    write(own, "here", [99.0])
    priced(data, "here", "Published", 1)
    priced(own, "here", "Desk", 2)
    found = ranking.gather(data, own)
    assert found.runs.groupby("machine").size().to_dict() == {"here": 3, "there": 2}
    assert found.names == {"here": "Desk (yours)", "there": "there"}
    assert ranking.gather(data).names == {"here": "Published", "there": "there"}


def test_machines_of_one_name_are_told_apart_by_the_last_letters_of_their_slugs():
    plain = {"m1-k3fq": "M1", "m1-x7bd": "M1", "m2-abcd": "M2", "a-b": "A", "c-b": "A"}
    told = {"m1-k3fq": "M1 (k3fq)", "m1-x7bd": "M1 (x7bd, yours)", "m2-abcd": "M2 (yours)", "a-b": "A (a-b)"}
    assert told_apart(plain, {"m1-x7bd", "m2-abcd", "gone"}) == told | {"c-b": "A (c-b)"}


def test_records_of_0_1_among_the_published_are_not_on_the_page(tmp_path):
    write(tmp_path, "here", [100.0, 101.0])
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "resnet18-b8-cpu-fp32-20261101T140000Z-r1.json").write_text(json.dumps(older()))
    (tmp_path / "m" / "resnet18-b8-cpu-fp32-20261101T140001Z-r1.json").write_text("{")
    assert len(ranking.gather(tmp_path).bad) == 1
    assert len(ranking.gather(tmp_path / "none", tmp_path).bad) == 2


def test_published_figures_have_their_columns():
    table = pd.read_csv(paths.ROOT / "reports" / "published.csv")
    assert ",".join(table) == (
        "label,images_per_s,low,high,model,batch_size,precision,what,temperature_c,fan_rpm,price,currency,source"
    )
    assert table["images_per_s"].tolist() == [round(100_000 / s) for s in (404.65, 380.21, 938.19)]
    assert table["source"].notna().all()


def test_a_starved_device_is_not_blamed(tmp_path):
    write(tmp_path, "card", [100.0, 101.0])
    (path,) = tmp_path.glob("card/*r1.json")
    data = json.loads(path.read_text())
    data["passes"]["forward"] |= {"images_per_s": 3000.0, "seconds": 40 / 3000, "block_s": [8 / 3000] * 5}
    path.write_text(json.dumps(data))
    found, rank = study(tmp_path)
    words = compare.parts_sentence(tables.parts(ranking.alike(found, rank), ("forward", "end_to_end")))
    assert "data loading and preprocessing are what is timed" in words


def test_ours_stand_beside_published_figures_only_by_the_originals_protocol(tmp_path):
    csv = paths.ROOT / "reports" / "published.csv"
    write(tmp_path, "mine", [100.0, 101.0], input="original", workers=0)
    write(tmp_path, "mine", [500.0, 501.0], batch_size=64)
    table = compare.published(csv, ranking.gather(tmp_path))
    assert table["machine"].tolist()[-1] == "mine (measured here)" and len(table) == 4
    assert table["measured"].tolist() == [False, False, False, True]
    assert table["images/s"].tolist()[-1] == pytest.approx(100.5, abs=0.1)
    assert table["images/s"].tolist()[:3] == [247, 263, 107]


@pytest.fixture
def compared(rendered):
    """compared(records, page): the page that compares these published records."""
    given = {"results": "", "published": str(paths.PUBLISHED)}
    return lambda records, page: rendered("compare", page, data=str(records), **given)


def heads(text):
    """The column names of each table of a page."""
    return [re.findall(r"<th [^>]*>(.*?)</th>", head) for head in re.findall(r"<thead>(.*?)</thead>", text)]


def test_one_machine_alone_is_set_beside_nothing(tmp_path, chromium, compared):
    write(tmp_path / "data", "only", [100.0, 101.0], telemetry=hot(60.0, 900.0))
    write(tmp_path / "data", "only", [50.0], batch_size=1)
    page = compared(tmp_path / "data", tmp_path / "one.html")
    check_page(chromium, page)
    text = page.read_text("utf-8")
    assert "There is no other machine" in text and "only: 100.5 images/s, end to end" in text
    assert "only is fastest at batch 8: 100.5 images/s" in text
    assert "of the fastest" not in text and text.count("<img") == 3


def test_no_machine_still_makes_a_page(tmp_path, chromium, compared):
    (tmp_path / "data").mkdir()
    page = compared(tmp_path / "data", tmp_path / "none.html")
    check_page(chromium, page)
    text = page.read_text("utf-8")
    missing = text.partition('id="Not-measured-yet"')[2].partition("</ul>")[0]
    assert "The suite, two figures to quote: <code>make suite</code>" in missing and "Two figures to quote<" not in text
    assert "Does it keep its speed" not in text and "HTML object" not in text and missing.count("<li>") == 4


def test_the_two_figures_to_quote_stand_with_rank_ratios_and_what_is_not_ranked(tmp_path, chromium, compared):
    def torch(data):
        data["software"]["torch"] = "2.11.0"

    def fail(data):
        data |= {"status": "failed", "error": {"kind": "killed", "message": "it was"}, "unknown": {}}
        data |= dict.fromkeys(PARTS)

    sweeps = [swept(1.0, slug="slow"), swept(2.0, slug="quick"), swept(2.02, slug="quicker")]
    sweeps += [swept(9.0, slug="older", every=torch), swept(slug="broken", vit_b_16_64=fail)]
    for record in (record for sweep in sweeps for record in sweep):
        store.write(record, tmp_path / "data")
    page = compared(tmp_path / "data", tmp_path / "suite.html")
    check_page(chromium, page)
    text = page.read_text("utf-8")
    tables = re.findall(r"<figcaption>(Single|Bulk), batch \d+.*?<tbody>(.*?)</tbody>", text, re.DOTALL)
    rows = [[re.sub("<[^>]*>", "|", row) for row in body.split("</tr>")[:3]] for _, body in tables]
    assert [name for name, _ in tables] == ["Single", "Bulk"]
    for own in rows:
        assert [name in row for name, row in zip(("(quicker)", "(quick)", "(slow)"), own, strict=True)] == [True] * 3
        assert [re.search(r"\|(\d)\|", row)[1] for row in own] == ["1", "1", "3"]
    assert len(re.findall("(?:(?:mobilenet_v3_small|resnet50|vit_b_16) 0.495(?:, )?){3}<", text)) == 2
    assert "(slow) (cpu): the model alone single 22.0, bulk 220 images/s." in text
    assert (
        "(older) (cpu) is not ranked with these: torch 2.11, method 2, not torch 2.15, method 2. It has single 180"
        in text
    )
    assert "(broken) (cpu): incomplete, no figure (vit_b_16 at batch 64: killed)." in text


def test_the_page_with_all_its_parts(twins, chromium, compared):
    write(twins, "m1-max-macbook-pro", [90.0], telemetry=hot(99.0, 6012.0), minutes=10.0)
    write(twins, "m1-max-mac-studio", [100.0], minutes=10.0)  # without samples: said in words, not drawn
    write(twins, "m1-max-mac-studio", [300.0, 301.0], precision="fp16")
    write(twins, "m1-max-mac-studio", [99.0, 99.5], input="original", workers=0)
    lose(twins, "m1-max-macbook-pro", batch_size=256)
    write(twins, "older", [50.0, 51.0], torch="2.11.0")
    page = compared(twins, twins.parent / "whole.html")
    check_page(chromium, page)
    text = page.read_text("utf-8")
    for words in (
        "equally fast within 2 %",
        "older is not in the first ranking",
        "(out of memory)",
        "Too short to claim",
        "fp16",
    ):
        assert words in text
    for words in ("(measured here)", f"4{THIN}200 EUR", "and what ran on them"):
        assert words in text
    assert text.count("<img") == 4 and max(len(head) for head in heads(text)) <= 8


@pytest.mark.parametrize("name", ["compare", "card", "lone"])
def test_the_page_of_sessions_disturbed_wrong_and_failed_runs(tmp_path_factory, chromium, name, request):
    folder = tmp_path_factory.getbasetemp() / "fleet"
    if not folder.is_dir():
        fleet.fill(folder)
    page = folder.parent / f"{name}.html"
    if name == "compare":
        request.getfixturevalue("compared")(folder, page)
    else:
        request.getfixturevalue("rendered")("machine", page, machine=name, results=str(folder))
    check_page(chromium, page)
    text = page.read_text("utf-8")
    words = {
        "compare": (
            "undisturbed: 900.3",
            "swings within one run",
            "below where one more",
            "1 wrong",
            "20 in 4 sessions",
        ),
        "card": (
            "undisturbed: 900.3",
            "batch 1 swings within one run",
            "1 left out",
            "bound by",
            "memory ends",
            ", 2026-11-09: resnet50",
            "older sweeps",
            ">2026-11-03<",
        ),
        "lone": ("one run", "fewer than two batch sizes ran twice"),
    }
    assert not [said for said in words[name] if said not in text]
    assert max(len(head) for head in heads(text)) <= 8


CHOSEN = """async () => {
    const select = document.querySelectorAll("#choice select")[2];  // the batch size
    select.value = "1";
    select.dispatchEvent(new Event("change"));
    const rows = () => document.querySelectorAll("#choice tbody tr").length, first = rows();
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(() => setTimeout(drawn))));
    return [first, rows()];
}"""


def test_the_page_of_sixty_machines_and_one_is_fit_to_be_sent(tmp_path, chromium, compared):
    """Of a choice the first sixty rows are there at once, all of them a frame later."""
    rng, folder = random.Random(5), tmp_path / "data"
    for i in range(61):
        rate = rng.uniform(10, 3000)
        for batch in (1, 8):
            telemetry = hot(50.0 + i, 1000.0 + i) if i % 3 == 0 and batch == 8 else None
            runs = [rate * batch**0.5 * rng.gauss(1, 0.01) for _ in range(2)]
            write(folder, f"machine-{i:02d}", runs, telemetry=telemetry, batch_size=batch)
    (folder / "machine-03" / "broken.json").write_text("{")
    page = compared(folder, tmp_path / "sixty.html")
    check_page(chromium, page)
    with open_page(chromium, page, 1200) as (shown, *_):
        assert shown.evaluate(CHOSEN) == [60, 61]
    text = page.read_text("utf-8")
    assert "Of 61 machines" in text and "broken.json" in text and len(text) < 1_000_000
    assert "The figure shows 12 of 61 cases" in text


def tracked(root, copy):
    """The records of reports/data under root that git knows, copied; a skip where it knows none."""
    command = ["git", "ls-files", "-z", "reports/data"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.split("\0")
    for name in filter(None, listed):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy / name)
    return copy / "reports/data" if any(listed) else pytest.skip("without git nothing tells what is published")


def test_only_what_git_knows_is_held_against_the_tracked_page(tmp_path):
    with pytest.raises(pytest.skip.Exception, match="without git"):
        tracked(tmp_path, tmp_path / "copy")
    write(tmp_path / "reports/data", "one", [100.0])
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    write(tmp_path / "reports/data", "mine", [200.0])
    assert [path.parent.name for path in tracked(tmp_path, tmp_path / "copy").rglob("*.json")] == ["one"]


def test_the_tracked_page_is_what_the_published_records_give(tmp_path):
    """Those that lie there now, as after `make share`; else those that git knows: a friend's were put beside them."""
    page, made = paths.DATA.with_name("compare.html"), tmp_path / "made/compare.html"

    def same(data):
        given = {"results": "", "data": str(data), "published": str(paths.PUBLISHED)}
        given["figure_path"] = str(made.with_suffix(".svg"))
        render.render(paths.NOTEBOOKS / "compare.ipynb", made, given)
        pages = [path.read_text("utf-8") for path in (page, made)]
        drawn = [path.with_suffix(".svg").read_bytes() for path in (page, made)]
        alike = verify.difference(*pages).partition(":")[0] in ("", "nothing but the code's hash")
        return alike and (drawn[0] == drawn[1] or not verify.EXACT)

    known = tracked(paths.ROOT, tmp_path)
    told = "it is not what the records give: run `make report` without own records, and commit what it makes"
    assert same(paths.DATA) or same(known), told


@pytest.mark.parametrize("part", [0.995, 0.9996, 0.0004])
def test_no_sentence_says_a_share_by_powers_of_ten(tmp_path, part):
    for slug, rate in {"a": 1000.0, "b": 999.9, "c": 1000.0 * part}.items():
        write(tmp_path, slug, [rate, rate * 1.0001])
    found, rank = study(tmp_path)
    table = tables.labelled(found.cases.assign(allowed_images_per_s=found.cases["images_per_s"] / part))
    said = [compare.lead_sentence(found, rank, {}), first(found)["says"], tables.time_sentence(table)]
    said += [tables.limit_sentence(table.assign(utilization=part)), tables.energy_sentence(rank)]
    said += [compare.worth_sentence(rank)]
    said += compare.health(found)
    assert not [words for words in said if re.search(r"\de[+-]?\d", words)]
    assert f"c is the last, at {percent_words(part)} of" in said[0] and f"{percent_words(part)} of" in said[3]
    if part == 0.995:
        assert "99.5 %" in said[0] and "99.5 %" in said[1] and "99.5 %" in said[2] and "99.5 %" in said[3]


def test_two_things_of_one_name_are_ranked_apart_and_that_is_said(tmp_path):
    write(tmp_path, "one", [100.0, 101.0])
    write(tmp_path, "two", [120.0, 121.0])
    for path in (tmp_path / "two").glob("*.json"):
        path.write_text(
            re.sub(r'"model_fingerprint": "?[\w]+"?', '"model_fingerprint": "0123456789ab"', path.read_text())
        )
    for path in (tmp_path / "one").glob("*.json"):
        path.write_text(
            re.sub(r'"model_fingerprint": "?[\w]+"?', '"model_fingerprint": "ba9876543210"', path.read_text())
        )
    found = ranking.gather(tmp_path)
    rank = ranking.ranking(found)
    assert len(rank) == 1 and len(found.bad) == 0
    told = " ".join(ranking.not_ranked(found, rank))
    assert "resnet50 is not the same thing everywhere" in told and "0123456789ab" in told and "ba9876543210" in told
