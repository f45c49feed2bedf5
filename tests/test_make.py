"""make, as a user types it: help, misspelt and wrong knobs, an old Python, and what the lock file may not hold."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from siliconbench import __main__ as door
from siliconbench import knobs
from siliconbench.machine import facts
from siliconbench.sweep import plan
from tests.sweep.test_plan import left

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
    fake.write_text(f'#!/bin/sh\necho "$@" "[$PYTHONDONTWRITEBYTECODE]" >> {log}\n')
    fake.chmod(0o755)
    done = make("lint", f"PYTHON={fake}", folder=tmp_path, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stderr
    assert all(line.endswith(" []") for line in log.read_text().splitlines())  # else each process compiles torch anew
    modules = [line.split()[1] for line in log.read_text().splitlines()]
    assert modules == ["ruff", "ruff", "mypy", "nbstripout"] and not (tmp_path / ".venv").exists()
    for module in set(modules):
        command = [sys.executable, "-m", module, "--version"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def target(name, folder, **environment):
    """A target in a folder of its own, which is made."""
    folder.mkdir(exist_ok=True)
    command, env = [sys.executable, "-m", "siliconbench", name], os.environ | environment
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)


HOLD = """
import os, sys, time
from siliconbench.machine import lock
os.umask(0o077)
os.setuid(int(sys.argv[1])) if sys.argv[1] else None
lock.alone()
print("held", flush=True)
time.sleep(60)
"""


def held(lock, user="", code=HOLD, words=()):
    """A process, as this user if one is given, that has the machine's only measurement, or its last words; words: those
    that its command line ends with."""
    env = os.environ | {"SILICONBENCH_LOCK": str(lock)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    child = subprocess.Popen([sys.executable, "-c", code, str(user), *words], env=env, **pipes)
    return child, child.stdout.readline()


@pytest.mark.parametrize("name", ["image", "best", "trust"])
def test_two_clones_on_one_machine_never_measure_at_once(tmp_path, name):
    lock = tmp_path / "lock"
    child, said = held(lock, words=("siliconbench", "image"))
    try:
        done = target(name, tmp_path / "another clone", SILICONBENCH_LOCK=str(lock), MACHINE="m")
        assert said == "held\n" and done.returncode == 2 and not done.stdout
        told = (
            f"another measurement runs here now (make image, process {child.pid}): two at once would slow one another"
        )
        assert done.stderr == f"make {name}: {told}\n"
    finally:
        child.kill()
        child.wait()
    child, said = held(lock)  # its end, however it came, frees the machine
    child.kill()
    assert said == "held\n"


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="only root may take another user's id")
@pytest.mark.parametrize(("first", "second"), [("", 54321), (54321, ""), (54321, 54322)])
def test_two_users_of_one_machine_never_measure_at_once(tmp_path, first, second):
    """In a folder such as /tmp, where fs.protected_regular forbids opening another's file as if to make it."""
    folder = Path("/tmp") / f"siliconbench test {os.getpid()}"
    folder.mkdir()
    folder.chmod(0o1777)
    try:
        child, said = held(folder / "lock", first)
        assert said == "held\n"
        _, told = held(folder / "lock", second, HOLD.replace("lock.alone()", ALONE))
        child.kill()
        after, free = held(folder / "lock", second)
        after.kill()
        who = "another user's" if second else f"process {child.pid}"
        wanted = f"another measurement runs here now ({who}): two at once would slow one another\n"
        assert (told, free) == (wanted, "held\n")
    finally:
        shutil.rmtree(folder)


ALONE = """
try:
    lock.alone()
except lock.knobs.WrongKnob as error:
    sys.exit(print(error))
"""


@pytest.mark.parametrize("kind", ["link", "folder missing"])
def test_a_lock_that_can_not_be_had_is_one_line(tmp_path, kind):
    lock = tmp_path / "lock" if kind == "link" else tmp_path / "gone" / "lock"
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    done = target("trust", tmp_path, SILICONBENCH_LOCK=str(lock))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and f"{lock} can't be locked (" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_the_lock_is_the_machines_and_no_users():
    code = "from siliconbench.machine import lock; print(lock.LOCK)"
    own = {k: v for k, v in os.environ.items() if k != "SILICONBENCH_LOCK"} | {"TMPDIR": "/var/tmp"}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert done.stdout == "/tmp/siliconbench.lock\n"


@pytest.mark.parametrize("name", ["image", "best", "share"])
def test_without_a_place_for_its_name_there_is_one_line_and_2(tmp_path, name):
    (tmp_path / "file").write_text("")
    done = target(name, tmp_path, XDG_CONFIG_HOME=str(tmp_path / "file"))
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("give it one with MACHINE=\n")


def tiny(folder, **more):
    few = {"MIN_SECONDS": "0.1", "NUM_IMAGES": "2", "BATCH_SIZE": "2", "REPEATS": "2", "WORKERS": "0", "USE_GPU": "0"}
    return few | {"IMAGE_MODEL": "squeezenet1_1", "TELEMETRY": "0", "MACHINE": "m"} | more


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop()), resource.RLIM_INFINITY))
from siliconbench.__main__ import main
sys.exit(main())
"""


def test_a_disk_too_full_for_a_notebook_or_a_page_is_one_line(tmp_path):
    """Of no file may more than so many bytes be written: as a full disk, it ends in an error of the system's."""

    def done(name, most):
        command = [sys.executable, "-c", LIMITED, name, str(most)]
        env = {k: v for k, v in os.environ.items() if k != "RESULTS"} | tiny(tmp_path)
        env["PYTHONDONTWRITEBYTECODE"] = "1"  # Python 3.11 keeps the half of a module that it could write
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=100)

    for name, most in (("image", 2000), ("report", 30_000)):
        told = done(name, most)
        assert told.returncode == 1, told.stdout + told.stderr
        assert told.stderr.count("\n") == 1 and "File too large" in told.stderr and f"make {name}: " in told.stderr
    assert not list(tmp_path.rglob("*.part")) and not list((tmp_path / "reports").glob("*.html"))
    assert not list(tmp_path.glob("reports/mine/*/*"))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only Linux's root may mount a small disk")
def test_a_sweep_on_a_full_disk_names_the_record_stops_and_goes_on_later(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "none", small], check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        (small / "filler").write_bytes(bytes(12288))
        more = tiny(tmp_path, RESULTS=str(small), REPEATS="2")
        left(plan.planned(knobs.read(more), "cpu", facts.machine("m"), "", lambda _: []), 1)  # and no room for another
        stopped = target("image", tmp_path / "clone", **more)
        assert stopped.returncode == 1 and "Traceback" not in stopped.stdout + stopped.stderr, stopped.stderr
        named = re.fullmatch(
            r"make image: (\S+): the record can't be kept \(No space left on device\): .*\n", stopped.stderr
        )
        assert named and named[1].startswith(f"{small}/m/squeezenet1_1-b2-cpu-fp32-")
        (kept,) = small.glob("m/*")
        assert kept.suffix == ".json"
        (small / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=1m", small], check=True)
        later = plan.planned(knobs.read(more), "cpu", facts.machine("m"), "", lambda _: [])  # that the rest is then run
        assert set(later.done) == {1} and len(later.runs) == 2  # is shown in sweep/test_runner.py
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = make("image", f"PYTHON={sys.executable}", f"RESULTS={tmp_path}/file/data")
    assert done.returncode == 2
    assert "RESULTS: can't write to" in done.stderr and "Traceback" not in done.stderr


def set_up(folder, **fakes):
    """What `make setup` says in a folder of its own, where these programs print so much and end with so much."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, (said, status) in fakes.items():
        fake = folder / "bin" / name.replace("_", ".")
        fake.write_text(f"#!/bin/sh\necho '{said}'\nexit {status}\n")
        fake.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    done = make("setup", folder=folder, PATH=f"{folder}/bin:{os.environ['PATH']}", USE_GPU="0")
    return done.returncode, done.stdout + done.stderr


def test_an_old_python_is_told_what_to_install(tmp_path):
    status, said = set_up(tmp_path, **dict.fromkeys(("python3", "python3_13", "python3_12", "python3_11"), ("", 1)))
    assert status == 2 and "brew install python" in said
    assert not (tmp_path / ".venv").exists()


def df(free_kb):
    return {"df": (f"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 9 9 {free_kb} 9% /", 0)}


@pytest.mark.parametrize(("system", "need", "free_kb"), [("Linux", 6, 5_500_000), ("Darwin", 1, 900_000)])
def test_a_disk_too_small_is_told_before_anything_is_installed(tmp_path, system, need, free_kb):
    status, said = set_up(tmp_path, uname=(system, 0), **df(free_kb))
    assert status == 2 and f"It needs {need} GB of disk, and there are {free_kb // 10**6} GB" in said
    assert ("with USE_GPU=0, too" in said) == (system == "Linux") and not (tmp_path / ".venv").exists()


def test_an_interrupted_set_up_goes_on_and_says_what_it_does(tmp_path):
    for status in (1, 0):
        ended, said = set_up(tmp_path, uv=("Downloading torch (800 MB)", status), **df(10**8))
        assert bool(ended) == bool(status) and "Setting up .venv, once" in said and "Downloading torch" in said
        assert (tmp_path / ".venv" / "ready").exists() == (status == 0)


def test_what_was_installed_before_an_interruption_counts_as_room_and_what_is_missing_comes(tmp_path):
    python = str(tmp_path / ".venv" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    assert set_up(tmp_path, uname=("Linux", 0), uv=("", 0), du=("1000000 .venv", 0), **df(4_900_000))[0] == 2
    assert set_up(tmp_path, uname=("Linux", 0), uv=("", 0), du=("2000000 .venv", 0), **df(4_900_000))[0] == 0
    assert subprocess.run([python, "-c", "import pip"], check=False).returncode == 0


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


def test_every_target_leads_to_a_function():
    """What is loaded only after the knobs are checked is named by text."""
    text = Path(door.__file__).read_text("utf-8")
    names = re.findall(r'"((?:machine|record|sweep|pages)\.\w+:\w+)"', text)
    assert len(names) > 15 and all(callable(door.late(name)) for name in names)
    every = set(re.findall(r"-m siliconbench (\w+)", (ROOT / "Makefile").read_text())) - {"help"}
    assert every <= {*door.TARGETS} and door.TARGETS["suite"].args[0] is knobs.read_suite
