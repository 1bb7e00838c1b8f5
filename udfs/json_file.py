"""JSON Lines: one object a line, values strictly of the declared types.

A missing key is null, blank lines are no records, keys that are not declared are ignored. A
``double`` may be written as an integer; dates and timestamps are ISO 8601 strings (without a zone:
UTC), ``binary`` is base64. Anything else is a malformed record: a row whose ``_malformed`` says
line and cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from schemas.config import JsonSource
from udfs.files import InputFile, Line, bad_bytes, text_lines
from udfs.json_values import Convert, converter, loads, needs_exact
from udfs.records import BATCH_ROWS, Record, bad, good, in_batches


def read_json(
    file: InputFile, source: JsonSource, schema: pa.Schema, *, rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The file's records as batches of the declared columns and ``_malformed``.

    Raises InputCorrupt, naming the file, when it cannot be read or decoded to its end.
    """
    records = _records(file, source, schema)
    yield from in_batches(records, file.name, schema, _column, rows=rows, line=source.line)


def peek(file: InputFile, source: JsonSource, lines: int) -> list[dict[str, Any]]:
    """The objects among the first lines; lines that hold none are left to the reader to report."""
    found = []
    for line in text_lines(file, source.encoding):
        if line.number > lines:
            break
        try:
            value = loads(line.text)
        except ValueError:
            continue
        if type(value) is dict:
            found.append(value)
    return found


def _records(file: InputFile, source: JsonSource, schema: pa.Schema) -> Iterator[Record]:
    columns = [(None if f.name == source.line else f.name, converter(f.type)) for f in schema]
    exact = any(needs_exact(field.type) for field in schema)
    for line in text_lines(file, source.encoding):
        if line.text.strip():
            yield _record(line, columns, exact=exact)


def _record(line: Line, columns: list[tuple[str | None, Convert]], *, exact: bool) -> Record:
    number, text, cut = line
    if cut:
        return bad(number, "longer than a record may be", text)
    if bad_bytes(text):
        return bad(number, "bytes that are not valid in the encoding", text)
    try:
        value = loads(text, exact=exact)
    except ValueError as error:
        return bad(number, f"not JSON ({error})", text)
    if type(value) is not dict:
        return bad(number, "not a JSON object", text)
    cells: list[Any] = []
    for name, convert in columns:
        found = value.get(name) if name else None
        try:
            cells.append(None if found is None else convert(found))
        except ValueError as error:
            return bad(number, f"column {name}: {error}", text)
    return good(number, cells, text)


def _column(cells: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    return pa.array(cells, kind), {}
