"""Macs of which public sources show what the tools print (README.md): each a folder, its tools as small executables."""

import json
import plistlib
from pathlib import Path

from tests.machine import mac

HERE = Path(__file__).parent
NAMES = sorted(path.parent.name for path in HERE.glob("*/sysctl"))
TOOLS = ("sysctl", "sw_vers", "ioreg", "system_profiler", "pmset", "notifyutil", "vm_stat")


def shown(name: str, file: str) -> str:
    """What the machine's file holds, without the lines that tell its sources; empty where no source shows any."""
    path = HERE / name / file
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def values(name: str, file: str) -> dict[str, str]:
    """The values by their keys, of a file with one a line."""
    return dict(line.split(": ", 1) for line in shown(name, file).splitlines())


def install(folder: Path, name: str) -> Path:
    """The folder, with every tool of that machine in it, each printing what is shown of it, or failing."""
    folder.mkdir(exist_ok=True)
    for tool in TOOLS:  # on a Mac, the Mac's own would answer
        mac.tool(folder, tool, "exit 1")
    answers = [("sysctl", f"-n {key}", value) for key, value in values(name, "sysctl").items()]
    words = {"ProductVersion": "-productVersion", "BuildVersion": "-buildVersion"}
    answers += [("sw_vers", words[key], value) for key, value in values(name, "sw_vers").items()]
    answers += [("system_profiler", "SPDisplaysDataType -json", shown(name, "displays.json"))]
    answers += [("pmset", "-g batt", shown(name, "pmset-batt"))]
    if product := shown(name, "product-name"):
        plist = plistlib.dumps([{"product-name": product.encode() + b"\0"}]).decode()
        answers += [("ioreg", "-arc IOPlatformDevice -k product-name", plist)]
    for tool in {tool for tool, _, text in answers if text}:
        mine = [(asked, text) for of, asked, text in answers if of == tool and text]
        prints = [
            f"'{asked}') {mac.printing(folder, f'{tool}.{i}', text + chr(10))};;"
            for i, (asked, text) in enumerate(mine)
        ]
        mac.tool(folder, tool, "\n".join(['case "$*" in', *prints, "*) exit 1;;", "esac"]))
    if line := shown(name, "macmon.json"):
        mac.install_macmon(folder, json.dumps(json.loads(line)), shown(name, "macmon-version"))
    return folder
