"""The notebooks as people open them: copies in lab/, which git ignores, so that to look at one changes no source;
and as pages of what they measure here and now: `make pages`."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

from siliconbench import knobs, paths
from siliconbench.machine.tools import tried
from siliconbench.pages import render
from siliconbench.record.fields import PARAMETERS
from siliconbench.sweep import mistakes, plan, trust


def content(path: Path) -> list[tuple[str, object]]:
    """What a notebook's cells say and show, however an editor has written it down."""
    return [(cell.source, cell.get("outputs")) for cell in nbformat.read(path, 4).cells]


def make_lab(folder: Path = paths.ROOT / "lab") -> int:
    """The exit status of laying out the copies: 0. Where a source is not what its copy was made of (kept in .source),
    the copy is made anew; one that was edited or run is kept aside, and that is said."""
    (folder / ".source").mkdir(parents=True, exist_ok=True)
    for source in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        copy, before = folder / source.name, folder / ".source" / source.name
        if copy.exists() and tried(before.read_bytes) == source.read_bytes():
            continue
        if copy.exists() and (tried(content, copy) or 0) != tried(content, before):
            aside = copy.rename(copy.with_stem(f"{copy.stem} {time.strftime('%Y-%m-%d %H.%M.%S')}"))
            print(f"lab/{copy.name} is made anew, as its source has changed; yours is kept: lab/{aside.name}")
        shutil.copyfile(source, copy)
        shutil.copyfile(source, before)
    return 0


def make_pages(given: knobs.Given, page: Callable[[Path, Path, dict[str, Any]], Path]) -> int:
    """The exit status of `make pages`, that of its trust: the notebooks that measure, done here and now, as pages."""
    own = knobs.read_trust(os.environ)
    case = plan.cases(own, plan.device_type(own["USE_GPU"]))[0].model_dump(include={*PARAMETERS})
    case |= {"model": own["IMAGE_MODEL"][0], "results": ""}
    print(page(paths.NOTEBOOKS / "measure.ipynb", paths.REPORTS / "measure.html", case))
    return mistakes.make_mistakes(given, page) or trust.make_trust(own, render.trust_page)
