"""What tests share: one thread for each of three that run at once, a real browser, a real sweep."""

import atexit
import gc
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

gc.disable()  # what the tests load is not searched for garbage meanwhile: that takes seconds
sys.modules.setdefault("rfc3987_syntax", None)  # as siliconbench.__main__ has it: seconds to build a grammar
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that a test starts compiles torch and pandas anew
sys.dont_write_bytecode = False
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, by what tests start, too
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads; the kernels and processes of tests have it, too
HOME = tempfile.mkdtemp(prefix="siliconbench-")  # of this process's names and lock: nothing of the user's is touched
os.environ |= {"XDG_CONFIG_HOME": HOME, "SILICONBENCH_LOCK": f"{HOME}/lock"}
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


@pytest.fixture
def timm() -> ModuleType:
    """timm, which the lock holds; without it, as with a site's own Python, the test is skipped, but fails in CI."""
    if importlib.util.find_spec("timm") is None:
        pytest.fail("timm is missing") if os.environ.get("CI") == "true" else pytest.skip("timm is not installed")
    return importlib.import_module("timm")


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """A headless Chromium of this machine; without one the test is skipped, but fails where CI=true."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = f"No browser was found; looked for {', '.join(BROWSERS)}."
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET.split())
        yield browser
        browser.close()


KNOBS = {
    "MIN_SECONDS": "0.2",
    "NUM_IMAGES": "8",
    "REPEATS": "1",
    "BATCH_SIZE": "4",
    "IMAGE_MODEL": "mobilenet_v3_small",
}
KNOBS |= {"WORKERS": "0"}  # auto is tried in tests of its own


def make_image(folder: Path, **knobs: str) -> subprocess.CompletedProcess:
    """`make image` as it runs once set up, in a folder of its own."""
    own = {k: v for k, v in os.environ.items() if k not in KNOBS}
    return subprocess.run(
        [sys.executable, "-m", "siliconbench", "image"],
        env=own | KNOBS | knobs,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="session")
def tiny_sweep(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A real sweep, as small as can be, of a case that works and one that this machine lacks; its folder and output.

    One worker of pytest-xdist runs its tests, those of the files in SWEEP, so that it is made once.
    """
    folder = tmp_path_factory.mktemp("sweep")
    return folder, make_image(folder, PRECISION="fp32 tf32", USE_GPU="0")


def run_in(folder: Path, target: str, **knobs: str) -> subprocess.CompletedProcess:
    """A target of the clone in this folder, with its own code and these knobs alone."""
    own = {k: v for k, v in os.environ.items() if k not in (*KNOBS, "RESULTS", "MACHINE")}
    command = [sys.executable, "-m", "siliconbench", target]
    env = own | {"PYTHONPATH": str(folder / "src")} | knobs
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def git(folder: Path, *words: str) -> str:
    """What git prints in this folder; CalledProcessError where it fails."""
    command = ["git", "-c", "user.name=x", "-c", "user.email=x", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of this repository as it stands, with the records that it has published."""
    root = Path(__file__).parents[1]
    for name in ("src", "notebooks", "reports"):
        left = shutil.ignore_patterns("*.egg-info", "runs", "mine")
        shutil.copytree(root / name, tmp_path / "clone" / name, ignore=left)
    for name in (".gitignore", "Makefile", "README.md", "pyproject.toml"):
        shutil.copy(root / name, tmp_path / "clone")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a clone"]):
        git(tmp_path / "clone", *words)
    return tmp_path / "clone"


@pytest.fixture(scope="session")
def rendered() -> Iterator[Callable[..., Path]]:
    """rendered(notebook, page, **parameters): the page's path, its notebook's cells run and put into the house template
    as `make` does, but in one kernel for all of them, emptied before each: its start takes longer than a page.

    That a page comes from a kernel of its own is what the tests of the targets show, and of the tracked page."""
    from jupyter_client.manager import start_new_kernel
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from siliconbench import paths
    from siliconbench.pages import render

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(paths.ROOT))

    def rendered(notebook: str, page: Path, **parameters: object) -> Path:
        asked = parameterize_notebook(load_notebook_node(str(paths.NOTEBOOKS / f"{notebook}.ipynb")), parameters)
        asked.cells.insert(0, new_code_cell("%reset -f\n%reset -f in out"))
        NotebookClient(asked, km=manager).execute()
        page.write_text(render.to_html(asked), "utf-8")
        return page

    yield rendered
    client.stop_channels()
    manager.shutdown_kernel(now=True)


SWEEP = ("test_runner.py", "test_share.py")  # they share the tiny sweep
MEASURES = ("test_mistakes.py", "test_selftest.py", "test_sampler.py")  # their seconds must not be each other's
LONGEST = (*SWEEP, *MEASURES, "test_lab.py", "test_compare.py", "test_make.py", "test_best.py", "test_facts.py")
LONGEST += ("test_machine.py", "test_remote.py", "test_models.py", "test_zoo.py", "test_hostile.py", "test_suite.py")
LONGEST += ("test_choice.py", "test_render.py", "test_notebooks.py", "test_passes.py", "test_images.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Three processes run the tests: those of a file, or of a few, stay together: what they share is made once.

    By file name, since pytest 9.2 takes no notice of the groups that pytest-xdist 3.8 writes into a test's id.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            name = nodeid.partition("::")[0].rpartition("/")[2]
            return next((group[0] for group in (SWEEP, MEASURES) if name in group), name)

    config.option.loadscopereorder = False  # else the groups of many tests came first, not the long ones
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first, so that no process works on alone at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """From here on garbage is looked for again."""
    gc.enable()
