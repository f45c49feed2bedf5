"""The house theme, and the figures: each of a table, shown as HTML with caption and alt text, the same bytes always."""

import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from siliconbench.analysis.words import APART, THIN, UNKNOWN
from siliconbench.machine.tools import instead
from siliconbench.pages.html import clean, escaped
from siliconbench.record.schema import Telemetry
from siliconbench.record.share import counted

# It takes them for clustered maps and summed densities alone, which no page has: a second of each page's time.
with instead(dict.fromkeys(("scipy.stats", "scipy.cluster"))):
    import seaborn as sns

# Of seaborn's colorblind palette all but its yellow and pale pink, faint on white.
COLOURS = [sns.color_palette("colorblind").as_hex()[i] for i in (0, 1, 2, 3, 4, 5, 9, 7)]
MARKERS = "osD^vPXp*"  # filled, as seaborn wants all or none; one more than the colours, so that 72 pairs differ
DASHES: list[tuple[float, ...]] = [(), (4, 1.5), (1, 1), (3, 1.25, 1.5, 1.25)]
INK, LINE = "#1f2328", "#8c939c"
source = ""  # of each figure, as its caption says: the notebook, {} for so many runs, the command
STYLE = {
    "figure.figsize": (7, 3.8),  # 7 in are the page's column; shrunk to a phone, 12 pt become 9 pixels
    **dict.fromkeys(["font.size", "axes.labelsize", "axes.titlesize", "legend.title_fontsize"], 12),
    **dict.fromkeys(["xtick.labelsize", "ytick.labelsize", "legend.fontsize"], 11.5),
    **dict.fromkeys(["text.color", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon", "axes.formatter.useoffset"], False),
    **{f"{axis}tick.{kind}.size": 0 for axis in "xy" for kind in ("major", "minor")},
    **{f"{axis}tick.{kind}.pad": 6 for axis in "xy" for kind in ("major", "minor")},
    "axes.edgecolor": LINE, "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.formatter.limits": (-5, 9),
    "grid.color": "#e4e7eb", "grid.linewidth": 0.8, "lines.linewidth": 2, "lines.markersize": 7,
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "savefig.pad_inches": 0.12, "svg.fonttype": "path", "svg.hashsalt": "siliconbench",
}  # fmt: skip


class _Plain(LogFormatter):
    """Labels where a log axis has them, but 100 for its 10², which would need the formulas that the theme forbids."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:,.6g}".replace(",", THIN) if super().__call__(x, pos) else ""


def theme() -> None:
    """The house style from here on, whatever the user's own settings are."""
    mpl.rcdefaults()
    sns.set_theme(style="whitegrid", palette="colorblind", font="DejaVu Sans", rc=STYLE)
    # A letter that the font lacks is drawn as a box; where names are too long, all is drawn, only wider.
    warnings.filterwarnings("ignore", "Glyph .* missing|constrained_layout not applied")


@lru_cache(maxsize=1)  # a page and a file of its own may have the same figure
def svg(fig: Figure) -> bytes:
    """The figure as an SVG file on white, its text as outlines, without date or maker; the figure is closed."""
    if fig.get_layout_engine() is None:
        fig.set_layout_engine("constrained")
    for axis in (axis for axes in fig.axes for axis in (axes.xaxis, axes.yaxis)):
        for ticks in (axis.major, axis.minor):
            if isinstance(ticks.formatter, LogFormatter):
                plain = _Plain()
                vars(plain).update(vars(ticks.formatter))  # its base, its axis
                ticks.formatter = plain
    file = BytesIO()
    fig.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(fig)
    spare = rb"\s*<!--.*?-->|<!DOCTYPE.*?>|<metadata>.*?</metadata>"  # the comments are its texts once more, raw
    text = re.sub(spare, b"", file.getvalue(), flags=re.DOTALL)
    for i, name in enumerate(re.findall(rb'id="(p[0-9a-f]{10})"', text)):  # a hash of bits that processors differ in
        text = text.replace(name, b"clip%d" % i)
    return text


def figure(fig: Figure, alt: str, caption: str, runs: int = 0) -> HTML:
    """The figure of so many runs, closed, as HTML with its finding as alt text and its caption; ValueError if empty."""
    if not (alt.strip() and caption.strip()):
        plt.close(fig)
        raise ValueError(f"A figure needs an alt text and a caption; it was given {alt!r} and {caption!r}.")
    drawn = quote(svg(fig).replace(b"\n", b" "), safe=" /=;,.+()!*")  # zipped, two thirds of what base64 takes
    told = f"{caption.removesuffix('.')}. From {source.format(counted(runs, 'run'))}." if source else caption
    image = f'<img alt="{escaped(alt)}" src="data:image/svg+xml,{drawn}">'
    return HTML(f"<figure>{image}<figcaption>{escaped(told)}</figcaption></figure>")


def label(name: str) -> str:
    """The name as a figure shows it: on lines of 24 letters, and seen even where it begins with an underscore."""
    return textwrap.fill(("\u200b" if name.startswith("_") else "") + clean(name), 24) or UNKNOWN


def looks(names: Iterable[str]) -> list[dict[str, Any]]:
    """A colour, a marker, dashes for each name: the same for the same set; of 72 names no two share the first two."""
    sorted_names, hands = sorted(set(names)), (COLOURS, MARKERS, [dash for dash in DASHES for _ in COLOURS])
    return [{name: hand[i % len(hand)] for i, name in enumerate(sorted_names)} for hand in hands]


def curves(table: pd.DataFrame, x: str, y: str, xlabel: str, ylabel: str) -> Figure:
    """A line for each `name`, x in doublings, with bars from low to high; a cross at the foot where y is unknown. Of
    several models (`panel`) each has axes of its own; where there is one x alone they have a point there each."""
    panels = list(dict.fromkeys(table["panel"])) if "panel" in table else [""]
    table, rows = table.assign(name=table["name"].map(label)), math.ceil(len(panels) / 2)
    if len(panels) > 1 and table[x].nunique() == 1:
        return points(table, "panel", y, "name", f"{ylabel} (log axis)")
    size, inches = ((rows, 2), 0.6 + 1.9 * rows) if len(panels) > 1 else ((1, 1), None)
    fig, all_axes = plt.subplots(*size, figsize=inches and (7, inches), squeeze=False)
    for panel, axes in zip(panels, all_axes.flat, strict=False):
        own = table[table["panel"] == panel] if len(panels) > 1 else table
        lines(axes, own, x, y, looks(table["name"]))
        axes.set_title(label(panel) if panel else "", fontsize=11.5, fontweight="normal")
    for axes in all_axes.flat[len(panels) :]:
        axes.set_visible(False)
    if len(panels) == 1:
        return finished(fig, xlabel, ylabel)
    fig.supxlabel(xlabel, fontsize=12)
    fig.supylabel(ylabel, fontsize=12)
    return keyed(fig) if table["name"].nunique() > 1 else fig


def lines(axes: Axes, table: pd.DataFrame, x: str, y: str, look: Sequence[Any]) -> None:
    """Draws a line for each `name` of the table, in these looks."""
    (hue, shape, dash), table = look, table.astype({"low": float, "high": float})
    for who, group in table.dropna(subset=[y]).groupby("name"):
        told = group["high"] <= APART * group["low"]  # else its runs differ too much for a bar
        reach = [(group[y] - group["low"]).where(told, 0), (group["high"] - group[y]).where(told, 0)]
        style = (0, dash[who]) if dash[who] else "-"
        axes.errorbar(group[x], group[y], reach, c=hue[who], marker=shape[who], ls=style, capsize=4, label=who)
    slowest, top = table[y].min(), table[y].max()  # a bar of two runs that differ can be huge: points set the scale
    wide = top > 30 * slowest  # on a linear axis the slowest would lie within a line's width of the floor
    foot = slowest / 2 if wide else 0
    for _, lost in table[table[y].isna()].iterrows():
        axes.plot(lost[x], foot, "x", c=hue[lost["name"]], markersize=10, clip_on=False)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(set(table[x])), [str(value) for value in sorted(set(table[x]))], minor=False)
    axes.set(ylim=(foot, (2 if wide else 1.35) * top if top == top else None), yscale="log" if wide else "linear")


def points(table: pd.DataFrame, y: str, x: str, hue: str, xlabel: str) -> Figure:
    """A point of x for each y and hue on a log axis, those of a y joined by a line; a cross at the edge: unknown."""
    table = table.assign(**{y: table[y].map(label)})
    names = [name.count("\n") + 1 for name in table[y].unique()]  # their lines
    fig, axes = plt.subplots(figsize=(7, 1.4 + max(0.5, 0.22 * max(names, default=1)) * max(1, len(names))))
    colour, shape, _ = looks(table[hue])
    reach = table.groupby(y, sort=False)[x].agg(["min", "max"])
    axes.hlines(reach.index, reach["min"], reach["max"], color=LINE, lw=1)
    for i, (who, group) in enumerate(table.groupby(hue, sort=False)):  # ever smaller: none is hidden by another
        axes.plot(group[x], group[y], shape[who], c=colour[who], label=who, markersize=max(5.0, 10 - 1.5 * i))
        lost, edge = group.loc[group[x].isna(), y], axes.get_yaxis_transform()
        axes.plot([0.0] * len(lost), lost, "x", c=colour[who], markersize=10, transform=edge, clip_on=False)
    axes.set(xscale="log", ylim=(len(reach) - 0.5, -0.5))
    return finished(fig, xlabel, "")


def stacked(ways: dict[str, dict[str, float]], total: float, xlabel: str) -> Figure:
    """A bar for each way, its parts end to end, in the order given; a dashed line at the total that was measured."""
    fig, axes = plt.subplots(figsize=(7, 1.5 + 0.6 * len(ways)))
    hue, *_ = looks({part for parts in ways.values() for part in parts})
    pd.DataFrame(ways).T[::-1].plot.barh(stacked=True, color=hue, width=0.6, ax=axes)
    axes.axvline(total, color=INK, ls="--", label="measured")
    return finished(fig, xlabel, "")


def relative(table: pd.DataFrame, xlabel: str) -> Figure:
    """A point with its interval for each row (name, ratio, low, high, clean; open unless clean) on a log axis."""
    fig, axes = plt.subplots(figsize=(7, 1.4 + 0.45 * max(1, len(table))))
    for i, row in enumerate(table.itertuples()):
        spans = None if pd.isna(row.low) or pd.isna(row.high) else [[row.ratio - row.low], [row.high - row.ratio]]
        axes.errorbar(row.ratio, i, None, spans, "o", c=COLOURS[0], mfc=COLOURS[0] if row.clean else "white", capsize=4)
    axes.axvline(1, color=LINE, ls="--")
    axes.set_yticks(range(len(table)), [label(name) for name in table["name"]])
    reach = (min(0.5, table["ratio"].min() / 1.5), max(2, table["ratio"].max() * 1.5))
    axes.set(xscale="log", xlim=reach, ylim=(len(table) - 0.5, -0.5), xlabel=xlabel)
    return fig


def ladder(table: pd.DataFrame, x: str) -> Figure:
    """A bar for each rung (setting, mean, low, high or unknown), its factor beside it; from the plain one on."""
    fig, axes = plt.subplots(figsize=(7, 1.2 + 0.55 * len(table)))
    for i, row in enumerate(table.itertuples()):
        spans = None if pd.isna(row.low) or pd.isna(row.high) else [[row.mean - row.low], [row.high - row.mean]]
        axes.barh(i, row.mean, 0.62, xerr=spans, color=COLOURS[0], ecolor=INK, capsize=3)
        axes.text(max(row.mean, row.high if spans else 0), i, f"  {row.factor}", va="center", fontsize=11.5)
    axes.set_yticks(range(len(table)), [label(name) for name in table["setting"]])
    axes.grid(visible=False, axis="y")
    axes.set(ylim=(len(table) - 0.5, -0.5), xlim=(0, 1.6 * table[["mean", "high"]].astype(float).max().max()), xlabel=x)
    return fig


def timeline(table: pd.DataFrame, samples: Telemetry) -> Figure:
    """A panel for each of the table's (time_s, quantity, panel, value) over one time axis; shaded while at rest."""
    panels, time_s = list(dict.fromkeys(table["panel"])), table["time_s"]
    fig, all_axes = plt.subplots(len(panels), sharex=True, figsize=(7, 1 + 1.5 * len(panels)), squeeze=False)
    hue, *_ = looks(table["quantity"])
    for panel, axes in zip(panels, all_axes[:, 0], strict=True):
        for quantity, group in table[table["panel"] == panel].groupby("quantity"):
            axes.plot(group["time_s"] / 60, group["value"], c=hue[quantity], lw=1.2, label=quantity)
        for start, end in ((time_s.min(), samples.idle_until_s), (samples.cooling_from_s, time_s.max())):
            axes.axvspan(start / 60, max(start, end) / 60, color=LINE, alpha=0.2, lw=0)
        axes.set(ylim=(0, None), xlabel="minutes since the start" if panel == panels[-1] else "")
        axes.set_title(panel, fontsize=11.5, fontweight="normal")
    return keyed(fig)


def keyed(fig: Figure) -> Figure:
    """The figure with one legend of all its axes, above them; from the third line on it grows with that."""
    told = [axes.get_legend_handles_labels() for axes in fig.axes]
    found = {name: line for handles, names in told for line, name in zip(handles, names, strict=True)}
    columns = 4 if max(map(len, found), default=0) < 18 else 2
    names, rows = list(found), math.ceil(len(found) / columns)  # it is filled column by column
    deep = sum(max(name.count("\n") + 1 for name in names[row::rows]) for row in range(rows))
    fig.set_figheight(fig.get_figheight() + 0.24 * max(0, deep - 2))
    fig.legend(list(found.values()), names, loc="outside upper left", ncols=columns) if found else None
    return fig


def finished(fig: Figure, xlabel: str, ylabel: str) -> Figure:
    """The figure with its axes labelled and its legend above them."""
    fig.axes[0].set(xlabel=xlabel, ylabel=ylabel)
    fig.axes[0].legend_ = None  # seaborn's own
    return keyed(fig)
