"""Converts parsed records to Arrow batches of bounded size; a bad record stays a row, with its reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from millrace.schemas.rule import MALFORMED
from millrace.udfs.readers.files import shown

BATCH_ROWS = 4096
BATCH_CHARS = 4 * 1024 * 1024
# Cells of one column to an Arrow array, and per row that did not fit: its position and why.
MakeColumn = Callable[[Sequence[Any], pa.DataType], tuple[pa.Array, dict[int, str]]]


class Record(NamedTuple):
    """A record: its cells in schema order, or why it did not parse."""

    line: int  # the physical line where it starts, from 1
    cells: Sequence[Any] | None  # with a ``why``: None for each that could not be read
    why: str | None
    head: str  # its first characters, as they are in the file
    size: int  # characters


def good(line: int, cells: Sequence[Any], raw: str) -> Record:
    """Return a record that could be parsed."""
    return Record(line, cells, None, raw[:200], len(raw))


def bad(line: int, why: str, raw: str, cells: Sequence[Any] | None = None) -> Record:
    """Return a record that could not be parsed; ``cells`` if some of it is certain."""
    return Record(line, cells, why, raw[:200], len(raw[:200]))


def with_malformed(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a text reader: the declared ones, all nullable, and ``_malformed``."""
    fields = [field.with_nullable(True) for field in schema]
    return pa.schema([*fields, pa.field(MALFORMED, pa.string())])


def in_batches(
    records: Iterable[Record],
    name: str,
    schema: pa.Schema,
    make: MakeColumn,
    *,
    rows: int = BATCH_ROWS,
    line: str | None = None,
    keeps: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Yield every record as one row, in order; ``rows`` rows or about 4 Mi characters per batch.

    The column ``line`` has the number of the line where a record starts. A record that did not parse has
    only the values of columns in ``keeps`` that could be read.
    """
    make_batch = partial(_batch, name=name, schema=schema, make=make, line=line, keeps=keeps)
    pending: list[Record] = []
    chars = 0
    for record in records:
        pending.append(record)
        chars += record.size
        if len(pending) >= rows or chars >= BATCH_CHARS:
            yield make_batch(pending)
            pending, chars = [], 0
    if pending:
        yield make_batch(pending)


def _batch(
    pending: list[Record],
    *,
    name: str,
    schema: pa.Schema,
    make: MakeColumn,
    line: str | None,
    keeps: Collection[str],
) -> pa.RecordBatch:
    whys = [record.why for record in pending]
    arrays = []
    for position, field in enumerate(schema):
        cells = [None if record.cells is None else record.cells[position] for record in pending]
        array, misfits = make(cells, field.type)
        arrays.append(array)
        for row, why in misfits.items():
            whys[row] = whys[row] or f"column {field.name}: {why}"
    if any(why is not None for why in whys):
        valid = pa.array([i if why is None else None for i, why in enumerate(whys)], pa.int32())
        arrays = [
            array if field.name in keeps else array.take(valid)
            for array, field in zip(arrays, schema, strict=True)
        ]
    if line is not None:  # a record that did not parse still stands on a line
        numbers = pa.array([record.line for record in pending], pa.int64())
        arrays[schema.get_field_index(line)] = numbers
    texts = [
        None if why is None else f"{name} line {record.line}: {why}: {shown(record.head)}"
        for record, why in zip(pending, whys, strict=True)
    ]
    return pa.RecordBatch.from_arrays(
        [*arrays, pa.array(texts, pa.string())], schema=with_malformed(schema)
    )
