"""make, as a user types it: help, misspelt and wrong knobs, an old Python, and what the lock file may not hold."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
HOSTS = ("pypi" + ".org", "python" + "hosted", "npm" + "js", "deb" + "ian.org")


def make(*words, folder=ROOT, **environment):
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}  # `make test` runs this, too
    return subprocess.run(
        ["make", *words], cwd=folder, env=own | environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("words", [(), ("help",)])
def test_make_alone_is_help_and_every_target_has_its_words(words):
    done = make(*words)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == targets


def test_a_misspelt_knob_is_one_line():
    done = make("image", "BATCHSIZE=8")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "BATCHSIZE" in done.stderr and "BATCH_SIZE" in done.stderr


def test_a_wrong_knob_on_the_command_line_or_in_the_environment_ends_with_2():
    for done in (
        make("image", f"PYTHON={sys.executable}", "BATCH_SIZE=0"),
        make("image", f"PYTHON={sys.executable}", BATCH_SIZE="0"),
    ):
        assert done.returncode == 2
        assert "BATCH_SIZE: given '0'; allowed: auto or a whole number from 1 to 65536" in done.stderr


def test_make_best_refuses_what_it_chooses_itself():
    done = make("best", f"PYTHON={sys.executable}", "BATCH_SIZE=8")
    assert done.returncode == 2
    assert "make best: BATCH_SIZE: given '8'; allowed: nothing" in done.stderr and "Traceback" not in done.stderr


def test_lint_runs_with_the_given_python_where_there_is_no_venv(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    fake, log = tmp_path / "python", tmp_path / "log"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    fake.chmod(0o755)
    done = make("lint", f"PYTHON={fake}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    modules = [line.split()[1] for line in log.read_text().splitlines()]
    assert modules == ["ruff", "ruff", "mypy", "nbstripout"] and not (tmp_path / ".venv").exists()
    for module in set(modules):
        command = [sys.executable, "-m", module, "--version"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_trust_is_refused_in_one_line_while_another_measurement_runs(tmp_path):
    (tmp_path / "reports/runs").mkdir(parents=True)
    command = [sys.executable, "-m", "siliconbench", "trust"]
    with FileLock(tmp_path / "reports/runs/.lock"):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and "make trust: another measurement runs here now" in done.stderr


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = make("image", f"PYTHON={sys.executable}", f"RESULTS={tmp_path}/file/data")
    assert done.returncode == 2
    assert "RESULTS: can't write to" in done.stderr and "Traceback" not in done.stderr


def test_an_old_python_is_told_what_to_install(tmp_path):
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        fake = tmp_path / "bin" / name
        fake.write_text("#!/bin/sh\nexit 1\n")
        fake.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("setup", folder=tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 2
    assert "brew install python" in done.stdout + done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_makefile_is_for_old_makes_too():
    text = (ROOT / "Makefile").read_text()
    assert ".ONESHELL" not in text and "&:" not in text


def test_the_lock_names_versions_and_hashes_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    pins = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE)
    assert len(pins) > 100
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) > len(pins)
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {name for name, _ in pins}
    for line in [
        *asked["dependencies"],
        *asked["optional-dependencies"]["dev"],
        *asked["optional-dependencies"]["lab"],
    ]:
        assert re.match(r"[\w.-]+", line)[0].lower() in names


def test_no_file_names_a_registry():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [ROOT / name for name in listed.stdout.splitlines()] or list(ROOT.glob("*.*"))
    guilty = [f.name for f in files if f.is_file() and any(h in f.read_text("utf-8", "replace") for h in HOSTS)]
    assert not guilty
