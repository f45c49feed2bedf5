"""The record: it round-trips, it is written whole or not at all, and nothing that contradicts itself gets in."""

import copy
import json
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from siliconbench.knobs import Stopped
from siliconbench.record import store
from siliconbench.record.schema import OLDER, Record
from tests.samples import older, sample


def test_a_record_round_trips_through_its_file(tmp_path):
    made = Record.model_validate(sample())
    path = store.write(made, tmp_path)
    assert path.parent.name == "amd-epyc-2-cores"
    assert path.name == "resnet18-b8-cpu-fp32-20261123T140000Z-r1.json"
    assert store.load(path) == made
    assert store.dumps(store.load(path)) == path.read_text("utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_a_record_is_never_overwritten(tmp_path):
    made = Record.model_validate(sample())
    store.write(made, tmp_path)
    with pytest.raises(FileExistsError):
        store.write(made, tmp_path)


def test_a_failed_record_needs_an_error_and_nothing_else(tmp_path):
    data = {k: v for k, v in sample().items() if k not in ("passes", "latency", "limits", "memory", "checks")}
    data |= {"status": "failed", "error": {"kind": "out_of_memory", "message": "no room"}, "unknown": {}}
    data |= {"telemetry": None, "verdict": None}
    made = Record.model_validate(data)
    assert made.passes is None and made.unknown["passes"] == "the run failed"
    assert store.load(store.write(made, tmp_path)) == made


def change(path, value):
    data = sample()
    at = data
    *way, last = path
    for part in way:
        at = at[part]
    if value is KeyError:
        del at[last]
    else:
        at[last] = value
    return data


WRONG = {
    "another schema": (["schema"], 3),
    "a schema in words": (["schema"], "2"),
    "a field nobody knows": (["extra"], 1),
    "a field nobody knows, deep down": (["machine", "hostname"], "mine"),
    "ok with an error": (["error"], {"kind": "failed", "message": "x"}),
    "failed without one": (["status"], "failed"),
    "blocks that do not add up to the seconds": (["passes", "end_to_end", "seconds"], 99.0),
    "a rate that is not images / seconds": (["passes", "end_to_end", "images_per_s"], 99.0),
    "images that are not the blocks": (["passes", "end_to_end", "images"], 24),
    "no block": (["passes", "end_to_end", "block_s"], []),
    "a block of no time": (["passes", "end_to_end", "block_s", 0], 0.0),
    "not finite": (["passes", "end_to_end", "seconds"], float("inf")),
    "not a number": (["checks", "others_share"], float("nan")),
    "none without a reason": (["machine", "chip"], None),
    "a reason for what is known": (["machine", "unknown"], {"chip": "why"}),
    "markup in a name": (["machine", "chip"], "<script>alert(1)</script>"),
    "mathtext in a name": (["machine", "chip"], "$x$"),
    "a name that a legend would drop": (["machine", "chip"], "_hidden"),
    "a line break in a name": (["machine", "chip"], "a\nb"),
    "a name that goes up": (["machine", "slug"], "../up"),
    "a text for a number": (["case", "batch_size"], "8"),
    "true for a number": (["case", "batch_size"], True),
    "a huge number": (["passes", "end_to_end", "start_s"], 1e300),
    "a verdict nobody knows": (["verdict", "word"], "perfect"),
    "no end to end in a run that is ok": (["passes", "end_to_end"], None),
    "a path for a model": (["case", "model"], "../../etc"),
    "a time that is none": (["created"], "yesterday"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_contradicts_itself_is_refused(name, tmp_path):
    data = change(*WRONG[name])
    with pytest.raises(ValidationError):
        Record.model_validate_json(json.dumps(data))
    folder = tmp_path / "amd-epyc-2-cores"
    folder.mkdir()
    (folder / "resnet18-b8-cpu-fp32-20261123T140000Z-r1.json").write_text(json.dumps(data))
    ((_, refused),) = store.read(tmp_path)
    assert isinstance(refused, ValueError)
    assert re.fullmatch(r"[ -;=?-~]{1,500}", str(refused))


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "1", '"x"', "[" * 5000, "\x00", "{}", '{"schema": 1}'])
def test_what_is_no_record_is_refused_with_a_reason(text, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x.json").write_text(text)
    ((_, refused),) = store.read(tmp_path)
    assert isinstance(refused, ValueError) and str(refused)


@pytest.mark.parametrize("more", [{}, {"machine": {}}, {"status": "failed"}, {"unknown": "none"}])
def test_a_record_of_schema_1_is_refused_for_what_it_is(more, tmp_path):
    with pytest.raises(ValidationError) as refused:
        Record.model_validate_json(json.dumps(older() | more))
    assert store.reason(refused.value) == OLDER
    assert OLDER.startswith("measured by 0.1, whose end-to-end figures were too low: measure again with `make image`")
    path = tmp_path / "m" / "x.json"
    path.parent.mkdir()
    path.write_text(json.dumps(older() | more))
    with pytest.raises(Stopped, match=f"no record: `make image` makes some; 1 refused, the first was {OLDER}"):
        store.newest_machine(tmp_path)


def test_links_large_files_and_wrong_names_are_refused(tmp_path):
    path = store.write(Record.model_validate(sample()), tmp_path)
    path.with_name("link.json").symlink_to(path)
    path.with_name("large.json").write_text(" " * (store.MOST_BYTES + 1))
    path.with_name("other.json").write_text(path.read_text("utf-8"))
    found = {p.name: r for p, r in store.read(tmp_path)}
    assert isinstance(found.pop(path.name), Record)
    assert [str(found[n])[:22] for n in ("large.json", "link.json", "other.json")] == [
        "it is larger than 20,0",
        "it is a link, in a lin",
        "its name should be amd",
    ]


@given(text=st.text(max_size=700))
@settings(max_examples=200)
def test_plain_text_is_always_fit_for_a_record(text):
    assert re.fullmatch(r"[ -;=?-~]{1,500}", store.plain(text))


def test_plain_text_names_no_path():
    told = store.plain("FileNotFoundError: /home/anna/secret/x.py and ~/notes/y\nline 2 </script>")
    assert "anna" not in told and "notes" not in told and "<" not in told and "\n" not in told


def test_a_write_that_fails_leaves_the_old_file_and_no_crumbs(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    store.write_whole(target, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.write_whole(target, "new")
    assert list(tmp_path.iterdir()) == [target] and target.read_text() == "old"


@given(
    way=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    value=st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=80), st.just({}), st.just([])
    ),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_one_field_changed_is_either_fine_or_refused_in_one_way(way, value):
    data = copy.deepcopy(sample())
    at = data
    for step in way[:-1]:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        inner = at[keys[step % len(keys)]] if keys else None
        if not isinstance(inner, (dict, list)) or not inner:
            break
        at = inner
    keys = list(at) if isinstance(at, dict) else list(range(len(at)))
    at[keys[way[-1] % len(keys)]] = value
    try:
        made = Record.model_validate_json(json.dumps(data))
    except ValidationError:
        return
    assert Record.model_validate_json(store.dumps(made)) == made


def test_no_cap_refuses_a_fast_machine():
    data = sample(images_per_s=1e7)
    data["limits"] |= {"peak_flop_per_s": 1e17, "kernels": [{"name": "matmul 8192", "flop_per_s": 1e17}]}
    assert Record.model_validate(data).limits.peak_flop_per_s == 1e17
