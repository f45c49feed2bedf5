"""Numbers in words, by examples and by reading them back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.analysis import words


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.995, "99.5 %"), (0.9996, "100 %"), (1.0, "100 %"), (0.0004, "0.04 %"), (0.5, "50 %"), (12.5, "1,250 %"),
     (0.0, "0 %"), (-0.125, "−12.5 %"), (None, "– %")],
)  # fmt: skip
def test_a_share_is_never_a_power_of_ten(share, text):
    assert words.percent_words(share) == text.replace(",", words.THIN)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1234.0, "1,230"), (2.0, "2"), (1.754, "1.75"), (1e-7, "0.0000001"), (None, "–"), (float("nan"), "–")],
)
def test_ratios(ratio, text):
    assert words.ratio_words(ratio) == text.replace(",", words.THIN)


@given(st.floats(1e-6, 1e9))
def test_a_ratio_reads_back_to_three_digits(ratio):
    text = words.ratio_words(ratio)
    assert "e" not in text and float(text.replace(words.THIN, "")) == pytest.approx(ratio, rel=0.0051)


def test_sentences_that_differ_in_figures_alone_are_one():
    assert words.spanned(["1.84 of 20", "1.9 of 20", "10.2 of 20"]) == "1.84 to 10.2 of 20"
    said = [("1.5 of 2", "a"), ("none", "b"), ("3 of 2", "c")]
    assert words.grouped(said) == [("1.5 to 3 of 2", ["a", "c"]), ("none", ["b"])]
