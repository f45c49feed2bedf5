"""A model's source and name, as a record has them, and the word of IMAGE_MODEL that they come from."""

import os
import re
import socket

from siliconbench.knobs import MODEL, WrongKnob

OWN = "SILICONBENCH_OWN_"  # and a name: the environment's variable that says where that model of the user's is made


def named(word: str) -> dict[str, str]:
    """A case's source and model, by a word of IMAGE_MODEL. Where an own one is made stands in the environment alone:
    this process and those that it starts find it there, no record holds it. NAME= is a name for it, but the host's."""
    place, _, name = word.rpartition(":")
    if place in ("", "timm"):
        return {"source": place or "torchvision", "model": name}
    given = os.environ.get("NAME", "").strip()
    name = name if given in ("", socket.gethostname()) else given  # WSL has its host's name there
    if not re.fullmatch(MODEL, name):
        raise WrongKnob(f"NAME: given {name[:60]!r}; allowed: letters, digits, _ . and -, at most 64")
    os.environ[OWN + name] = word
    return {"source": "own", "model": name}


def word(source: str, model: str, here: bool = False) -> str:
    """The word of IMAGE_MODEL for a case's model; here: with the place of an own one, which no page is to tell."""
    own = os.environ.get(OWN + model) if here else ""
    return {"torchvision": model, "timm": f"timm:{model}"}.get(source) or own or f"file.py:{model}"
