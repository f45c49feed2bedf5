"""What tests share: one thread for each of two that run at once, a real browser, a real sweep."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads; the kernels and processes of tests have it, too

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
        timeout=400,  # a run that others disturb is measured again
        check=False,
    )


@pytest.fixture(scope="session")
def tiny_sweep(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A real sweep, as small as can be, of a case that works and one that this machine lacks; its folder and output.

    Its tests are of the group "sweep": one worker of pytest-xdist runs them, so that it is made once.
    """
    folder = tmp_path_factory.mktemp("sweep")
    return folder, make_image(folder, PRECISION="fp32 tf32", USE_GPU="0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes run the tests: those of a file stay together, and so do those that share the tiny sweep."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            shared = "tiny_sweep" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("sweep" if shared else item.path.name))
