"""The house holds: imports point down, modules and functions stay short, and an axis of a case is spelt out once."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from siliconbench import paths
from siliconbench.knobs import KNOBS
from siliconbench.record import axes
from siliconbench.record.fields import PARAMETERS, RESERVED, Case

PACKAGE = paths.ROOT / "src/siliconbench"
ROOMS = ["record", "analysis", "machine", "run", "sweep", "pages"]  # each may import those before it
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
FILES = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def imported(tree: ast.Module) -> Iterator[str]:
    """The names of the package's modules that this one imports, at the top or within a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def upward(name: str, tree: ast.Module) -> list[str]:
    """What a module imports from a room above its own."""
    room = name.split("/")[0]
    above = ROOMS[ROOMS.index(room) + 1 :] if room in ROOMS else []
    if name in ("knobs.py", "paths.py"):
        above = ROOMS[1:]
    return [other for other in imported(tree) if other.split(".")[1:2] and other.startswith("siliconbench.")
            and other.split(".")[1] in above]  # fmt: skip


def test_imports_point_down_only():
    assert {name: found for name, tree in MODULES.items() if (found := upward(name, tree))} == {}


@pytest.mark.parametrize(
    "line", ["from siliconbench.pages import html", "from siliconbench import pages", "import siliconbench.sweep.best"]
)
def test_an_upward_import_is_seen(line):
    assert upward("run/timing.py", ast.parse(line))
    assert upward("run/timing.py", ast.parse(f"def f():\n    {line}"))
    assert not upward("run/timing.py", ast.parse("from siliconbench.record import store"))


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, tree in MODULES.items():
        yield from ((name, node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_modules_and_functions_are_short():
    long = [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 300]
    wide = [f"{m}:{f.name}" for m, f in functions() if len(f.args.args) + len(f.args.kwonlyargs) > 7]
    tall = [f"{m}:{f.name}" for m, f in functions() if (f.end_lineno or 0) - f.lineno >= 40]
    assert (long, wide, tall) == ([], [], [])


def test_each_folder_says_what_belongs_there():
    for name, tree in MODULES.items():
        if name.endswith("__init__.py"):
            assert len(tree.body) == 1 and len(ast.get_docstring(tree) or "") > 20, name


def test_public_functions_say_what_comes_back():
    public = [(m, f) for m, f in functions() if not f.name.startswith("_")]
    hidden = [
        c for tree in MODULES.values() for c in ast.walk(tree) if isinstance(c, ast.ClassDef) and c.name[0] == "_"
    ]
    outer = [f for _, f in functions()] + hidden  # what stands within a function or a private class is not public
    inner = {id(g) for f in outer for g in ast.walk(f) if isinstance(g, ast.FunctionDef) and g is not f}
    docs = {f"{m}:{f.name}": ast.get_docstring(f) or "" for m, f in public if id(f) not in inner}
    assert [name for name, doc in docs.items() if not doc or doc.startswith("None;")] == []


def test_data_between_modules_has_types():
    assert sum(path.read_text().count("dict[str, Any]") for path in FILES) < 25


def test_the_package_is_small_and_the_readme_says_how_small():
    lines = sum(len(path.read_text().splitlines()) for path in FILES)
    assert lines <= 9648  # own models and the reader's choice came before the cuts that pay for them: 7,500 at the end
    stated = re.search(r"about ([\d,]+) lines", (paths.ROOT / "README.md").read_text())
    assert stated and abs(int(stated[1].replace(",", "")) - lines) < 200


# One place for each axis: what else names it is held against the table.


def makefile_gaps(text: str) -> set[str]:
    """The knobs that a Makefile lacks or has too many."""
    listed = re.search(r"^KNOBS :=((?:[^\n]*\\\n)*[^\n]*)", text, re.MULTILINE)
    return set((listed[1] if listed else "").replace("\\", " ").split()) ^ set(KNOBS)


def readme_rows() -> list[str]:
    """The rows of the README's table of knobs, as the registry has them."""
    return [f"| `{name}` | {f'`{k.default}`' if k.default else 'its own'} | {k.meaning} |" for name, k in KNOBS.items()]


def readme_gaps(text: str) -> set[str]:
    """The knobs whose row a README lacks or words otherwise, and the rows of knobs that do not exist."""
    rows = {row for row in text.splitlines() if re.match(r"\| `[A-Z_]+` \|", row) and not row.startswith("| `PYTHON`")}
    return rows ^ set(readme_rows())


def notebook_gaps(text: str) -> set[str]:
    """The fields of a case that measure.ipynb's parameters lack, or have with another default."""
    cells = [c for c in json.loads(text)["cells"] if "parameters" in c["metadata"].get("tags", [])]
    found = {n.target.id: ast.literal_eval(n.value) for n in ast.parse("".join(cells[0]["source"])).body}
    wanted = {name: Case.model_fields[name].default for name in PARAMETERS if name != "device"}
    given = {"model": KNOBS["IMAGE_MODEL"].default, "batch_size": int(KNOBS["BATCH_SIZE"].default), "device": "auto"}
    return {name for name, default in (wanted | given).items() if name not in found or found[name] != default}


def case_gaps(fields: set[str]) -> set[str]:
    """The fields of a case that no knob gives, and those that knobs give and a case lacks; device is USE_GPU's."""
    return (fields - {"device", "image_px", *RESERVED}) ^ {knob.field for knob in KNOBS.values() if knob.field}


def schema_gaps(text: str) -> set[str]:
    """The values of an axis that the published schema lacks or has too many."""
    fields = json.loads(text)["$defs"]["Case"]["properties"]
    tables = {"device": axes.DEVICES, "precision": axes.PRECISIONS, "memory_format": axes.LAYOUTS,
              "mode": axes.MODES, "input": axes.INPUTS, "allocator": (*axes.ALLOCATORS, "default")}  # fmt: skip
    fields["compile"] = next(kind for kind in fields["compile"]["anyOf"] if "enum" in kind)
    tables["compile"] = axes.COMPILE_MODES
    return {value for name, table in tables.items() for value in set(fields[name]["enum"]) ^ set(table)}


MAKEFILE, README = (paths.ROOT / "Makefile").read_text(), (paths.ROOT / "README.md").read_text()
MEASURE, SCHEMA = (paths.NOTEBOOKS / "measure.ipynb").read_text(), paths.SCHEMA.read_text()


def test_everything_that_names_an_axis_names_all_of_it():
    assert makefile_gaps(MAKEFILE) == set()
    assert sorted(readme_gaps(README)) == []
    assert notebook_gaps(MEASURE) == set()
    assert case_gaps(set(Case.model_fields)) == set()
    assert schema_gaps(SCHEMA) == set()


def test_each_kind_of_omission_is_seen():
    assert makefile_gaps(MAKEFILE.replace(" REPEATS", "", 1)) == {"REPEATS"}
    assert makefile_gaps(MAKEFILE.replace("KNOBS :=", "KNOBS := NEW", 1)) == {"NEW"}
    row = next(row for row in readme_rows() if "`LAYOUT`" in row)
    assert readme_gaps(README.replace(row + "\n", "")) == {row}
    assert len(readme_gaps(README.replace(row, row.replace("`contiguous`", "`packed`", 1)))) == 2
    assert notebook_gaps(MEASURE.replace("min_seconds: float = 10.0", "min_seconds: float = 9.0")) == {"min_seconds"}
    assert notebook_gaps(MEASURE.replace("seed: int = 2021", "sead: int = 2021")) == {"seed"}
    assert case_gaps(set(Case.model_fields) | {"image_format"}) == {"image_format"}
    assert case_gaps(set(Case.model_fields) - {"precision"}) == {"precision"}
    assert schema_gaps(SCHEMA.replace('"bf16"', '"fp8"')) == {"bf16", "fp8"}


def test_the_knobs_take_what_the_tables_hold(monkeypatch):
    monkeypatch.setenv(paths.FOLDER, "/of one's own")  # INPUT has been given its path
    tables = {"PRECISION": axes.PRECISIONS, "LAYOUT": axes.LAYOUTS, "MODE": axes.MODES, "INPUT": axes.INPUTS}
    tables |= {"ALLOCATOR": axes.ALLOCATORS, "COMPILE": axes.COMPILE_MODES}
    for name, table in tables.items():
        assert [KNOBS[name].read(value) for value in table] == list(table)
        assert all(value in KNOBS[name].allowed for value in table)


def test_the_rooms_are_what_the_readme_says():
    rooms = sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name not in ("__pycache__", "examples"))
    assert rooms == sorted(ROOMS) and all(f"`{room}/`" in README for room in ROOMS)
    assert Path(PACKAGE / "__main__.py").exists()
