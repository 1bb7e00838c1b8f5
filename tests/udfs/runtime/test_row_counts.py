"""What a task says of the rows that it has finished, and what the driver makes of it."""

from __future__ import annotations

import timeit
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.models import model_loading
from millrace.udfs.runtime.plan import Plan, Runtime
from millrace.udfs.runtime.row_counts import READ, SCORED, Counts, RowCount, counts_in
from tests.helpers import image_table, images, pixel_mlp


def batch(rows: int) -> pa.RecordBatch:
    return pa.record_batch({"n": range(rows)})


@given(sizes=st.lists(st.integers(0, 50), max_size=6), data=st.data())
def test_rows_passed_are_counted_exactly_whatever_was_computed_of_them(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("counts")
    count, seen = RowCount(folder, SCORED, 3, 0), 0
    for one in count.passing(map(batch, sizes)):
        assert counts_in(folder).scored >= seen
        count.computed(data.draw(st.integers(0, one.num_rows)))
        seen += one.num_rows
    assert counts_in(folder) == Counts(0, seen)


def test_partitions_add_up_and_of_stages_that_read_the_same_rows_the_furthest_counts(
    tmp_path: Path,
) -> None:
    for kind, stage, partition, rows in [
        (READ, 1, 0, 10), (READ, 1, 1, 20), (READ, 4, 0, 25), (SCORED, 2, 0, 3), (SCORED, 2, 1, 4),
    ]:  # fmt: skip
        list(RowCount(tmp_path, kind, stage, partition).passing([batch(rows)]))
    assert counts_in(tmp_path) == Counts(30, 7)


def test_a_second_attempt_begins_at_nothing_and_a_folder_that_is_not_there_has_none(
    tmp_path: Path,
) -> None:
    first = RowCount(tmp_path / "made", SCORED, 1, 0).passing([batch(5), batch(5)])
    next(first)
    next(first)
    assert counts_in(tmp_path / "made").scored == 5
    next(RowCount(tmp_path / "made", SCORED, 1, 0).passing([batch(5)]))
    assert counts_in(tmp_path / "made").scored == 0
    assert counts_in(tmp_path / "nowhere") == Counts()


def test_where_counts_cannot_be_written_the_rows_pass_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    count = RowCount(tmp_path / "file" / "below", SCORED, 1, 0)
    assert [one.num_rows for one in count.passing([batch(2), batch(3)])] == [2, 3]


def test_the_engine_tells_of_every_call_of_the_model_not_only_of_whole_windows(
    tmp_path: Path,
) -> None:
    folder, calls = pixel_mlp(tmp_path), list[int]()
    model = model_loading.load(folder, model_loading.digest_of(folder), Runtime("cpu"))
    rows = image_table(images(40)).combine_chunks().to_batches()
    meter = Meter(TaskAttempt())
    meter.computed = calls.append
    list(score(rows, lambda: model, Plan(("pixels",), batch_rows=8), meter))
    assert calls == [8] * 5


def test_a_count_takes_no_time_that_matters(tmp_path: Path) -> None:
    with RowCount(tmp_path, SCORED, 0, 0) as count:
        seconds = min(timeit.repeat(lambda: count.computed(1), number=100, repeat=10)) / 100
    assert seconds < 0.001  # of a call of the model, which takes milliseconds
