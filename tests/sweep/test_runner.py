"""The sweep: its order, what it remembers without a memory, and what becomes of a run that fails or is killed."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from nbclient.exceptions import DeadKernelError
from papermill import PapermillExecutionError

from siliconbench import knobs
from siliconbench.record import store
from siliconbench.record.schema import Error, Record
from siliconbench.sweep import failure, runner, terminal
from tests.conftest import KNOBS, make_image
from tests.samples import sample


def given(**text):
    return knobs.read({k.upper(): v for k, v in text.items()})


def test_the_cases_are_every_combination():
    made = runner.cases(given(image_model="resnet18 alexnet", batch_size="1 8", precision="fp32 bf16"), "cpu")
    asked = itertools.product(("resnet18", "alexnet"), (1, 8), ("fp32", "bf16"))
    assert {(c.model, c.batch_size, c.precision) for c in made} == set(asked)


def test_the_order_is_seeded_and_every_repeat_has_every_case_once():
    cases = runner.cases(given(image_model="resnet18 alexnet", batch_size="1 8 64"), "cpu")
    order = runner.shuffled(cases, 4, 2021)
    assert order == runner.shuffled(cases, 4, 2021) != runner.shuffled(cases, 4, 1)
    assert set(Counter(order).values()) == {1}
    rounds = (
        [[case for case, _ in part] for part in itertools.batched(order, 6)]
        if sys.version_info >= (3, 12)
        else [[case for case, _ in order[i : i + 6]] for i in range(0, 24, 6)]
    )
    assert all(sorted(map(str, r)) == sorted(map(str, cases)) for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1


def plan(tmp_path, **text):
    return runner.plan(given(results=str(tmp_path), machine="m", **text), "cpu", {"chip": "c", "cores": 2})


def leave(plan, *orders):
    for order in orders:
        runner.failed(plan, order, store.now(), {"kind": "failed", "message": "for a test"})


def test_an_interrupted_sweep_is_found_by_the_same_command_only(tmp_path):
    first = plan(tmp_path, repeats="3")
    leave(first, 1, 3)
    again = plan(tmp_path, repeats="3")
    assert again.sweep_id == first.sweep_id
    assert set(runner.done(again)) == {1, 3}
    assert plan(tmp_path, repeats="3", fresh="1").sweep_id[17:] == first.sweep_id[17:]
    assert not runner.done(plan(tmp_path, repeats="4"))
    leave(again, 2)
    assert runner.unfinished(tmp_path / "m", first.sweep_id[17:]) is None


def test_larger_batches_are_not_tried_after_memory_ran_out(tmp_path):
    this = plan(tmp_path, batch_size="1 8 64", image_model="resnet18 alexnet")
    place = {(c.model, c.batch_size): i for i, (c, _) in enumerate(this.runs, 1)}
    lost = runner.failed(this, place["resnet18", 8], store.now(), {"kind": "out_of_memory", "message": "no room"})
    limits = {key: runner.too_large(this.runs[i - 1][0], [lost]) for key, i in place.items()}
    assert {key for key, limit in limits.items() if limit} == {("resnet18", b) for b in (1, 8, 64)}
    assert set(limits.values()) == {8, None}


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 18.47 GiB.", "out_of_memory"),
        (
            "RuntimeError",
            "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory",
            "out_of_memory",
        ),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 9.00 GB)", "out_of_memory"),
        ("MemoryError", "", "out_of_memory"),
        ("RuntimeError", "DataLoader worker (pid(s) 4711) exited unexpectedly", "worker"),
        ("Refused", "tf32 is a mode of NVIDIA GPUs", "unsupported"),
        ("ValueError", "something else at /home/anna/x", "failed"),
    ],
)
def test_what_went_wrong_has_a_kind_and_one_plain_line(name, text, kind):
    found = failure.reason(PapermillExecutionError(1, 1, "x", name, text, []), False)
    assert found["kind"] == kind
    assert "anna" not in found["message"]
    Error.model_validate(found)


def test_a_dead_kernel_is_out_of_memory_only_when_the_system_says_so():
    assert failure.reason(DeadKernelError("Kernel died"), True)["kind"] == "out_of_memory"
    assert failure.reason(DeadKernelError("Kernel died"), False)["kind"] == "killed"


def test_a_real_sweep_leaves_a_record_for_what_worked_and_for_what_did_not(tiny_sweep):
    folder, done = tiny_sweep
    assert done.returncode == 1, done.stdout + done.stderr
    records = [r for _, r in store.read(folder / "reports/data")]
    assert {(r.case.precision, r.status) for r in records} == {("fp32", "ok"), ("tf32", "failed")}
    ok = next(r for r in records if r.status == "ok")
    assert ok.passes.end_to_end.images >= 8 and ok.case.image_px == 224
    assert ok.software.torch and ok.software.threads and ok.telemetry
    assert next(r for r in records if r.status == "failed").error.kind == "unsupported"
    assert len(list((folder / "reports/runs").glob("*/*.ipynb"))) == 2
    assert not list(folder.rglob("*.part"))


def test_what_the_terminal_says(tiny_sweep):
    _, done = tiny_sweep
    lines = done.stdout.splitlines()
    assert "2 runs (2 cases x 1)" in done.stdout and "\r" not in done.stdout
    assert sum("images/s   model alone" in line for line in lines) == 1
    assert sum("FAILED (unsupported)" in line for line in lines) == 1
    assert lines[-1].startswith("reports/") and ".html" in lines[-1]
    assert done.stderr == ""


def test_the_same_command_finishes_an_interrupted_sweep(tiny_sweep):
    folder, _ = tiny_sweep
    kept, gone = sorted((folder / "reports/data").glob("*/*.json"), key=lambda p: "tf32" in p.name)
    before = kept.read_bytes()
    gone.unlink()
    done = make_image(folder, PRECISION="fp32 tf32", USE_GPU="0")
    assert "Finishing the sweep of" in done.stdout and "1 runs are done, 1 left" in done.stdout
    assert kept.read_bytes() == before
    assert len(list((folder / "reports/data").glob("*/*.json"))) == 2


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
    own = {k: v for k, v in os.environ.items() if k not in KNOBS} | KNOBS
    with (tmp_path / "out").open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "siliconbench", "image"],
            env=own, cwd=tmp_path, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    yield child, tmp_path
    child.kill()
    child.wait()


def test_a_second_sweep_is_refused_and_a_killed_kernel_costs_one_run(running):
    child, folder = running
    (kernel,) = wait_for(lambda: kernels(child.pid))
    second = make_image(folder)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1 and "another measurement" in second.stderr
    kernel.kill()
    assert child.wait(60) == 1
    ((_, left),) = store.read(folder / "reports/data")
    assert isinstance(left, Record) and left.error.kind == "killed"
    assert "Traceback" not in (folder / "out").read_text()


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_behind_when_the_sweep_ends_early(running, sign, status):
    child, folder = running
    there = wait_for(lambda: kernels(child.pid))
    time.sleep(3)
    there += [p for k in there for p in k.children(recursive=True)]
    os.killpg(child.pid, sign)
    assert child.wait(30) == status
    _, alive = psutil.wait_procs(there, timeout=15)
    assert not alive
    assert not list((folder / "reports/data").glob("*/*"))
    assert "Traceback" not in (folder / "out").read_text()


def test_a_folder_that_holds_another_machine_is_left_alone(tmp_path):
    store.write(Record.model_validate(sample()), tmp_path)
    folder = tmp_path / "amd-epyc-2-cores"
    assert runner.another_machine(folder, {"chip": "AMD EPYC", "cores": 2}) is None
    assert "4 cores" in runner.another_machine(folder, {"chip": "AMD EPYC", "cores": 4})
    assert runner.another_machine(tmp_path / "new", {"chip": "x", "cores": 1}) is None


def test_the_headline_has_its_interval_and_one_run_says_so():
    runs = [Record.model_validate(sample(r) | {"repeat": i}) for i, r in enumerate((99.0, 100.0, 101.0), 1)]
    assert terminal.headline(runs) == [
        "resnet18, batch 8, cpu, fp32: 100.0 images/s end to end (97.5 to 102.5, 95 % over 3 runs)"
    ]
    assert "one run: within this run only" in terminal.headline(runs[:1])[0]
