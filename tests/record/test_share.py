"""Sharing: what is said of a machine's records is what they hold, each bad file is named, and the schema is current."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from siliconbench import paths
from siliconbench.record import share, store
from siliconbench.record.schema import OLDER, Record
from tests.samples import older, sample

MACHINE = "amd-epyc-2-cores"


def leave(results: Path, count: int = 3, **changed) -> list[Path]:
    """The paths of so many good records of one machine, days apart, of two models."""
    models = ["resnet18", "alexnet"] * count
    told = [sample(model=models[i]) | {"created": f"2026112{i}T140000Z"} | changed for i in range(count)]
    return [store.write(Record.model_validate(each), results) for each in told]


def run(*words, **environment) -> subprocess.CompletedProcess:
    """`python -m siliconbench share`, or another target, in a process of its own, with these knobs only."""
    own = {k: v for k, v in os.environ.items() if k not in ("RESULTS", "MACHINE")}
    command = [sys.executable, "-m", "siliconbench", *(words or ["share"])]
    return subprocess.run(command, env=own | environment, capture_output=True, text=True, timeout=60, check=False)


def test_share_says_what_the_records_hold_and_how_to_send_them(tmp_path):
    leave(tmp_path)
    (tmp_path / MACHINE / "machine.toml").write_text('label = "Two cores"\n')
    done = run(RESULTS=str(tmp_path), MACHINE=MACHINE)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "amd-epyc-2-cores: 3 good records",
        "Models: resnet18 2, alexnet 1.",
        "Verdicts: clean 3.",
        "Measured: 2026-11-20 to 2026-11-22 (UTC).",
        "chip AMD EPYC; cores 2; os Debian GNU/Linux 12",
        f"git add reports/data/{MACHINE}/*.json reports/data/{MACHINE}/machine.toml",
        f"cp -R {tmp_path}/{MACHINE} reports/data/",
        "pull request",
    ):
        assert words in done.stdout


def test_the_git_lines_add_just_these_files(tmp_path, capsys):
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", clone], check=True)
    paths = leave(tmp_path / "else where")
    (paths[0].parent / "machine.toml").write_text('label = "Two cores"\n')
    status = share.share(str(tmp_path / "else where"), MACHINE)
    script = "\n".join(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and "commit" not in line
    )
    subprocess.run(["sh", "-e", "-c", script], cwd=clone, check=True, capture_output=True)
    added = subprocess.run(["git", "diff", "--cached", "--name-only"], cwd=clone, capture_output=True, text=True)
    assert status == 0
    assert sorted(added.stdout.split()) == sorted(
        f"reports/data/{MACHINE}/{path.name}" for path in paths[0].parent.iterdir()
    )


def test_share_names_bad_records_and_sends_nothing(tmp_path):
    bad = leave(tmp_path)[0]
    bad.write_text(bad.read_text().replace('"cores": 2', '"cores": "2"'))
    done = run(RESULTS=str(tmp_path), MACHINE=MACHINE)
    assert done.returncode == 1
    assert f"bad: {MACHINE}/{bad.name}: machine.cores" in done.stdout
    assert "git add" not in done.stdout and "2 good records" in done.stdout


@pytest.mark.parametrize("mine", ["annab", "Annas-Mac.local", "/Users/annab", "Annas-Mac"])
def test_a_record_that_holds_a_name_of_its_user_is_pointed_out(mine, monkeypatch):
    monkeypatch.setenv("LOGNAME", "annab")
    monkeypatch.setenv("HOME", "/Users/annab")
    monkeypatch.setattr(socket, "gethostname", lambda: "Annas-Mac.local")

    def found(text):
        return share.personal(
            [Record.model_validate(sample() | {"verdict": {"word": "noisy", "reasons": [text], "disturbed": False}})]
        )

    assert mine in found(f"the file at {mine.lower()} was slow") and not found("the files of joannabel were slow")


def test_a_machine_without_records_is_told_so(tmp_path):
    done = run(RESULTS=str(tmp_path), MACHINE="nobody")
    assert done.returncode == 1 and "make image" in done.stdout


def test_check_names_each_bad_file_and_sums_up_in_a_line(tmp_path):
    good, wrong, *_ = leave(tmp_path, 4)
    wrong.write_text("{}")
    for name in ("notes.ipynb", ".hidden"):
        good.with_name(name).write_text("")
    good.with_name("machine.toml").write_text('label = "Two cores"\nprice = "much"\n')
    good.with_name("\x1b[31mred\n.json").write_text("[]")
    (tmp_path / "stray.html").write_text("")
    done = run("check", RESULTS=str(tmp_path))
    *bad, summary = done.stdout.splitlines()
    assert "machine.toml: price: Input should be" in done.stdout
    assert done.returncode == 1
    assert sorted(line.split(": ")[1] for line in bad) == sorted(
        [f"{MACHINE}/{n}" for n in ("?[31mred .json", "machine.toml", "notes.ipynb", wrong.name)]
        + [f"{tmp_path.name}/stray.html"]
    )
    assert summary == f"3 good records of 1 machine in {tmp_path}; 5 bad"


def leave_older(results: Path, machine: str, count: int) -> list[Path]:
    """The paths of so many records of schema 1 of a machine."""
    files = [results / machine / f"resnet18-b8-cpu-fp32-20261101T14000{i}Z-r1.json" for i in range(count)]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(older()))
    return files


def test_older_records_are_one_line_a_machine_that_says_what_to_do_and_none_is_touched(tmp_path, capsys):
    leave(tmp_path)
    files = [*leave_older(tmp_path, MACHINE, 3), *leave_older(tmp_path, "gone", 1)]
    assert share.check(str(tmp_path)) == 1
    told = [f"bad: {MACHINE}: 3 records {OLDER}", f"bad: gone: 1 record {OLDER}"]
    assert capsys.readouterr().out.splitlines() == [*told, f"3 good records of 1 machine in {tmp_path}; 4 bad"]
    assert share.share(str(tmp_path), MACHINE) == 1
    said = capsys.readouterr().out
    assert said.count(OLDER) == 1 and "Move the 3 bad files to a folder elsewhere" in said and "git add" not in said
    assert share.share(str(tmp_path), "gone") == 1 and "measure again with `make image`" in capsys.readouterr().out
    assert all(json.loads(path.read_text()) == older() for path in files)


def test_check_of_good_records_is_one_line_without_torch_and_fast(tmp_path):
    leave(tmp_path)
    code = "import sys; from siliconbench import __main__; s = __main__.main(); print('torch' in sys.modules, s)"
    environment = os.environ | {"RESULTS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, "check"], env=environment, capture_output=True, text=True, timeout=20
    )
    assert done.stdout.splitlines() == [f"3 good records of 1 machine in {tmp_path}; 0 bad", "False 0"]


@pytest.mark.parametrize(
    ("words", "knobs", "told"),
    [
        (["chek"], {}, "given 'chek'; allowed: one of image"),
        (["check"], {"RESULTS": "/nowhere/at/all"}, "there is no such folder"),
        ([], {"MACHINE": "../up"}, "MACHINE: given '../up'"),
        (["check"], {"RESULTS": "s3://key:hunter2@bucket/x"}, "no @"),
        (["check"], {"RESULTS": "nix://bucket/x"}, "RESULTS: given 'nix://bucket/x'"),
        (["check"], {"RESULTS": "memory://x"}, "memory:// ends with each run"),
    ],
)
def test_a_wrong_word_or_knob_is_one_line_and_2(words, knobs, told):
    done = run(*words, **knobs)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and told in done.stderr and "hunter2" not in done.stderr


def test_without_the_extra_an_address_is_one_line(tmp_path):
    (tmp_path / "upath.py").write_text("raise ImportError('No module named upath')")
    done = run("check", RESULTS="s3://bucket/x", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and "pip install '.[remote]'" in done.stderr and done.stderr.count("\n") == 1


def test_the_published_schema_is_what_the_models_give():
    assert paths.SCHEMA.read_text("utf-8") == share.schema() == share.schema()


def test_check_sees_a_schema_that_is_not_current(tmp_path, monkeypatch, capsys):
    leave(tmp_path)
    monkeypatch.setattr(paths, "SCHEMA", tmp_path / "reports" / "record.schema.json")
    paths.SCHEMA.parent.mkdir()
    paths.SCHEMA.write_text(share.schema().replace("maxLength", "minLength").replace("title", "name"))
    assert share.check(str(tmp_path)) == 1
    assert "bad: reports/record.schema.json: it is not what the models give" in capsys.readouterr().out


@pytest.fixture(scope="module")
def judge():
    made = json.loads(paths.SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def test_the_schema_accepts_real_records_and_refuses_changed_ones(judge, tiny_sweep):
    found = [json.loads(path.read_bytes()) for path in sorted((tiny_sweep[0] / "reports/mine").glob("*/*.json"))]
    assert {each["status"] for each in found} == {"ok", "failed"}
    for each in found:
        judge.validate(each)
        for wrong in ({"extra": 1}, {"schema": 3}, {"created": "now"}, {"machine": each["machine"] | {"slug": "../x"}}):
            assert not judge.is_valid(each | wrong)


def test_a_real_record_names_nobody(tiny_sweep):
    records = [r for _, r in store.read(tiny_sweep[0] / "reports/mine")]
    assert share.personal(records) == []
    text = "".join(map(store.dumps, records))
    assert not re.search(r"/home/|/Users/|/tmp/|([0-9a-f]{2}:){5}|\b\d+\.\d+\.\d+\.\d+\b", text)


def test_a_folder_that_is_a_link_is_not_read(tmp_path, capsys):
    leave(tmp_path / "real")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / MACHINE).symlink_to(tmp_path / "real" / MACHINE)
    assert share.check(str(tmp_path / "data")) == 1 and capsys.readouterr().out.count("it is a link") == 3
    shutil.rmtree(tmp_path / "data")
    assert len(list(store.read(tmp_path / "real"))) == 3
