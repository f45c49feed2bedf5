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

from siliconbench import knobs, paths
from siliconbench.record import share, store
from siliconbench.record.schema import OLDER, Record
from tests.conftest import git, run_in
from tests.samples import older, sample

MACHINE = "amd-epyc-2-cores"


def leave(results: Path, count: int = 3, **changed) -> list[Path]:
    """The paths of so many good records of one machine, days apart, of two models."""
    models = ["resnet18", "alexnet"] * count
    told = [sample(100.0 + i, model=models[i]) | {"created": f"2026112{i}T140000Z"} | changed for i in range(count)]
    return [store.write(Record.model_validate(each), results) for each in told]


def run(*words, **environment) -> subprocess.CompletedProcess:
    """`python -m siliconbench share`, or another target, in a process of its own, with these knobs only."""
    own = {k: v for k, v in os.environ.items() if k not in ("RESULTS", "MACHINE")}
    command = [sys.executable, "-m", "siliconbench", *(words or ["share"])]
    return subprocess.run(command, env=own | environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """The folder of the published records, empty, so that no test adds to the real one."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "reports/data")
    return paths.DATA


def shared(results, page=lambda path: f"the page {path.name}", slug=MACHINE) -> int:
    return share.share(str(results), slug, page)


def test_share_copies_what_is_new_says_what_it_holds_and_how_to_send_it(tmp_path, data, capsys):
    mine = leave(tmp_path / "mine")
    mine[0].with_name("machine.toml").write_text('label = "Two cores"\n')
    assert shared(tmp_path / "mine") == 0
    told = capsys.readouterr().out
    for words in (
        "amd-epyc-2-cores: 3 good records",
        "Models: resnet18 2, alexnet 1.",
        "Verdicts: clean 3.",
        "Measured: 2026-11-20 to 2026-11-22 (UTC).",
        "chip AMD EPYC; cores 2; os Debian GNU/Linux 12",
        f"4 new files in {data}/{MACHINE}; with them: the page compare.html",
        f"git add reports/data/{MACHINE} reports/compare.html reports/compare.svg reports/ladder.svg",
        "pull request",
    ):
        assert words in told
    copied = {path.name: path.read_bytes() for path in (data / MACHINE).iterdir()}
    assert copied == {path.name: path.read_bytes() for path in mine[0].parent.iterdir()}
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert shared(tmp_path / "mine") == 0 and "0 new files in" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert shared(data) == 0 and "0 new files in" in capsys.readouterr().out  # as the project itself measures


def test_share_copies_all_or_none_and_overwrites_nothing(tmp_path, data, capsys):
    mine = leave(tmp_path / "mine")
    (taken,) = leave(data, 1, repeat=1, status="ok", verdict={"word": "noisy", "reasons": [], "disturbed": False})
    before = taken.read_bytes()
    with pytest.raises(FileExistsError, match=f"{taken} is there already"):
        shared(tmp_path / "mine")
    assert list(data.rglob("*.json")) == [taken] and taken.read_bytes() == before
    taken.unlink()
    last = data / MACHINE / max(path.name for path in mine)
    last.mkdir()  # what no file can take the place of, after others were copied
    with pytest.raises(FileExistsError):
        shared(tmp_path / "mine")
    assert list(data.rglob("*.json")) == [last]


def test_a_name_that_is_another_published_machines_is_not_shared(tmp_path, data, capsys):
    leave(tmp_path / "mine")
    leave(data, 1, machine=sample()["machine"] | {"chip": "Another"})
    with pytest.raises(knobs.Stopped, match=r"is another machine \(Another, 2 cores; here AMD EPYC, 2 cores\)"):
        shared(tmp_path / "mine")
    assert len(list(data.rglob("*.json"))) == 1


def test_share_names_bad_records_and_sends_nothing(tmp_path, data, capsys):
    bad = leave(tmp_path / "mine")[0]
    bad.write_text(bad.read_text().replace('"cores": 2', '"cores": "2"'))
    assert shared(tmp_path / "mine") == 1
    told = capsys.readouterr().out
    assert f"bad: {MACHINE}/{bad.name}: machine.cores" in told
    assert "git add" not in told and "2 good records" in told and not data.exists()


def test_from_a_clean_clone_to_a_shared_record_nothing_is_ever_red(clone, tmp_path):
    """What a user does in turn, and what git and the pages say of it; the records of a sweep are made up. The page is
    first made anew: what lies among the published here may not be published yet. None of it needs torch."""
    without = {"PYTHONPATH": f"{tmp_path / 'without'}:{clone / 'src'}"}
    (tmp_path / "without").mkdir()
    (tmp_path / "without/torch.py").write_text("raise ImportError('torch is not needed here')")
    done = run_in(clone, "report", **without)
    assert (done.returncode, done.stdout) == (0, "reports/compare.html\n"), done.stderr
    git(clone, "commit", "--allow-empty", "-qam", "its page")
    published, tracked = clone / "reports/data", (clone / "reports/compare.html").read_bytes()
    machine = sample()["machine"] | {"slug": "amd-epyc-k3fq"}  # of a chip that one of the published has
    leave(clone / "reports/mine", machine=machine)
    done = run_in(clone, "report", **without)
    assert (done.returncode, done.stdout) == (0, "reports/report.html\n"), done.stderr
    assert (clone / "reports/report.svg").read_text().startswith("<?xml")
    page = (clone / "reports/report.html").read_text("utf-8")
    assert re.search(r"AMD EPYC, 2 cores, 24 GiB \((amd-epyc-)?(k3fq, )?yours\)", page) and "NVIDIA H100" in page
    assert run_in(clone, "verify", PAGE="reports/report.html").stdout.endswith("reports/report.html: identical\n")
    assert (clone / "reports/compare.html").read_bytes() == tracked and git(clone, "status", "--porcelain") == ""
    done = run_in(clone, "share", MACHINE="amd-epyc-k3fq")
    assert done.returncode == 0 and "3 new files in" in done.stdout, done.stdout + done.stderr
    changed = {line[3:] for line in git(clone, "status", "--porcelain").splitlines()} - {
        "reports/compare.svg",
        "reports/ladder.svg",
    }
    assert changed == {"reports/compare.html", "reports/data/amd-epyc-k3fq/"}  # the figure is of another case
    script = next(line for line in done.stdout.splitlines() if "git add" in line)
    subprocess.run(["sh", "-e", "-c", script], cwd=clone, check=True, capture_output=True)
    assert "reports/data/amd-epyc-k3fq" in git(clone, "diff", "--cached", "--name-only")
    rebuilt = (clone / "reports/compare.html").read_text("utf-8")
    assert "amd-epyc-k3fq " in rebuilt and "yours)" not in rebuilt
    total = len(list(published.glob("*/*.json")))
    assert f"{total} good records of" in run_in(clone, "check").stdout  # each once, though three lie in both


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
    leave(tmp_path)
    done = run(RESULTS=str(tmp_path), MACHINE="nobody")
    assert done.returncode == 1 and "make image" in done.stdout and f"names another ({MACHINE})." in done.stdout


def test_check_names_each_bad_file_and_sums_up_in_a_line(tmp_path, data, capsys):
    good, wrong, *_ = leave(tmp_path, 4)
    wrong.write_text("{}")
    for name in ("notes.ipynb", ".hidden"):
        good.with_name(name).write_text("")
    good.with_name("machine.toml").write_text('label = "Two cores"\nprice = "much"\n')
    good.with_name("\x1b[31mred\n.json").write_text("[]")
    (tmp_path / "stray.html").write_text("")
    assert share.check(str(tmp_path)) == 1
    *bad, summary = capsys.readouterr().out.splitlines()
    assert "machine.toml: price: Input should be" in "".join(bad)
    assert sorted(line.split(": ")[1] for line in bad) == sorted(
        [f"{MACHINE}/{n}" for n in ("?[31mred .json", "machine.toml", "notes.ipynb", wrong.name)]
        + [f"{tmp_path.name}/stray.html"]
    )
    assert summary == f"3 good records of 1 machine in {tmp_path} and {data}; 5 bad"


def leave_older(results: Path, machine: str, count: int) -> list[Path]:
    """The paths of so many records of schema 1 of a machine."""
    files = [results / machine / f"resnet18-b8-cpu-fp32-20261101T14000{i}Z-r1.json" for i in range(count)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(older()))
    return files


def test_older_records_are_one_line_a_machine_that_says_what_to_do_and_none_is_touched(tmp_path, data, capsys):
    mine = tmp_path / "mine"
    leave(mine)
    files = [*leave_older(mine, MACHINE, 3), *leave_older(mine, "gone", 1)]
    before = [path.read_bytes() for path in files]
    assert share.check(str(mine)) == 1
    told = [f"bad: {MACHINE}: 3 records {OLDER}", f"bad: gone: 1 record {OLDER}"]
    assert capsys.readouterr().out.splitlines() == [*told, f"3 good records of 1 machine in {mine} and {data}; 4 bad"]
    assert shared(mine) == 1
    said = capsys.readouterr().out
    assert said.count(OLDER) == 1 and "Move the 3 bad files to a folder elsewhere" in said and "git add" not in said
    assert shared(mine, slug="gone") == 1 and "measure again with `make image`" in capsys.readouterr().out
    assert [path.read_bytes() for path in files] == before


def test_a_user_of_0_1_is_told_in_one_line_where_the_old_records_lie(tmp_path, data, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert share.older("reports/mine") == "reports/mine" and capsys.readouterr().out == ""
    leave(data)
    files = [*leave_older(data, "m1-max", 3), *leave_older(data, MACHINE, 1), *leave_older(tmp_path / "mine", "x", 1)]
    before = [path.read_bytes() for path in files]
    (data / MACHINE / "away.json").symlink_to("nowhere")
    share.older(str(tmp_path / "mine"))
    where = f"{data}/{MACHINE}, {data}/m1-max, {tmp_path}/mine/x"
    assert capsys.readouterr().out == f"{where}: 5 records {OLDER}\n"
    assert [path.read_bytes() for path in files] == before


def test_records_of_own_models_are_copied_only_by_leave(tmp_path, data, capsys, monkeypatch):
    mine, own = leave(tmp_path / "mine"), sample(model="build", source="own") | {"created": "20261125T140000Z"}
    store.write(Record.model_validate(own), tmp_path / "mine")
    assert shared(tmp_path / "mine") == 0
    assert "Left out: the records of your own models or images (build)" in capsys.readouterr().out
    assert {path.name for path in (data / MACHINE).iterdir()} == {path.name for path in mine}
    monkeypatch.setenv("SHARE_OWN", "1")
    assert shared(tmp_path / "mine") == 0 and "1 new file in" in capsys.readouterr().out
    assert any("own" in path.name for path in (data / MACHINE).iterdir())


def test_check_of_good_records_is_one_line_without_torch_and_fast(tmp_path):
    leave(tmp_path)
    code = "import sys; from siliconbench import __main__; s = __main__.main(); print('torch' in sys.modules, s)"
    environment = os.environ | {"RESULTS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, "check"], env=environment, capture_output=True, text=True, timeout=20
    )
    line, end = done.stdout.splitlines()
    assert re.fullmatch(rf"\d+ good records of \d+ machines? in {tmp_path} and {paths.DATA}; 0 bad", line)
    assert end == "False 0"


@pytest.mark.parametrize(
    ("words", "knobs", "told"),
    [
        (["chek"], {}, "given 'chek'; allowed: one of image"),
        (["image"], {"GOAL": "latency"}, "GOAL: given 'latency'; allowed: nothing, it is a knob of `make best`"),
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


def test_check_sees_a_schema_that_is_not_current(tmp_path, data, monkeypatch, capsys):
    leave(tmp_path / "mine")
    monkeypatch.setattr(paths, "SCHEMA", tmp_path / "reports" / "record.schema.json")
    paths.SCHEMA.parent.mkdir(exist_ok=True)
    paths.SCHEMA.write_text(share.schema().replace("maxLength", "minLength").replace("title", "name"))
    assert share.check(str(tmp_path / "mine")) == 1
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


def test_a_folder_that_is_a_link_is_not_read(tmp_path, data, capsys):
    leave(tmp_path / "real")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / MACHINE).symlink_to(tmp_path / "real" / MACHINE)
    assert share.check(str(tmp_path / "links")) == 1 and capsys.readouterr().out.count("it is a link") == 3
    shutil.rmtree(tmp_path / "links")
    assert len(list(store.read(tmp_path / "real"))) == 3
