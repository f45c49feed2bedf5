"""Real sweeps in fresh kernels: what they leave, how they go on, and what becomes of a run that is killed."""

import html
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import psutil
import pytest

from siliconbench import knobs
from siliconbench.machine import facts, tuning
from siliconbench.record import store
from siliconbench.record.schema import Error, Record
from siliconbench.sweep import failure, plan, runner
from tests.browser import check_page, open_page
from tests.conftest import KNOBS, make_image
from tests.sweep.test_plan import left, planned


def test_a_real_sweep_leaves_a_record_for_what_worked_and_for_what_did_not(tiny_sweep):
    folder, done = tiny_sweep
    assert done.returncode == 1, done.stdout + done.stderr
    records = [r for _, r in store.read(folder / "reports/mine")]
    assert {(r.case.precision, r.status) for r in records} == {("fp32", "ok"), ("tf32", "failed")}
    ok = next(r for r in records if r.status == "ok")
    assert ok.passes.end_to_end.images >= 8 and ok.case.image_px == 224
    assert ok.software.torch and ok.software.threads and ok.telemetry
    assert next(r for r in records if r.status == "failed").error.kind == "unsupported"
    assert len(list((folder / "reports/runs").glob("*/*.ipynb"))) == len(records)
    assert not list(folder.rglob("*.part"))


def test_a_machines_own_page_is_fit_to_be_sent(chromium, tiny_sweep):
    folder, _ = tiny_sweep
    (path,) = (folder / "reports").glob("*.html")
    check_page(chromium, path)
    text = path.read_text("utf-8")
    assert "://" not in text and "Traceback" not in text and "mobilenet_v3_small" in text
    with open_page(chromium, path, 1200) as (page, _, _):
        links = page.locator("main a[href^='#']").evaluate_all("found => found.map(a => a.getAttribute('href'))")
        assert links and all(page.evaluate("id => !!document.getElementById(id)", href[1:]) for href in links)


def test_what_the_terminal_says(tiny_sweep):
    folder, done = tiny_sweep
    lines = done.stdout.splitlines()
    ok = [r for _, r in store.read(folder / "reports/mine") if r.status == "ok"]
    assert len(ok) == 1  # disturbed or not: a quick look is not measured again
    assert "2 runs (2 cases x 1)" in done.stdout and "\r" not in done.stdout
    assert sum("images/s  forward" in line for line in lines) == len(ok)
    assert sum("FAILED (unsupported)" in line for line in lines) == 1
    assert lines[-1].startswith("reports/") and ".html" in lines[-1]
    page = html.unescape((folder / lines[-1].partition(" (")[0]).read_text("utf-8"))
    page = re.sub("</?code>", "`", page)  # a command stands in backticks on the terminal, on the page it is code
    belief, step, place = re.findall('<p class="finding">(.*?)</p>', page)[:3]
    assert lines[-3:-1] == [belief, f"{step} {place}"] and "2 runs: " in lines[-3]
    (lead,) = re.findall('<p class="lead">(.*?)</p>', page)
    assert [line for line in lines if line.partition(" images/s (")[0] in lead] != []
    assert done.stderr == ""


def test_the_same_command_finishes_an_interrupted_sweep(tiny_sweep, tmp_path):
    """As planned from what a real sweep has left; that it then runs, and only what is left, is shown below."""
    folder, _ = tiny_sweep
    mine = shutil.copytree(folder / "reports/mine", tmp_path / "mine")
    given = knobs.read(KNOBS | {"PRECISION": "fp32 tf32", "USE_GPU": "0", "RESULTS": str(mine)})
    (path, kept), (gone, _) = sorted(store.read(mine), key=lambda found: found[1].status == "failed")

    def this():
        rest = partial(plan.onward, 1, given["SEED"], False)
        return plan.planned(given, "cpu", facts.machine(kept.machine.slug), "", rest)

    assert not this().done and this().sweep_id != kept.sweep.id  # it is whole: the same command measures anew
    gone.unlink()
    assert (this().sweep_id, this().done) == (kept.sweep.id, {kept.sweep.order: kept})
    assert [run.case.precision for order, run in enumerate(this().runs, 1) if order not in this().done] == ["tf32"]
    path.unlink()
    assert not this().done


def test_the_loader_processes_that_the_first_run_chose_are_those_of_all_repeats(tmp_path):
    this = planned(tmp_path, repeats="3", batch_size="8 64")
    order = {size: [i for i, run in enumerate(this.runs, 1) if run.case.batch_size == size] for size in (8, 64)}

    def told(at, records):
        found = runner.parameters(this, at, "20261123T150000Z", records)
        return found.get("chosen_workers"), found.get("chosen_in")

    first, second, third = order[8]
    assert told(first, []) == (None, None)
    records = [left(this, second, used=5), left(this, first, used=3), left(this, order[64][0], used=9)]
    assert told(third, records) == (3, first)
    assert told(order[64][1], records) == (9, order[64][0])
    looked = [r.model_copy(update={"sweep": r.sweep.model_copy(update={"search": True})}) for r in records]
    assert told(third, looked) == (None, None)  # a look of `make best` has no loader: its 0 is no choice
    lost = failure.failed(this, third, "20261123T160000Z", Error(kind="failed", message="for a test"))
    assert told(second, [lost]) == (None, None)
    asked_for = planned(tmp_path / "other", repeats="2", workers="2")
    records = [left(asked_for, 1, used=2)]
    assert "chosen_in" not in runner.parameters(asked_for, 2, "20261123T150000Z", records)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """sweep(**knobs): `make image` with these knobs in this process, without a page, which takes seconds to render: the
    records in the order of their runs, and the exit status. sweep.given(**knobs): what it does that with."""

    def given(**text):
        own = {"USE_GPU": "0", "TELEMETRY": "0", "MACHINE": "m", "RESULTS": str(tmp_path / "mine")}
        return knobs.read(KNOBS | own | text)

    def sweep(**text):
        monkeypatch.chdir(tmp_path)
        status = runner.make_image(given(**text), lambda slug, results: f"no page of {slug}")
        return sorted((r for _, r in store.read(tmp_path / "mine")), key=lambda r: r.sweep.order), status

    sweep.given = given
    return sweep


def test_a_sweep_goes_on_from_its_records_with_the_loader_processes_that_its_first_run_chose(sweep, tmp_path, capsys):
    asked = {"WORKERS": "auto", "REPEATS": "2"}
    rest = partial(plan.onward, 2, sweep.given()["SEED"], False)
    this = plan.planned(sweep.given(**asked), "cpu", facts.machine("m"), "", rest)
    left(this, 1, used=1)
    before = {path: path.read_bytes() for path in tmp_path.glob("mine/*/*")}
    (_, *later), status = sweep(**asked)
    told = capsys.readouterr().out
    assert status == 0 and f"Finishing the sweep of {this.sweep_id[:16]}: 1 of its runs done, 1 left" in told, told
    after = {path: path.read_bytes() for path in tmp_path.glob("mine/*/*")}
    assert len(after) == 2 and before.items() < after.items()
    assert [r.repeat for r in later] == list(range(2, len(later) + 2))
    assert len(later) == 1  # disturbed or not: a quick look is not measured again
    assert {(r.checks.workers.used, r.checks.workers.chosen_in, len(r.checks.workers.tried)) for r in later} == {
        (1, 1, 0)
    }


# A layer's output must be over 32 MiB: smaller blocks glibc learns to keep, by the order in which they were freed.
WIDE = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.mark.skipif(not tuning.tuned(), reason="this system has no allocator but its own")
def test_the_tuned_allocator_shows_in_the_page_faults_and_threads_are_those_asked_for(
    sweep, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # another test has the other core: two threads would wait busily
    threads = min(2, facts.usable_cores())
    (tmp_path / "wide.py").write_text(WIDE)
    asked = {"ALLOCATOR": "system tuned", "THREADS": f"{threads}", "MIN_SECONDS": "0"}
    records, _ = sweep(IMAGE_MODEL=f"{tmp_path}/wide.py:build", NUM_IMAGES="12", **asked)  # of 48 MiB
    told = capsys.readouterr().out
    assert {r.status for r in records} == {"ok"} and len(records) == 2, told
    faults = {
        name: [r.checks.page_faults_per_image for r in records if r.case.allocator == name]
        for name in ("system", "tuned")
    }
    assert min(faults["system"]) > 10 * max(faults["tuned"]) + 100, faults
    assert {r.software.threads for r in records} == {r.case.threads for r in records} == {threads}
    assert all(r.software.environment["OMP_NUM_THREADS"] == str(threads) for r in records)
    assert {"MALLOC_TRIM_THRESHOLD_" in r.software.environment or "LD_PRELOAD" in r.software.environment
            for r in records if r.case.allocator == "tuned"} == {True}  # fmt: skip
    assert sum(" tuned " in line for line in told.splitlines() if " r1 " in line) == 1


def test_a_compilation_that_fails_is_a_failed_case_in_one_line(sweep, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "false")
    (r,), status = sweep(IMAGE_MODEL="siliconbench.examples.own_model:build", BATCH_SIZE="1", COMPILE="reduce-overhead")
    told = capsys.readouterr()
    assert (r.status, r.error.kind, r.case.compile) == ("failed", "failed", "reduce-overhead"), told.err
    assert status == 1 and "inductor" in r.error.message.lower() and "Traceback" not in told.out


def kernels(of):
    found = []
    for p in psutil.Process(of).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that has just ended, a zombie too
            found += [p] if "ipykernel_launcher" in " ".join(p.cmdline()) else []
    return found


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return found


@pytest.fixture
def running(tmp_path):
    own = {k: v for k, v in os.environ.items() if k not in KNOBS} | KNOBS | {"REPEATS": "2", "MIN_SECONDS": "60"}
    with (tmp_path / "out").open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "siliconbench", "image"],
            env=own, cwd=tmp_path, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    yield child, tmp_path
    child.kill()
    child.wait()


def test_a_sweep_whose_kernel_is_killed_ends_with_1(sweep):
    threading.Thread(target=lambda: wait_for(lambda: kernels(os.getpid()))[0].kill()).start()
    (only,), status = sweep()
    assert (only.error.kind, status) == ("killed", 1)


def ended(child, there, sign):
    """The status of a sweep that this signal ended, its kernels and what they started gone, too."""
    time.sleep(3)
    there += [p for k in there for p in k.children(recursive=True)]
    os.killpg(child.pid, sign)
    status = child.wait(30)
    _, alive = psutil.wait_procs(there, timeout=15)
    assert not alive
    return status


def test_a_second_sweep_is_refused_a_killed_kernel_costs_one_run_and_an_interrupted_sweep_leaves_nothing(running):
    child, folder = running
    (first,) = wait_for(lambda: kernels(child.pid))
    second = make_image(folder)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1 and "another measurement" in second.stderr
    first.kill()
    there = wait_for(lambda: [kernel for kernel in kernels(child.pid) if kernel != first])
    assert ended(child, there, signal.SIGINT) == 130
    ((_, left),) = store.read(folder / "reports/mine")
    assert isinstance(left, Record) and left.error.kind == "killed"
    assert len(list((folder / "reports/mine").glob("*/*"))) == 1
    assert "Traceback" not in (folder / "out").read_text()


def test_a_killed_sweep_leaves_nothing(running):
    child, folder = running
    assert ended(child, wait_for(lambda: kernels(child.pid)), signal.SIGKILL) == -9
    assert not list(folder.glob("reports/mine/*/*")) and "Traceback" not in (folder / "out").read_text()
