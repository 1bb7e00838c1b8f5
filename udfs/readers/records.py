"""Parsed records to Arrow batches of bounded size; a bad record stays a row, with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.contract import MALFORMED
from udfs.files import shown

BATCH_ROWS = 4096
BATCH_CHARS = 4 * 1024 * 1024
# Cells of one column to an Arrow array, and per row that did not fit: its position and why.
MakeColumn = Callable[[Sequence[Any], pa.DataType], tuple[pa.Array, dict[int, str]]]


class Record(NamedTuple):
    """One record: its cells in schema order, or why it has none."""

    line: int  # the physical line where it starts, from 1
    cells: Sequence[Any] | None
    why: str | None
    head: str  # its first characters, as they are in the file
    size: int  # characters


def good(line: int, cells: Sequence[Any], raw: str) -> Record:
    """A record that could be parsed."""
    return Record(line, cells, None, raw[:200], len(raw))


def bad(line: int, why: str, raw: str) -> Record:
    """A record that could not be parsed."""
    return Record(line, None, why, raw[:200], len(raw[:200]))


def with_malformed(schema: pa.Schema) -> pa.Schema:
    """The columns a text reader delivers: the declared ones, all nullable, and ``_malformed``."""
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
) -> Iterator[pa.RecordBatch]:
    """Every record as one row, in order; ``rows`` rows or about 4 Mi characters a batch.

    The column named ``line`` gets the number of the line where the record starts, whatever the cells.
    """
    held: list[Record] = []
    chars = 0
    for record in records:
        held.append(record)
        chars += record.size
        if len(held) >= rows or chars >= BATCH_CHARS:
            yield _batch(held, name, schema, make, line)
            held, chars = [], 0
    if held:
        yield _batch(held, name, schema, make, line)


def _batch(
    held: list[Record], name: str, schema: pa.Schema, make: MakeColumn, line: str | None
) -> pa.RecordBatch:
    whys = [record.why for record in held]
    arrays = []
    for position, field in enumerate(schema):
        cells = [None if record.cells is None else record.cells[position] for record in held]
        array, misfits = make(cells, field.type)
        arrays.append(array)
        for row, why in misfits.items():
            whys[row] = whys[row] or f"column {field.name}: {why}"
    if any(why is not None for why in whys):
        kept = pa.array([i if why is None else None for i, why in enumerate(whys)], pa.int32())
        arrays = [array.take(kept) for array in arrays]
    if line is not None:  # a record that did not parse still stands on a line
        numbers = pa.array([record.line for record in held], pa.int64())
        arrays[schema.get_field_index(line)] = numbers
    texts = [
        None if why is None else f"{name} line {record.line}: {why}: {shown(record.head)}"
        for record, why in zip(held, whys, strict=True)
    ]
    return pa.RecordBatch.from_arrays(
        [*arrays, pa.array(texts, pa.string())], schema=with_malformed(schema)
    )
