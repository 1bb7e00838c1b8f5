from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches import outcome
from benches.outcome import Answers
from benches.workloads import WORKLOADS
from millrace.udfs.engine.metering import LAPS


def answers(
    labels: list[int] | None, numbers: list[list[float]], keys: list[int] | None = None
) -> Answers:
    return Answers(
        np.array(keys or range(len(numbers))),
        None if labels is None else np.array(labels, np.int64),
        np.array(numbers, np.float32),
    )


TWO = answers([3, 5], [[0.25, 0.75], [0.5, 0.5]])


def test_equal_answers_have_equal_checksums_and_no_difference() -> None:
    again = answers([3, 5], [[0.25001, 0.74999], [0.5, 0.5]])
    assert again.checksum == TWO.checksum
    found = outcome.difference(again, TWO, "1e-4")
    assert found["equal"]
    assert found["max_abs_difference"] == pytest.approx(1e-5, rel=0.01)
    assert not outcome.difference(answers([3, 5], [[0.2501, 0.75], [0.5, 0.5]]), TWO, "1e-5")[
        "equal"
    ]


@pytest.mark.parametrize(
    "other",
    [
        answers([3, 6], [[0.25, 0.75], [0.5, 0.5]]),
        answers([3, 5], [[0.25, 0.75], [0.5, 0.5]], keys=[0, 2]),
        answers([3], [[0.25, 0.75]]),
        answers([3, 5], [[0.25, 0.75], [0.5, 0.5002]]),
        answers([3, 5], [[0.25], [0.5]]),
        answers([3, 5], [[0.25, 0.75], [0.5, float("nan")]]),
    ],
    ids=["a label", "a key", "a row less", "a number", "a width", "not a number"],
)
def test_answers_that_differ_are_not_equal(other: Answers) -> None:
    assert not outcome.difference(other, TWO, "1e-4")["equal"]


def test_embeddings_keep_the_stated_tolerance_by_their_worst_row() -> None:
    plain = answers(None, [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    near = answers(None, [[1.0, 0.02], [0.0, 1.0], [0.6, 0.8]])
    far = answers(None, [[1.0, 0.0], [0.0, 1.0], [0.6, 0.7]])
    assert outcome.difference(near, plain, "stated")["equal"]
    found = outcome.difference(far, plain, "stated")
    assert found["min_cosine"] == pytest.approx(0.9979, abs=1e-3)
    assert not found["equal"]


@pytest.mark.parametrize(("wrong", "kept"), [(1, True), (2, False)])
def test_one_label_in_a_thousand_may_differ_in_reduced_precision(wrong: int, *, kept: bool) -> None:
    numbers = np.full((1000, 2), 0.5, np.float32)
    plain = Answers(np.arange(1000), np.zeros(1000, np.int64), numbers)
    labels = np.where(np.arange(1000) < wrong, 1, 0)
    assert outcome.difference(replace(plain, labels=labels), plain, "stated")["equal"] is kept


def test_values_keep_the_stated_tolerance_relative_to_their_spread() -> None:
    plain = answers(None, [[100.0], [300.0]])  # standard deviation 100
    assert outcome.difference(answers(None, [[100.9], [300.0]]), plain, "stated")["equal"]
    assert not outcome.difference(answers(None, [[101.1], [300.0]]), plain, "stated")["equal"]


def test_numbers_that_are_not_there_keep_no_promise() -> None:
    plain = answers(None, [[1.0, 0.0]])
    assert not outcome.difference(answers(None, [[float("nan"), 0.0]]), plain, "stated")["equal"]


@pytest.mark.parametrize("changed", [[3, 6], [5, 3]])
def test_other_labels_have_another_checksum(changed: list[int]) -> None:
    assert replace(TWO, labels=np.array(changed)).checksum != TWO.checksum


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1, width=32)), min_size=1), st.booleans())
def test_saved_answers_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float]], labelled: bool
) -> None:
    path = tmp_path_factory.mktemp("answers") / "plain.npz"
    labels = [label for label, _ in rows] if labelled else None
    kept = answers(labels, [[number] for _, number in rows])
    kept.save(path)
    back = Answers.load(path)
    assert (back.labels is None) == (labels is None)
    assert outcome.difference(back, kept, "1e-5")["equal"]
    assert back.checksum == kept.checksum


def test_answers_are_read_in_the_order_of_their_keys(tmp_path: Path) -> None:
    lists = pa.array([[2.0, 2.5], [0.0, 0.5], [1.0, 1.5]], pa.list_(pa.float32()))
    for probabilities in (lists, lists.cast(pa.list_(pa.float32(), 2))):
        labels = pa.array([7, 5, 6], pa.int32())
        rows = pa.table({"image_id": [2, 0, 1], "label": labels, "probabilities": probabilities})
        pq.write_table(rows, tmp_path / "part-0.parquet")
        found = outcome.answers(tmp_path, WORKLOADS["digits"])
        assert found.keys.tolist() == [0, 1, 2]
        assert found.labels is not None
        assert found.labels.tolist() == [5, 6, 7]
        assert found.numbers.tolist() == [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]


def test_plain_values_are_answers_of_width_one(tmp_path: Path) -> None:
    rows = pa.table({"payment_id": [1, 0], "value": pa.array([0.5, 0.25], pa.float32())})
    pq.write_table(rows, tmp_path / "part-0.parquet")
    assert outcome.answers(tmp_path, WORKLOADS["payments"]).numbers.tolist() == [[0.25], [0.5]]


def test_the_first_prediction_is_the_end_of_the_first_batch_of_the_first_window() -> None:
    row = {"startup_s": 2.0, "load_s": 1.0, "wait_s": 0.5, "decode_s": 0.25}
    early = {**row, "started_at": datetime.fromtimestamp(100, UTC), "compute_s": 8.0}
    late = {**row, "started_at": datetime.fromtimestamp(103, UTC), "compute_s": 0.1}
    rows = [{**early, "model_batches": 32}, {**late, "model_batches": 1}]
    assert outcome.first_prediction_at(rows) == pytest.approx(100 + 3.75 + 8 / 32)


def test_steady_is_from_the_first_ready_model_to_the_last_batch() -> None:
    laps = {"startup_s": 2.0, "load_s": 1.0}
    first = {**laps, "started_at": datetime.fromtimestamp(100, UTC), "wall_s": 9.0}
    later = {**laps, "started_at": datetime.fromtimestamp(101, UTC), "wall_s": 20.0}
    again = {"startup_s": 0.0, "load_s": 0.0, "wall_s": 4.0}
    rows = [first, later, {**again, "started_at": datetime.fromtimestamp(109, UTC)}]
    assert outcome.steady_s(rows) == pytest.approx(121 - 103)


def test_laps_are_summed_where_no_device_was_metered() -> None:
    lap = dict.fromkeys(("wall_s", "cpu_s", *LAPS), 0.25)
    row = {**lap, "gpu_busy_s": None, "batches": 3, "backend": "torch"}
    assert outcome.laps([row, row]) == dict.fromkeys(lap, 0.5)
