"""The pieces of a page as HTML: its first sentence, other sentences, lists, tables. Every text is escaped here."""

import html
import re
from collections.abc import Sequence
from functools import partial

import pandas as pd
from IPython.display import HTML

from siliconbench.analysis.words import THIN, UNKNOWN, significant

MOST_LINES = 40  # of one list


def clean(text: object) -> str:
    """The text, each character that can't be seen replaced: what remains neither vanishes nor turns its neighbours."""
    return "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in str(text))


def escaped(text: object) -> str:
    """The text as HTML that shows it, in an element or an attribute."""
    return html.escape(clean(text))


def inline(text: object) -> str:
    """The text as HTML, our commands between backticks as code; another's backticks stay."""
    return re.sub(r"`((?:make |[A-Z_]+=)[^`]*)`", r"<code>\1</code>", escaped(text))


def sentence(text: str, kind: str = "finding") -> HTML:
    """A sentence that was generated from the data, as HTML."""
    return HTML(f'<p class="{kind}">{inline(text)}</p>')


lead = partial(sentence, kind="lead")  # the page's first, set large
missing = partial(sentence, kind="missing")  # what a measurement would tell that was not made: gathered at the end


def code(text: str) -> HTML:
    """Lines to copy, as HTML."""
    return HTML(f"<pre>{escaped(text)}</pre>")


def note(items: Sequence[str]) -> HTML:
    """A list as HTML, set small, to its fortieth line: reasons, versions, what was left out."""
    more = [f"and {len(items) - MOST_LINES} more"] if len(items) > MOST_LINES else []
    lines = "".join(f"<li>{inline(item)}</li>" for item in [*items[:MOST_LINES], *more])
    return HTML(f'<ul class="note">{lines}</ul>')


def table(frame: pd.DataFrame, caption: str, bars: str | None = None, best: str | None = None) -> HTML:
    """The frame as an HTML table that scrolls by itself; bars: the column with bars, best: whose highest is strong."""
    columns = [_column(str(n), frame[n], n == frame.columns[0], n == bars, n == best) for n in frame]
    head, *rows = (f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    return HTML(
        f'<figure class="table"><figcaption>{escaped(caption)}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(caption)}">'
        f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div></figure>"
    )


def _column(heading: str, values: pd.Series, first: bool, bars: bool, best: bool) -> list[str]:
    known = values.dropna().infer_objects()
    numbers = len(known) and pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known)
    kind, most = ("n", known.max()) if numbers else ("t", 0)
    opening, closing = ('<th scope="row"', "</th>") if first else ("<td", "</td>")
    cells = [f'<th scope="col" class="{kind}">{escaped(heading)}</th>']
    for value, unknown in zip(values, values.isna(), strict=True):
        text = UNKNOWN if unknown else inline(_shown(value))
        text = f"<strong>{text}</strong>" if numbers and best and value == most and known.nunique() > 1 else text
        bar = f' style="--bar:{max(0.0, value / most):.3f}"' if bars and most > 0 and not unknown else ""
        cells.append(f'{opening} class="{kind}{" unknown" if unknown else ""}"{bar}>{text}{closing}')
    return cells


def _shown(value: object) -> str:
    if isinstance(value, float):
        return significant(value, 4 if abs(value) >= 1000 else 3)
    return f"{value:,}".replace(",", THIN) if isinstance(value, int) and not isinstance(value, bool) else str(value)
