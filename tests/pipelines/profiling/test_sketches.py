"""Sketches and distances: what they promise, for any values; no Spark."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from millrace.pipelines.profiling import distances
from millrace.pipelines.profiling.distances import FLOOR, aligned, compared, grouped
from millrace.pipelines.profiling.sketches import (
    LONG,
    LONGEST_CATEGORY,
    MOST_CATEGORIES,
    MOST_CELLS,
    Categories,
    Numbers,
    from_json,
    union,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.lists(FINITE, max_size=60)
COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=20)
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=40)


def numbers(values: Sequence[float]) -> Numbers:
    return Numbers.of(np.array(values, np.float64))


def words(values: Sequence[str]) -> Categories:
    return Categories.of((value, 1) for value in values)


def steps(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of the two empirical distributions, by counting."""
    places = {*one.tolist(), *other.tolist()}
    return max(abs((one <= at).mean() - (other <= at).mean()) for at in places)


def pair(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(2, 20))
    rows = [draw(st.lists(st.integers(0, 200), min_size=size, max_size=size)) for _ in range(2)]
    for row in rows:
        row[draw(st.integers(0, size - 1))] += 1
    return np.array(rows[0]), np.array(rows[1])


PAIRS = st.composite(pair)()


@given(VALUES, st.randoms(use_true_random=False), st.integers(0, 60))
def test_a_sketch_does_not_depend_on_order_nor_on_where_values_were_cut(
    values: list[float], random: object, cut: int
) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    whole = numbers(values)
    assert numbers(shuffled) == whole
    assert numbers(shuffled[:cut]).merged(numbers(shuffled[cut:])) == whole
    assert whole.total == len(values)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.0, 293.0, 1e9, -5e-7]))
def test_parts_of_many_values_merge_to_what_the_whole_gives(
    seed: int, parts: int, offset: float
) -> None:
    values = np.random.default_rng(seed).standard_cauchy(6000) + offset
    whole = Numbers.of(values)
    assert union([Numbers.of(part) for part in np.array_split(values, parts)]) == whole
    assert (whole.shift > 0) == (offset < 1e9)  # there a thousand numbers are one cell already
    assert len(whole.cells) <= MOST_CELLS
    assert (np.diff(whole.cells) > 0).all()


@given(VALUES)
def test_a_sketch_comes_back_from_json(values: list[float]) -> None:
    assert from_json(numbers(values).as_json()) == numbers(values)
    told = words([str(value)[:5] for value in values])
    assert from_json(told.as_json()) == told


@given(FINITE, FINITE)
def test_cells_are_in_the_order_of_their_numbers_and_begin_near_them(
    one: float, other: float
) -> None:
    low, high = sorted((one, other))
    (a,), (b,) = numbers([low]).cells, numbers([high]).cells
    assert a <= b
    edge = numbers([high]).edge(int(b))
    assert math.isclose(edge, high, rel_tol=1e-6, abs_tol=1e-300) or abs(high) > 1.7e308


def test_what_computing_makes_of_one_half_is_in_one_cell() -> None:
    noise = 0.5 + np.array([-3e-8, 0.0, 3e-8])
    assert len(Numbers.of(noise).cells) == 1
    assert len(Numbers.of(np.array([0.0, -0.0])).cells) == 1


def test_more_categories_than_can_be_told_apart_are_not_told_in_any_order_of_merging() -> None:
    values = [f"v{n}" for n in range(MOST_CATEGORIES + 1)]
    assert words(values).counts is None
    assert words(values[:-1]).counts is not None
    assert words(values[:3]).merged(words(values[3:])).counts is None
    assert words(values).merged(words([])).counts is None
    assert words(["x" * LONGEST_CATEGORY]).counts is not None


def test_texts_too_long_for_names_of_kinds_are_one_category_and_hide_none() -> None:
    long = ["x" * (LONGEST_CATEGORY + 1), "y" * (LONGEST_CATEGORY + 9)]
    assert words(["DE", *long]).counts == {LONG: 2, "DE": 1}
    assert words(long[:1]).merged(words(["DE", long[1]])).counts == {LONG: 2, "DE": 1}


@given(WORDS, WORDS)
def test_categories_merge_to_the_counts_of_both(one: list[str], other: list[str]) -> None:
    both = words(one).merged(words(other))
    assert both == words(one + other)
    assert both.total == len(one) + len(other)


@given(PAIRS)
def test_the_distances_are_those_of_the_textbook(counts: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = counts
    p, q = before / before.sum(), now / now.sum()
    assert distances.jensen_shannon(before, now) == pytest.approx(
        jensenshannon(p, q, base=2), abs=1e-7
    )
    by_hand = 0.0
    for a, b in zip(p, q, strict=True):
        low, high = max(a, FLOOR), max(b, FLOOR)
        by_hand += (high - low) * math.log(high / low)
    assert distances.psi(before, now) == pytest.approx(by_hand)
    samples = [np.repeat(np.arange(len(row)), row) for row in counts]
    assert distances.kolmogorov_smirnov(before, now) == pytest.approx(steps(*samples))


@given(PAIRS)
def test_distances_are_bounded_symmetric_where_they_should_be_and_zero_for_equal_shares(
    counts: tuple[np.ndarray, np.ndarray],
) -> None:
    before, now = counts
    for found in (distances.jensen_shannon, distances.kolmogorov_smirnov, distances.psi):
        assert found(before, now) >= 0
        assert found(before, now) == pytest.approx(found(now, before))
        assert found(before, before * 3) == pytest.approx(0, abs=1e-7)
    assert distances.jensen_shannon(before, now) <= 1
    assert distances.kolmogorov_smirnov(before, now) <= 1


@given(VALUES.filter(len), VALUES.filter(len))
def test_kolmogorov_smirnov_of_few_values_is_that_of_the_values(
    one: list[float], other: list[float]
) -> None:
    """Few enough that each cell is as narrow as cells get: equal but for a millionth part."""
    sketches = numbers(one), numbers(other)
    rounded = [np.repeat(s.cells, s.counts) for s in sketches]
    found = compared(*sketches)
    assert found is not None
    assert found.found.ks == pytest.approx(steps(*rounded))


@given(VALUES.filter(len), VALUES.filter(len))
def test_groups_lose_no_value_and_cut_no_cell(one: list[float], other: list[float]) -> None:
    before, now = aligned(numbers(one), numbers(other))
    p, q = grouped(before, now)
    assert (p.sum(), q.sum()) == (len(one), len(other))
    assert len(p) <= distances.GROUPS + 2


@pytest.mark.parametrize("seed", range(3))
def test_kolmogorov_smirnov_of_many_values_is_right_to_the_width_of_a_cell(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.normal(0, 1, 40_000), random.normal(0.3, 1.2, 40_000)
    found = compared(Numbers.of(one), Numbers.of(other))
    assert found is not None
    assert found.found.ks == pytest.approx(ks_2samp(one, other).statistic, abs=0.01)


@pytest.mark.parametrize("offset", [0.0, 293.0, 1e6])
def test_a_shift_is_seen_wherever_the_numbers_are(offset: float) -> None:
    random = np.random.default_rng(0)
    one = Numbers.of(random.normal(offset, 3, 20_000))
    same, moved = (Numbers.of(random.normal(offset + by, 3, 20_000)) for by in (0, 2))
    assert compared(one, same).found.psi < 0.01  # type: ignore[union-attr]
    assert compared(one, moved).found.psi == pytest.approx((2 / 3) ** 2, rel=0.25)  # type: ignore[union-attr]


def test_one_value_is_told_from_another_and_from_itself() -> None:
    five, six = numbers([5.0] * 200), numbers([6.0] * 200)
    same = compared(five, numbers([5.0] * 90))
    assert same is not None
    assert (same.found.psi, same.found.js, same.found.ks) == (0, 0, 0)
    for found in (compared(five, six), compared(six, five)):
        assert found is not None
        assert (found.found.js, found.found.ks) == (pytest.approx(1), 1)
        assert found.found.psi > 15


def test_nothing_is_compared_with_no_values() -> None:
    assert compared(numbers([]), numbers([1.0])) is None
    assert compared(numbers([1.0]), numbers([])) is None
    assert compared(words([]), words(["a"])) is None


@pytest.mark.parametrize("rows", [20, 200, 2000])
def test_two_samples_of_one_source_exceed_what_chance_gives_in_few_of_a_thousand(
    rows: int,
) -> None:
    random, exceeded = np.random.default_rng(rows), 0
    for _ in range(300):
        found = compared(*(Numbers.of(random.lognormal(size=rows)) for _ in range(2)))
        assert found is not None
        limits = (max(0.2, found.chance.psi), max(0.15, found.chance.ks), max(0.2, found.chance.js))
        told = (found.found.psi, found.found.ks, found.found.js)
        exceeded += any(value > limit for value, limit in zip(told, limits, strict=True))
    assert exceeded <= 6


def test_names_that_hardly_repeat_are_no_drift_and_a_new_one_that_does_is() -> None:
    random = np.random.default_rng(1)
    one, other = (words([f"n{n}" for n in random.integers(0, 200, 150)]) for _ in range(2))
    found = compared(one, other)
    assert found is not None
    assert found.found.psi <= max(0.2, found.chance.psi)
    usual = words(["a"] * 500 + ["b"] * 500)
    new = compared(usual, words(["a"] * 500 + ["b"] * 400 + ["c"] * 100))
    assert new is not None
    assert new.found.psi > max(0.2, new.chance.psi)
    assert new.found.ks is None
