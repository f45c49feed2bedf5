"""Numbers in words: significant digits, shares and ratios, as every page and the terminal write them."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siliconbench.analysis.stats import Comparison

UNKNOWN = "–"
THIN = "\u202f"  # between thousands; it does not break, and DejaVu Sans has it
APART = 4  # an interval that spans such a factor tells no speed: it is said in words
DIFFER = "its runs differ too much for an interval"
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def significant(x: float | None, digits: int = 3) -> str:
    """The number to so many significant digits: 0.0153, 20.3, 12 300, by powers of ten below 10^-5; a dash: unknown."""
    if x is None or math.isnan(x):
        return UNKNOWN
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    power = f"{x:.{digits - 1}e}"
    value, exponent = float(power), int(power.partition("e")[2])
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}" if -6 < exponent < 15 else power
    return text.replace(",", THIN).replace("-", "−") if value else "0"


def ratio_words(ratio: float | None) -> str:
    """The number to three significant digits at most, without a power of ten: 1.75, 2, 1 230; a dash for unknown."""
    if ratio is None or not math.isfinite(ratio):
        return significant(ratio)
    return f"{Decimal(f'{ratio:.3g}'):,f}".replace(",", THIN).replace("-", "−")


def percent_words(share: float | None) -> str:
    """The share of 1 in per cent, to three significant digits at most: 99.5 %, 100 %, 0.04 %."""
    return f"{ratio_words(None if share is None else 100 * share)} %"


def listed(items: Sequence[str], most: int, separator: str = "; ") -> str:
    """The first items of a list in one text, and how many more there are."""
    return separator.join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def grouped(said: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Sentences, each said of something: those that differ in figures alone as one, with all that it was said of."""
    found: dict[str, list[tuple[str, str]]] = {}
    for sentence, what in said:
        found.setdefault(NUMBER.sub("0", sentence), []).append((sentence, what))
    alike = (zip(*of, strict=True) for of in found.values())
    return [(spanned(sentences), list(whats)) for sentences, whats in alike]


def spanned(sentences: Sequence[str]) -> str:
    """Sentences that differ in figures alone as one: each figure as the span of all."""
    figures = zip(*map(NUMBER.findall, sentences), strict=True)
    spans = (" to ".join(dict.fromkeys((min(of, key=float), max(of, key=float)))) for of in figures)
    return NUMBER.sub(lambda _: next(spans), sentences[0])


def told_apart(plain: Mapping[str, str], mine: Collection[str] = ()) -> dict[str, str]:
    """The machines' names by their slugs, in brackets the end of the slug, or all, where two are alike, and yours."""
    names = dict(plain)
    for slug, name in plain.items():
        ends = [other.rpartition("-")[2] for other in plain if plain[other] == name]
        end = slug.rpartition("-")[2] if len(set(ends)) == len(ends) else slug
        told = [end] * (len(ends) > 1) + ["yours"] * (slug in mine)
        names[slug] += f" ({', '.join(told)})" if told else ""
    return names


def span_words(mean: float | None, low: float | None, high: float | None) -> str | None:
    """The interval of a rate in words, to the digits that it bears; None where there is no figure."""
    if mean is None or math.isnan(mean):
        return None
    if low is None or high is None or math.isnan(low):
        return "one run"
    digits = 0 if mean >= 1000 else 1 if mean >= 10 else 2
    return DIFFER if high > APART * low else f"{low:,.{digits}f} to {high:,.{digits}f}".replace(",", THIN)


def times_words(found: "Comparison") -> str:
    """A ratio with its interval in words: 1.75 (1.7 to 1.8); without one where the runs do not bear it."""
    if found.low is None or found.high is None:
        return ratio_words(found.ratio)
    span = DIFFER if found.high > APART * found.low else f"{ratio_words(found.low)} to {ratio_words(found.high)}"
    return f"{ratio_words(found.ratio)} ({span})"


def rate_words(mean: float | None, low: float | None, high: float | None) -> str:
    """A rate with its interval in words: 99.7 images/s (99.1 to 100.3)."""
    if mean is None or not (span := span_words(mean, low, high)):
        return "no figure"
    return f"{mean:,.{0 if mean >= 1000 else 1 if mean >= 10 else 2}f} images/s ({span})".replace(",", THIN)


def speed_words(case: Any) -> str:
    """The rate of a case, a row of cases(), with its interval in words."""
    return rate_words(case["images_per_s"], case["low"], case["high"])
