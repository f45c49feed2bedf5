"""The house theme, and what the pages show: a figure with its caption and alt text, a table, a sentence.

Every text is escaped here, so a name from a record can neither run nor vanish. The same data give the same bytes.
"""

import html
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogFormatter

UNKNOWN = "–"

WIDE = 30  # times the least: on a linear axis it would lie within a line's width of the floor

THIN = "\u202f"  # between thousands; it does not break, and DejaVu Sans has it

COLOURS = [0, 1, 2, 3, 4, 5, 9, 7]  # of seaborn's colorblind palette: all but its yellow and pale pink, faint on white

MARKERS = "osD^vPXp*"  # one more than the colours, so that 72 names differ in the pair

DASHES = ["", (4, 1.5), (1, 1), (3, 1.25, 1.5, 1.25)]

INK, LINE = "#1f2328", "#8c939c"

STYLE = {
    "figure.figsize": (7, 3.8),  # 7 in are the page's column; shrunk to a phone, 12 pt become 9 pixels
    "font.size": 12,
    **dict.fromkeys(["axes.labelsize", "axes.titlesize", "legend.title_fontsize"], 12),
    **dict.fromkeys(["xtick.labelsize", "ytick.labelsize", "legend.fontsize"], 11.5),
    **dict.fromkeys(["text.color", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
    "axes.edgecolor": LINE,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.formatter.limits": (-5, 9),
    "axes.formatter.useoffset": False,
    **{f"{axis}tick.{kind}.size": 0 for axis in "xy" for kind in ("major", "minor")},
    **{f"{axis}tick.{kind}.pad": 6 for axis in "xy" for kind in ("major", "minor")},
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "savefig.pad_inches": 0.12,
    "svg.fonttype": "path",
    "svg.hashsalt": "siliconbench",
}


class _Plain(Formatter):
    """Labels where a log axis has them, but 100 for its 10², which would need the formulas that the theme forbids."""

    def __init__(self, log: LogFormatter) -> None:
        self.log = log

    def set_locs(self, locs: list[float]) -> None:
        self.log.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:,.6g}".replace(",", THIN) if self.log(x, pos) else ""


def theme() -> None:
    """Nothing; from here on seaborn and matplotlib draw in the house style, whatever the user's own settings are."""
    mpl.rcdefaults()
    sns.set_theme(style="whitegrid", palette="colorblind", font="DejaVu Sans", rc=STYLE)
    warnings.filterwarnings("ignore", "Glyph .* missing")  # a letter that the font lacks is drawn as a box
    warnings.filterwarnings("ignore", "constrained_layout not applied")  # by names too long; all is drawn, only wider


def svg(fig: Figure) -> bytes:
    """The figure as an SVG file on white, its text as outlines, without date or maker; the figure is closed."""
    if fig.get_layout_engine() is None:
        fig.set_layout_engine("constrained")
    for axis in (axis for axes in fig.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(major := axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(_Plain(major))
        if isinstance(minor := axis.get_minor_formatter(), LogFormatter):
            axis.set_minor_formatter(_Plain(minor))
    file = BytesIO()
    fig.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(fig)
    spare = rb"\s*<!--.*?-->|<!DOCTYPE.*?>|<metadata>.*?</metadata>"  # the comments are its texts once more, raw
    return re.sub(spare, b"", file.getvalue(), flags=re.DOTALL)


def figure(fig: Figure, alt: str, caption: str) -> HTML:
    """The figure as HTML, with the alt text that states its finding and a caption under it; the figure is closed.

    ValueError when either text is empty.
    """
    if not (alt.strip() and caption.strip()):
        plt.close(fig)
        raise ValueError(f"A figure needs an alt text and a caption; it was given {alt!r} and {caption!r}.")
    source = quote(svg(fig).replace(b"\n", b" "), safe=" /=;,.+()!*")  # zipped, two thirds of what base64 takes
    image = f'<img alt="{_safe(alt)}" src="data:image/svg+xml,{source}">'
    return HTML(f"<figure>{image}<figcaption>{_safe(caption)}</figcaption></figure>")


def table(
    frame: pd.DataFrame,
    caption: str,
    formats: dict[str, str] | None = None,
    bars: str | None = None,
    best: list[str] | None = None,
    least: list[str] | None = None,
) -> HTML:
    """The frame as an HTML table under its caption, in a box that scrolls by itself on a phone.

    The first column names the rows; the index is not shown. formats: "{:.1f}" and the like by column, which is then
    set as numbers are. bars: the column with a bar in each cell. best and least: columns whose highest or lowest cell
    is strong. Columns that the frame lacks are passed over. Unknown is a dash of the class unknown.
    """
    picks = {**dict.fromkeys(best or [], "max"), **dict.fromkeys(least or [], "min")}
    columns = [
        _column(str(name), values, (formats or {}).get(str(name)), name == bars, picks.get(str(name)), not i)
        for i, (name, values) in enumerate(frame.items())
    ]
    head, *rows = (f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    return HTML(
        f'<figure class="table"><figcaption>{_safe(caption)}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_safe(caption)}">'
        f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div></figure>"
    )


def _column(name: str, values: pd.Series, form: str | None, bar: bool, pick: str | None, first: bool) -> list[str]:
    known = values.dropna().infer_objects()
    numbers = pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known)
    kind = "n" if form or (numbers and len(known)) else "t"
    full = known.max() if bar and numbers and len(known) else 0
    strong = known.agg(pick) if pick and numbers and known.nunique() > 1 else None
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    cells = [f'<th scope="col" class="{kind}">{_safe(name)}</th>']
    for value, unknown in zip(values, values.isna(), strict=True):
        text = UNKNOWN if unknown else _safe(_shown(value, form))
        text = f"<strong>{text}</strong>" if strong is not None and value == strong else text
        look = f' class="{kind} unknown"' if unknown else f' class="{kind}"'
        look += f' style="--bar:{max(0.0, value / full):.3f}"' if full > 0 and not unknown else ""
        cells.append(f"<{tag}{scope}{look}>{text}</{tag}>")
    return cells


def _shown(value: Any, form: str | None) -> str:
    if isinstance(value, float) and not form:
        return significant(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = (form or ("{:,}" if number else "{}")).format(value)
    return text.replace(",", THIN) if number else text


def _clean(text: object) -> str:
    return "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in str(text))


def _safe(text: object) -> str:
    return html.escape(_clean(text))


def verdict(text: str) -> HTML:
    """The page's first sentence as HTML, set large."""
    return HTML(f'<p class="verdict">{_safe(text)}</p>')


def sentence(text: str) -> HTML:
    """A sentence that was generated from the data, as HTML."""
    return HTML(f'<p class="finding">{_safe(text)}</p>')


def note(items: list[str]) -> HTML:
    """A list as HTML, set small: reasons, versions, what was left out."""
    return HTML(f'<ul class="note">{"".join(f"<li>{_safe(item)}</li>" for item in items)}</ul>')


def label(name: str) -> str:
    """The name as a figure shows it: on lines of 24 letters, and seen even where it begins with an underscore.

    A legend leaves out what begins so. Map the names first, then hand out colours and markers.
    """
    return textwrap.fill(("\u200b" if name.startswith("_") else "") + _clean(name), 24) or UNKNOWN


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name: the same for the same set of names, in any order, in any process.

    A name more can move those that sort after it. No two of 72 names are alike in colour and marker.
    """
    palette = sns.color_palette("colorblind").as_hex()
    return _dealt(names, [palette[i] for i in COLOURS])


def markers(names: Iterable[str]) -> dict[str, str]:
    """A marker for each name, handed out as colours() does; all are filled, so seaborn takes them together."""
    return _dealt(names, MARKERS)


def dashes(names: Iterable[str]) -> dict[str, Any]:
    """A line style for each name, as seaborn's dashes takes it: whole lines while the colours last, then dashed."""
    return _dealt(names, [dash for dash in DASHES for _ in COLOURS])


def _dealt(names: Iterable[str], hand: Sequence[Any]) -> dict[str, Any]:
    return {name: hand[i % len(hand)] for i, name in enumerate(sorted(set(names)))}


def significant(x: float | None, digits: int = 3) -> str:
    """The number to so many significant digits: 0.0153, 20.3, 12 300; a dash for what is unknown.

    Plain from 0.00001 to 10^15, by powers of ten beyond.
    """
    if x is None or math.isnan(x):
        return UNKNOWN
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    power = f"{x:.{digits - 1}e}"
    value, exponent = float(power), int(power.partition("e")[2])
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}" if -6 < exponent < 15 else power
    return text.replace(",", THIN).replace("-", "−") if value else "0"


def with_interval(mean: float | None, low: float | None, high: float | None, unit: str = "") -> str:
    """The mean, its bounds where there are any, and the unit: 20.3 (20.1 to 20.5) images/s."""
    bounds = "" if low is None or high is None else f" ({significant(low)} to {significant(high)})"
    return f"{significant(mean)}{bounds} {unit}".rstrip()


def curves(table: pd.DataFrame, x: str, y: str, xlabel: str, ylabel: str) -> Figure:
    """A line for each name in the table's column `name`, with bars from its columns low to high where they are known.

    A row whose y is unknown is a case that failed: a cross at the foot. x is on a scale of doublings; y is on a log
    scale where the slowest would lie on the floor beside the fastest.
    """
    fig, axes = plt.subplots()
    table = table.assign(name=table["name"].map(label))
    hue, shape, dash = colours(table["name"]), markers(table["name"]), dashes(table["name"])
    for who, group in table.dropna(subset=[y]).groupby("name"):
        reach = [(group[y] - group["low"]).astype(float).fillna(0), (group["high"] - group[y]).astype(float).fillna(0)]
        style = (0, dash[who]) if dash[who] else "-"
        axes.errorbar(group[x], group[y], reach, c=hue[who], marker=shape[who], ls=style, capsize=4, label=who)
    wide = table[y].max() > WIDE * table[y].min()
    foot = table[y].min() / 2 if wide else 0
    for _, lost in table[table[y].isna()].iterrows():
        axes.plot(lost[x], foot, "x", c=hue[lost["name"]], markersize=10, clip_on=False)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(set(table[x])), [str(value) for value in sorted(set(table[x]))], minor=False)
    top = table[y].max()  # a bar of two runs that differ may reach to the moon: the points set the scale
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(foot, (2 if wide else 1.35) * top if top == top else None))
    axes.set_yscale("log" if wide else "linear")
    _legend(axes, len(hue))
    return fig


def bars(table: pd.DataFrame, y: str, x: str, hue: str, xlabel: str) -> Figure:
    """Horizontal bars of x for each y, one for each hue beside one another, in the table's order."""
    table = table.assign(**{y: table[y].map(label)})
    fig, axes = plt.subplots(figsize=(7, 1.3 + 0.75 * max(1, table[y].nunique())))
    sns.barplot(table, y=y, x=x, hue=hue, errorbar=None, orient="h", ax=axes)
    axes.set(xlabel=xlabel, ylabel="")
    _legend(axes, table[hue].nunique())
    return fig


def stacked(ways: dict[str, dict[str, float]], total: float, xlabel: str) -> Figure:
    """A bar for each way, its parts end to end, in the order given; a dashed line at the total that was measured."""
    fig, axes = plt.subplots(figsize=(7, 1.5 + 0.6 * len(ways)))
    hue = colours({part for parts in ways.values() for part in parts})
    pd.DataFrame(ways).T[::-1].plot.barh(stacked=True, color=hue, width=0.6, ax=axes)
    axes.axvline(total, color=INK, ls="--", label="measured")
    axes.set(xlabel=xlabel, ylabel="")
    _legend(axes, len(hue) + 1)
    return fig


def relative(table: pd.DataFrame, xlabel: str) -> Figure:
    """A point with its interval for each name, on a log axis, in the table's order; a line at 1.

    Columns: name, ratio, low, high (None where one run gives no interval), clean (an open point where False).
    """
    fig, axes = plt.subplots(figsize=(7, 1.4 + 0.45 * max(1, len(table))))
    colour = sns.color_palette("colorblind").as_hex()[0]
    for i, row in enumerate(table.itertuples()):
        reach = None if pd.isna(row.low) or pd.isna(row.high) else [[row.ratio - row.low], [row.high - row.ratio]]
        face = colour if row.clean else "white"
        axes.errorbar(row.ratio, i, xerr=reach, fmt="o", c=colour, mfc=face, capsize=4)
    axes.axvline(1, color=LINE, ls="--")
    axes.set_xscale("log")
    axes.set_yticks(range(len(table)), [label(name) for name in table["name"]])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(min(0.5, table["ratio"].min() / 1.5), max(2, table["ratio"].max() * 1.5))
    axes.set(xlabel=xlabel)
    return fig


def steps(table: pd.DataFrame, x: str, xlabel: str) -> Figure:
    """The share of values up to x, a line of steps for each name (an empirical distribution), x on a log axis."""
    fig, axes = plt.subplots()
    table = table.assign(name=table["name"].map(label))
    sns.ecdfplot(table, x=x, hue="name", palette=colours(table["name"]), log_scale=True, legend=False, ax=axes)
    for who, colour in colours(table["name"]).items():
        axes.plot([], [], c=colour, label=who)
    axes.set(xlabel=xlabel, ylabel="share of requests")
    _legend(axes, table["name"].nunique())
    return fig


def timeline(table: pd.DataFrame, rest: tuple[float, float]) -> Figure:
    """A panel for each of the table's panels over one time axis, speed first; at rest (before, after) it is shaded.

    Columns: time_s, quantity, panel, value.
    """
    panels = list(dict.fromkeys(table["panel"]))
    fig, all_axes = plt.subplots(len(panels), sharex=True, figsize=(7, 1 + 1.5 * len(panels)), squeeze=False)
    hue = colours(table["quantity"])
    for panel, axes in zip(panels, all_axes[:, 0], strict=True):
        for quantity, group in table[table["panel"] == panel].groupby("quantity"):
            axes.plot(group["time_s"] / 60, group["value"], c=hue[quantity], lw=1.2, label=quantity)
        for start, end in ((table["time_s"].min(), rest[0]), (rest[1], table["time_s"].max())):
            axes.axvspan(start / 60, max(start, end) / 60, color=LINE, alpha=0.2, lw=0)
        axes.set(ylim=(0, None))
        axes.set_title(panel, fontsize=11.5, fontweight="normal")
    handles = {h.get_label(): h for axes in fig.axes for h in axes.get_lines()}
    fig.legend(list(handles.values()), [str(name) for name in handles], loc="outside upper left", ncols=4)
    fig.set_layout_engine("constrained")
    fig.axes[-1].set(xlabel="minutes since the start")
    return fig


def dots(table: pd.DataFrame, x: str, y: str, hue: str, xlabel: str, ylabel: str) -> Figure:
    """A dot for each row, coloured and shaped by the names in hue; y from nought, so that no scatter is blown up."""
    fig, axes = plt.subplots()
    table = table.assign(**{hue: table[hue].map(label)})
    colour, shape = colours(table[hue]), markers(table[hue])
    for who, group in table.groupby(hue):
        axes.plot(group[x], group[y], shape[who], c=colour[who], label=who)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.2 * table[y].max()))
    _legend(axes, len(colour))
    return fig


def _legend(axes: Any, names: int) -> None:
    """Nothing; the legend stands above the axes, left, two names to a line, so that it never hides a point.

    From the third line on the figure grows with it, so that it takes nothing from the plot.
    """
    if axes.get_legend_handles_labels()[0]:
        axes.figure.set_figheight(axes.figure.get_figheight() + 0.26 * max(0, (names + 1) // 2 - 2))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if names > 1 else 1, title="")
