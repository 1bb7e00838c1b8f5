"""Rows of a window that need no model call: their outputs are known, or equal those of another row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.tables import ERROR, MODEL_WARNINGS, struct_of
from millrace.schemas.types import arrow_type, sql_type
from millrace.udfs.engine.last_batch import METER_TYPE, on_first_row
from millrace.udfs.runtime.plan import Plan

_ERROR = arrow_type(struct_of(ERROR))
WARNINGS_TYPE = pa.list_(pa.string())


@dataclass
class LastRow:
    """The outputs of the last row so far; the next window may begin with the same input."""

    row: pa.RecordBatch | None = None


@dataclass(frozen=True)
class WindowSelection:
    """A window, its rows to compute, and where each row takes its outputs from.

    ``places`` ``[rows]`` are positions in the carried row (0, if ``is_carried``), then the computed rows,
    then the known ones. None: every row is computed.
    """

    window: pa.RecordBatch
    to_compute: pa.RecordBatch
    passthrough: tuple[str, ...]
    last: LastRow | None  # None: no row takes another's outputs
    places: NDArray[np.int64] | None = None
    is_carried: bool = False
    known: pa.RecordBatch | None = None  # outputs, and an ``error`` that is null

    def expand(self, out: pa.RecordBatch | None) -> pa.RecordBatch:
        """Return all rows of the window, given the scored rows of ``to_compute``; None if there are none."""
        if self.places is None and out is not None:
            if self.last is not None:
                self.last.row = _end_of(_without(out, (*self.passthrough, "_meter")))
            return out
        pieces = [self.last.row] if self.last is not None and self.is_carried else []
        pieces += [] if out is None else [_without(out, (*self.passthrough, "_meter"))]
        pieces += [] if self.known is None else [self.known]
        made = pa.concat_batches(pieces).take(pa.array(self.places))
        if self.last is not None:
            self.last.row = _end_of(made)
        passthrough = {name: self.window.column(name) for name in self.passthrough}
        outputs = dict(zip(made.schema.names, made.columns, strict=True))
        meters = _meters(out, self.window.num_rows)
        return pa.RecordBatch.from_pydict({**passthrough, **outputs, "_meter": meters})


def selections(windows: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[WindowSelection]:
    """Yield each window with its rows to compute. `WindowSelection.expand` must be called for each, in order.

    Rows with equal ``plan.identity`` are computed once per window, and once in all if the rows come sorted by
    it.
    """
    last, before = None if plan.identity is None else LastRow(), None
    for window in windows:
        if plan.identity is None and plan.known is None:
            yield WindowSelection(window, window, plan.passthrough, None)
            continue
        yield _picked(window, plan, last, before)
        before = _last_computed(window, plan)


def _picked(
    window: pa.RecordBatch, plan: Plan, last: LastRow | None, before: bytes | None
) -> WindowSelection:
    rows = np.arange(window.num_rows)
    known = _is_known(window, plan)
    leaders, carried = rows, np.zeros(len(rows), bool)
    if plan.identity is not None:
        leaders, carried = _leaders(window.column(plan.identity), before)
    is_computed = (leaders == rows) & ~known & ~carried
    to_compute = np.flatnonzero(is_computed)
    if len(to_compute) == len(rows):
        return WindowSelection(window, window, plan.passthrough, last)
    offset = int(carried.any())
    places = (offset + np.cumsum(is_computed) - 1)[leaders]
    places[carried] = 0
    places[known] = offset + len(to_compute) + np.arange(known.sum())
    return WindowSelection(
        window,
        window.take(pa.array(to_compute)),
        plan.passthrough,
        last,
        places,
        bool(offset),
        _outputs(window, plan, known),
    )


def _leaders(
    identity: pa.Array, before: bytes | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """``[rows]``: the first row with the same identity; and whether that is the window's before."""
    coded = identity.dictionary_encode(null_encoding="encode")  # null: outputs that are known
    codes = coded.indices.to_numpy()
    first = np.empty(len(coded.dictionary), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of several, the last that is written stays
    values = coded.dictionary.to_pylist()
    same = np.array([before is not None and value == before for value in values], bool)
    return first[codes], same[codes]


def _is_known(window: pa.RecordBatch, plan: Plan) -> NDArray[np.bool_]:
    if plan.known is None:
        return np.zeros(window.num_rows, bool)
    mask: NDArray[np.bool_] = window.column(plan.known).is_valid().to_numpy(zero_copy_only=False)
    return mask


def _last_computed(window: pa.RecordBatch, plan: Plan) -> bytes | None:
    """The last row's identity; None where its outputs are known, as are then those of its equals."""
    if plan.identity is None or _is_known(window, plan)[-1]:
        return None
    identity: bytes | None = window.column(plan.identity)[-1].as_py()
    return identity


def _outputs(window: pa.RecordBatch, plan: Plan, known: NDArray[np.bool_]) -> pa.RecordBatch | None:
    """The known rows' outputs, in the types that the engine gives them."""
    if plan.known is None or not known.any():
        return None
    structs = window.column(plan.known).filter(pa.array(known))
    found = pa.RecordBatch.from_struct_array(structs)
    columns = {
        field.name: column.cast(arrow_type(sql_type(field.type)))
        for field, column in zip(found.schema, found.columns, strict=True)
    }
    none = {
        "error": pa.nulls(len(structs), _ERROR),
        MODEL_WARNINGS: pa.nulls(len(structs), WARNINGS_TYPE),
    }
    return pa.RecordBatch.from_pydict(columns | none)


def _end_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.take(pa.array([batch.num_rows - 1]))  # a slice would hold all of it


def _without(batch: pa.RecordBatch, names: Iterable[str]) -> pa.RecordBatch:
    left_out = set(names)
    return batch.select([name for name in batch.schema.names if name not in left_out])


def _meters(out: pa.RecordBatch | None, rows: int) -> pa.Array:
    """The meter of what was computed, on the first row; none where nothing was."""
    if out is None:
        return pa.nulls(rows, METER_TYPE)
    return on_first_row(out.column("_meter").slice(0, 1), rows)
