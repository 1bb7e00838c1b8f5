"""Scoring, without Spark: Arrow batches in, the same rows with predictions, errors and meters out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.model import Signature
from schemas.tables import ERROR, METER, struct_of
from schemas.types import arrow_type
from udfs.allocator import out_of_memory
from udfs.batching import cut, windows
from udfs.decode import Examples
from udfs.meter import Meter
from udfs.models.base import Model
from udfs.outputs import Gathered, Outputs
from udfs.overlap import ahead
from udfs.plan import Plan
from udfs.sizing import Sizer, sizer_for

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
    waiting = _timed(windows(batches, plan.window_rows, _MAX_WINDOW_BYTES), meter)
    first = next(waiting, None)
    if first is None:
        return
    with meter.lap("load_s"):
        model = load()
    # A model that writes texts cuts its own batches, anew at every step, from all of a window's rows.
    takes_all = getattr(model, "takes_windows", False)
    sizer = sizer_for(plan.window_rows if takes_all else plan.batch_rows, plan.batch_cost)
    for window, examples in _decoded(model, chain([first], waiting), plan, meter):
        with meter.lap("compute_s"):
            made, work = _predict(model, examples, window.num_rows, sizer)
        with meter.lap("convert_s"):
            errors = _errors(made, examples)
            columns = made.columns(model.card.signature)
            told = _error_column(errors, window.num_rows)
        reading = meter.take(
            device=model.device,
            backend=model.runtime.backend,
            precision=model.runtime.precision,
            rows=window.num_rows,
            failed=len(errors),
            tokens=None if examples.lengths is None else int(examples.lengths.sum()),
            size_bytes=window.select(plan.inputs).nbytes,
            **work,
        )
        with meter.lap("convert_s"):
            out = _row_batch(window, plan.passthrough, columns, told, reading)
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


def _decoded(
    model: Model, waiting: Iterator[pa.RecordBatch], plan: Plan, meter: Meter
) -> Iterator[tuple[pa.RecordBatch, Examples]]:
    """Each window with what the model reads of it; with cores to spare, the next while one computes."""
    if plan.decode_ahead:  # what is not hidden behind compute shows as time spent waiting
        pairs = ((w, model.decode(w.select(plan.inputs))) for w in waiting)
        return _timed(ahead(pairs), meter)
    return _in_turn(model, waiting, plan, meter)


def _in_turn(
    model: Model, waiting: Iterator[pa.RecordBatch], plan: Plan, meter: Meter
) -> Iterator[tuple[pa.RecordBatch, Examples]]:
    for window in waiting:
        with meter.lap("decode_s"):
            examples = model.decode(window.select(plan.inputs))
        yield window, examples


def _predict(
    model: Model, examples: Examples, rows: int, sizer: Sizer
) -> tuple[Gathered, dict[str, int | None]]:
    """What the model says of a window's rows, each in its place, and how much work that was."""
    made = Gathered(rows)
    calls = computed = 0
    tokens_out: int | None = None
    for index in cut(len(examples.rows), sizer, examples.lengths):
        for part, outputs in _called(model, examples, index, sizer):
            made.put(examples.rows[part], outputs, model.card.signature)
            calls, computed = calls + 1, computed + _cost(examples, part)
            if "tokens_out" in outputs:
                tokens_out = (tokens_out or 0) + int(np.sum(outputs["tokens_out"]))
    padded = None if examples.lengths is None else computed
    return made, {"model_batches": calls, "tokens_computed": padded, "tokens_out": tokens_out}


def _called(
    model: Model, examples: Examples, index: NDArray[np.int64], sizer: Sizer
) -> Iterator[tuple[NDArray[np.int64], Outputs]]:
    """The model's outputs for these positions; what does not fit into memory is computed in halves."""
    cost, started = _cost(examples, index), time.perf_counter()
    try:
        outputs = model.predict(examples.take(index))
    except Exception as error:
        if len(index) == 1 or not out_of_memory(error):
            raise
        sizer.failed(cost)
    else:
        sizer.took(cost, time.perf_counter() - started)
        yield index, outputs
        return
    # Outside of the handler: its traceback would keep the failed batch's memory alive.
    for half in np.array_split(index, 2):
        yield from _called(model, examples, half, sizer)


def _cost(examples: Examples, index: NDArray[np.int64]) -> int:
    """Padded tokens of a batch, or its rows where all shapes are equal."""
    width = 1 if examples.lengths is None else int(examples.lengths[index].max())
    return len(index) * width


def _errors(made: Gathered, examples: Examples) -> dict[int, tuple[str, str]]:
    """Why rows have no prediction: row -> kind and message."""
    errors = {row: ("decode", reason) for row, reason in examples.errors.items()}
    return errors | {int(row): ("output", "NaN or infinite") for row in made.not_finite}


def _row_batch(
    window: pa.RecordBatch,
    passthrough: Iterable[str],
    columns: dict[str, pa.Array],
    errors: pa.Array,
    reading: dict[str, Any],
) -> pa.RecordBatch:
    kept = {name: window.column(name) for name in passthrough}
    meters = _meter_column(reading, window.num_rows)
    return pa.RecordBatch.from_pydict({**kept, **columns, "error": errors, "_meter": meters})


def _error_column(errors: dict[int, tuple[str, str]], rows: int) -> pa.Array:
    if not errors:
        return pa.nulls(rows, ERROR_TYPE)
    told = [errors.get(row) for row in range(rows)]
    return pa.array([e and {"kind": e[0], "message": e[1]} for e in told], ERROR_TYPE)


def _meter_column(reading: dict[str, Any], rows: int) -> pa.Array:
    first = pa.array([reading], METER_TYPE)
    return pa.concat_arrays([first, pa.nulls(rows - 1, METER_TYPE)])
