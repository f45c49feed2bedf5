"""Allocator and threads: what a process needs in its environment, and what is refused before torch loads."""

import os
import subprocess
import sys

import pytest

from siliconbench import knobs
from siliconbench.knobs import WrongKnob
from siliconbench.machine import tools, tuning
from siliconbench.machine.facts import usable_cores


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in (*tuning.KEPT, *tuning.OTHERS):
        monkeypatch.delenv(name, raising=False)


def libc(monkeypatch, name, tcmalloc=None, platform="linux"):
    """A system with this libc, as its own calls tell it, and perhaps a tcmalloc."""

    def confstr(_):
        if not name:
            raise ValueError("unrecognized configuration name")
        return name

    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setattr(tuning, "find_library", {"tcmalloc_minimal": tcmalloc}.get)
    monkeypatch.setattr(tools, "PLATFORM", platform)


def test_glibc_is_told_to_keep_memory_else_tcmalloc_is_preloaded(monkeypatch):
    libc(monkeypatch, "glibc 2.36", "libtcmalloc_minimal.so.4")
    assert tuning.variables({"allocator": "tuned", "threads": 3}) == tuning.KEPT | {"OMP_NUM_THREADS": "3"}
    libc(monkeypatch, "", "libtcmalloc_minimal.so.4")
    assert tuning.variables({"allocator": "tuned"}) == {"LD_PRELOAD": "libtcmalloc_minimal.so.4"}
    assert tuning.variables({"allocator": "system", "threads": None}) == tuning.variables({}) == {}


@pytest.mark.parametrize(("platform", "tcmalloc"), [("linux", None), ("darwin", "libtcmalloc_minimal.dylib")])
def test_where_there_is_neither_one_line_says_so(monkeypatch, platform, tcmalloc):
    libc(monkeypatch, "", tcmalloc, platform)
    with pytest.raises(WrongKnob, match=r"^ALLOCATOR: given 'tuned'; allowed: system: no other is here[^\n]*$"):
        tuning.check(knobs.read({"ALLOCATOR": "system tuned"}))
    tuning.check(knobs.read({}))
    assert tuning.untrue("tuned") == tuning.NONE


def test_more_threads_than_cores_are_refused():
    cores = usable_cores()
    tuning.check(knobs.read({"THREADS": f"auto 1 {cores}"}))
    with pytest.raises(WrongKnob, match=f"^THREADS: given '{cores + 1}'; allowed: .* from 1 to {cores}, the cores"):
        tuning.check(knobs.read({"THREADS": f"1 {cores + 1}"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "1"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so"),
        ("GLIBC_TUNABLES", "glibc.malloc.x=1"),
    ],
)
def test_an_allocator_that_a_variable_changes_is_not_called_the_systems(monkeypatch, name, value):
    assert tuning.untrue("system") is None
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongKnob, match=f"^ALLOCATOR: given 'system'; allowed: {name} makes it another: unset that"):
        tuning.check(knobs.read({}))
    monkeypatch.setenv(name, "glibc.rtld.nns=4" if name == "GLIBC_TUNABLES" else "")
    assert tuning.untrue("system") is None


def test_tuned_is_believed_only_of_a_process_that_was_started_so(monkeypatch, tmp_path):
    libc(monkeypatch, "glibc 2.36")
    assert "needs MALLOC_MMAP_MAX_=0 MALLOC_" in tuning.untrue("tuned")
    for name, value in tuning.KEPT.items():
        monkeypatch.setenv(name, value)
    assert tuning.untrue("tuned") is None
    libc(monkeypatch, "", "libtcmalloc_minimal.so.4")
    monkeypatch.setattr(tools, "PROC", tmp_path)
    (tmp_path / "self").mkdir()
    assert "needs LD_PRELOAD=" in tuning.untrue("tuned")  # a library that isn't there is ignored by the loader
    (tmp_path / "self" / "maps").write_text("7f00-7f01 r-xp 0 00:00 0 /usr/lib/libtcmalloc_minimal.so.4.5\n")
    assert tuning.untrue("tuned") is None


def test_the_refusal_is_one_line_exit_2_and_comes_before_torch(tmp_path):
    code = "import sys, siliconbench.__main__ as m; c = m.main(); print('torch' in sys.modules); sys.exit(c)"
    env = os.environ | {"THREADS": "4096", "USE_GPU": "0"}
    done = subprocess.run([sys.executable, "-c", code, "image"], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(
        "make image: THREADS: given '4096'; allowed: auto or"
    )
