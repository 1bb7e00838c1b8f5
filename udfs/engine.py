"""Scoring, without Spark: Arrow batches in, the same rows with predictions, errors and meters out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.model import Signature
from schemas.tables import ERROR, METER, struct_of
from schemas.types import arrow_type
from udfs.batching import cut, windows
from udfs.decode import Examples
from udfs.meter import Meter
from udfs.models.base import Model
from udfs.outputs import checked, column_of, not_finite
from udfs.plan import Plan

ERROR_TYPE = arrow_type(struct_of(ERROR))
METER_TYPE = arrow_type(struct_of(METER))
_MAX_WINDOW_BYTES = 64 << 20


def score(
    batches: Iterable[pa.RecordBatch], load: Callable[[], Model], plan: Plan, meter: Meter
) -> Iterator[pa.RecordBatch]:
    """The rows of ``batches``, in their order, whatever the cuts between them.

    Columns out: ``plan.passthrough``, the model's outputs (null where a row failed), ``error`` (null
    where it did not), ``_meter`` (on each batch's first row). The model is loaded when the first
    rows come; a partition without rows loads none. Raises OutputMismatch, and whatever the model
    raises.
    """
    model = None
    waiting = _timed(windows(batches, plan.window_rows, _MAX_WINDOW_BYTES), meter)
    for window in waiting:
        if model is None:
            with meter.lap("load_s"):
                model = load()
        with meter.lap("decode_s"):
            examples = model.decode(window.select(plan.inputs))
        with meter.lap("compute_s"):
            outputs, bad, calls = _predict(model, examples, plan.batch_rows)
        with meter.lap("emit_s"):
            columns, errors = _columns(window, outputs, bad, examples, model.card.signature)
        reading = meter.take(
            device=model.device,
            rows=window.num_rows,
            failed=len(errors),
            model_batches=calls,
            tokens=None if examples.lengths is None else int(examples.lengths.sum()),
            size_bytes=window.select(plan.inputs).nbytes,
        )
        kept = {name: window.column(name) for name in plan.passthrough}
        out = pa.RecordBatch.from_pydict(
            {
                **kept,
                **columns,
                "error": _error_column(errors, window.num_rows),
                "_meter": _meter_column(reading, window.num_rows),
            }
        )
        with meter.lap("emit_s"):
            yield out


def output_schema(passthrough: pa.Schema, signature: Signature) -> pa.Schema:
    """The schema of what `score` yields."""
    outputs = [pa.field(name, arrow_type(spec.type)) for name, spec in signature.outputs.items()]
    return pa.schema(
        [*passthrough, *outputs, pa.field("error", ERROR_TYPE), pa.field("_meter", METER_TYPE)]
    )


def _timed(batches: Iterator[pa.RecordBatch], meter: Meter) -> Iterator[pa.RecordBatch]:
    while True:
        with meter.lap("wait_s"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _predict(
    model: Model, examples: Examples, batch_rows: int
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_], int]:
    """The outputs in the order of ``examples``, which of them are not finite, and how many calls they took.

    A label made of NaN looks like any other: all that the model returns is looked at, promised or not.
    """
    count, signature = len(examples.rows), model.card.signature
    index = list(cut(count, batch_rows, examples.lengths))
    made = [model.predict(examples.take(rows)) for rows in index]
    parts = [checked(one, signature, len(rows)) for one, rows in zip(made, index, strict=True)]
    if not parts:
        return {}, np.empty(0, bool), 0
    joined = {name: np.concatenate([part[name] for part in parts]) for name in signature.outputs}
    bad = np.concatenate([not_finite(m, len(rows)) for m, rows in zip(made, index, strict=True)])
    if examples.lengths is not None:  # computed by length: back to the order they came in
        back = np.argsort(np.concatenate(index), kind="stable")
        joined, bad = {name: values[back] for name, values in joined.items()}, bad[back]
    return joined, bad, len(parts)


def _columns(
    window: pa.RecordBatch,
    outputs: dict[str, NDArray[Any]],
    bad: NDArray[np.bool_],
    examples: Examples,
    signature: Signature,
) -> tuple[dict[str, pa.Array], dict[int, tuple[str, str]]]:
    """One Arrow array an output, a row each, and what was wrong with the rows that have none."""
    errors = {row: ("decode", reason) for row, reason in examples.errors.items()}
    if not outputs:
        empty = {
            name: pa.nulls(window.num_rows, arrow_type(s.type))
            for name, s in signature.outputs.items()
        }
        return empty, errors
    errors |= {int(row): ("output", "NaN or infinite") for row in examples.rows[bad]}
    arrays = {
        name: column_of(name, outputs[name], spec) for name, spec in signature.outputs.items()
    }
    if not errors:
        return arrays, errors
    place = np.full(window.num_rows, -1)
    place[examples.rows[~bad]] = np.flatnonzero(~bad)
    index = pa.array(place, mask=place < 0)
    return {name: array.take(index) for name, array in arrays.items()}, errors


def _error_column(errors: dict[int, tuple[str, str]], rows: int) -> pa.Array:
    if not errors:
        return pa.nulls(rows, ERROR_TYPE)
    told = [errors.get(row) for row in range(rows)]
    return pa.array([e and {"kind": e[0], "message": e[1]} for e in told], ERROR_TYPE)


def _meter_column(reading: dict[str, Any], rows: int) -> pa.Array:
    first = pa.array([reading], METER_TYPE)
    return pa.concat_arrays([first, pa.nulls(rows - 1, METER_TYPE)])
