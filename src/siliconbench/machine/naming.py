"""The machine's own name: its chip and four random characters, made once, kept in the user's configuration folder."""

import hashlib
import json
import platform
import re
import secrets
import uuid
from pathlib import Path

import platformdirs
from filelock import FileLock

from siliconbench.knobs import WrongKnob, slug
from siliconbench.machine import tools
from siliconbench.machine.tools import content, matched, text_of, tool
from siliconbench.record import host, store

LETTERS = "bcdfghjkmnpqrstvwxz23456789"  # no vowel, no word; none that looks like another


def own(machine: host.Machine) -> str:
    """This machine's name, made at the first call. Its file has one a machine, by a salted hash of the machine's id,
    chip and cores, since a home may serve many. WrongKnob where it can't be kept."""
    file = Path("names.json")
    try:
        file = platformdirs.user_config_path("siliconbench") / file
        if not file.is_absolute():
            raise RuntimeError("there is no home directory")  # later versions of platformdirs say so themselves
        if not found(file, machine)[0]:
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{file}.lock", timeout=10):  # another process may have made it by now: then it stays
                store.write_whole(file, json.dumps(found(file, machine)[1], indent=1))
        return found(file, machine)[0]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        why = store.plain(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")
        raise WrongKnob(f"{file} can't keep this machine's name ({why}): give it one with MACHINE=") from None


def found(file: Path, machine: host.Machine) -> tuple[str, dict[str, str]]:
    """The machine's name in this file, empty where it has none, and all that the file then is to hold."""
    names = json.loads(file.read_bytes()) if file.exists() else {"salt": secrets.token_hex(16)}
    key = hashlib.sha256(f"{names['salt']} {identity()} {machine.part} {machine.cores}".encode()).hexdigest()[:32]
    new = f"{of_chip(machine)}-{''.join(secrets.choice(LETTERS) for _ in range(4))}"
    return slug(names.get(key, "")), {key: new} | names


def identity() -> str:
    """What tells this machine from others, never written: systemd's id, a Mac's UUID, a network card's, or a name."""
    printed = text_of(tool("ioreg", "-rd1", "-c", "IOPlatformExpertDevice")) if tools.PLATFORM == "darwin" else ""
    files = "\n".join(content(tools.PROC.parent, file) for file in ("etc/machine-id", "var/lib/dbus/machine-id"))
    known = matched(r'"IOPlatformUUID" = "([0-9A-Fa-f-]{36})"', printed) or matched(r"^([0-9a-f]{32})$", files)
    card = uuid.getnode()  # where it finds no card it makes one up, marked by this bit
    return known or (platform.node() if card >> 40 & 1 else str(card))


def of_chip(machine: host.Machine) -> str:
    """The chip as a name begins: small letters, digits and hyphens, at most 32, without what is in brackets."""
    spare = r"\([^)]*\)?|\b(cpu|processor|\d+-core|with .*|@? ?[\d.]+ghz)\b"
    plain = re.sub(r"[^a-z0-9]+", "-", re.sub(spare, " ", (machine.part or "").lower())).strip("-")
    return (plain if len(plain) <= 32 else plain[:33].rpartition("-")[0] or plain[:32]) or "machine"
