from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.reporting.charts import BANDS, BAR, LABEL, Segment, bands, bar, flow, shares

weight = st.one_of(
    st.just(0.0), st.floats(0, allow_infinity=False, allow_nan=False), st.integers(0, 10**12)
)
weights = st.lists(weight, max_size=12)
WIDE = re.compile(r'<rect class="[^"]*" x="([\d.]+)" width="([\d.]+)"')


@given(weights, st.floats(0, 1e6), st.floats(0, 100))
def test_shares_sum_to_the_width_and_are_never_negative(
    weights: list[float], width: float, least: float
) -> None:
    pieces = shares(weights, width, least)
    assert len(pieces) == len(weights)
    assert all(piece >= 0 for piece in pieces)
    assert sum(pieces) == pytest.approx(width if any(weights) else 0, abs=1e-6)


@given(weights, st.floats(1, 1e6), st.floats(0, 100))
def test_what_is_more_than_nothing_gets_the_least_and_nothing_gets_nothing(
    weights: list[float], width: float, least: float
) -> None:
    some = sum(1 for weight in weights if weight > 0)
    for weight, piece in zip(weights, shares(weights, width, least), strict=True):
        if weight > 0:
            assert piece >= min(least, width / some) - 1e-6
        else:
            assert piece == 0


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=9), st.floats(1, 1e6))
def test_without_a_least_shares_are_in_proportion(weights: list[float], width: float) -> None:
    for weight, piece in zip(weights, shares(weights, width), strict=True):
        assert piece == pytest.approx(width * weight / sum(weights))


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_amount_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        shares([1.0, bad], 10)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_bands_are_as_thick_on_both_sides_and_labels_never_touch(values: list[int]) -> None:
    laid = bands([Segment("x", value, "k") for value in values])
    assert sum(band.thick for band in laid) == pytest.approx(BANDS if any(values) else 0)
    for one, other in pairwise(laid):
        assert other.left == pytest.approx(one.left + one.thick)
        assert other.right >= one.right + one.thick - 1e-6
        assert other.middle - one.middle >= LABEL - 1e-6


@given(st.lists(st.floats(0, 1e9), max_size=9), st.floats(0, 1e9))
def test_a_bar_stays_inside_its_box(values: list[float], whole: float) -> None:
    drawn = bar([Segment("x", value, "k") for value in values], "t", whole=whole)
    for x, width in WIDE.findall(drawn):
        assert float(x) + float(width) <= BAR + 0.1


def test_a_bar_is_as_long_as_its_share_of_the_whole() -> None:
    ((x, width),) = WIDE.findall(bar([Segment("a", 1, "k")], "t", whole=4))
    assert (float(x), float(width)) == (0, pytest.approx(BAR / 4, abs=2))


def test_an_outcome_of_no_rows_has_a_label_and_no_band() -> None:
    outcomes = [Segment("scored", 7, "k-useful"), Segment("failed", 0, "k-failed")]
    drawn = flow(Segment("read", 7, "k-source"), outcomes, "t", width=640)
    assert "failed" in drawn
    assert 'class="band k-useful"' in drawn
    assert 'class="band k-failed"' not in drawn


def test_an_outcome_of_one_row_in_a_billion_can_be_seen() -> None:
    outcomes = [Segment("scored", 10**9, "k-useful"), Segment("failed", 1, "k-failed")]
    assert bands(outcomes)[1].thick >= 3
    assert "1,000,000,000" in flow(Segment("read", 10**9 + 1, "k"), outcomes, "t", width=340)


def test_the_word_quarantined_fits_in_a_wide_sans_serif() -> None:
    drawn = flow(Segment("read", 2, "k"), [Segment("quarantined", 2, "k")], "t", width=640)

    (label,) = [float(x) for x in re.findall(r'class="name" x="([\d.]+)"', drawn)]
    assert label + 6.1 * 14 <= 640  # the word is 6.1 em wide in DejaVu Sans, and drawn at 14


def test_the_longest_label_fits_beside_the_flow() -> None:
    drawn = flow(Segment("read", 10**9, "k"), [Segment("scored", 10**9, "k")], "t", width=340)
    (x,) = re.findall(r'class="figure" x="([\d.]+)"', drawn)
    assert float(x) + 11 * len("1,000,000,000") <= 340.01


def test_labels_and_titles_are_escaped() -> None:
    hostile = '</title><script>alert("1")</script>'
    for drawn in (
        bar([Segment(hostile, 1, "k")], hostile),
        flow(Segment(hostile, 1, "k"), [Segment(hostile, 1, "k")], hostile, width=640),
    ):
        assert "<script" not in drawn
        assert "&lt;script&gt;" in drawn
