"""The knobs of `make image`, read from the environment and checked before anything slow is imported.

A knob that is wrong stops everything at once, in one line: what was given, what is allowed, what to do.
"""

import difflib
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class WrongKnob(ValueError):
    """One line for the user: what was given and what is allowed."""


@dataclass(frozen=True)
class Knob:
    """One knob: its default, what it allows in words, how its text becomes a value, and whether it takes a list."""

    default: str
    allowed: str
    read: Callable[[str], Any]
    many: bool = False


def classifiers() -> list[str]:
    """The names of torchvision's classifiers, read from its source without importing it (that takes seconds)."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise WrongKnob("torchvision is not installed: `make setup` installs it")
    sources = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    texts = [source.read_text("utf-8") for source in sources]
    return sorted(name for text in texts for name in re.findall(r"@register_model\(\)[\s\S]*?\ndef (\w+)\(", text))


def whole(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers from least to most."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return read


def auto_or(least: int, most: int) -> Callable[[str], int | None]:
    """A reader of whole numbers from least to most, and of auto, which is None."""
    return lambda text: None if text == "auto" else whole(least, most)(text)


def amount(most: int) -> Callable[[str], float]:
    """A reader of numbers from 0 to most, with six decimals at most."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) or float(text) > most:
            raise ValueError
        return float(text)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """A reader of one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read


def flag(text: str) -> bool:
    """True for 1, False for 0."""
    return bool(whole(0, 1)(text))


def slug(text: str) -> str:
    """A machine's name as it stands; empty stands for the one that its chip gives."""
    if text and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,47}", text):
        raise ValueError
    return text


def address(text: str) -> str:
    """A folder, or the address of one elsewhere, as it stands; ValueError if it is of no use. Secrets stay unsaid."""
    scheme, remote, rest = text.partition("://")
    if remote and set(rest) & set("@?#"):
        raise WrongKnob("RESULTS: no @, ? or # in an address: give its password where the storage's own tools look")
    if scheme == "memory":
        raise ValueError("memory:// ends with each run")
    if remote:
        try:
            importlib.import_module("upath")
            importlib.import_module("fsspec").get_filesystem_class(scheme)
        except (ImportError, ValueError) as error:
            raise ValueError(f"for an address, pip install '.[remote]' or what its kind needs: {error}") from None
    return text


def model(text: str) -> str:
    """The name of a classifier that torchvision has; ValueError with the nearest names."""
    known = classifiers()
    if text not in known:
        raise ValueError("the nearest are " + ", ".join(difflib.get_close_matches(text, known, 3, 0) or known[:3]))
    return text


KNOBS = {
    "USE_GPU": Knob("1", "1 (the accelerator if there is one) or 0 (the CPU)", flag),
    "NUM_IMAGES": Knob("1000", "a whole number from 1 to 1000000000", whole(1, 10**9)),
    "BATCH_SIZE": Knob("64", "whole numbers from 1 to 65536, one or many, or auto alone", auto_or(1, 65536), many=True),
    "IMAGE_MODEL": Knob("resnet50", "torchvision's classifiers, one or many", model, many=True),
    "MIN_SECONDS": Knob("10", "seconds from 0 to 86400", amount(86400)),
    "WORKERS": Knob("auto", "auto or a whole number from 0 to 256", auto_or(0, 256)),
    "INPUT": Knob("fast", "fast or original", one_of("fast", "original")),
    "REPEATS": Knob("5", "a whole number from 1 to 1000", whole(1, 1000)),
    "SEED": Knob("2021", "a whole number from 0 to 4294967295", whole(0, 2**32 - 1)),
    "MINUTES": Knob("0", "minutes from 0 to 1440 of a sustained run", amount(1440)),
    "MACHINE": Knob("", "small letters, digits and hyphens, at most 48, beginning with a letter or digit", slug),
    "PRECISION": Knob("fp32", "fp32, tf32, fp16, bf16, one or many", one_of("fp32", "tf32", "fp16", "bf16"), many=True),
    "LAYOUT": Knob(
        "contiguous", "contiguous, channels_last, one or both", one_of("contiguous", "channels_last"), many=True
    ),
    "COMPILE": Knob("0", "0, 1 or both", flag, many=True),
    "MODE": Knob("inference", "inference, train or both", one_of("inference", "train"), many=True),
    "TELEMETRY": Knob("1", "1 or 0 (no sampler)", flag),
    "RESULTS": Knob("reports/data", "a folder for the records, or an address such as s3://bucket/folder", address),
    "FRESH": Knob("0", "0 (finish an interrupted sweep) or 1 (start anew)", flag),
}

BEST = {"MIN_SECONDS": "2", "NUM_IMAGES": "64", "REPEATS": "3"}  # of `make best`

CHOSEN = {"BATCH_SIZE": "auto", "PRECISION": "", "LAYOUT": "", "COMPILE": "", "MODE": "", "MINUTES": ""}  # by it


# Of `make trust`: a small model, so that 15 fresh processes take about five minutes on a laptop.
TRUST = {"IMAGE_MODEL": "mobilenet_v3_small", "BATCH_SIZE": "8", "MIN_SECONDS": "5"}


def read(environment: Mapping[str, str], names: Iterable[str] = KNOBS) -> dict[str, Any]:
    """Each knob's value by its name; a knob that takes a list gives a list without doubles, in the order given.

    A knob that is not set, or set to nothing, has its default. WrongKnob at the first that is wrong.
    """
    return {name: _value(name, KNOBS[name], environment.get(name, "").strip()) for name in names}


def read_best(environment: Mapping[str, str]) -> dict[str, Any]:
    """The knobs of `make best`, with defaults of its own; WrongKnob for many models and for what it chooses itself."""
    known = {k: v for k, v in environment.items() if v.strip()}
    if stray := [k for k in CHOSEN if k in known]:
        raise WrongKnob(f"{stray[0]}: given {known[stray[0]][:60]!r}; allowed: nothing, it is chosen by the search")
    given = read(BEST | known | CHOSEN)
    if len(given["IMAGE_MODEL"]) > 1:
        raise WrongKnob(f"IMAGE_MODEL: given {len(given['IMAGE_MODEL'])} models; allowed: one")
    return given


def read_trust(environment: Mapping[str, str]) -> dict[str, Any]:
    """The knobs of `make trust`, with defaults of its own."""
    return read(TRUST | {k: v for k, v in environment.items() if v.strip()})


def _value(name: str, knob: Knob, given: str) -> Any:
    words = re.split(r"[\s,]+", given.strip(" ,")) if knob.many else [given]
    values = []
    for word in words if given else (knob.default.split() or [""]):
        try:
            values.append(knob.read(word))
        except WrongKnob:
            raise
        except ValueError as error:
            hint = f" ({error})" if str(error) else ""
            raise WrongKnob(f"{name}: given {word[:60]!r}; allowed: {knob.allowed}{hint}") from None
    if None in values and len(set(values)) > 1:
        raise WrongKnob(f"{name}: given {given[:60]!r}; allowed: {knob.allowed}")
    return list(dict.fromkeys(values)) if knob.many else values[0]
