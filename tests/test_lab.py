"""JupyterLab as people use it: on copies that git ignores, what was edited in them kept; nothing is left running."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from siliconbench import paths
from siliconbench.analysis import cases
from siliconbench.machine import sampler
from siliconbench.pages import lab
from siliconbench.record import store
from tests.conftest import git, run_in
from tests.test_make import ALONE, HOLD, held


def edited(path, source="print('mine')", **more):
    notebook = nbformat.read(path, 4)
    notebook.cells[0] = nbformat.v4.new_code_cell(source, **more)
    nbformat.write(notebook, path)


def test_a_copy_is_anew_when_its_source_is_and_what_was_edited_is_kept_and_said(clone):
    assert run_in(clone, "lab").stdout == "" and git(clone, "status", "--porcelain") == ""
    source, copy = clone / "notebooks/trust.ipynb", clone / "lab/trust.ipynb"
    assert copy.read_bytes() == source.read_bytes()
    edited(copy)
    mine = copy.read_bytes()
    assert run_in(clone, "lab").stdout == "" and copy.read_bytes() == mine
    edited(source, "print('the next version')")
    said = run_in(clone, "lab").stdout
    (aside,) = (clone / "lab").glob("trust ?*.ipynb")
    assert said.count("\n") == 1 and f"lab/{aside.name}" in said and aside.read_bytes() == mine
    assert copy.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"metadata": {}}, sort_keys=True)), 0),
        (lambda path: edited(path, outputs=[nbformat.v4.new_output("stream", text="minutes of work")]), 1),
        (lambda path: path.write_text("{"), 1),
        (lambda path: path.unlink(), 0),
    ],
    ids=["saved by an editor", "run", "no notebook", "deleted"],
)
def test_nothing_but_work_is_kept(tmp_path, monkeypatch, change, kept):
    source, copy = tmp_path / "notebooks/compare.ipynb", tmp_path / "lab/compare.ipynb"
    shutil.copytree(paths.NOTEBOOKS, source.parent)
    monkeypatch.setattr(paths, "NOTEBOOKS", source.parent)
    lab.make_lab(copy.parent)
    change(copy)
    edited(source, "print('the next version')")
    lab.make_lab(copy.parent)
    assert copy.read_bytes() == source.read_bytes()
    assert len(list(copy.parent.glob("compare ?*.ipynb"))) == kept


@pytest.fixture
def by_hand(tmp_path, monkeypatch):
    """A kernel as Lab has one: its client, its manager, and the lock that whoever measures here must have."""
    monkeypatch.setenv("SILICONBENCH_LOCK", str(tmp_path / "lock"))
    manager, client = start_new_kernel(kernel_name="python3")
    yield client, manager, tmp_path / "lock"
    client.stop_channels()
    manager.shutdown_kernel(now=True)


BEGIN = """
from siliconbench.record.schema import Case
from siliconbench.run import result
log = result.Log(True, Case(model="resnet18", batch_size=1, device="cpu", min_seconds=0.0))
"""


def test_with_a_cell_that_fails_or_is_interrupted_the_sampler_leaves_and_the_machine_is_free(by_hand):
    client, manager, lock = by_hand
    kernel = psutil.Process(manager.provisioner.pid)

    def samplers():
        return [c for c in kernel.children(recursive=True) if c.cmdline()[2:3] == [sampler.__name__]]

    def do(code):
        return client.execute_interactive(code, timeout=60, output_hook=str)["content"]

    for fault in ("1 / 0", "import time; print('asleep'); time.sleep(60)"):
        assert do(BEGIN)["status"] == "ok" and do(BEGIN)["status"] == "ok"
        _, told = held(lock, code=HOLD.replace("lock.alone()", ALONE))
        assert f"runs here now (a notebook, process {kernel.pid})" in told
        assert len(samplers()) == 1
        client.execute(fault)
        while "sleep" in fault and client.get_iopub_msg(timeout=20)["content"].get("text") != "asleep\n":
            pass
        manager.interrupt_kernel() if "sleep" in fault else None
        assert client.get_shell_msg(timeout=20)["content"]["status"] == "error"
        assert samplers() == []
        child, told = held(lock)
        child.kill()
        child.wait()  # it has the machine until it has ended
        assert told == "held\n"
        assert do("log.stop(0.0)")["evalue"].startswith("this run has ended, as a cell failed")
    assert do(BEGIN + "log.stop(0.0)")["status"] == "ok" and samplers() == []


@pytest.fixture
def server(clone, tmp_path):
    """The address of a Lab that `make lab` has started in a clone, where it saves every second."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = tmp_path / "config/labconfig/default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    often, all_cells = {"autosaveInterval": 1}, {"windowingMode": "none"}  # else cells out of sight are not there
    said = {"@jupyterlab/docmanager-extension:plugin": often, "@jupyterlab/notebook-extension:tracker": all_cells}
    settings.write_text(json.dumps(said))
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    own |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "HOME": str(tmp_path)}
    options = f"--no-browser --port {port} --IdentityProvider.token= --LabApp.news_url=None"
    command = ["make", "lab", f"PYTHON={sys.executable}", f"LAB={options}"]
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(command, cwd=clone, env=own, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}/lab/tree/lab/"
    try:
        for _ in range(300):
            if child.poll() is not None or "is running at" in (tmp_path / "log").read_text():
                break
            time.sleep(0.1)
        assert child.poll() is None, (tmp_path / "log").read_text()
        yield address
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()


FRONT = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # the notebook that is seen


def run_all(page):
    """Runs all cells of the notebook that is in front, once its kernel waits for them: before, Lab may lose them."""
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()


def output(page, text, count=1):
    """Waits until so many outputs of the notebook in front have this text."""
    shown = page.locator(f"{FRONT} .jp-OutputArea-output", has_text=text)
    shown.nth(count - 1).wait_for(timeout=60_000)
    return shown.nth(count - 1).inner_text()


FEW = """model: str = "squeezenet1_1"
device: str = "cpu"
batch_size: int = 2
num_images: int = 4
min_seconds: float = 0.6
workers: int = 0
telemetry: bool = False
"""


def test_lab_as_people_use_it_changes_no_tracked_file_and_measures_alone(chromium, server, clone):
    """One Lab, one browser for all of it: saved by itself, links, a widget, a changed parameter, run twice."""
    source, copy = clone / "notebooks/trust.ipynb", clone / "lab/trust.ipynb"
    page = chromium.new_page()
    page.goto(server + "trust.ipynb")
    page.get_by_role("heading", name="Can these numbers be trusted here?").wait_for(timeout=60_000)
    for _ in range(300):
        if copy.read_bytes() != source.read_bytes():
            break
        page.wait_for_timeout(100)
    assert copy.read_bytes() != source.read_bytes(), "it was not saved"
    run_all(page)
    assert output(page, "make trust") == "No run is there to read: run `make trust` first."
    page.get_by_role("link", name="explore").click()
    page.get_by_role("heading", name="What do the records say?").wait_for(timeout=60_000)
    page.goto(server + "explore.ipynb")
    page.get_by_role("heading", name="What do the records say?").wait_for(timeout=60_000)
    run_all(page)
    figure = page.locator(".widget-html img")
    figure.wait_for(timeout=60_000)
    before = figure.get_attribute("alt")
    page.locator(".widget-dropdown select").nth(2).select_option("peak_bytes")
    page.locator('.widget-html img[alt^="peak_bytes"]').wait_for(timeout=30_000)
    assert before.startswith("images_per_s by batch_size: from ")
    page.goto(server + "measure.ipynb")
    page.get_by_role("heading", name="How fast does this model run here").wait_for(timeout=60_000)
    cell = page.locator(f"{FRONT} .jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text("\n" + FEW)
    run_all(page)
    page.locator("progress").wait_for(timeout=60_000)
    refused = run_in(clone, "image", USE_GPU="0", IMAGE_MODEL="squeezenet1_1")
    told = output(page, "not for comparison")
    assert refused.returncode == 2 and "runs here now (a notebook, process " in refused.stderr
    assert told.startswith("squeezenet1_1, 0 workers, batch 2, cpu: ") and "The bottleneck is " in told
    assert page.locator(f"{FRONT} .jp-OutputArea-output img").count() >= 4 and page.locator("progress").count() == 0
    assert page.locator(f'{FRONT} [data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts() == []
    run_all(page)
    assert "It was measured by hand, in a kernel that had measured before" in output(page, "not ranked")
    found = [record for _, record in store.read_all([clone / "reports/mine"])]
    assert [len(found), len(cases.runs(found))] == [2, 1]
    page.close()
    assert git(clone, "status", "--porcelain") == ""
