"""Rows that take another row's outputs, or known ones: the same as if each had been computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from millrace.examples.generation import causal_folder, prompts
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.examples import Values
from millrace.udfs.runtime.plan import Plan
from tests.helpers import images, loaded, pixel_mlp

SOME = images(12)


class Counting:
    """The model, and how many rows it was asked for."""

    def __init__(self, model: Model) -> None:
        self._model, self.rows = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        self.rows += len(values)
        return self._model.predict(values)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return loaded(pixel_mlp(tmp_path_factory.mktemp("model")))


def table_of(chosen: list[int], pixels: list[bytes] = SOME) -> pa.Table:
    """A row for each chosen image, under the image's number as its identity."""
    return pa.table(
        {
            "id": pa.array(range(len(chosen)), pa.int64()),
            "pixels": pa.array([pixels[one] for one in chosen], pa.binary()),
            "_input": pa.array([bytes([one]) * 16 for one in chosen], pa.binary()),
        }
    )


def scored(model: Any, rows: pa.Table, plan: Plan, chunk: int = 5) -> pa.Table:
    batches = rows.to_batches(max_chunksize=chunk)
    return pa.Table.from_batches(list(score(batches, lambda: model, plan, Meter(TaskAttempt()))))


def same(one: pa.Table, other: pa.Table) -> None:
    a, b = (table.sort_by("id").to_pylist() for table in (one, other))
    for left, right in zip(a, b, strict=True):
        assert (left["id"], left["label"], left["error"]) == (
            right["id"],
            right["label"],
            right["error"],
        )
        if left["error"] is None:
            assert left["probabilities"] == pytest.approx(right["probabilities"], abs=1e-5)


def plan(**changes: Any) -> Plan:
    return Plan(("pixels",), ("id",), **changes)


@settings(max_examples=60)
@given(
    chosen=st.lists(st.integers(0, 11), min_size=1, max_size=80),
    window=st.integers(1, 40),
    chunk=st.integers(1, 30),
    ahead=st.booleans(),
    in_order=st.booleans(),
)
def test_equal_rows_get_what_each_would_have_got_whatever_the_windows(
    model: Model, chosen: list[int], window: int, chunk: int, ahead: bool, in_order: bool
) -> None:
    rows = table_of(sorted(chosen) if in_order else chosen)
    counting = Counting(model)
    whole = scored(model, rows, plan())

    found = scored(
        counting, rows, plan(window_rows=window, identity="_input", decode_ahead=ahead), chunk
    )

    same(found, whole)
    assert found.schema.names == whole.schema.names
    metered = [meter["rows"] for meter in found["_meter"].to_pylist() if meter]
    assert sum(metered) == counting.rows
    if in_order:  # as the rows of a unit are
        assert counting.rows == len(set(chosen))
    else:
        assert counting.rows <= len(chosen)


@settings(max_examples=60)
@given(
    chosen=st.lists(st.integers(0, 11), min_size=1, max_size=60),
    known=st.sets(st.integers(0, 11)),
    window=st.integers(1, 40),
    identity=st.sampled_from([None, "_input"]),
    ahead=st.booleans(),
    is_nameless=st.booleans(),
)
def test_rows_whose_outputs_are_known_never_reach_the_model(
    model: Model,
    chosen: list[int],
    known: set[int],
    window: int,
    identity: str | None,
    ahead: bool,
    is_nameless: bool,
) -> None:
    rows = table_of(sorted(chosen))
    whole = scored(model, rows, plan())
    outputs = whole.select(["label", "score", "probabilities"]).to_pylist()
    known_outputs = [
        out if one in known else None for one, out in zip(sorted(chosen), outputs, strict=True)
    ]
    kind = pa.struct(
        [
            ("label", pa.int64()),
            ("score", pa.float32()),
            ("probabilities", pa.list_(pa.field("element", pa.float32()))),  # as Spark names it
        ]
    )
    counting = Counting(model)
    hidden = [
        None if one in known else pixels
        for one, pixels in zip(sorted(chosen), rows["pixels"].to_pylist(), strict=True)
    ]
    rows = rows.set_column(1, "pixels", pa.array(hidden, pa.binary()))
    if is_nameless:  # as the cache leaves them
        named = [
            None if one in known else name
            for one, name in zip(sorted(chosen), rows["_input"].to_pylist(), strict=True)
        ]
        rows = rows.set_column(2, "_input", pa.array(named, pa.binary()))
    rows = rows.append_column("_known", pa.array(known_outputs, kind))

    found = scored(
        counting,
        rows,
        plan(window_rows=window, identity=identity, known="_known", decode_ahead=ahead),
    )

    same(found, whole)
    left = [one for one in chosen if one not in known]
    assert counting.rows == (len(set(left)) if identity else len(left))
    metered = [meter["rows"] for meter in found["_meter"].to_pylist() if meter]
    assert sum(metered) == counting.rows


def test_a_partition_whose_outputs_are_all_known_loads_no_model(model: Model) -> None:
    rows = table_of([0, 1, 2])
    outputs = scored(model, rows, plan()).select(["label", "score", "probabilities"]).to_pylist()
    rows = rows.append_column("_known", pa.array(outputs))

    def load() -> Model:
        raise AssertionError("the model was loaded")

    made = score(rows.to_batches(), load, plan(known="_known"), Meter(TaskAttempt()))

    found = pa.Table.from_batches(list(made))
    assert found["id"].to_pylist() == [0, 1, 2]
    assert found["_meter"].null_count == found["error"].null_count == 3


def test_a_row_that_fails_fails_for_all_its_equals_and_is_tried_once(model: Model) -> None:
    pixels = [*SOME[:3], b"no 16 bytes"]
    chosen = [0, 3, 3, 3, 3, 1]
    found = scored(model, table_of(sorted(chosen), pixels), plan(window_rows=2, identity="_input"))

    errors = {row["id"]: row["error"] for row in found.to_pylist()}
    assert [errors[n] is not None for n in range(6)] == [False, False, True, True, True, True]
    assert {errors[n]["kind"] for n in range(2, 6)} == {"decode"}
    meters = [meter for meter in found["_meter"].to_pylist() if meter]
    assert sum(meter["failed"] for meter in meters) == 1


def test_the_rows_that_are_computed_keep_their_own_columns(model: Model) -> None:
    found = scored(model, table_of([4, 4, 5]), plan(identity="_input")).to_pylist()
    assert [row["id"] for row in found] == [0, 1, 2]
    assert np.allclose(found[0]["probabilities"], found[1]["probabilities"])
    assert found[0]["probabilities"] != found[2]["probabilities"]


@pytest.mark.parametrize(
    "sampling", [{}, {"do_sample": True, "temperature": 0.8, "top_k": 40, "seed": 3}]
)
def test_prompts_that_are_written_for_once_get_the_texts_that_each_would_have_got(
    tmp_path: Path, sampling: dict[str, Any]
) -> None:
    model = loaded(causal_folder(tmp_path / "llama", {"max_new_tokens": 12, **sampling}))
    texts = sorted(prompts(12) * 3)
    rows = pa.table(
        {
            "id": pa.array(range(len(texts)), pa.int64()),
            "text": texts,
            "_input": [text.encode() for text in texts],
        }
    )
    how = Plan(("text",), ("id",))
    each = scored(model, rows, how)
    counting = Counting(model)

    once = scored(counting, rows, replace(how, identity="_input"))

    assert counting.rows == len(set(texts))
    names = ["id", "text", "tokens_in", "tokens_out", "finish", "error"]
    assert once.select(names).to_pylist() == each.select(names).to_pylist()
