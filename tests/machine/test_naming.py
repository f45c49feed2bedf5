"""The machine's own name: made once, the same for all its user's processes, one a machine, and telling of nobody."""

import json
import os
import re
import subprocess
import sys
import types
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench import knobs
from siliconbench.machine import facts, naming, tools
from siliconbench.record.host import Machine
from tests.samples import sample

ID = "0123456789abcdef0123456789abcdef"
NAME = re.compile(f"amd-epyc-[{naming.LETTERS}]{{4}}")


def machine(**more):
    return Machine.model_validate(sample()["machine"] | more)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder for the user's configuration, on a machine whose id is made up."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    become(tmp_path, monkeypatch, ID)
    return tmp_path / "home/siliconbench/names.json"


def become(tmp_path, monkeypatch, machine_id):
    """Makes this another machine, by the files that tell."""
    top = tmp_path / f"machine {machine_id[:4]}"
    (top / "etc").mkdir(parents=True, exist_ok=True)
    (top / "etc/machine-id").write_text(f"{machine_id}\n")
    monkeypatch.setattr(tools, "PROC", top / "proc")
    monkeypatch.setattr(tools, "PLATFORM", "linux")


def test_a_name_is_made_once_and_tells_the_chip_and_nothing_else(home):
    name = naming.own(machine())
    assert NAME.fullmatch(name) and naming.own(machine()) == name
    text = home.read_text()
    assert ID not in text and uuid.getnode().to_bytes(6, "big").hex() not in text and str(uuid.getnode()) not in text
    assert set(json.loads(text)) == {"salt"} | {key for key, value in json.loads(text).items() if value == name}


def test_one_home_serves_many_machines_and_each_has_its_own(home, tmp_path, monkeypatch):
    first = naming.own(machine())
    become(tmp_path, monkeypatch, "f" * 32)
    second = naming.own(machine())
    assert NAME.fullmatch(second) and second != first and len(json.loads(home.read_text())) == 3
    become(tmp_path, monkeypatch, ID)
    assert naming.own(machine()) == first != naming.own(machine(chip="Another")) and naming.own(machine()) == first
    assert naming.own(machine(memory_bytes=2**40)) == first  # memory can be added


def test_two_homes_share_no_hash_of_one_machine(home, tmp_path, monkeypatch):
    naming.own(machine())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    naming.own(machine())
    keys = [json.loads((tmp_path / of / "siliconbench/names.json").read_text()).keys() for of in ("home", "other")]
    assert keys[0] & keys[1] == {"salt"}


def test_processes_that_make_it_at_one_moment_get_the_same(tmp_path):
    code = "from siliconbench.machine import naming; from tests.machine.test_naming import machine as m\n"
    code += "print('ready', flush=True); input(); print(naming.own(m()))"
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", code]
    children = [subprocess.Popen(command, env=env, cwd=tools.__file__.partition("/src/")[0], **pipes) for _ in range(6)]
    assert {child.stdout.readline() for child in children} == {"ready\n"}
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    names = {child.communicate(timeout=60)[0] for child in children}
    assert len(names) == 1 and NAME.fullmatch(names.pop().strip())


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"salt": 1}', "\udcff", '{"salt": "x", "KEY": "../up"}', ""])
def test_a_file_that_is_not_as_it_was_written_is_one_line_and_stays(home, text):
    naming.own(machine())
    kept = json.loads(home.read_text())
    key = next(key for key in kept if key != "salt")
    data = text.replace("KEY", key).replace('"x"', f'"{kept["salt"]}"').encode("utf-8", "surrogateescape")
    home.write_bytes(data)
    if text == '{"salt": 1}':
        assert NAME.fullmatch(naming.own(machine()))  # any salt will do
        return
    with pytest.raises(knobs.WrongKnob, match=r"names.json can't keep this machine's name \([^\n]+\): .*MACHINE="):
        naming.own(machine())
    assert home.read_bytes() == data


def test_without_a_place_for_it_there_is_one_line_and_by_hand_the_chip_alone(home, monkeypatch):
    home.parents[1].write_text("a file where the folder would be")
    with pytest.raises(
        knobs.WrongKnob, match=r"names.json can't keep .* \(Not a directory\): give it one with MACHINE="
    ):
        naming.own(machine())
    assert facts.machine().slug == naming.of_chip(facts.machine("x"))
    monkeypatch.setenv("XDG_CONFIG_HOME", "~/never")
    monkeypatch.setattr("platformdirs.user_config_path", lambda _: naming.Path("~/.config"))  # as a user without a home
    with pytest.raises(knobs.WrongKnob, match="there is no home directory"):
        naming.own(machine())


AS_ANOTHER = """
import os, sys
from siliconbench import __main__, knobs
from siliconbench.machine import facts, naming
facts.machine("x")  # all is loaded: the other user may be unable to read Python's own folder
os.setuid(54321)  # no entry for it: "~" leads nowhere
try:
    print(__main__.named(sys.argv[1]))
except knobs.WrongKnob as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="only root may take another user's id")
def test_a_user_without_a_home_is_told_the_way_out_and_may_take_it(tmp_path):
    (tmp_path / "root").mkdir(mode=0o700)
    env = {k: v for k, v in os.environ.items() if k not in ("XDG_CONFIG_HOME", "HOME")}

    def told(name="", **more):
        command = [sys.executable, "-c", AS_ANOTHER, name]
        return subprocess.run(command, cwd="/", env=env | more, capture_output=True, text=True, check=True).stdout

    assert "home directory" in told() and told().count("\n") == 1 and told().endswith("give it one with MACHINE=\n")
    assert "(Permission denied): give it one with MACHINE=\n" in told(XDG_CONFIG_HOME=str(tmp_path / "root"))
    assert told("mine") == "mine\n"


@pytest.mark.parametrize(("found", "expected"), [
    ({"chip": "AMD EPYC"}, "amd-epyc"), ({"chip": "Apple M1 Max", "gpus": ["Apple M1 Max"]}, "apple-m1-max"),
    ({"chip": "Intel(R) Xeon(R) Processor", "gpus": ["NVIDIA H200"], "driver": "570"}, "nvidia-h200"),
    ({"chip": "x", "gpus": ["Tesla T4"], "driver": "570.1"}, "tesla-t4"),
    ({"chip": "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz"}, "intel-core-i7-8700"),
    ({"chip": "Intel(R) Core(TM) i7-8700 CPU 3.20GHz"}, "intel-core-i7-8700"),
    ({"chip": "AMD Ryzen 9 7950X 16-Core Processor"}, "amd-ryzen-9-7950x"),
    ({"chip": "AMD Ryzen 7 PRO 6850U with Radeon Graphics"}, "amd-ryzen-7-pro-6850u"),
    ({"chip": "12th Gen Intel(R) Core(TM) i9-12900K"}, "12th-gen-intel-core-i9-12900k"),
    ({"chip": "a" * 20 + " " + "b" * 20}, "a" * 20), ({"chip": "x" * 64}, "x" * 32),
    ({"chip": None, "arch": "aarch64"}, "aarch64"), ({"chip": "(TM)"}, "machine"), ({}, "machine"),
])  # fmt: skip
def test_the_chip_in_a_name(found, expected):
    assert chip(found) == expected


def chip(found):
    gpus = [types.SimpleNamespace(name=name) for name in found.get("gpus", [])]
    return naming.of_chip(Machine.model_construct(**dict.fromkeys(Machine.model_fields) | found | {"gpus": gpus}))


@given(st.text())
def test_any_chip_makes_a_name_that_the_knob_takes(text):
    name = chip({"chip": tools.clean(text)})
    assert len(name) <= 32 and knobs.slug(f"{name}-k3fq")


@pytest.mark.parametrize(("files", "card", "expected"), [
    ({"etc/machine-id": "uninitialized\n", "var/lib/dbus/machine-id": f"{ID}\n"}, 1, ID),
    ({"etc/machine-id": "uninitialized\n"}, 0x02_00_00_00_00_07, str(0x02_00_00_00_00_07)),
    ({}, 1 << 40 | 5, "the host"),
])  # fmt: skip
def test_what_tells_a_machine(tmp_path, monkeypatch, files, card, expected):
    monkeypatch.setattr(tools, "PROC", tmp_path / "proc")
    monkeypatch.setattr(tools, "PLATFORM", "linux")
    monkeypatch.setattr(uuid, "getnode", lambda: card)
    monkeypatch.setattr("platform.node", lambda: "the host")
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert naming.identity() == expected


def test_a_mac_is_told_by_its_hardware(tmp_path, monkeypatch):
    printed = (
        '+-o J316sAP  <class IOPlatformExpertDevice>\n    {\n      "IOPlatformUUID" = "%s"\n      "x" = <>\n    }\n'
    )
    told = "01234567-89AB-CDEF-0123-456789ABCDEF"
    (tmp_path / "ioreg").write_text(f"#!/bin/sh\ncat <<'E'\n{printed % told}E\n")
    (tmp_path / "ioreg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(tools, "PLATFORM", "darwin")
    monkeypatch.setattr(tools, "PROC", tmp_path / "proc")
    assert naming.identity() == told
