"""The look: the same bytes each time, everything escaped, nothing lost."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from IPython.display import HTML

from siliconbench.analysis.words import THIN, UNKNOWN
from siliconbench.pages import charts, html

HOSTILE = [
    "<script>x</script>",
    "\"><img src=x onerror='1'>",
    "&amp;",
    "$^$",
    "$a$ & $b$",
    "_",
    "__x",
    "🔥",
    "\x00\x1b\ud800",
]
STORY = """
import pandas as pd, matplotlib.pyplot as plt, seaborn as sns
from siliconbench.pages import charts, html

charts.theme()
names = sorted({"m", "_n", "$^$"})
fig, ax = plt.subplots()
sns.scatterplot(x=[1, 10, 100], y=[1, 2, 3], hue=names, palette=charts.looks(names)[0], ax=ax)
ax.fill_between([1, 100], 1, 3, alpha=0.2, hatch="/")
ax.set_xscale("log")
print(charts.figure(fig, "alt", "caption").data)
print(html.table(pd.DataFrame({"a": names, "b": [1.5, None, 2]}), "c", bars="b").data)
"""


class Parts(HTMLParser):
    """What a browser would make of a piece of HTML: its tags with their attributes, and its text."""

    def __init__(self, piece: HTML) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(piece.data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(autouse=True)
def _theme():
    charts.theme()
    yield
    left = plt.get_fignums()
    plt.close("all")
    assert not left, "a figure was left open"


def drawn(fig) -> list[str]:
    """The texts that an SVG shows: here as texts, not outlines."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        root = ElementTree.fromstring(charts.svg(fig))
    return ["".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_bytes_are_the_same_in_each_process_whatever_the_user_has_set(tmp_path, capsys):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: none\naxes.facecolor: red\n")
    user = {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path), "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "0"}
    other = subprocess.run([sys.executable, "-c", STORY], env={**os.environ, **user}, capture_output=True, text=True)
    assert not other.stderr
    for _ in range(2):
        exec(STORY, {})
        assert capsys.readouterr().out == other.stdout
    assert other.stdout.startswith("<figure><img")


def test_a_figure_keeps_its_texts_and_its_drawing():
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    parts = Parts(charts.figure(fig, *["\"a\" > <b> & 'c'", "<script>1</script>"]))
    (image,) = parts.all("img")
    assert [tag for tag, _ in parts.tags] == ["figure", "img", "figcaption"]
    assert image["alt"] == "\"a\" > <b> & 'c'"
    assert parts.texts == ["<script>1</script>"]
    kind, source = image["src"].split(",", 1)
    assert kind == "data:image/svg+xml"
    root = ElementTree.fromstring(unquote(source))
    assert root.tag.endswith("svg")
    assert float(root.get("width")[:-2]) == pytest.approx(7 * 72, rel=0.05)


def test_stacked_bars_are_as_long_as_their_parts_together():
    ways = {"main process": {"input": 2.0, "forward": 3.0}, "device": {"copy": 1.0, "forward": 6.0}}
    fig = charts.stacked(ways, 7.5, "ms")
    axes = fig.axes[0]
    ends = sorted(
        {round(bar.get_x() + bar.get_width(), 6) for bar in axes.patches if bar.get_width() == bar.get_width()}
    )
    assert ends[-1] == 7.0
    assert [t.get_text() for t in axes.get_yticklabels()] == ["device", "main process"]
    charts.svg(fig)


@pytest.mark.parametrize("texts", [("", "c"), ("a", ""), ("  ", "c"), ("a", "\n")])
def test_a_figure_without_alt_text_or_caption_is_refused(texts):
    with pytest.raises(ValueError, match="needs an alt text and a caption"):
        charts.figure(plt.figure(), *texts)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", ["axes", "grid"])
def test_hostile_names_are_drawn_as_they_are(shape):
    charts.theme()  # again: it sets the filters of warnings, which pytest resets
    names = [charts.label(name) for name in HOSTILE]
    frame = pd.DataFrame({"x": range(len(names)), "y": 1, "name": names})
    colours, markers, _ = charts.looks(names)
    look = {"hue": "name", "style": "name", "palette": colours, "markers": markers}
    if shape == "grid":
        fig = sns.relplot(frame, x="x", y="y", **look).figure
    else:
        fig, ax = plt.subplots()
        sns.scatterplot(frame, x="x", y="name", ax=ax, **look)
    seen, times = drawn(fig), 1 if shape == "grid" else 2
    assert [line for name in names for line in name.splitlines() if seen.count(line.strip()) < times] == []


def test_raw_hostile_texts_do_not_break_a_drawing():
    fig, ax = plt.subplots()
    ax.set(title="".join(HOSTILE[:-1]) + "\x00 --> \x07", xlabel="$\\frac{$")
    ElementTree.fromstring(charts.svg(fig))
    assert charts.label("") == charts.label("  ") == UNKNOWN
    assert charts.label("_x").endswith("_x")
    assert max(map(len, charts.label("long name " * 9).split("\n"))) <= 24


def test_log_axes_are_labelled_in_plain_figures():
    fig, (one, two) = plt.subplots(2)
    one.set(xscale="log", xlim=(0.01, 20000), yscale="symlog", ylim=(-100, 100))
    two.set_xscale("log", base=2)
    two.set(xlim=(1, 64), yscale="log", ylim=(0.6, 2.1))
    seen = drawn(fig)
    assert {"0.01", "100", f"10{THIN}000", "32", "0.6", "2"} <= set(seen)
    assert not any("$" in text or "10^" in text for text in seen)


def test_every_cell_heading_and_caption_of_a_table_is_escaped():
    frame = pd.DataFrame({f"h{name}": HOSTILE for name in HOSTILE}, index=pd.Index(HOSTILE, name=HOSTILE[0]))
    parts = Parts(html.table(frame, HOSTILE[1]))
    assert {tag for tag, _ in parts.tags} == {
        "figure",
        "figcaption",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    clean = [name.replace("\x00\x1b\ud800", "\ufffd\ufffd\ufffd") for name in HOSTILE]
    assert parts.texts == [HOSTILE[1], *[f"h{name}" for name in clean], *[n for n in clean for _ in clean]]
    assert parts.all("div")[0]["aria-label"] == HOSTILE[1]


def test_a_table_says_what_its_cells_are():
    frame = pd.DataFrame(
        {
            "machine": ["a, b", "c", None],
            "speed": [12345.6, None, 20.0],
            "count": [1234, 5, 6],
            "p99": pd.Series([3, None, 4], dtype=object),
            "text": ["1 (0 to 2)", "x, y", np.nan],
            "flag": [True, False, None],
        }
    )
    parts = Parts(html.table(frame, "c", bars="speed", best="speed"))
    thin = THIN
    rows = [
        ["a, b", f"12{thin}350", f"1{thin}234", "3", "1 (0 to 2)", "True"],
        ["c", "–", "5", "–", "x, y", "False"],
        ["–", "20.0", "6", "4", "–", "–"],
    ]
    assert parts.texts == ["c", *frame.columns, *[text for row in rows for text in row]]
    heads = parts.all("th")
    assert [head["scope"] for head in heads] == ["col"] * 6 + ["row"] * 3
    assert [head["class"] for head in heads[:6]] == ["t", "n", "n", "n", "t", "t"]
    cells = parts.all("td")
    assert [cell.get("style") for cell in cells[::5]] == ["--bar:1.000", None, "--bar:0.002"]
    assert sum("unknown" in cell["class"] for cell in cells + heads) == 5
    assert len(parts.all("strong")) == 1


def test_a_table_of_one_row_has_no_best_and_one_of_none_still_shows_its_head():
    frame = pd.DataFrame({"a": ["x"], "b": [1.0]})
    assert not Parts(html.table(frame, "c", best="b", bars="b")).all("strong")
    assert Parts(html.table(frame[:0], "c", best="b", bars="b")).texts == ["c", "a", "b"]
    assert not Parts(html.table(pd.DataFrame({"a": ["x", "y"], "b": [0, 0]}), "c", bars="b")).all("td")[0].get("style")


def test_sentences_are_escaped():
    for name in HOSTILE[:3]:
        assert Parts(html.sentence(name)).texts == Parts(html.lead(name)).texts == [name]
    assert Parts(html.note(HOSTILE[:3])).texts == HOSTILE[:3]
    assert [tag for tag, _ in Parts(html.note(HOSTILE[:3])).tags] == ["ul", "li", "li", "li"]
    assert "\u202e" not in html.sentence("a\u202eb").data


def test_thirty_machines_all_look_different_and_keep_their_look():
    names = [f"machine {i:02}" for i in range(72)]
    colours, markers, dashes = charts.looks(names)
    assert len({(colours[name], markers[name]) for name in names}) == 72
    assert len({(colours[name], dashes[name]) for name in names[:30]}) == 30
    assert charts.looks([*names[::-1], names[3]])[0] == colours
    assert all(charts.looks([*names, "z"])[0][name] == colours[name] for name in names)
    assert all(colours[a] != colours[b] for a, b in pairwise(names))


def test_a_case_whose_runs_differ_too_much_has_a_point_without_a_bar():
    rows = [("a", 1, 5.0, 1.0, 10.0), ("a", 2, 6.0, 5.5, 6.5), ("a", 4, 7.0, None, None)]
    table = pd.DataFrame(rows, columns=["name", "batch", "speed", "low", "high"])
    fig = charts.curves(table, "batch", "speed", "x", "y")
    (bars,) = fig.axes[0].collections
    spans = [float(np.ptp(ends[:, 1])) for ends in bars.get_segments()]
    plt.close(fig)
    assert spans == pytest.approx([0.0, 1.0, 0.0])


def test_a_long_legend_takes_nothing_from_the_plot():
    def height(names):
        rows = [(f"machine-{i:02d}", 2**n, 10.0 * (n + 1) + i, None, None) for i in range(names) for n in range(3)]
        table = pd.DataFrame(rows, columns=["name", "batch", "speed", "low", "high"])
        fig = charts.curves(table, "batch", "speed", "images per batch", "images/s")
        fig.set_layout_engine("constrained")
        fig.canvas.draw()
        inches = fig.axes[0].get_window_extent().height / fig.dpi
        plt.close(fig)
        return inches

    charts.theme()
    assert height(12) == pytest.approx(height(4), rel=0.15)
