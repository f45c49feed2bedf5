"""Files of records: each has a name of its own, and the longest run that can be asked for is kept."""

import getpass
import itertools
import json
import os
import subprocess
import sys

import pytest

from siliconbench import knobs
from siliconbench.analysis import cases
from siliconbench.record import axes, share, store
from siliconbench.record.schema import AGAIN, Case, Record
from tests.samples import sample

NOW = "20261123T140000Z"
AXES = {
    "model": ["resnet18", "alexnet"], "batch_size": [1, 11], "device": ["cpu", "cuda"], "mode": list(axes.MODES),
    "precision": list(axes.PRECISIONS), "memory_format": list(axes.LAYOUTS),
    "compile": [False, True, *axes.COMPILE_MODES], "allocator": list(axes.ALLOCATORS), "threads": [None, 11],
    "asked_px": [None, 11], "source": ["torchvision", "own"],
}  # fmt: skip


def test_no_two_cases_of_a_sweep_share_a_name():
    cases = [Case(**dict(zip(AXES, values, strict=True))) for values in itertools.product(*AXES.values())]
    names = {store.file_name(case, NOW, repeat) for case in cases for repeat in (1, 2)}
    assert len(names) == 2 * len(cases)
    swept = {knob.field for knob in knobs.KNOBS.values() if knob.many}
    assert swept <= set(AXES), "an axis that takes a list must be in the name, and in this test"


def test_names_of_the_reference_class_are_as_they_were():
    case = Case(model="resnet18", batch_size=8, device="cpu")
    assert store.file_name(case, NOW, 3) == f"resnet18-b8-cpu-fp32-{NOW}-r3.json"


def test_a_record_of_before_has_the_systems_allocator_and_is_of_the_reference_class():
    case = Record.model_validate(sample(allocator="default", compile=False)).case
    assert (
        case.allocator == "system" and case.reference and not case.model_copy(update={"allocator": "tuned"}).reference
    )
    assert not case.model_copy(update={"threads": 2}).reference
    assert store.file_name(case, NOW, 3) == f"resnet18-b8-cpu-fp32-{NOW}-r3.json"


def test_two_unlike_cases_of_one_second_are_both_kept(tmp_path):
    for layout in axes.LAYOUTS:
        store.write(Record.model_validate(sample(memory_format=layout)), tmp_path)
    kept = [r for _, r in store.read(tmp_path)]
    assert {r.case.memory_format for r in kept} == set(axes.LAYOUTS)
    with pytest.raises(FileExistsError):
        store.write(kept[0], tmp_path)


def test_a_record_under_another_name_is_refused(tmp_path):
    path = store.write(Record.model_validate(sample(memory_format="channels_last")), tmp_path)
    with pytest.raises(ValueError, match="its name should be"):
        store.load(path.rename(path.with_name(f"resnet18-b8-cpu-fp32-{NOW}-r1.json")))


def test_a_record_that_lies_in_two_folders_is_one_and_two_that_differ_are_two(tmp_path):
    one, two = (Record.model_validate(sample(rate)) for rate in (100.0, 101.0))
    store.write(one, tmp_path / "mine")
    path = store.write(one, tmp_path / "data")
    path.write_text(json.dumps(json.loads(path.read_text())))  # the same content, written otherwise
    store.write(two, tmp_path / "other")
    (tmp_path / "data" / "m").mkdir()
    (tmp_path / "data" / "m" / "x.json").write_text("{")
    folders = [tmp_path / name for name in ("mine", "data", "other", "absent")]
    found = list(store.read_all(folders))
    assert [r for _, r in found if isinstance(r, Record)] == [one, two]
    assert [path.name for path, why in found if isinstance(why, ValueError)] == ["x.json"]
    assert store.newest_machine(*folders) == one.machine.slug


def test_the_longest_run_that_can_be_asked_for_is_kept(tmp_path):
    longest, samples = 1440 * 60, 20_000
    data = sample(minutes=1440.0)
    block_s = [0.5 + i % 7 / 1e7 + 1 / 3e9 for i in range(2 * longest)]  # as many digits as a clock gives
    timed = data["passes"]["end_to_end"]
    timed |= {"block_s": block_s, "seconds": sum(block_s), "images": 8 * len(block_s), "block_images": 8}
    timed["images_per_s"] = timed["images"] / timed["seconds"]
    values = [1234.5678 + i % 100 for i in range(samples)]
    channel = {"values": values, "source": "NVML", "version": "driver 570", "statistic": "reading"}
    data["telemetry"] = {
        "interval_s": 5.0, "idle_until_s": 0.0, "cooling_from_s": 1.0 * longest, "unknown": {},
        "time_s": [5.0 * i for i in range(samples)], "channels": {f"channel {i}": channel for i in range(20)},
    }  # fmt: skip
    data["unknown"] = {"energy": "none here"}
    path = store.write(Record.model_validate(data), tmp_path)
    assert path.stat().st_size < store.MOST_BYTES
    assert len(store.load(path).passes.end_to_end.block_s) == 2 * longest


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="only root may take another user's id")
def test_a_user_without_a_passwd_entry_may_share(tmp_path):
    path = store.write(Record.model_validate(sample()), tmp_path / "data")
    code = (
        "import os, sys, getpass; from siliconbench.__main__ import main; from siliconbench.record import store\n"
        "import siliconbench.record.share; import siliconbench.pages.render as pages; from siliconbench import paths\n"
        "paths.DATA = store.folder_at(sys.argv.pop()); pages.page_of = lambda path: path\n"
        "os.setuid(54321)\n"  # once all is loaded: this user may be unable to read Python's own folder
        "try: getpass.getuser(); sys.exit('this uid has a name')\n"
        "except (KeyError, OSError): pass\n"
        "sys.argv = ['siliconbench', 'share']; sys.exit(main())"
    )
    nameless = {k: v for k, v in os.environ.items() if k not in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME")}
    given = {"RESULTS": str(tmp_path / "data"), "MACHINE": path.parent.name, "PYTHONDONTWRITEBYTECODE": "1"}
    for folder in (tmp_path, *(parent for parent in tmp_path.parents if parent.name.startswith(("pytest-", "popen-")))):
        folder.chmod(0o755)
    (tmp_path / "published").mkdir()
    (tmp_path / "published").chmod(0o777)
    command = [sys.executable, "-c", code, str(tmp_path / "published")]
    done = subprocess.run(command, env=nameless | given, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 good record" in done.stdout, done.stderr


def test_names_are_looked_for_where_the_user_has_none(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: (_ for _ in ()).throw(KeyError("uid not found")))
    assert share.personal([Record.model_validate(sample())]) == []


@pytest.mark.parametrize("given", [{"BATCH_SIZE": "8 16"}, {"IMAGE_MODEL": "resnet18 alexnet"}, {"BATCH_SIZE": "auto"},
                                   {"REPEATS": "1"}, {"PRECISION": "fp32 bf16"}])  # fmt: skip
def test_trust_refuses_what_it_would_not_do(given):
    with pytest.raises(knobs.WrongKnob, match=next(iter(given))) as refused:
        knobs.read_trust(given)
    assert "allowed" in str(refused.value) and "\n" not in str(refused.value)


def test_trust_takes_one_of_each():
    read = knobs.read_trust({"BATCH_SIZE": "16", "REPEATS": "2"})
    assert (read["BATCH_SIZE"], read["REPEATS"], read["IMAGE_MODEL"]) == ([16], 2, ["mobilenet_v3_small"])


def test_one_measurement_recorded_twice_is_one_run_and_what_a_used_kernel_measured_is_none(tmp_path):
    software, once = sample()["software"], sample()["passes"]
    for repeat, rate, process in ((1, 100.0, "kernel"), (2, 100.0, "kernel"), (3, 101.0, AGAIN)):
        more = {"repeat": repeat, "created": f"20261123T14000{repeat}Z", "software": software | {"process": process}}
        passes = {"passes": once} if rate == 100.0 else {}
        store.write(Record.model_validate(sample(rate) | more | passes), tmp_path)
    found = [record for _, record in store.read_all([tmp_path])]
    assert [record.repeat for record in found] == [1, 3]
    assert cases.runs(found)["repeat"].tolist() == [1]
