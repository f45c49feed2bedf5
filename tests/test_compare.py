"""The page that compares machines: right for none, one, two and thirty, and silent about nothing."""

import json
import random

import pytest

from siliconbench import compare, notebook, record
from siliconbench.sweep import NOTEBOOKS
from tests.pages import check_page
from tests.samples import sample, samples


def write(folder, slug, rates, torch="2.15.0", telemetry=None, **case):
    """Records of one machine, a run for each rate; the case is resnet50 at batch 8 unless told otherwise."""
    for i, rate in enumerate(rates):
        data = sample(rate, **({"model": "resnet50"} | case))
        data["machine"] = data["machine"] | {"slug": slug, "chip": f"Chip of {slug[:20]}"}
        data["software"] = data["software"] | {"torch": torch}
        data["repeat"] = i + 1
        if telemetry:
            data |= {"telemetry": telemetry, "unknown": {}}
        record.write(record.Record.model_validate(data), folder)


def hot(peak_c, rpm):
    return samples(-1.0, 60.0, 70, cpu_temperature_c=lambda t: peak_c, fan_rpm=lambda t: rpm)


def study(folder):
    found = compare.gather(folder)
    return found, compare.ranking(found)


def priced(folder, slug, name, price):
    (folder / slug / "machine.toml").write_text(f'label = "{name}"\nprice = {price}\ncurrency = "EUR"\n')


@pytest.fixture
def twins(tmp_path):
    """The finding of the study before this one: equally fast, but one is hot, loud and dearer."""
    write(tmp_path, "m1-max-macbook-pro", [100.0, 100.2, 99.9, 100.1, 99.8], telemetry=hot(99.0, 6012.0))
    write(tmp_path, "m1-max-mac-studio", [100.1, 100.0, 99.9, 100.2, 99.9], telemetry=hot(57.0, 1480.0))
    priced(tmp_path, "m1-max-macbook-pro", "MacBook Pro (M1 Max)", 4200)
    priced(tmp_path, "m1-max-mac-studio", "Mac Studio (M1 Max)", 3000)
    return tmp_path


def test_the_finding_of_the_original_comes_out_by_itself(twins):
    words = compare.verdict(*study(twins))
    assert "equally fast within 2 %" in words
    assert "99 °C (CPU), 6,012 rpm" in words and "57 °C (CPU), 1,480 rpm" in words
    assert "Per 1,000 EUR Mac Studio (M1 Max) gives the most, 1.4 times as much" in words


def test_a_faster_machine_is_called_so_with_its_interval(tmp_path):
    write(tmp_path, "quick", [200.0, 202.0, 198.0])
    write(tmp_path, "slow", [100.0, 101.0, 99.0])
    words = compare.verdict(*study(tmp_path))
    assert words.startswith("quick is 2 times as fast as slow (1.9")


def test_undecided_says_what_would_tell(tmp_path):
    write(tmp_path, "one", [100.0, 104.0, 97.0])
    write(tmp_path, "two", [103.0, 99.0, 106.0])
    found, rank = study(tmp_path)
    assert "undecided" in compare.verdict(found, rank)
    write(tmp_path, "three", [150.0])
    assert "one run can't tell; REPEATS=5 can" in compare.verdict(*study(tmp_path))


def test_none_and_one(tmp_path):
    found, rank = study(tmp_path)
    assert "make image" in compare.verdict(found, rank)
    write(tmp_path, "only", [100.0, 101.0])
    assert "no other machine" in compare.verdict(*study(tmp_path))


def test_unlike_rows_are_not_ranked_together_and_the_page_says_why(tmp_path):
    write(tmp_path, "here", [100.0, 101.0])
    write(tmp_path, "there", [110.0, 111.0])
    write(tmp_path, "older", [300.0, 301.0], torch="2.11.0")
    write(tmp_path, "tuned", [900.0, 901.0], precision="bf16")
    found, rank = study(tmp_path)
    assert rank["machine"].tolist() == ["there", "here"]
    older, tuned = compare.apart(found, rank)
    assert "torch 2.11, not 2.15" in older and "tuned is not ranked: it has no reference run" in tuned
    assert compare.tuned(found)["machine"].tolist() == ["tuned"]


def test_the_case_that_most_machines_share_is_ranked(tmp_path):
    for slug in ("a", "b", "c"):
        write(tmp_path, slug, [100.0, 101.0], model="resnet18")
    write(tmp_path, "a", [50.0, 51.0])
    assert len(study(tmp_path)[1]) == 3


def test_a_price_without_its_match_gives_no_sentence_and_no_column(twins):
    (twins / "m1-max-mac-studio" / "machine.toml").unlink()
    found, rank = study(twins)
    assert "Per 1,000" not in compare.verdict(found, rank)
    (twins / "m1-max-macbook-pro" / "machine.toml").unlink()
    found, rank = study(twins)
    assert "per 1,000" not in compare.rank_table(found, rank)
    assert len(compare.rank_table(found, rank).columns) <= 8


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('label = "<b>bold</b>"', "label"),
        ('label = "fine"\nprice = -3', "price"),
        ('label = "fine"\nserial = "C02"', "serial"),
        ("label = ", "Invalid"),
        ("x" * 20_000, "plain file"),
    ],
)
def test_a_wrong_label_is_named_with_the_reason(twins, text, why):
    path = twins / "m1-max-mac-studio" / "machine.toml"
    path.write_text(text)
    found = compare.gather(twins)
    assert len(found.refused) == 1 and "machine.toml" in found.refused[0] and why in found.refused[0]
    assert found.name("m1-max-mac-studio") == "m1-max-mac-studio"


def test_a_starved_device_is_not_blamed(tmp_path):
    write(tmp_path, "card", [100.0, 101.0])
    (path,) = tmp_path.glob("card/*r1.json")
    data = json.loads(path.read_text())
    data["passes"]["forward"] |= {"images_per_s": 3000.0, "seconds": 40 / 3000, "block_s": [8 / 3000] * 5}
    path.write_text(json.dumps(data))
    words = compare.parts_words(compare.parts(*study(tmp_path)))
    assert "making of pictures" in words


def test_ours_stand_beside_published_figures_only_by_the_originals_protocol(tmp_path):
    csv = NOTEBOOKS.parent / "reports" / "published.csv"
    write(tmp_path, "mine", [100.0, 101.0], input="original", workers=0)
    write(tmp_path, "mine", [500.0, 501.0], batch_size=64)
    table = compare.published(csv, compare.gather(tmp_path))
    assert table["label"].tolist()[-1] == "mine" and len(table) == 4
    assert table["images/s"].tolist()[-1] == pytest.approx(100.5, abs=0.1)
    assert table["images/s"].tolist()[:3] == [247, 263, 107]


def rendered(records, page):
    given = {"results": str(records), "picture": str(page.with_suffix(".svg"))}
    given["published"] = str(NOTEBOOKS.parent / "reports" / "published.csv")
    return notebook.render(NOTEBOOKS / "compare.ipynb", page, given, page.parent / "runs")


def test_no_machine_still_makes_a_page(tmp_path, chromium):
    (tmp_path / "data").mkdir()
    check_page(chromium, rendered(tmp_path / "data", tmp_path / "none.html"))


def test_the_page_of_thirty_machines_is_fit_to_be_sent_and_made_the_same_twice(tmp_path, chromium):
    rng, folder = random.Random(5), tmp_path / "data"
    for i in range(30):
        rate = rng.uniform(10, 3000)
        for batch in (1, 8):
            telemetry = hot(50.0 + i, 1000.0 + i) if i % 3 == 0 and batch == 8 else None
            runs = [rate * batch**0.5 * rng.gauss(1, 0.01) for _ in range(2)]
            write(folder, f"machine-{i:02d}", runs, telemetry=telemetry, batch_size=batch)
    (folder / "machine-03" / "broken.json").write_text("{")
    first = rendered(folder, tmp_path / "thirty.html")
    check_page(chromium, first)
    text = first.read_text("utf-8")
    assert "Of 30 machines" in text and "broken.json" in text and len(text) < 1_000_000
    assert rendered(folder, tmp_path / "again.html").read_bytes() == first.read_bytes()


def test_the_tracked_page_is_what_the_tracked_records_give(tmp_path):
    reports = NOTEBOOKS.parent / "reports"
    made = rendered(reports / "data", tmp_path / "compare.html")
    assert made.read_bytes() == (reports / "compare.html").read_bytes(), "run `make report` and commit what it makes"
    assert made.with_suffix(".svg").read_bytes() == (reports / "compare.svg").read_bytes()
