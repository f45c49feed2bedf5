"""Whether a page is what its records and this code give: its stamp, and `make verify PAGE=reports/compare.html`."""

import hashlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import pandas as pd
from IPython.display import HTML

from siliconbench import knobs, paths
from siliconbench.pages import html
from siliconbench.record import axes, share, store

STAMP = re.compile(r'<p class="note" id="stamp">.*?</p>', re.DOTALL)
MACHINE = re.compile(r"Notebook machine,.*; records: ([a-z0-9-]+) ")
CODE = re.compile(r"code [0-9a-f]{12}")
EXACT = (sys.platform, platform.machine()) == ("linux", "x86_64")  # elsewhere there are other fonts, another libm
DATA = re.compile(r'<script id="views"[^>]*>(.*?)</script>', re.DOTALL)


def digest(files: Iterable[Path]) -> str:
    """Twelve hex digits for the names and contents of these files, wherever and in whatever order they are."""
    inner = {path: "" if path.parent == paths.ROOT else path.parent.name for path in files}  # a clone has any name
    found = [(place, path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path, place in inner.items()]
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()[:12]


def stamp(notebook: str, files: Iterable[Path], runs: pd.DataFrame) -> HTML:
    """What a page was made of, in a line: the newest record's date, the method, hashes of the code and the records."""
    code = [path for place in ("src", "notebooks") for path in (paths.ROOT / place).rglob("*")]
    code = [path for path in code if path.suffix in (".py", ".ipynb", ".j2", ".js") and path.parent.name[:1] != "."]
    lock, machines = paths.ROOT / "requirements.lock", dict[str, list[Path]]()
    for path in files:
        machines.setdefault(path.parent.name, []).append(path)
    records = [f"{name} {digest(files)}" for name, files in sorted(machines.items())]
    newest = pd.Timestamp(runs["created"].max()[:8]).date() if len(runs) else "none"
    mark = digest([*code, *[lock] * lock.exists()])
    told = f"Newest record: {newest}. Notebook {notebook}, method {axes.METHOD}, code {mark}; records: "
    told += f"{', '.join(records) or 'none'}. `make verify PAGE=…` makes it anew and says whether it is the same."
    return HTML(f'<p class="note" id="stamp">{html.inline(told)}</p>')


def difference(page: str, made: str) -> str:
    """In words, what differs first between a page and what the records and this code give; empty where nothing does."""
    ours, theirs = (found[0] if (found := STAMP.search(text)) else "no stamp" for text in (made, page))
    if CODE.sub("", ours) != CODE.sub("", theirs):
        pairs = zip_longest(re.split("[,;.] |<", theirs), re.split("[,;.] |<", ours), fillvalue="nothing")
        a, b = next((a, b) for a, b in pairs if CODE.sub("", a) != CODE.sub("", b))
        return f"it was made of other records or by another method: {a} on the page, {b} here"
    if not EXACT:
        page, made = ("".join(DATA.findall(text)) for text in (page, made))
    lines = zip_longest(*(CODE.sub("", text).splitlines() for text in (page, made)), fillvalue="")
    for number, (a, b) in enumerate(lines, 1):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            return f"line {number}: …{a[max(0, at - 20) : at + 40]}… on the page, …{b[max(0, at - 20) : at + 40]}… here"
    return "" if ours == theirs else "nothing but the code's hash: other code gives the same page"


def make_verify(results: str) -> int:
    """The exit status of `make verify`: 0 where the page at PAGE is what the records and this code give."""
    from siliconbench.pages import render  # slow to import, and a page, which imports this, needs none of it

    page, own = Path(os.environ.get("PAGE") or paths.DATA.with_name("compare.html")), share.own_folder(results)
    text = page.read_text("utf-8", "replace") if page.is_file() else ""
    if not (stamp := STAMP.search(text)):
        raise knobs.wrong("PAGE", str(page), "the path of a page of `make report` or of a machine")
    machine = MACHINE.search(stamp[0])
    given = {"results": str(store.folder_at(results).resolve()), "data": str(paths.DATA)}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.html"
        if machine:
            render.render(paths.NOTEBOOKS / "machine.ipynb", made, given | {"machine": machine[1]})
        else:
            render.page_of(made, str(own) if own and "yours)" in text else "")
        found = difference(text, made.read_text("utf-8"))
    print(f"{page}: {f'the first difference: {found}' if found else 'identical'}")
    return int(bool(found))
