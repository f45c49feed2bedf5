"""`make suite`: the fixed protocol that everybody runs, and its two figures to quote."""

from siliconbench.analysis import cases, suite
from siliconbench.analysis.words import THIN, span_words
from siliconbench.knobs import Given
from siliconbench.record import protocol
from siliconbench.record.schema import Record
from siliconbench.sweep import runner


def quote(records: list[Record]) -> list[str]:
    """The line to quote and its intervals, of one sweep of the suite; or the one that says why it has no figure."""
    runs = cases.runs(records)
    found, name = suite.figures(cases.cases(runs)), runs["chip"].iat[-1]
    if found["why"].any():
        return [f"{protocol.NAME}: incomplete, no figure: {found['why'].iat[0]}."]
    spans = ", ".join(f"{f.figure} {span_words(f.images_per_s, f.low, f.high)}" for f in found.itertuples())
    head = f"{protocol.NAME}: {suite.quoted(found)} ({name}, torch {found['torch'].iat[0]})"
    return [head, f"95 %: {spans.replace(THIN, ',')}. The model alone: {suite.quoted(found, 'forward')}."]


def make_suite(given: Given, page: runner.Page) -> int:
    """The exit status of `make suite`: 1 where a run failed, or no knob was changed and there is no figure."""
    custom = [f"A custom run, by {', '.join(given['CHANGED'])}: it gives no figures of {protocol.NAME}."]
    fixed = f"{protocol.NAME}: {', '.join(protocol.MODELS)}, batch 1 and 64; on a CPU the last takes most of the time."
    print(*custom if given["CHANGED"] else [fixed])
    records = runner.measured(given, page)
    print(*(lines := custom if given["CHANGED"] else quote(records)), sep="\n")
    return int(any(r.error for r in records) or not (given["CHANGED"] or lines[1:]))
