"""The knobs of every make target: a wrong one stops everything in one line, before anything slow is imported."""

import ast
import difflib
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from siliconbench import paths
from siliconbench.record import axes, protocol

Given = dict[str, Any]  # the value of each knob by its name
Kind = tuple[str, Callable[[str], Any]]  # what is allowed in words, and how a text becomes a value (else an error)
MODEL = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"  # a model's name, of whatever source
WHOLE, DECIMAL = "[0-9]{1,12}", r"[0-9]{1,9}(?:\.[0-9]{1,6})?"  # the patterns of numbers


class Said(Exception):
    """One line for the user; a notebook, too, shows no more."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class WrongKnob(Said):
    """What was given and what is allowed."""


class Stopped(Said):
    """Why the work ends before its end, and what to do."""


class Knob(NamedTuple):
    """One knob, as text; read gives its value."""

    default: str
    allowed: str  # in words
    read: Callable[[str], Any]
    many: bool = False  # whether it takes a list
    meaning: str = ""  # as the README says it
    field: str = ""  # of the record's Case


def registered(package: str) -> list[str]:
    """The names of a package's models for images, read from its source without importing it (that takes seconds)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ValueError(f"{package} is not installed: `make setup` or pip installs it")
    files = (file for task in ("", "detection/", "segmentation/")
             for file in Path(spec.origin).parent.glob(f"models/{task}*.py"))  # fmt: skip
    pattern = r"@register_model(?:\(\))?\n[\s\S]*?(?<=\n)def (\w+)\("
    return sorted({name for file in files for name in re.findall(pattern, file.read_text("utf-8"))})


def number(least: int, most: int, words: str = "a whole number", pattern: str = WHOLE, auto: bool = False) -> Kind:
    """What allows numbers of this pattern from least to most, floats if it is DECIMAL; auto, where allowed, is None."""

    def read(text: str) -> float | None:
        if auto and text == "auto":
            return None
        value = float(text) if re.fullmatch(pattern, text) else -1
        if not least <= value <= most:
            raise ValueError
        return value if pattern == DECIMAL else int(text)

    return f"{'auto or ' if auto else ''}{words} from {least} to {most}", read


def one_of(words: Iterable[str]) -> Kind:
    """What allows one of these words."""
    return " or ".join(words), {word: word for word in words}.__getitem__


def slug(text: str) -> str:
    """A machine's name as it stands; empty stands for its own."""
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


def nearest(name: str, known: list[str]) -> str:
    """Nothing if the name is known; ValueError with the nearest names."""
    if name not in known:
        raise ValueError("the nearest are " + ", ".join(difflib.get_close_matches(name[:64], known, 3, 0) or known[:3]))
    return name


def model(text: str) -> str:
    """The word as it stands; ValueError where no source has such a model: the nearest names, or what a file lacks."""
    place, colon, name = text.rpartition(":")
    if place == "timm" or not colon:
        nearest(name, registered(place or "torchvision"))
        return text
    file, (top, *rest) = Path(place), place.split(".")
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", place) and not place.endswith(".py"):
        spec = importlib.util.find_spec(top)
        found = Path(spec.origin or "") if spec else file
        inner = found.parent.joinpath(*rest)
        file = found if not rest else inner.with_suffix(".py") if not inner.is_dir() else inner / "__init__.py"
    try:
        tops = ast.parse(file.read_bytes()).body  # what a function names within itself is no factory
    except OSError as error:
        raise ValueError(f"{place[:60]!r}, seen from this folder, can't be read: {error.strerror}") from None
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno} of that file is no Python: {error.msg}") from None
    tree = [node for top in tops for node in ([top] if hasattr(top, "decorator_list") else ast.walk(top))]
    every = {getattr(node, key): node for node in tree for key in ("id", "asname", "name") if getattr(node, key, None)}
    if "*" not in every:  # what comes by `from x import *` is seen only when it is built
        nearest(name, [known for known in every if re.fullmatch(MODEL, str(known))])
    if isinstance(made := every.get(name), ast.FunctionDef):
        given = made.args
        needed = (given.posonlyargs + given.args)[: len(given.posonlyargs + given.args) - len(given.defaults)]
        needed += [one for one, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if value is None]
        if needed:
            raise ValueError(f"{name} needs an argument, {needed[0].arg}, and is called without any")
    return text


FLAG: Kind = "0 or 1", {"0": False, "1": True}.__getitem__
MODES: dict[str, bool | str] = {"0": False, "1": True} | {mode: mode for mode in axes.COMPILE_MODES}
KNOBS = {
    "USE_GPU": Knob("1", *FLAG, meaning="1: the accelerator if there is one (CUDA, MPS, XPU); 0: the CPU"),
    "NUM_IMAGES": Knob("256", *number(1, 10**9), False, "at least so many images end to end", "num_images"),
    "BATCH_SIZE": Knob("64", *number(1, 65536, auto=True), True, field="batch_size", meaning=
        "one or many; `auto` alone: doubled from 1 until that surely brings under 2 %, twice, memory ends, or a batch "
        "lasts `MIN_SECONDS`"),
    "IMAGE_MODEL": Knob("resnet50", "torchvision's names, timm:NAME, path/to/file.py:factory, package.module:factory",
        model, True, "one or many: torchvision's classifiers, detectors and segmenters by name, `timm:NAME`, or your "
        "own: `path/to/file.py:factory`, `package.module:factory` (a function without arguments; `NAME=` names it)",
        "model"),
    "IMAGE_PX": Knob("auto", *number(8, 4096, auto=True), True,
        "the side of the images, one or many; auto: what the model was made for", "asked_px"),
    "MIN_SECONDS": Knob("10", *number(0, 86400, "seconds", DECIMAL), False, "end to end lasts at least so long, its "
        "parts half of it or less; 0: exactly `NUM_IMAGES`, in whole batches", "min_seconds"),
    "WORKERS": Knob("auto", *number(0, 256, auto=True), False,
        "loader processes; auto tries a few, and 0 is the original's protocol", "workers"),
    "INPUT": Knob("fast", " or ".join((*axes.INPUTS[:-1], "a folder of JPEG, PNG or WebP images")), paths.images, False,
        "`original`: float64 noise, PIL and floats from the CPU, as in the original; `fast`: bytes; `jpeg`: 110 KB to "
        "decode, `jpeg-device-resize`: resized on the device, `jpeg-device`: decoded, too (CUDA); or your own images: "
        "`path/to/folder`", "input"),
    "REPEATS": Knob("5", *number(1, 1000), meaning=
        "fresh processes per case, and one more for each that others disturb, up to twice as many; 1 for a quick look"),
    "SEED": Knob("2021", *number(0, 2**32 - 1), False,
        "of the images, the weights and, with its name, the order of the sweep", "seed"),
    "MINUTES": Knob("0", *number(0, 1440, "minutes", DECIMAL), False,
        "a sustained end-to-end run of so many minutes, for heat and throttling", "minutes"),
    "MACHINE": Knob("", "small letters, digits and hyphens, at most 48, beginning with a letter or digit", slug,
        meaning="the machine's name; without it one is made, once, of its chip and four random characters"),
    "PRECISION": Knob("fp32", *one_of(axes.PRECISIONS), True,
        f"`{' '.join(axes.PRECISIONS)}`, one or many; fp32 is fp32, TF32 only by name", "precision"),
    "LAYOUT": Knob("contiguous", *one_of(axes.LAYOUTS), True, f"`{' '.join(axes.LAYOUTS)}`", "memory_format"),
    "COMPILE": Knob("0", " or ".join(MODES), MODES.__getitem__, True,
        "1: torch.compile; or its mode: `reduce-overhead` (CUDA graphs) or `max-autotune`; on the CPU it needs a C++ "
        "compiler and Python's headers", "compile"),
    "ALLOCATOR": Knob("system", *one_of(axes.ALLOCATORS), True, "`tuned`: memory is kept for the next batch, by "
        "glibc's settings or an installed tcmalloc (none on macOS)", "allocator"),
    "THREADS": Knob("auto", *number(1, 4096, auto=True), True, "CPU threads of one operation; auto: torch's choice",
        "threads"),
    "MODE": Knob("inference", *one_of(axes.MODES), True,
        "`train`: forward, backward and a step of SGD on random labels", "mode"),
    "TELEMETRY": Knob("1", *FLAG, meaning="0: no sampler beside the run"),
    "RESULTS": Knob(str(paths.MINE), "a folder for the records, or an address such as s3://bucket/folder", address,
        meaning="another folder for the records, or an address such as `s3://bucket/folder` (extra `remote`)"),
    "GOAL": Knob("throughput", *one_of(("throughput", "latency")), meaning=
        "of `make best`: the most images/s, or the shortest request of `BATCH_SIZE`, then 1 by default"),
    "FRESH": Knob("0", *FLAG, meaning="1: begin anew instead of finishing an interrupted sweep"),
}  # fmt: skip
BEST = {"MIN_SECONDS": "2", "NUM_IMAGES": "64", "REPEATS": "3"}  # of `make best`
CHOSEN = ("PRECISION", "LAYOUT", "COMPILE", "ALLOCATOR", "THREADS", "MODE", "MINUTES")  # by it
SUITE = {"IMAGE_MODEL": " ".join(protocol.MODELS), "BATCH_SIZE": "1 64", "MIN_SECONDS": "6", "REPEATS": "3"}
FREE = ("USE_GPU", "MACHINE", "TELEMETRY", "RESULTS", "FRESH")  # they change no protocol
TRUST = {"IMAGE_MODEL": "mobilenet_v3_small", "BATCH_SIZE": "8", "MIN_SECONDS": "5"}  # five minutes on a laptop
MISTAKES = TRUST | {"MIN_SECONDS": "1", "REPEATS": "6"}  # five minutes on two cores
PARAMETERS = {knob.field or name.lower(): knob._replace(many=False) for name, knob in KNOBS.items()} | {
    "batch_size": Knob("64", *number(1, 65536)), "device": Knob("auto", *one_of(("auto", *axes.DEVICES)))
}  # fmt: skip
FILES = ("results", "data", "published", "runs", "figure_path")  # of these; a relative path counts from the clone


def parameters(own: Mapping[str, Any]) -> Given:
    """The values of a notebook's parameters, by what its cells were (In, as IPython has them) and its variables.
    WrongKnob, in the notebook's spelling, at the first that is wrong or, misspelt, would go by in silence."""
    known = dict.fromkeys(re.findall(r"^(\w+): \w+ = ", "\n".join(own["In"]), re.MULTILINE))
    injected = (cell for cell in own["In"] if cell.startswith("# Parameters"))  # so papermill marks its own
    for name in re.findall(r"^(\w+) = ", "\n".join(injected), re.MULTILINE):
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0)
            raise WrongKnob(f"{name}: this notebook has no such parameter; the nearest are {', '.join(near)}")
    given = {name: own.get(name, known) for name in known}
    for name, value in given.items():
        if value is known:
            raise WrongKnob(f"{name}: run the parameters' cell again, then this one")
        text = {"None": "auto", "True": "1", "False": "0"}.get(str(value), str(value))
        if name in PARAMETERS and (text or name not in FILES):
            given[name] = _value(name, PARAMETERS[name], text)
        if name in FILES and text and "://" not in text:
            given[name] = str(paths.ROOT / text)
    return given


def read(environment: Mapping[str, str], names: Iterable[str] = KNOBS) -> Given:
    """Each knob's value by its name; its default if not set, or set to nothing. WrongKnob at the first that is wrong.
    A knob that takes a list gives a list without doubles, in the order given."""
    from siliconbench.record.named import named  # which tells its errors as this module's

    given = {name: _value(name, KNOBS[name], environment.get(name, "").strip()) for name in names}
    words = [str(named(word)) for word in given.get("IMAGE_MODEL", ())]
    if len({*words}) < len(words):
        allowed = "models of different names: NAME= gives one's own another"
        raise wrong("IMAGE_MODEL", environment["IMAGE_MODEL"], allowed)
    return given


def read_best(environment: Mapping[str, str]) -> Given:
    """The knobs of `make best`, with defaults of its own; WrongKnob for many models and for what it chooses itself."""
    latency = environment.get("GOAL", "").strip() == "latency"
    own, strays = (BEST | {"BATCH_SIZE": "1"}, CHOSEN) if latency else (BEST, (*CHOSEN, "BATCH_SIZE"))
    return _one_each(own, environment, strays, "it is chosen by the search")


def read_trust(environment: Mapping[str, str], own: Mapping[str, str] = TRUST, strays: Iterable[str] = ()) -> Given:
    """The knobs of `make trust`, with defaults of its own; WrongKnob for a list, and for a single run of a label."""
    given = _one_each(own, environment, strays, "it has no part in this")
    if given["REPEATS"] < 2:
        raise wrong("REPEATS", "1", f"{number(2, 1000)[0]}, since one run has no spread")
    return given


def read_mistakes(environment: Mapping[str, str]) -> Given:
    """The knobs of `make mistakes`, with defaults of its own; WrongKnob for those that have no part in it, too."""
    return read_trust(environment, MISTAKES, [name for name in KNOBS if name not in (*MISTAKES, *FREE, "WORKERS")])


def read_suite(environment: Mapping[str, str]) -> Given:
    """The knobs of `make suite`: its protocol's, and FREE ones. CHANGED names the others that are given: SUITE is then
    "custom". NUM_IMAGES, where not given, is None: as many images as the protocol's number of batches has."""
    own = {name: text for name, text in environment.items() if name in KNOBS and text.strip()}
    changed = [name for name in own if name not in FREE]
    given = read(SUITE | own) | {"SUITE": protocol.CUSTOM if changed else protocol.NAME, "CHANGED": changed}
    return given if "NUM_IMAGES" in own else given | {"NUM_IMAGES": None}


def wrong(name: str, given: str, allowed: str) -> WrongKnob:
    """The error that says in one line what was given and what is allowed."""
    return WrongKnob(f"{name}: given {given[:60]!r}; allowed: {allowed}")


def _one_each(defaults: Mapping[str, str], environment: Mapping[str, str], strays: Iterable[str], why: str) -> Given:
    own = {name: text for name, text in environment.items() if text.strip()}
    if stray := [name for name in strays if name in own]:
        raise wrong(stray[0], own[stray[0]], f"nothing, {why}")
    given = read({**defaults, **own})
    if many := [name for name, knob in KNOBS.items() if knob.many and len(given[name]) > 1]:
        raise wrong(many[0], environment[many[0]], "one, no list")
    if given["BATCH_SIZE"] == [None]:
        raise wrong("BATCH_SIZE", "auto", number(1, 65536)[0])
    return given


def _value(name: str, knob: Knob, given: str) -> Any:
    text, values = given or knob.default, []
    allowed = knob.allowed + (", one or many" if knob.many else "")
    for word in re.split(r"[\s,]+", text.strip(" ,")) if knob.many else [text]:
        try:
            values.append(knob.read(word))
        except (KeyError, ValueError) as error:  # a KeyError holds but the word
            more = f" ({error})" if str(error) and not isinstance(error, KeyError) else ""
            raise wrong(name, word, allowed + more) from None
    if None in values and len(set(values)) > 1 and name == "BATCH_SIZE":
        raise wrong(name, given, f"{allowed}; auto alone")
    return list(dict.fromkeys(values)) if knob.many else values[0]
