"""Decoders: Arrow columns to what a model reads. Unreadable rows get a reason and are never dropped."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from millrace.schemas.errors import without_addresses
from millrace.schemas.model import Signature
from millrace.schemas.steps import ColumnsOptions, ImageOptions, PixelsOptions, VectorOptions
from millrace.schemas.types import arrow_type
from millrace.udfs.runtime.column_numbers import as_numbers
from millrace.udfs.runtime.examples import Decoder, Examples
from millrace.udfs.runtime.number_arrays import (
    NUMBERS,
    float32_of,
    inexact,
    numbers_of,
    out_of_range,
)
from millrace.udfs.runtime.pictures import read_picture


def pixels(signature: Signature, _options: PixelsOptions) -> Decoder:
    """Decode raw bytes, one per value: uint8 ``[rows, *shape]``, without a copy if Arrow's buffer allows."""
    ((name, column),) = signature.inputs.items()
    size = prod(column.shape)

    def decode(batch: pa.RecordBatch) -> Examples:
        cells = batch.column(name)
        lengths = pc.fill_null(pc.binary_length(cells), -1).to_numpy(zero_copy_only=False)
        good, errors = _of_size(lengths, size, "bytes")
        readable = cells if not errors else cells.take(pa.array(good))
        return Examples(_joined(readable, size).reshape(len(good), *column.shape), good, errors)

    return decode


def image(signature: Signature, options: ImageOptions) -> Decoder:
    """Decode pictures by `read_picture`: uint8 ``[rows, channels, height, width]``."""
    ((name, column),) = signature.inputs.items()

    def one(content: bytes) -> NDArray[np.uint8]:
        return read_picture(content, column.shape, options)

    return _row_by_row(name, one, column.shape, np.uint8)


def vector(signature: Signature, _options: VectorOptions) -> Decoder:
    """Decode a list of numbers per row: float32 ``[rows, *shape]``."""
    ((name, column),) = signature.inputs.items()
    size = prod(column.shape)

    def decode(batch: pa.RecordBatch) -> Examples:
        cells = batch.column(name)
        lengths = pc.fill_null(pc.list_value_length(cells), -1).to_numpy(zero_copy_only=False)
        right, errors = _of_size(lengths, size, "values")
        flat = cells.take(pa.array(right)).flatten()
        return _finite(float32_of(flat).reshape(len(right), *column.shape), right, errors)

    return decode


def columns(signature: Signature, options: ColumnsOptions) -> Decoder:
    """Decode one number per column: ``[rows, columns]`` of the step's type, in the signature's order.

    A null is NaN if the step says so, else an error of its row. So is a number that the type cannot
    represent, if the step requires exact ones, and a text that is not in its column's vocabulary.
    """
    kinds = {name: arrow_type(column.type) for name, column in signature.inputs.items()}
    kind = NUMBERS[options.type]
    is_exact = options.exact or options.type == "bigint"

    def decode(batch: pa.RecordBatch) -> Examples:
        stacked = np.empty((batch.num_rows, len(kinds)), kind)
        errors: dict[int, str] = {}
        for at, (name, declared) in enumerate(kinds.items()):
            cells, unknown = as_numbers(name, batch.column(name), options)
            stacked[:, at] = numbers_of(cells, kind)
            errors |= (
                inexact(name, cells, stacked[:, at], name in options.times) if is_exact else {}
            )
            errors |= out_of_range(name, cells, declared) | unknown
        rows = np.delete(np.arange(batch.num_rows), sorted(errors))
        values = stacked[rows] if errors else stacked
        return _finite(values, rows, errors, options.missing)

    return decode


def texts(cells: pa.Array) -> tuple[list[str | None], dict[int, str]]:
    """Return the texts of a string column, None for rows without one, and the reasons."""
    try:
        found: list[str | None] = cells.to_pylist()
    except UnicodeDecodeError:  # no reader looks at what Hive or C++ wrote for a string
        decoded = [_text(content) for content in cells.cast(pa.large_binary()).to_pylist()]
        return [text for text, _ in decoded], {
            row: why for row, (_, why) in enumerate(decoded) if why
        }
    return found, {row: "null" for row, text in enumerate(found) if text is None}


# `tokens` needs the model's own tokenizer: udfs/tokenization/tokenizer.py brings it.
DECODERS: dict[str, Callable[[Signature, Any], Decoder]] = {
    "pixels": pixels,
    "image": image,
    "vector": vector,
    "columns": columns,
}


def _text(content: bytes | None) -> tuple[str | None, str]:
    if content is None:
        return None, "null"
    try:
        return content.decode(), ""
    except UnicodeDecodeError as error:
        return None, f"not UTF-8: {error.reason} at byte {error.start}"


def _of_size(
    lengths: NDArray[Any], size: int, unit: str
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """The rows that have the right length, and what is wrong with the others; -1 stands for null."""
    errors = {
        int(row): "null" if lengths[row] < 0 else f"{lengths[row]} {unit}, expected {size}"
        for row in np.flatnonzero(lengths != size)
    }
    return np.flatnonzero(lengths == size), errors


def _joined(cells: pa.Array, size: int) -> NDArray[np.uint8]:
    """The bytes of equally long cells in a row, as uint8 ``[rows * size]``."""
    if not len(cells):
        return np.empty(0, np.uint8)
    width = np.int64 if pa.types.is_large_binary(cells.type) else np.int32
    _, offsets, data = cells.buffers()
    start = int(np.frombuffer(offsets, width)[cells.offset])
    return np.frombuffer(data, np.uint8, len(cells) * size, start)


def _finite(
    values: NDArray[Any], rows: NDArray[np.int64], errors: dict[int, str], missing: str = "error"
) -> Examples:
    allowed = ~np.isinf(values) if missing == "nan" else np.isfinite(values)
    good = allowed.all(axis=tuple(range(1, values.ndim)))
    why = "infinite value" if missing == "nan" else "null, NaN or infinite value"
    errors |= {int(row): why for row in rows[~good]}
    return Examples(values[good], rows[good], errors)


def _row_by_row(
    name: str, one: Callable[[bytes], NDArray[Any]], shape: tuple[int, ...], dtype: type[np.generic]
) -> Decoder:
    def decode(batch: pa.RecordBatch) -> Examples:
        values, rows, errors = [], [], {}
        for row, cell in enumerate(batch.column(name)):
            if not cell.is_valid:
                errors[row] = "null"
                continue
            try:
                values.append(one(cell.as_py()))
                rows.append(row)
            except Exception as error:  # noqa: BLE001 - whatever a decoder raises, it is this row's
                errors[row] = without_addresses(f"{type(error).__name__}: {error}")[:200]
        stacked = np.stack(values) if values else np.empty((0, *shape), dtype)
        return Examples(stacked, np.array(rows, np.int64), errors)

    return decode
