"""MNIST's idx format, plain or gzip: columns ``index``, ``pixels`` (a row's bytes), ``label``."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa

from millrace.schemas.errors import InputCorrupt
from millrace.udfs.readers.files import InputFile, naming, opened

IDX_SCHEMA = pa.schema(
    [pa.field("index", pa.int64()), pa.field("pixels", pa.binary()), pa.field("label", pa.int32())]
)
_UNSIGNED_BYTE = 0x08
_MOST_DIMENSIONS = 8
_LARGEST_ROW_BYTES = 64 * 1024 * 1024
_BATCH_BYTES = 4 * 1024 * 1024
_SKIP_BYTES = 1024 * 1024


def idx_shape(file: InputFile) -> tuple[int, ...]:
    """Return the dimensions in the file's header, rows first. Raises InputCorrupt for another format."""
    with opened(file, compression="detect") as stream:
        return _shape(stream, file.name)


def read_idx(
    images: InputFile, labels: InputFile | None, start: int, count: int, *, rows: int = 4096
) -> Iterator[pa.RecordBatch]:
    """Read ``count`` rows from ``start`` as batches of IDX_SCHEMA; without labels, ``label`` is null.

    Raises InputCorrupt if a file is too short or too long, or if images and labels differ in number.
    """
    with ExitStack() as stack:
        pixels = _Rows(stack, images, start)
        marks = _Rows(stack, labels, start) if labels else None
        if marks and marks.shape != pixels.shape[:1]:
            raise InputCorrupt(
                f"{marks.name}: labels of shape {marks.shape} for {pixels.shape[0]} images",
                allowed="one byte an image",
                next="set source.labels to the file that belongs to source.path",
            )
        end = min(start + count, pixels.shape[0])
        step = max(1, min(rows, _BATCH_BYTES // max(1, pixels.row_bytes)))
        for at in range(start, end, step):
            size = min(step, end - at)
            yield _batch(at, size, pixels.take(size), marks.take(size) if marks else None)
        for part in filter(None, (pixels, marks)):
            part.check_end(end)


def _batch(start: int, size: int, pixels: bytes, marks: bytes | None) -> pa.RecordBatch:
    width = len(pixels) // size
    offsets = pa.array(range(0, len(pixels) + 1, width) if width else [0] * (size + 1), pa.int32())
    binary = pa.Array.from_buffers(
        pa.binary(), size, [None, offsets.buffers()[1], pa.py_buffer(pixels)]
    )
    label = pa.nulls(size, pa.int32()) if marks is None else pa.array(list(marks), pa.int32())
    index = pa.array(range(start, start + size), pa.int64())
    return pa.RecordBatch.from_arrays([index, binary, label], schema=IDX_SCHEMA)


class _Rows:
    """The rows of one open idx file, from ``start`` on."""

    def __init__(self, stack: ExitStack, file: InputFile, start: int) -> None:
        self.name = file.name
        self.stream = stack.enter_context(opened(file, compression="detect"))
        self.shape = _shape(self.stream, file.name)
        self.row_bytes = math.prod(self.shape[1:])
        self._skip(start * self.row_bytes)

    def take(self, rows: int) -> bytes:
        """The bytes of the next rows."""
        return _exactly(self.stream, rows * self.row_bytes, self.name)

    def check_end(self, end: int) -> None:
        """Raise InputCorrupt when the last row was read and the file goes on."""
        if end < self.shape[0]:
            return
        with naming(self.name):
            extra = self.stream.read(1)
        if extra:
            raise _corrupt(self.name, f"more bytes than its {self.shape[0]} rows take")

    def _skip(self, left: int) -> None:
        while left:
            left -= len(_exactly(self.stream, min(left, _SKIP_BYTES), self.name))


def _shape(stream: Any, name: str) -> tuple[int, ...]:
    magic = _exactly(stream, 4, name)
    dimensions = magic[3]
    if magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise _corrupt(name, f"magic {magic.hex()}; idx of unsigned bytes begins 000008")
    shape = struct.unpack(f">{dimensions}I", _exactly(stream, 4 * dimensions, name))
    if math.prod(shape[1:]) > _LARGEST_ROW_BYTES:
        raise _corrupt(name, f"shape {shape}: a row is more than {_LARGEST_ROW_BYTES} bytes")
    return shape


def _exactly(stream: Any, size: int, name: str) -> bytes:
    with naming(name):
        data: bytes = stream.read(size)
    if len(data) < size:
        raise _corrupt(name, "it ends before the last row that its header promises")
    return data


def _corrupt(name: str, got: str) -> InputCorrupt:
    return InputCorrupt(
        f"{name}: not a whole idx file", got=got, next="fetch the file again from its origin"
    )
