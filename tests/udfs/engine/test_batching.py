from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from millrace.udfs.engine.batch_sizing import FixedSizer, MeasuredSizer
from millrace.udfs.engine.batching import cut, windows

MANY_BYTES = 1 << 40


def batches(sizes: list[int]) -> list[pa.RecordBatch]:
    ends = np.cumsum([0, *sizes])
    return [
        pa.RecordBatch.from_pydict({"n": pa.array(range(a, b), pa.int64())})
        for a, b in pairwise(ends)
    ]


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(1, 25))
def test_windows_hold_the_same_rows_in_order_and_only_the_last_is_short(
    sizes: list[int], rows: int
) -> None:
    found = list(windows(batches(sizes), rows, MANY_BYTES))

    values = [v for window in found for v in window.column("n").to_pylist()]
    assert values == list(range(sum(sizes)))
    assert all(window.num_rows == rows for window in found[:-1])
    assert all(0 < window.num_rows <= rows for window in found)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 200))
def test_a_window_exceeds_its_bytes_by_no_more_than_one_incoming_batch(
    sizes: list[int], max_bytes: int
) -> None:
    given_batches = batches(sizes)
    largest = max(batch.nbytes for batch in given_batches)

    found = list(windows(given_batches, 1000, max_bytes))

    assert [v for w in found for v in w.column("n").to_pylist()] == list(range(sum(sizes)))
    assert all(window.nbytes < max_bytes + largest for window in found)


def test_windows_of_batches_cut_from_a_larger_one_do_not_count_the_bytes_of_the_whole() -> None:
    whole = batches([1000])[0]
    slices = [whole.slice(start, 100) for start in range(0, 1000, 100)]

    assert [w.num_rows for w in windows(slices, 1000, 5000, first=1000)] == [700, 300]


def test_no_batches_and_empty_batches_make_no_windows() -> None:
    assert list(windows([], 4, MANY_BYTES)) == []
    assert list(windows(batches([0, 0]), 4, MANY_BYTES)) == []


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 70))
def test_a_cut_by_length_names_every_position_once_and_the_longest_first(
    lengths: list[int], rows: int
) -> None:
    tokens = np.array(lengths, np.int64)

    parts = list(cut(len(lengths), FixedSizer(rows), tokens))

    order = np.concatenate(parts) if parts else np.array([], int)
    assert sorted(order) == list(range(len(lengths)))
    assert list(tokens[order]) == sorted(lengths, reverse=True)
    assert all(len(part) == rows for part in parts[:-1])


@given(st.integers(0, 60), st.integers(1, 70))
def test_a_cut_without_lengths_keeps_the_order(count: int, rows: int) -> None:
    assert [int(i) for part in cut(count, FixedSizer(rows)) for i in part] == list(range(count))


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 1000))
def test_a_padded_batch_costs_no_more_than_the_budget_unless_one_row_alone_does(
    lengths: list[int], budget: int
) -> None:
    tokens = np.array(lengths, np.int64)

    parts = list(cut(len(lengths), MeasuredSizer(budget, ceiling=budget), tokens))

    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(len(part) == 1 or len(part) * tokens[part].max() <= budget for part in parts)


def test_the_first_window_is_short_and_each_may_hold_eight_times_the_rows_of_the_one_before() -> (
    None
):
    found = list(windows(batches([1000]), 400, MANY_BYTES, first=20))

    assert [w.num_rows for w in found] == [20, 160, 400, 400, 20]
