"""Arrow columns to what a model reads; rows that cannot be read are named, never dropped."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.model import Signature

Values = NDArray[Any] | Sequence[NDArray[np.int32]]


@dataclass(frozen=True)
class Examples:
    """What a model reads: one value a readable row, and why the other rows have none."""

    values: Values  # [good, *shape], or token ids, one sequence a good row
    rows: NDArray[np.int64]  # [good]: the row of the batch that each value came from
    errors: Mapping[int, str] = field(default_factory=dict)  # row -> reason
    lengths: NDArray[np.int64] | None = None  # [good] tokens; None where all shapes are equal

    def take(self, index: NDArray[np.int64]) -> Values:
        """The values at these positions, in this order."""
        if isinstance(self.values, np.ndarray):
            first, count = int(index[0]), len(index)
            if np.array_equal(index, np.arange(first, first + count)):  # then no value is copied
                return self.values[first : first + count]
            return self.values[index]
        return [self.values[i] for i in index]


Decoder = Callable[[pa.RecordBatch], Examples]


def pixels(signature: Signature, _options: Mapping[str, Any]) -> Decoder:
    """Raw bytes, one a value: uint8 ``[rows, *shape]``. Without a copy where Arrow's buffer allows."""
    ((name, column),) = signature.inputs.items()
    size = prod(column.shape)

    def decode(batch: pa.RecordBatch) -> Examples:
        cells = batch.column(name)
        lengths = pc.fill_null(pc.binary_length(cells), -1).to_numpy(zero_copy_only=False)
        good, errors = _of_size(lengths, size, "bytes")
        kept = cells if not errors else cells.take(pa.array(good))
        return Examples(_joined(kept, size).reshape(len(good), *column.shape), good, errors)

    return decode


def image(signature: Signature, options: Mapping[str, Any]) -> Decoder:
    """Encoded PNG or JPEG: uint8 ``[rows, channels, height, width]``, resized where it must be.

    Headers are read first: an image of more than ``max_pixels`` (default 50 million) is not decoded.
    """
    ((name, column),) = signature.inputs.items()
    channels, height, width = column.shape
    mode = {1: "L", 3: "RGB"}[channels]
    max_pixels = int(options.get("max_pixels", 50_000_000))

    def one(content: bytes) -> NDArray[np.uint8]:
        from PIL import Image

        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as file:
            if file.width * file.height > max_pixels:
                raise ValueError(f"{file.width}x{file.height}: more than {max_pixels} pixels")
            picture = _eight_bits(file).convert(mode)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(picture, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)

    return _row_by_row(name, one, column.shape, np.uint8)


def vector(signature: Signature, _options: Mapping[str, Any]) -> Decoder:
    """A list of numbers a row: float32 ``[rows, *shape]``."""
    ((name, column),) = signature.inputs.items()
    size = prod(column.shape)

    def decode(batch: pa.RecordBatch) -> Examples:
        cells = batch.column(name)
        lengths = pc.fill_null(pc.list_value_length(cells), -1).to_numpy(zero_copy_only=False)
        right, errors = _of_size(lengths, size, "values")
        flat = cells.take(pa.array(right)).flatten()
        return _finite(_numbers(flat).reshape(len(right), *column.shape), right, errors)

    return decode


def columns(signature: Signature, _options: Mapping[str, Any]) -> Decoder:
    """One number a column: float32 ``[rows, columns]``, in the signature's order."""
    names = list(signature.inputs)

    def decode(batch: pa.RecordBatch) -> Examples:
        stacked = np.stack([_numbers(batch.column(name)) for name in names], axis=1)
        return _finite(stacked, np.arange(batch.num_rows), {})

    return decode


def texts(cells: pa.Array) -> tuple[list[str | None], dict[int, str]]:
    """The texts of a string column, None where a row has none, and why it has none."""
    try:
        found: list[str | None] = cells.to_pylist()
    except UnicodeDecodeError:  # no reader looks at what Hive or C++ wrote for a string
        told = [_text(content) for content in cells.cast(pa.large_binary()).to_pylist()]
        return [text for text, _ in told], {row: why for row, (_, why) in enumerate(told) if why}
    return found, {row: "null" for row, text in enumerate(found) if text is None}


# `tokens` needs the model's own tokenizer: udfs/models/tokens.py brings it.
DECODERS: dict[str, Callable[[Signature, Mapping[str, Any]], Decoder]] = {
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


def _numbers(cells: pa.Array) -> NDArray[np.float32]:
    """float32, NaN for null; of a large integer the nearest that float32 has."""
    floats = pc.fill_null(cells.cast(pa.float32(), safe=False), float("nan"))
    found: NDArray[np.float32] = floats.to_numpy(zero_copy_only=False)
    return found


def _eight_bits(file: Any) -> Any:
    """The picture; 16 bits of grey as the upper 8, which Pillow would clip to white instead."""
    from PIL import Image

    if not file.mode.startswith("I"):
        return file
    return Image.fromarray((np.asarray(file) >> 8).astype(np.uint8))


def _finite(
    values: NDArray[np.float32], rows: NDArray[np.int64], errors: dict[int, str]
) -> Examples:
    good = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    errors |= {int(row): "null, NaN or infinite value" for row in rows[~good]}
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
                errors[row] = f"{type(error).__name__}: {error}"[:200]
        stacked = np.stack(values) if values else np.empty((0, *shape), dtype)
        return Examples(stacked, np.array(rows, np.int64), errors)

    return decode
