"""A folder of one's own images: what a run reads, in which order, from where; what is left out, recorded, refused."""

import json
import mmap
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from siliconbench import knobs, paths
from siliconbench.analysis import cases
from siliconbench.knobs import WrongKnob
from siliconbench.record import store
from siliconbench.record.fields import Case, Folder
from siliconbench.record.schema import Record
from siliconbench.run import folder, images, loader, trials
from siliconbench.run.images import Images
from siliconbench.sweep import plan, runner
from tests.conftest import KNOBS
from tests.record.test_hostile import changed
from tests.run.test_images import digest
from tests.samples import sample

GOOD = 14  # of the images in the folder that `mine` makes
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a file be taken out of its page cache")


def pixels(seed, size=(48, 64), mode="RGB"):
    rows = np.random.default_rng(seed).integers(0, 256, (*size, len(mode)), dtype=np.uint8)
    return Image.fromarray(rows.squeeze(), mode)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with JPEG, PNG and WebP files at two depths, and three that are none; INPUT has named it."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    at = tmp_path / "our holiday"
    (at / "aunt marie").mkdir(parents=True)
    for number in range(6):
        pixels(number, (40 + number, 60)).save(at / f"beach{number}.JPG", quality=90)
        pixels(number).save(at / "aunt marie" / f"sea{number}.{('png', 'webp', 'jpeg')[number % 3]}")
    pixels(7, mode="L").save(at / "grey.jpg")
    pixels(8, mode="RGBA").save(at / "glass.png")
    pixels(9, (200, 200)).save(at / "aunt marie" / "cut.jpg")
    whole = (at / "aunt marie" / "cut.jpg").read_bytes()
    (at / "aunt marie" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (at / "letter.jpg").write_text("Dear all")
    (at / "empty.png").touch()
    (at / "list.txt").write_text("not called an image")
    assert knobs.read({"INPUT": str(at)})["INPUT"] == "folder"
    return at


def test_what_is_broken_is_named_and_left_out_and_the_numbers_are_those_of_the_files(mine, capsys):
    found = folder.surveyed(2021, 100)
    told = capsys.readouterr().out
    good = sorted(str(file) for file in mine.rglob("*.*") if file.name not in BROKEN)
    assert sorted(found.files) == good and len(good) == GOOD
    assert told.count("\n") == 1 and all(name in told for name in BROKEN - {"list.txt"}) and "beach" not in told
    assert found.about == {
        "images": GOOD,
        "left_out": 3,
        "mean_bytes": round(sum(Path(file).stat().st_size for file in good) / GOOD),
        "width_px": [60, 64, 64],
        "height_px": [40, 48, 48],
        "formats": {"JPEG": 9, "PNG": 3, "WEBP": 2},
    }
    assert folder.surveyed(2021, 100) == found and folder.surveyed(2021, 5).files == found.files[:5]
    assert capsys.readouterr().out == ""  # it is kept, for the runs too


BROKEN = {"cut.jpg", "letter.jpg", "empty.png", "list.txt"}


def test_the_order_is_the_seeds_for_any_number_of_workers_and_begins_anew_at_its_end(mine):
    files = {seed: tuple(folder.surveyed(seed, 100).files) for seed in (1, 2)}
    assert set(files[1]) == set(files[2]) and files[1] != files[2]
    some = Images("folder", 1, 32, files=files[1])
    assert digest(some, 0, None, 7) == digest(some, 2, None, 7)
    assert digest(some, 0, None, 7) != digest(Images("folder", 2, 32, files=files[2]), 0, None, 7)
    assert torch.equal(some[3], some[3 + GOOD]) and not torch.equal(some[3], some[4])


KINDS = {
    "grey.jpg": pixels(1, mode="L"),
    "glass.png": pixels(2, mode="RGBA"),
    "ink.jpg": pixels(3, mode="CMYK"),
    "deep.png": Image.fromarray(np.random.default_rng(4).integers(0, 65536, (48, 64), dtype=np.uint16)),
    "few.png": pixels(5).quantize(16),
    "plain.webp": pixels(6),
}


@pytest.mark.parametrize("name", KINDS)
def test_any_kind_of_pixels_becomes_rgb(name, tmp_path):
    KINDS[name].save(tmp_path / name)
    got = images.opened(str(tmp_path / name))
    with Image.open(tmp_path / name) as image:
        wanted = np.asarray(image) // 257 if name == "deep.png" else np.asarray(image.convert("RGB"))
    assert got.dtype == torch.uint8 and got.shape == (3, 48, 64)
    off = np.abs(got.permute(1, 2, 0).numpy().astype(int) - wanted.reshape(48, 64, -1))
    assert off.mean() < 2.5


def test_a_turned_image_lies_as_it_is_stored(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    pixels(1).save(tmp_path / "turned.jpg", exif=exif)
    assert images.opened(str(tmp_path / "turned.jpg")).shape == (3, 48, 64)


def test_an_image_that_is_gone_is_told_without_its_name(tmp_path):
    with pytest.raises(RuntimeError, match="No such file") as error:
        images.opened(str(tmp_path / "aunt.jpg"))
    assert "aunt" not in str(error.value) and str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("what", ["is not there", "is a file", "is empty", "holds text"])
def test_what_is_no_folder_of_images_is_refused_in_one_line(what, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    place = {"is not there": "none", "is a file": "text/a.txt", "is empty": "empty", "holds text": "text"}[what]
    with pytest.raises(WrongKnob, match=r"^INPUT: given .*; allowed: fast or .*a folder of JPEG, PNG or WebP") as error:
        knobs.read({"INPUT": str(tmp_path / place)})
    assert "\n" not in str(error.value) and paths.FOLDER not in os.environ


def test_a_folder_of_broken_images_alone_is_refused_without_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    (tmp_path / "a.png").write_text("text")
    given = knobs.read({"INPUT": str(tmp_path), "USE_GPU": "0"})
    with pytest.raises(WrongKnob, match=r"^INPUT: the folder holds no image that can be decoded$"):
        plan.cases(given, "cpu")


def test_home_and_the_working_directory_count(mine, monkeypatch):
    monkeypatch.setenv("HOME", str(mine.parent))
    monkeypatch.chdir(mine)
    for text in ("~/our holiday", "aunt marie", "../our holiday/aunt marie"):
        assert knobs.read({"INPUT": text})["INPUT"] == "folder"
        assert Path(os.environ[paths.FOLDER]).samefile(Path(text).expanduser())


def test_two_folders_are_two_cases_and_the_same_images_by_other_names_one(mine, tmp_path):
    given, found = knobs.read({"INPUT": str(mine)}), list[Case]()
    for turn in range(3):
        found += plan.cases(given, "cpu")
        if turn == 0:
            for file in [*mine.rglob("*.JPG")]:
                file.rename(file.with_name(f"x{file.name}"))
            knobs.read({"INPUT": str(mine.rename(tmp_path / "elsewhere"))})
        elif turn == 1:
            pixels(99).save(tmp_path / "elsewhere/one_more.png")
        del os.environ[folder.KEPT]
    assert found[0] == found[1] != found[2]
    told = [sample(input="folder", folder=case.folder) for case in found]
    told += [sample(input="folder", folder=found[0].folder), sample()]
    frame = cases.runs([Record.model_validate(one) for one in told])
    assert sorted(cases.cases(frame)["runs"]) == [1, 1, 3]
    assert len(frame[cases.ALIKE].drop_duplicates()) == 3  # what must agree to be ranked together


def test_hostile_numbers_of_a_folder_are_refused():
    good = {"images": 3, "left_out": 0, "mean_bytes": 9, "width_px": [1, 2, 3], "height_px": [1, 1, 1], "read": 2}
    good |= {"formats": {"JPEG": 2, "PNG": 1}, "cold_images_per_s": 1.0}
    Folder.model_validate(good)
    wrong = [("images", 0), ("left_out", -1), ("width_px", [1, 2]), ("height_px", [0, 1, 10**7])]
    wrong += [("read", 0), ("formats", {"GIF": 3}), ("cold_images_per_s", 0.0), ("cold_images_per_s", None)]
    for field, value in [*wrong, ("name", "aunt.jpg")]:
        with pytest.raises(ValidationError):
            Folder.model_validate(good | {field: value})
    for more in ({"input": "folder"}, {"folder": "0" * 12}, {"input": "folder", "folder": "/home/marie"}):
        with pytest.raises(ValidationError):
            Record.model_validate(sample(**more))


@linux
def test_what_is_mapped_elsewhere_stays_in_the_page_cache_and_that_is_told(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(10**5))
    with (tmp_path / "a.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as there:
        assert there[:] == bytes(10**5)
        assert folder.emptied([str(tmp_path / "a.bin")]) == "100 % of the files' pages stayed in memory"


@linux
def test_a_file_that_is_taken_out_is_no_more_in_memory_by_another_witness(tmp_path):
    """preadv2(2), RWF_NOWAIT: EAGAIN where to read would mean to wait for the disk. It starts to read all the same, and
    a quick disk is now and then done before the kernel looks again: so each page is asked for, and most must wait."""
    (tmp_path / "a.bin").write_bytes(bytes(25 * mmap.PAGESIZE))
    with (tmp_path / "a.bin").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no page is read before it is asked for

        def at_once(page):
            try:
                return os.preadv(file.fileno(), [bytearray(1)], page * mmap.PAGESIZE, os.RWF_NOWAIT)
            except BlockingIOError:
                return 0

        try:
            assert sum(map(at_once, range(25))) == 25
        except OSError as error:
            pytest.skip(f"this file system can't tell: {error.strerror}")
        if folder.emptied([str(tmp_path / "a.bin")]):
            pytest.skip("this file system has no other place than memory")
        assert sum(map(at_once, range(25))) < 13


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_read_cold_once_and_then_warm(workers, mine):
    os.sync()
    found = folder.surveyed(1, 12)
    case = SimpleNamespace(batch_size=5, seed=1, num_images=12)
    some = Images("folder", 1, 32, files=tuple(found.files))
    bench = SimpleNamespace(images=some, case=case, device=torch.device("cpu"))
    source = loader.stream(bench, workers)
    told = trials.described(bench, source)
    assert told.read == 12 and (told.cold_images_per_s or "stayed" in told.unknown["cold_images_per_s"])
    assert torch.equal(next(source), torch.stack([some[i] for i in range(10, 15)]))  # it went on from the first image
    case.batch_size = 13
    assert "fewer images than one batch" in trials.described(bench, source).unknown["cold_images_per_s"]


def test_a_run_of_a_folder_leaves_a_record_without_a_path_or_a_name(mine, tmp_path, monkeypatch, capsys):
    os.sync()
    monkeypatch.chdir(tmp_path)
    own = {"USE_GPU": "0", "TELEMETRY": "0", "MACHINE": "m", "RESULTS": str(tmp_path / "mine"), "INPUT": str(mine)}
    status = runner.make_image(knobs.read(KNOBS | own | {"WORKERS": "1", "IMAGE_PX": "64"}), lambda *_: "no page")
    told = capsys.readouterr().out
    ((path, kept),) = store.read(tmp_path / "mine")
    assert status == 0 and kept.status == "ok", told
    text = path.read_text("utf-8")
    names = {mine.name, "aunt marie", str(tmp_path)} | {file.stem for file in mine.rglob("*.*")}
    assert [name for name in names - {"list"} if name in text] == []
    own = kept.checks.workers.folder
    assert (kept.case.input, own.images + own.left_out, own.read) == ("folder", GOOD + 3, 8)
    assert own.left_out == 2 + ("cut.jpg" in told)  # it is found broken where a run would read it
    assert json.loads(text)["case"]["folder"] == kept.case.folder != ""
    (said,) = [said for said in kept.verdict.findings if "cold page cache" in said]
    assert f"warm {kept.passes.input.images_per_s:.1f}" in said or own.unknown["cold_images_per_s"] in said
    with pytest.raises(ValidationError, match="fingerprint"):
        Record.model_validate_json(json.dumps(changed(json.loads(text), ("case", "folder"), "")))
