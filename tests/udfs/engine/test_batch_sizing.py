from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.udfs.engine.batch_sizing import (
    CEILING,
    NEARLY,
    FixedSizer,
    MeasuredSizer,
    line,
    next_size,
    sizer_for,
)

Cost = Callable[[int], float]


def found(seconds: Cost, *, start: int = 16, ceiling: int = 1 << 14) -> tuple[int, list[int]]:
    """The size that a sizer stays with, and all that it tried, when calls take ``seconds``."""
    sizer, tried = MeasuredSizer(start, ceiling=ceiling), []
    for _ in range(200):
        cost = sizer.rows_of(1)
        tried.append(cost)
        sizer.took(cost, seconds(cost))
    return sizer.size, tried


@given(st.floats(1e-6, 1.0), st.floats(1e-7, 1e-3))
def test_where_time_is_a_line_the_rate_found_is_nearly_the_best_that_any_size_gives(
    a: float, b: float
) -> None:
    size, tried = found(lambda n: a + b * n)

    best = max(n / (a + b * n) for n in tried)
    assert size / (a + b * size) >= NEARLY * best
    reachable = (1 << 14) / (a + b * (1 << 14))
    assert size / (a + b * size) >= 0.93 * reachable


def test_a_size_that_leaves_the_cache_is_not_taken() -> None:
    size, tried = found(lambda n: 0.005 + n * (1e-4 if n <= 512 else 2e-4))

    assert size == 512
    assert max(tried) == 1024


def test_calls_that_cost_nothing_each_are_made_small() -> None:
    assert found(lambda n: 1e-4 * n)[0] == 16


@given(st.integers(1, 400), st.floats(1e-6, 0.5))
def test_no_size_tried_is_more_than_twice_the_largest_before(start: int, a: float) -> None:
    _, tried = found(lambda n: a + 1e-5 * n, start=start)

    largest = start
    for size in tried:
        assert size <= 2 * largest
        largest = max(largest, size)
    assert largest <= 1 << 14


def test_the_first_call_and_a_slow_one_among_others_do_not_decide() -> None:
    sizer = MeasuredSizer(64, ceiling=64)
    for seconds in (9.0, 0.1, 0.1, 5.0, 0.1):
        sizer.took(64, seconds)

    assert line([(10, 1.0), (20, 2.0), (30, 30.0), (40, 4.0), (50, 5.0)])[1] == pytest.approx(0.1)
    assert sizer.size == 64


def test_batches_that_are_far_from_full_say_nothing_of_a_size() -> None:
    sizer = MeasuredSizer(64, ceiling=1024)
    for _ in range(50):
        sizer.took(8, 1.0)

    assert sizer.size == 64


def test_what_ran_out_of_memory_is_never_tried_again() -> None:
    sizer = MeasuredSizer(64, ceiling=1 << 14)
    for _ in range(300):
        cost = sizer.rows_of(1)
        if cost > 200:
            sizer.failed(cost)
        else:
            sizer.took(cost, 1.0 + 1e-6 * cost)

    assert 100 <= sizer.size <= 200
    assert sizer.rows_of(1) <= 200


def test_a_pinned_number_of_rows_gives_way_only_to_memory() -> None:
    sizer = FixedSizer(64)

    assert sizer.rows_of(100) == 64
    sizer.failed(64 * 100)
    assert sizer.rows_of(100) == 32
    assert sizer.rows_of(10) == 64
    assert sizer.rows_of(10_000) == 1


def test_a_size_that_is_known_is_taken_as_it_is() -> None:
    sizer = sizer_for(None, 1024)
    for _ in range(50):
        sizer.took(1024, 100.0)

    assert sizer.rows_of(100) == 10
    assert sizer_for(8, 1024).rows_of(100) == 8
    assert sizer_for(None, None).rows_of(CEILING) == 1


def test_equal_rates_lead_to_the_smaller_size() -> None:
    assert next_size({128: 1.28, 256: 2.56}, 1 << 14) == (128, True)
    assert next_size({128: 1.28}, 128) == (128, True)
