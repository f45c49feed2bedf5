"""More than a thousand fuzzed and hostile records beside good ones: each is refused in one plain line, or shown intact.

Nothing is followed, nothing raises, nothing runs, and the good ones are read as if they stood alone.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siliconbench import paths
from siliconbench.__main__ import TARGETS
from siliconbench.record import store
from siliconbench.record.schema import Record
from tests.browser import open_page
from tests.samples import lost, sample

MACHINE = "amd-epyc-2-cores"
TEXTS = [
    "M<script>window.ran = 1</script>",
    '<img src=x onerror="window.ran = 1">',
    "\"><svg onload='window.ran = 1'>",
    "</style></figure><b onmouseover=1>",
    "&lt;script&gt;window.ran = 1&lt;/script&gt;",
    "$\\frac{1}{0}$",
    "{{ 7 * 7 }} {% x %}",
    "🔥 日本 \u202e",
    "\x00\x07\x1b[31m",
    "two\nlines",
    "\ud800",
    "../../etc/passwd",
    "a" * 501,
    "NaN",
    "",
]
ALLOWED = ["$x^2$ costs $5", "_x", "(a)", "__init__ & co", "# no heading", "[a link](#x)", "`code` *stars*", "a" * 500]
NUMBERS = [float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 10**30, -1, True, None, "8", 0.5, 2**63, []]
RAN = "!!window.ran || !!document.documentElement.dataset.ran"
PLAIN = r"[ -;=?-~]{1,500}"


GOOD = store.dumps(Record.model_validate(sample()))


def whole() -> dict[str, Any]:
    """A valid record with every field that it can have written out."""
    return json.loads(GOOD)


def leaves(at: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each value within that holds no other, with the way to it."""
    pairs = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
    inner = [(k, v) for k, v in pairs]
    if not inner:
        yield way, at
    for key, value in inner:
        yield from leaves(value, (*way, key))


def changed(data: dict[str, Any], way: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The record with another value at the end of this way."""
    at = data
    for step in way[:-1]:
        at = at[step]
    at[way[-1]] = value
    return data


def strings(at: Any) -> Iterator[str]:
    """Every string within, keys too."""
    if isinstance(at, str):
        yield at
    for key, value in at.items() if isinstance(at, dict) else ((0, v) for v in at) if isinstance(at, list) else ():
        yield from strings(key)
        yield from strings(value)


def fuzzed(count: int) -> list[dict[str, Any]]:
    """So many records with one value, anywhere, replaced by anything that JSON can hold; the same each time."""
    made: list[dict[str, Any]] = []
    ways = [way for way, _ in leaves(whole())] + [("machine",), ("case",), ("passes", "end_to_end"), ("checks",)]
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60) | st.sampled_from(TEXTS)
    values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=9), v))

    @settings(max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=HealthCheck)
    @given(way=st.sampled_from(ways), value=values)
    def collect(way, value):
        made.append(changed(whole(), way, value))

    collect()
    return made


def mutants() -> Iterator[dict[str, Any]]:
    """Each string field with each hostile text, each number field with each hostile number, and what chance finds."""
    for way, value in leaves(whole()):
        if isinstance(value, str):
            yield from (changed(whole(), way, text) for text in TEXTS)
        elif isinstance(value, (int, float)):
            yield from (changed(whole(), way, number) for number in NUMBERS)
    for text in TEXTS:
        yield changed(whole(), ("machine", "unknown", text), text)
        yield changed(whole(), ("verdict", "reasons"), [text])
    yield from fuzzed(300)


def raw() -> dict[str, bytes]:
    """Files that are no JSON, too much of it, or two things at once, by name."""
    good = store.dumps(Record.model_validate(sample(batch_size=2))).encode()
    return {
        "empty.json": b"",
        "nul.json": b"\x00" * 100,
        "utf8.json": good.replace(b"AMD EPYC", b"AMD \xff\xfe"),
        "utf16.json": good.decode().encode("utf-16"),
        "mark.json": b"\xef\xbb\xbf" + good,
        "deep.json": b"[" * 100_000,
        "deep-object.json": b'{"machine":' * 50_000 + b"1" + b"}" * 50_000,
        "nan.json": good.replace(b'"others_share": 0.0', b'"others_share": NaN'),
        "infinity.json": good.replace(b'"others_share": 0.0', b'"others_share": -Infinity'),
        "digits.json": good.replace(b'"others_share": 0.0', b'"others_share": ' + b"9" * 100_000),
        "exponent.json": good.replace(b'"others_share": 0.0', b'"others_share": 1e999999999'),
        "two.json": good + good,
        "script.json": b"<script>window.ran = 1</script>",
        "pickle.json": b"\x80\x04\x95cos\nsystem\n",
        store.file_name(Record.model_validate(sample(batch_size=2)).case, "20261123T140000Z", 1): good.replace(
            b'"status": "ok"', b'"status": "ok", "status": "ok"'
        ),
    }


NAMES = [
    "-rf.json",
    "..json",
    "a b.json",
    "$(touch x).json",
    "<b>.json",
    "\x1b[31m.json",
    "a\nb.json",
    "é" * 100 + ".json",
]


@pytest.fixture(scope="module")
def good() -> list[Record]:
    """The good records: three that are plain, and one for each hostile text that the models allow."""
    made = [sample(batch_size=size, model="alexnet") for size in (1, 8, 64)]
    for i, text in enumerate(ALLOWED):
        told = sample(batch_size=100 + i) | {"verdict": {"word": "noisy", "reasons": [text], "disturbed": False}}
        made += [told, lost(text, "failed", batch_size=200 + i)]
    return [Record.model_validate(each) for each in made]


@pytest.fixture(scope="module")
def folder(good, tmp_path_factory) -> Path:
    """All of them in one folder, as a stranger could send it."""
    results = tmp_path_factory.mktemp("data")
    for each in good:
        store.write(each, results)
    home = results / MACHINE
    for i, data in enumerate(mutants()):
        created = f"20261124T{i // 3600:02}{i // 60 % 60:02}{i % 60:02}Z"
        data |= {"created": created} if data.get("created") == whole()["created"] else {}
        name = f"resnet18-b8-cpu-fp32-{created}-r1.json"
        (home / name).write_text(json.dumps(data))
    for name, data in raw().items():
        (home / name).write_bytes(data)
    for name in NAMES:
        (home / name).write_text(json.dumps(whole()))
    (home / os.fsdecode(b"\xff\xfe.json")).write_text("{}")
    tricks(results, home / store.file_name(good[0].case, good[0].created, good[0].repeat))
    return results


def tricks(results: Path, real: Path) -> None:
    """Puts links, pipes, folders and a huge file where records should stand."""
    home, outside = real.parent, results.parent / "outside" / MACHINE
    with (home / "huge.json").open("wb") as file:
        file.truncate(100_000_000)
    outside.mkdir(parents=True, exist_ok=True)
    (outside / real.name).write_bytes(real.read_bytes())
    (results / "linked-folder").symlink_to(outside)
    (home / "link.json").symlink_to(real)
    (home / "dangling.json").symlink_to(results / "nowhere")
    (home / "loop.json").symlink_to(home / "loop.json")
    (home / "secret.json").symlink_to("/etc/passwd")
    (home / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(home / "pipe.json")
    (home / "folder.json").mkdir()
    for name in ("..evil", "<img src=x onerror=window.ran=1>", "a\nb", "-x", "UPPER", "$(touch x)"):
        (results / name).mkdir()
        (results / name / real.name).write_bytes(real.read_bytes())
    for name, text in {
        "t1": "a = " + "[" * 4000,
        "t2": "\x00",
        "t3": 'label = "<script>window.ran = 1</script>"',
    }.items():
        (results / name).mkdir()
        (results / name / "machine.toml").write_text(text)


@pytest.fixture(scope="module")
def found(folder) -> dict[Path, Record | ValueError]:
    return dict(store.read(folder))


def test_there_are_more_than_a_thousand_and_none_is_skipped(folder, found):
    refused = [r for r in found.values() if isinstance(r, ValueError)]
    assert len(refused) > 1000
    assert set(found) == {path for at in folder.iterdir() for path in at.iterdir() if path.name.endswith(".json")}


def test_each_refusal_is_one_plain_line(found):
    assert all(re.fullmatch(PLAIN, str(r)) for r in found.values() if isinstance(r, ValueError))


def test_good_records_are_read_unchanged(folder, found, good):
    for each in good:
        path = folder / MACHINE / store.file_name(each.case, each.created, each.repeat)
        assert found[path] == each
        assert path.read_text("utf-8") == store.dumps(each)


def test_what_is_accepted_is_a_plain_file_read_whole_with_nothing_hostile_in_it(found, good):
    judge = jsonschema.Draft202012Validator(json.loads(paths.SCHEMA.read_bytes()))
    accepted = {path: r for path, r in found.items() if isinstance(r, Record)}
    assert len(accepted) > len(good)  # chance changes some values to others that are fine
    for path, made in accepted.items():
        data = json.loads(path.read_bytes())
        assert path.is_file() and not path.is_symlink() and not path.parent.is_symlink()
        assert path.parent.name == made.machine.slug and re.fullmatch(r"[\w.-]+", path.name, re.ASCII)
        assert json.loads(store.dumps(made)) == data
        assert not [text for text in strings(data) if not re.fullmatch(r"[ -;=?-~]{0,500}", text)]
        judge.validate(data)


def test_hand_made_files_are_refused_each_for_its_own_reason(folder, found):
    why = {path.name: str(r) for path, r in found.items() if isinstance(r, ValueError) and path.parent.name == MACHINE}
    assert set(raw()) <= set(why) and set(NAMES) <= set(why)
    for name in ("link", "dangling", "loop", "secret", "zero", "pipe", "folder"):
        assert "it is a link" in why[f"{name}.json"]
    assert "larger than" in why["huge.json"]
    assert "its name should be" in why["-rf.json"]
    assert why[list(raw())[-1]] == "the key status is there twice"
    assert all(isinstance(r, ValueError) for path, r in found.items() if path.parent.name != MACHINE)


def test_check_names_every_bad_one_plainly(folder, found, capsys, monkeypatch):
    monkeypatch.setenv("RESULTS", str(folder))
    monkeypatch.setattr(paths, "DATA", folder)
    assert TARGETS["check"]() == 1
    *bad, summary = capsys.readouterr().out.splitlines()
    assert all(re.fullmatch(r"bad: [ -;=?-~]+", line) for line in bad)
    good = {(r.case.model_dump_json(), repr(r.passes or r)) for r in found.values() if isinstance(r, Record)}
    assert summary.startswith(f"{len(good)} good records of 1 machine in ")  # equal raw seconds are one run
    assert sum("machine.toml" in line for line in bad) == 3 and len(bad) >= 1000


PAGES = {"machine": {"machine": MACHINE}, "compare": {"published": str(paths.ROOT / "reports/published.csv")}}
MADE = [name for name in PAGES if (paths.NOTEBOOKS / f"{name}.ipynb").is_file()]


@pytest.fixture(scope="module", params=MADE)
def page_path(request, folder, tmp_path_factory, rendered) -> Path:
    place = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    return rendered(request.param, place, results=str(folder), **PAGES[request.param])


@pytest.mark.parametrize("csp", [True, False])
def test_nothing_runs_on_a_page_made_of_them(chromium, page_path, csp):
    with open_page(chromium, page_path, 1200, csp=csp) as (page, errors, requests):
        page.mouse.move(300, 300)
        page.wait_for_timeout(200)
        assert not page.evaluate(RAN)
        own = page.locator("#views").count()  # the data of what may be chosen, and the script that shows it
        assert page.locator("script").count() == 2 * own and page.locator("main script").count() == own
        assert page.locator("main svg, main b[onmouseover], img:not([src^='data:'])").count() == 0
        assert page.locator("iframe, object, embed, form, base").count() == 0
        assert not errors and not requests


def test_hostile_texts_that_are_allowed_are_shown_intact(chromium, page_path):
    with open_page(chromium, page_path, 1200) as (page, _, _):
        shown = page.locator("main").inner_text()
    missing = [text for text in ALLOWED if text not in shown]
    assert not missing
    assert "refused: " in shown and "Traceback" not in shown
