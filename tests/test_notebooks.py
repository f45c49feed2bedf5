"""The notebooks are source: no outputs, parameters with types and words, short cells; and they run by hand, too."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbconvert
import nbformat
import papermill
import pytest

from siliconbench.sweep import kernel

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def cells(path, kind="code"):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestForm:
    def test_it_holds_no_outputs(self, path):
        nbformat.validate(nbformat.read(path, 4))
        assert all(not c.outputs and c.execution_count is None for c in cells(path))

    def test_its_title_is_a_question(self, path):
        first = cells(path, "markdown")[0].source.splitlines()[0]
        assert re.fullmatch(r"# .+\?", first)

    def test_its_last_section_is_what_it_does_not_show(self, path):
        assert "## What this does not show" in cells(path, "markdown")[-1].source

    def test_its_parameters_have_types_and_words(self, path):
        (parameters,) = [c for c in cells(path) if "parameters" in c.metadata.get("tags", [])]
        lines = parameters.source.splitlines()
        known = papermill.inspect_notebook(str(path))
        assert len(known) == len(lines)
        assert all(p["help"] and p["inferred_type_name"] != "None" for p in known.values())

    def test_its_cells_are_short(self, path):
        bodies = [c for c in cells(path) if "parameters" not in c.metadata.get("tags", [])]
        assert all(len(c.source.splitlines()) <= 10 for c in bodies)

    def test_every_cell_has_its_own_fixed_id(self, path):
        ids = [c["id"] for c in json.loads(path.read_text())["cells"]]
        assert len(set(ids)) == len(ids) and all(i.startswith(path.stem) for i in ids)


def test_measure_runs_by_hand_with_few_images_and_keeps_no_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = next(p for p in NOTEBOOKS if p.stem == "measure")
    few = {"model": "squeezenet1_1", "batch_size": 2, "num_images": 4, "min_seconds": 0.1, "device": "cpu"}
    done = kernel.execute(source, None, few)
    printed = "".join(o.text for c in done.cells if c.cell_type == "code" for o in c.outputs if "text" in o)
    assert "images/s" in printed and "no record is kept" in printed
    assert not list(tmp_path.iterdir())


def test_the_kernel_is_this_python_whatever_lies_about(tmp_path, monkeypatch):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "stray", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    asks = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import sys; print(sys.executable, end='')")])
    nbformat.write(asks, tmp_path / "ask.ipynb")
    done = kernel.execute(tmp_path / "ask.ipynb", None, {})
    assert "".join(o.text for o in done.cells[-1].outputs if o.output_type == "stream") == sys.executable


def test_a_page_renders_where_nbconvert_lies_in_a_folder_of_its_own(tmp_path):
    """As `pip install --target` leaves it: the templates lie beside the package, in no folder that Jupyter knows."""
    for entry in Path(nbconvert.__file__).parents[1].iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "share").symlink_to(Path(sys.prefix) / "share")
    script = "import nbformat.v4 as f; from siliconbench.pages.render import to_html; print(to_html(f.new_notebook()))"
    away = {"PYTHONPATH": f"{NOTEBOOKS[0].parents[1] / 'src'}:{tmp_path}", "HOME": str(tmp_path), "JUPYTER_PATH": ""}
    bare = Path(sys.base_prefix) / "bin" / "python{}.{}".format(*sys.version_info)
    done = subprocess.run([bare, "-c", script], env=away, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "<!DOCTYPE html>" in done.stdout, done.stderr[-500:]
