"""From a notebook to a page: executed in a fresh kernel, then without its code in the house template."""

import base64
import hashlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from papermill import PapermillExecutionError

from siliconbench import knobs, paths
from siliconbench.record import share, store
from siliconbench.sweep import failure, kernel

TEMPLATES = Path(__file__).parent / "templates"
MISSING = re.compile(r'<p class="missing">(.*?)</p>', re.DOTALL)
SCRIPT = TEMPLATES / "report/choice.js"
for loud in ("papermill", "asyncio"):  # the caller reports what goes wrong, in one line
    logging.getLogger(loud).setLevel(logging.CRITICAL)


def to_html(executed: NotebookNode) -> str:
    """The page of an executed notebook: what its cells show, in the house template; a script if there is a choice."""
    import nbconvert  # while the kernel worked, it was loaded

    exporter = nbconvert.HTMLExporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)])
    *parts, last = sections(nbformat.from_dict(executed))
    kept = [part for part in parts if shown(part) or all(c.cell_type != "code" for c in part)] + [last]
    page = nbformat.from_dict(executed | {"cells": [cell for part in kept for cell in part]})
    script = SCRIPT.read_text("utf-8") if 'id="views"' in shown(page.cells) else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    contents = [part[0].source.partition("\n")[0].removeprefix("## ") for part in kept[1:]]
    policy = f"script-src 'sha256-{digest}'; " if script else ""
    more = {"script": script, "policy": policy, "contents": contents}
    return str(exporter.from_notebook_node(page, more)[0])


def sections(executed: NotebookNode) -> list[list[NotebookNode]]:
    """The cells before the first heading of the second level, then those of each; before the last what is missing."""
    told, parts = list[str](), [list[NotebookNode]()]
    for cell in executed.cells:
        parts += [[]] if cell.cell_type == "markdown" and cell.source.startswith("## ") else []
        parts[-1].append(cell)
        for data in (output.data for output in cell.get("outputs", ()) if "text/html" in output.get("data", {})):
            told += MISSING.findall(data["text/html"])
            data["text/html"] = MISSING.sub("", data["text/html"])
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", {}).get("text/html", "x")]
    listed = f"<ul>{''.join(f'<li>{one}</li>' for one in dict.fromkeys(told))}</ul>"
    piece = new_code_cell("", outputs=[new_output("display_data", {"text/html": listed})])
    at = max(1, len(parts) - 1)
    parts[at:at] = [[new_markdown_cell("## Not measured yet"), piece]] if told else []
    return parts


def shown(cells: list[NotebookNode]) -> str:
    """What these cells show, as text: what they print, and their HTML."""
    outputs = [output for cell in cells for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    data = [output.get("data", {"text/html": output.get("text", "")}) for output in outputs]
    return "".join(one.get("text/html", one.get("text/plain", "")) for one in data).strip()


def render(source: Path, page: Path, parameters: dict[str, Any]) -> Path:
    """The path of the page that the notebook becomes with these parameters (its copy is in runs/); else Stopped."""
    try:
        with ThreadPoolExecutor(1) as beside:  # to load it takes a second, in which the kernel works
            beside.submit(import_module, "nbconvert")
            executed = kernel.execute(source, page.parent / "runs" / f"{page.stem}.ipynb", parameters)
        return store.write_whole(page, to_html(executed))
    except (PapermillExecutionError, DeadKernelError, OSError, ValueError) as error:
        raise knobs.Stopped(f"No page could be rendered ({failure.reason(error, False).message})") from None


def machine_page(slug: str, results: Path) -> str:
    """The path of a machine's page, rendered anew; in words why not, if that failed (the records stay)."""
    parameters = {"machine": slug, "results": str(results.resolve()), "data": str(paths.DATA)}
    try:
        return str(render(paths.NOTEBOOKS / "machine.ipynb", paths.REPORTS / f"{slug}.html", parameters))
    except knobs.Stopped as error:
        return f"{error}; the records are in {results}."


def trust_page(measured: Path) -> Path:
    """The path of the page of `make trust`, rendered from what it measured."""
    return render(paths.NOTEBOOKS / "trust.ipynb", paths.REPORTS / "trust.html", {"runs": str(measured.resolve())})


def make_report(results: str) -> int:
    """The exit status of `make report`: the page of the published records, or with one's own its own beside it."""
    own = share.own_folder(share.older(results))
    if own and any(own.glob("*/*.json")):
        print(page_of(paths.REPORTS / "report.html", str(own.resolve() if isinstance(own, Path) else own)))
    else:
        print(page_of(paths.REPORTS / "compare.html"))
    return 0


def page_of(page: Path, results: str = "") -> Path:
    """The path of the page, rendered from the published records and those at this address, its figure beside it."""
    parameters = {"results": results, "data": str(paths.DATA), "published": str(paths.PUBLISHED)}
    parameters |= {"figure_path": str(page.with_suffix(".svg").resolve())}
    return render(paths.NOTEBOOKS / "compare.ipynb", page, parameters)
