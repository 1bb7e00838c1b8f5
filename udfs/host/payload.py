"""Converts a model's values and outputs to Arrow record batches, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.udfs.runtime.examples import Values

_SHAPE = b"shape"


def packed(columns: Mapping[str, Values]) -> pa.RecordBatch:
    """Pack one column per name: arrays ``[rows, ...]`` of numbers or texts, or sequences of token ids."""
    made = {name: _column(values) for name, values in columns.items()}
    fields = [
        pa.field(name, array.type, metadata=shape and {_SHAPE: json.dumps(shape)})
        for name, (array, shape) in made.items()
    ]
    return pa.RecordBatch.from_arrays(
        [array for array, _ in made.values()], schema=pa.schema(fields)
    )


def unpacked(batch: pa.RecordBatch) -> dict[str, Values]:
    """Unpack a batch; arrays of numbers, and token ids, are views of its memory."""
    return {
        field.name: _values(field, batch.column(index)) for index, field in enumerate(batch.schema)
    }


def owned(columns: Mapping[str, Values]) -> dict[str, NDArray[Any]]:
    """Copy the arrays, so that they outlive the memory that they were read from."""
    return {name: np.array(values) for name, values in columns.items()}


def cost_of(values: Values) -> tuple[int, int]:
    """Return the number of rows, and the longest sequence: 1 if all shapes are equal."""
    longest = 1 if isinstance(values, np.ndarray) else max(map(len, values), default=0)
    return len(values), longest


def _column(values: Values) -> tuple[pa.Array, list[int]]:
    """The Arrow array, and the shape of one row, empty where a row is one value or one sequence."""
    if not isinstance(values, np.ndarray):
        return _ragged(values), []
    if values.ndim == 1:
        return pa.array(values), []
    shape = list(values.shape[1:])
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, prod(shape)), shape


def _ragged(values: Sequence[Any]) -> pa.Array:
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    flat = np.concatenate([np.asarray(ids, np.int32) for ids in values] or [np.empty(0, np.int32)])
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat))


def _values(field: pa.Field, column: pa.Array) -> Values:
    flat: NDArray[Any]
    if pa.types.is_list(field.type):
        flat = column.values.to_numpy()
        ends = column.offsets.to_numpy()
        return [flat[start:end] for start, end in pairwise(ends)]
    if field.metadata and _SHAPE in field.metadata:
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(column), *json.loads(field.metadata[_SHAPE]))
    flat = column.to_numpy(zero_copy_only=False)
    return flat
