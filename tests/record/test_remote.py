"""Records elsewhere: written to and read from a real S3 protocol server on this machine, and from fsspec's memory."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from upath import UPath

from siliconbench import knobs, paths
from siliconbench.record import share, store
from siliconbench.record.host import Machine
from siliconbench.record.schema import Error, Record
from siliconbench.sweep import failure, plan
from tests.conftest import make_image
from tests.samples import sample

SECRET = "hunter2hunter2"


@pytest.fixture(scope="module")
def s3():
    """The environment for a local S3 server with a bucket named `fleet`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET}
    told |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    told |= {"AWS_MAX_ATTEMPTS": "1"}  # a server that is gone is seen at the first try
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        store.folder_at("s3://fleet").fs.mkdir("fleet")
        yield told
    server.stop()


@pytest.fixture(params=["s3://fleet/{}", "s3://fleet/deep/er/{}", "memory://{}", "file://{}", "{}"])
def folder(request, s3, tmp_path) -> Path:
    """An empty place for records: in a bucket, in memory, or on this disk."""
    local = request.param.partition("://")[0] not in ("s3", "memory")
    return store.folder_at(request.param.format(tmp_path if local else tmp_path.name))


def test_a_place_is_a_plain_path_unless_it_is_elsewhere():
    assert store.folder_at("a/b c") == store.folder_at(f"file://{Path('a/b c')}") == Path("a/b c")
    assert isinstance(store.folder_at("file:///a"), Path)
    assert str(store.folder_at("memory://a/b")) == "memory://a/b"


def test_a_record_round_trips_and_is_never_overwritten(folder):
    made = Record.model_validate(sample())
    path = store.write(made, folder)
    before = path.read_bytes()
    assert store.load(path) == made and list(store.read(folder)) == [(path, made)]
    with pytest.raises(FileExistsError, match="is there already"):
        store.write(Record.model_validate(sample(images_per_s=5.0)), folder)
    assert path.read_bytes() == before
    assert store.newest_machine(folder) == made.machine.slug


def test_what_is_bad_is_refused_there_as_here(folder, monkeypatch, capsys):
    monkeypatch.setattr(store, "MOST_BYTES", 100_000)
    path = store.write(Record.model_validate(sample()), folder)
    bad = {
        "large.json": (b" " * (store.MOST_BYTES + 1), "larger than"),
        "empty.json": (b"", ""),
        "utf8.json": (b'{"schema": "\xff"}', ""),
        "twice.json": (path.read_bytes(), "its name should be"),
        "not-a-number.json": (b"NaN", ""),
    }
    for name, (data, _) in bad.items():
        (path.parent / name).write_bytes(data)
    found = {p.name: r for p, r in store.read(folder)}
    assert isinstance(found.pop(path.name), Record)
    assert found.keys() == bad.keys()
    assert all(isinstance(found[name], ValueError) and why in str(found[name]) for name, (_, why) in bad.items())
    assert share.check(str(folder)) == 1 and capsys.readouterr().out.endswith("5 bad\n")


WRITER = """
import sys
from siliconbench.record import store
from siliconbench.record.schema import Record
from tests.samples import sample
results, who = store.folder_at(sys.argv[1]), sys.argv[2]
for i in range(8):
    data = sample(images_per_s=float(who) + i)
    data["machine"]["slug"] = f"machine-{who}"
    store.write(Record.model_validate(data | {"repeat": i + 1}), results)
    data["machine"]["slug"] = "both"
    try:
        store.write(Record.model_validate(data | {"repeat": i + 1}), results)
        print("mine", i)
    except FileExistsError:
        print("theirs", i)
"""


def test_two_writers_at_once_lose_nothing_and_neither_overwrites_the_other(s3):
    command = [sys.executable, "-c", WRITER, "s3://fleet/two"]
    writers = [
        subprocess.Popen([*command, who], env=os.environ | s3, stdout=subprocess.PIPE, text=True, cwd=paths.ROOT)
        for who in ("100", "500")
    ]
    told = [writer.communicate(timeout=120)[0].splitlines() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    found = [r for _, r in store.read(store.folder_at("s3://fleet/two"))]
    assert len(found) == 24 and all(isinstance(r, Record) for r in found)
    for who, lines in zip((100.0, 500.0), told, strict=True):
        mine = {int(line.split()[1]) for line in lines if line.startswith("mine")}
        rates = {r.repeat - 1: r.passes.end_to_end.images_per_s for r in found if r.machine.slug == "both"}
        assert {i for i, rate in rates.items() if rate == who + i} == mine
    assert sum(line.startswith("mine") for lines in told for line in lines) == 8


def test_a_whole_sweep_of_training_goes_there_and_comes_back(s3, tmp_path):
    asked = {"MODE": "train", "BATCH_SIZE": "2", "USE_GPU": "0"}
    done = make_image(tmp_path, RESULTS="s3://fleet/study", MACHINE="far", **asked, **s3)
    assert done.returncode == 0, done.stdout + done.stderr
    ((path, made),) = store.read(store.folder_at("s3://fleet/study"))
    assert isinstance(made, Record) and made.status == "ok" and made.machine.slug == "far"
    assert made.case.mode == "train" and made.memory.peak_process_bytes > 0
    assert made.checks.outputs is None and made.checks.compiled is None
    assert not (tmp_path / "reports/mine").exists()
    assert "mobilenet_v3_small" in (tmp_path / "reports/far.html").read_text("utf-8")
    assert SECRET not in done.stdout + done.stderr + path.read_text()
    for file in tmp_path.rglob("*.*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes()
    assert [p.name for p in store.folder_at("s3://fleet/study").glob("*")] == ["far"]


def test_an_interrupted_sweep_is_finished_from_there(s3):
    given = {"RESULTS": "s3://fleet/cut", "MACHINE": "m", "REPEATS": "3", "IMAGE_MODEL": "resnet18"}
    told = knobs.read(given), "cpu", Machine.model_validate(sample()["machine"] | {"slug": "m"}), "", lambda _: False
    first = plan.planned(*told)
    failure.failed(first, 2, store.now(), Error(kind="failed", message="for a test"))
    again = plan.planned(*told)
    assert again.sweep_id == first.sweep_id and set(again.done) == {2}


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://no-such-bucket/x", "RESULTS: can't write to s3://no-such-bucket/x (FileNotFoundError)"),
        (f"s3://me:{SECRET}@fleet/x", "RESULTS: no @"),
        ("nix://fleet/x", "RESULTS: given 'nix://fleet/x'; allowed: a folder"),
        ("memory://x", "memory:// ends with each run"),
    ],
)
def test_an_address_that_cannot_be_written_is_one_line_and_2(s3, tmp_path, address, told):
    done = make_image(tmp_path, RESULTS=address, **s3)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and told in done.stderr and SECRET not in done.stderr


def test_a_server_that_is_gone_is_one_line_and_2(tmp_path, s3):
    gone = s3 | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = make_image(tmp_path, RESULTS="s3://fleet/x", **gone)
    assert done.returncode == 2 and "EndpointConnectionError" in done.stderr and done.stderr.count("\n") == 1


def test_share_and_check_work_there(s3, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    made = store.write(Record.model_validate(sample()), store.folder_at("s3://fleet/shared"))
    (made.parent / "machine.toml").write_text('label = "Two cores"\n')
    assert share.share("s3://fleet/shared", made.parent.name, lambda path: path) == 0
    assert "2 new files in" in capsys.readouterr().out
    assert store.load(paths.DATA / made.parent.name / made.name) == store.load(made)
    command = [sys.executable, "-m", "siliconbench", "check"]
    environment = os.environ | s3 | {"RESULTS": "s3://fleet/shared"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "in s3://fleet/shared and " in done.stdout and done.stdout.count("\n") == 1


def test_a_local_folder_never_needs_the_extra(tmp_path):
    (tmp_path / "upath.py").write_text("raise ImportError('for a test')")
    (tmp_path / "fsspec.py").write_text("raise ImportError('for a test')")
    code = "import sys; from siliconbench.record.store import *; print(newest_machine(folder_at(sys.argv[1])))"
    store.write(Record.model_validate(sample()), tmp_path)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{paths.ROOT}/src"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.stdout == "amd-epyc-2-cores\n", done.stderr


def test_the_record_there_is_the_same_bytes_as_here(s3, tmp_path):
    made = Record.model_validate(sample())
    far, near = store.write(made, UPath("s3://fleet/same")), store.write(made, tmp_path)
    assert far.read_bytes() == near.read_bytes() and json.loads(near.read_bytes())["schema"] == 2
