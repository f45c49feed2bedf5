"""Pages as people see them: in a real browser. To check one more, add a maker of it to PAGES."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from IPython.display import HTML
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from siliconbench.analysis.words import significant
from siliconbench.pages import charts, html, render
from tests.browser import check_page, open_page

HOSTILE = [
    "M<script>window.ran = 1</script>",
    '<img src=x onerror="document.documentElement.dataset.ran = 1">',
    "\"><svg onload='window.ran = 1'>",
    "</style></figure><b onmouseover=1>",
    "$^$ costs $100 {{ 7 * 7 }} {% x %}",
    "_hidden",
    "🔥 日本 \u202e\x00\x07",
    "a-very-long-name-" * 12,
]
NAMES = ["Mac Studio (M1 Max)", "MacBook Pro (M1 Max)", "Ryzen 9, RTX 3090", "2-core cloud machine"]


def cell(*shown: object) -> nbformat.NotebookNode:
    outputs = [new_output("display_data", {"text/html": piece.data, "text/plain": repr(piece)}) for piece in shown]
    return new_code_cell("raise SystemExit('the code is not on the page')", outputs=outputs)


def ratios(names: list[str]) -> HTML:
    fig, ax = plt.subplots()
    shown = [charts.label(name) for name in names]
    colours, markers, _ = charts.looks(shown)
    for i, name in enumerate(shown):
        x = 2.0 ** (1 - i)
        ax.errorbar(x, name, xerr=[[x * 0.06], [x * 0.07]], color=colours[name], marker=markers[name], ms=9, capsize=0)
    ax.axvline(1, color=charts.LINE, lw=1)
    ax.set(xscale="log", xlabel="speed relative to the first, log scale", title=" and ".join(names[-2:])[:60])
    ax.invert_yaxis()
    return charts.figure(
        fig, f"{names[0]} is ahead, {names[-1]} last.", f"Dots are means over runs, from {names[0]} on."
    )


def batches(names: list[str]) -> HTML:
    shown, size = [charts.label(name) for name in names], [1, 2, 4, 8, 16, 32, 64]
    rows = [(n, b, 400 * b / (b + 6 + 3 * i) / (i + 1)) for i, n in enumerate(shown) for b in size]
    frame = pd.DataFrame(rows, columns=["machine", "batch", "speed"])
    fig, ax = plt.subplots()
    look = dict(zip(("palette", "markers", "dashes"), charts.looks(shown), strict=True))
    sns.lineplot(frame, x="batch", y="speed", hue="machine", style="machine", ax=ax, **look)
    ax.set_xscale("log", base=2)
    ax.set(xlabel="batch size", ylabel="images/s", ylim=(0, None))
    ax.legend(title=None)
    return charts.figure(
        fig, "Speed rises with the batch size up to 16.", "Speed over batch size; bands are intervals."
    )


def ranking(names: list[str]) -> HTML:
    count = len(names)
    frame = pd.DataFrame(
        {
            "machine": names,
            "images/s": np.geomspace(247.3, 10.91, count),
            "95 % interval": [
                f"{significant(x)} ({x * 0.99:.3g} to {x * 1.01:.3g})" for x in np.geomspace(247.3, 10.91, count)
            ],
            "against the first": np.geomspace(1, 0.0441, count),
            "latency\nms, p99": [None, *np.linspace(12, 340, count - 1)],
            "images per joule": [*np.linspace(5, 4, count - 1), None],
            "images": np.arange(count) * 12345,
            "verdict": ["clean", "noisy", *["clean"] * (count - 2)],
        }
    )
    return html.table(frame, "Which machine is faster at resnet50, batch 64?", "images/s", "images/s")


def sample(names: list[str]) -> nbformat.NotebookNode:
    first = f"{names[0]} is the fastest here: 1.75 times {names[1]} (1.71 to 1.78), at resnet50, batch 64, in fp32."
    contents = "- [How much faster?](#How-much-faster?)\n- [Which batch size?](#Which-batch-size-should-I-use?)"
    cells = [
        new_markdown_cell("# Which machine should I pick?"),
        cell(html.lead(first), html.note([f"Five runs each; {names[-1]} is left out of two figures."])),
        new_markdown_cell(
            f'<nav aria-label="Contents">\n\n{contents}\n- [What is left out?](#What-is-left-out?)\n\n</nav>'
        ),
        new_markdown_cell(
            "## How much faster?\n\nA rate is images over seconds, never a mean of rates. "
            "The [interval](#What-is-left-out?) is over **runs**, `t` on log rates."
        ),
        cell(ranking(names), html.sentence(f"{names[0]} makes twice as many images a second as {names[1]}.")),
        cell(ratios(names)),
        new_markdown_cell("## Which batch size should I use?"),
        cell(html.sentence("From 16 on, a larger batch gives less than 5 % more."), batches(names)),
        new_markdown_cell("## What is left out?\n\n### Versions\n\nOf each machine.\n\n```\nmake image REPEATS=5\n```"),
        cell(html.note([f"{name}: torch 2.11, driver unknown." for name in names])),
        new_code_cell("", outputs=[new_output("stream", text="printed plainly: <b>no tag</b> " + "x" * 200)]),
    ]
    return new_notebook(cells=cells)


def plain(folder: Path) -> Path:
    return saved(folder, sample(NAMES))


def hostile(folder: Path) -> Path:
    notebook = sample(HOSTILE)
    notebook.metadata.title = f"</title>{HOSTILE[0]}"
    return saved(folder, notebook)


def saved(folder: Path, notebook: nbformat.NotebookNode) -> Path:
    (folder / "page.html").write_text(render.to_html(notebook), encoding="utf-8")
    return folder / "page.html"


def test_what_is_missing_is_gathered_and_an_empty_section_is_gone():
    texts = ["# Title", "## First", "## Second", "## The last"]
    title, first, second, last = map(new_markdown_cell, texts)
    lacks = html.missing("Heat: `make image MINUTES=10`.")
    cells = [title, first, cell(lacks), second, cell(html.sentence("It is fast."), lacks), last]
    page = render.to_html(new_notebook(cells=cells))
    assert "First" not in page and "It is fast." in page and "HTML object" not in page
    assert page.count("<code>make image MINUTES=10</code>") == 1
    assert page.index("Second") < page.index('id="Not-measured-yet"') < page.index('id="The-last"')
    assert "Not measured" not in render.to_html(new_notebook(cells=[title, first, cell(html.sentence("x")), last]))


PAGES: dict[str, Callable[[Path], Path]] = {"plain": plain, "hostile": hostile}


@pytest.fixture(scope="module", params=PAGES)
def page_path(request, tmp_path_factory) -> Path:
    charts.theme()
    return PAGES[request.param](tmp_path_factory.mktemp(request.param))


def test_a_page_is_fit_to_be_sent(chromium, page_path):
    check_page(chromium, page_path)


def test_a_page_is_named_after_its_first_heading_or_its_title(chromium, page_path):
    with open_page(chromium, page_path, 390) as (page, _, _):
        assert page.title() in ("Which machine should I pick?", f"</title>{HOSTILE[0]}")
        assert page.locator("html[lang=en] > body > main h1").inner_text().startswith("Which machine should I pick?")
        assert "SystemExit" not in page.content()


def test_a_page_holds_no_address_at_all(page_path):
    assert "://" not in page_path.read_text(encoding="utf-8")


RAN = "!!window.ran || !!document.documentElement.dataset.ran"


@pytest.mark.parametrize("csp", [True, False])
def test_a_hostile_name_runs_nothing(chromium, page_path, csp):
    with open_page(chromium, page_path, 1200, csp=csp) as (page, errors, _):
        page.mouse.move(300, 300)
        page.wait_for_timeout(100)
        assert not page.evaluate(RAN)
        assert page.locator("script, svg, b[onmouseover], img:not([src^='data:'])").count() == 0
        assert not errors


@pytest.mark.parametrize("csp", [True, False])
def test_the_policy_holds_where_someone_forgot_to_escape(chromium, tmp_path, csp):
    """It also shows that the test above would see a script that runs."""
    path = saved(tmp_path, new_notebook(cells=[cell(HTML("".join(HOSTILE[:3])))]))
    with open_page(chromium, path, 1200, csp=csp) as (page, _, _):
        page.wait_for_timeout(100)
        assert page.evaluate(RAN) is not csp


@pytest.mark.parametrize(
    ("piece", "fault"),
    [
        ("<p style='width:2000px'>wide", "px wide"),
        ("<img src='data:,'>", "No description"),
        ("<img alt='x' src='data:,'>", "not loaded"),
        ("<a href='#gone'>link</a>", "nowhere: {'gone'}"),
        ("<img alt='x' src='http://127.0.0.1:9/x.png'>", "errors .*127.0.0.1"),
        ("<p style='color:#ddd;background:#fff'>pale", "color-contrast"),
        ("<h1>second</h1>", "2 headings"),
    ],
)
def test_a_faulty_page_is_refused(chromium, tmp_path, piece, fault):
    path = saved(tmp_path, new_notebook(cells=[new_markdown_cell("# First"), cell(HTML(piece))]))
    with pytest.raises(AssertionError, match=fault):
        check_page(chromium, path)


def test_who_renders_loads_neither_torch_nor_pandas_nor_scipy():
    """The kernel does; in the process of `make report` they would be a second of each page's time."""
    code = "import sys, siliconbench.pages.render; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "scipy", "nbconvert"} & {*done.stdout.split()}
