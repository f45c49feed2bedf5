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
import torch

from siliconbench import paths
from siliconbench.pages import render
from siliconbench.sweep import kernel
from tests.pages import fleet
from tests.samples import samples

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


def notebook(name):
    return next(path for path in NOTEBOOKS if path.stem == name)


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("machine", {"resluts": "x"}, "resluts: this notebook has no such parameter; the nearest are results, "),
        ("trust", {}, "No run is there to read: run `make trust` first."),
        ("explore", {"data": "", "results": ""}, "No run that succeeded is there to look at: run `make image` first."),
        ("measure", {"device": "cuda"}, "device: given 'cuda'; allowed: auto or cpu"),
        ("measure", {"min_seconds": -1.0}, "min_seconds: given '-1.0'; allowed: seconds from 0 to 86400"),
    ],
)
def test_papermill_by_hand_stops_with_one_sentence(tmp_path, monkeypatch, name, given, why):
    if given.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("here is one")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    more = {"results": ""} if name == "measure" else {"runs": str(tmp_path / "none.json")} if name == "trust" else {}
    with pytest.raises(papermill.PapermillExecutionError) as stopped:
        kernel.execute(notebook(name), None, given | more)
    assert stopped.value.evalue.startswith(why) and stopped.value.traceback == [stopped.value.evalue]


def test_explore_says_what_published_and_own_records_say_wherever_it_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watched = {"telemetry": samples(-1.0, 60.0, 70, cpu_temperature_c=lambda t: 60.0)}
    watched["energy"] = {"counter": "NVML", "part": "GPU", "joules": 2.0, "update_interval_s": 0.01, "unknown": {}}
    for day, shift in ((1, 1.0), (2, 1.1), (3, 1 / 1.1)):
        for size in (1, 8, 64):  # a batch takes 10 ms, and 10 ms for each of its images
            rates = [shift * 100 * size / (size + 1) * luck for luck in (0.99, 1 / 0.99)]
            fleet.leave(tmp_path / "own", "mine", rates, day, batch_size=size, torch="2.11.0", **watched)
    done = kernel.execute(notebook("explore"), tmp_path / "explore.ipynb", {"results": str(tmp_path / "own")})
    shown = render.to_html(done)
    machines = len({path.parent for path in paths.DATA.glob("*/*.json")}) + 1
    assert re.search(rf"\d+ runs of \d+ cases on {machines} machines are on record", shown)
    assert "What is scatter made of?" in shown and "From one day to the next a rate scatters by" in shown
    assert re.search(r"Chip of mine.*: at most 100 images/s, half of it at batch 1.00", shown)
    assert "images per joule" in shown
    state = done.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    (drawn,) = [widget["state"]["value"] for widget in state if widget["model_name"] == "HTMLModel"]
    assert '<img alt="images_per_s by batch_size: from ' in drawn


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
