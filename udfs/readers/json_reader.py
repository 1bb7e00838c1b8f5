"""JSON Lines: one object a line, values strictly of the declared types.

A missing key is null, blank lines are no records, keys that are not declared are ignored. A
``double`` may be written as an integer; dates and timestamps are ISO 8601 strings (without a zone:
UTC), ``binary`` is base64. Anything else is a malformed record: a row whose ``_malformed`` says
line and cause. So is a key that differs from a declared one in case alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from millrace.schemas.column_path import Origin
from millrace.schemas.sources import JsonSource
from millrace.udfs.readers.files import InputFile, TextLine, bad_bytes, text_lines
from millrace.udfs.readers.json_path import value_at
from millrace.udfs.readers.json_text import loads
from millrace.udfs.readers.json_values import Convert, case_check, converter, needs_exact
from millrace.udfs.readers.records import BATCH_ROWS, Record, bad, good, in_batches


class _Cell(NamedTuple):
    """A declared column: what finds its value in an object, and what makes that one of its type."""

    name: str
    find: Callable[[dict[str, Any]], Any] | None  # None: the line's number
    convert: Convert


def read_json(
    file: InputFile,
    source: JsonSource,
    schema: pa.Schema,
    origins: Mapping[str, Origin] | None = None,
    *,
    rows: int = BATCH_ROWS,
    keeps: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Read the file's records as batches of the declared columns and ``_malformed``.

    Args:
        origins: by column, its key or the path to it; without them, its own name.
        keeps: columns whose values a record has although another of its values does not fit.

    Raises:
        InputCorrupt: the file cannot be read or decoded to its end.
    """
    records = _records(file, source, schema, origins or {})
    yield from in_batches(
        records, file.name, schema, _column, rows=rows, line=source.line, keeps=keeps
    )


def peek(file: InputFile, source: JsonSource, lines: int) -> list[dict[str, Any]]:
    """Return the objects in the first lines; other lines are left to the reader."""
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


def has_records(file: InputFile, source: JsonSource) -> bool:
    """Whether the file has a line that is not blank. Raises InputCorrupt as `read_json`."""
    return any(line.text.strip() for line in text_lines(file, source.encoding))


def _records(
    file: InputFile, source: JsonSource, schema: pa.Schema, origins: Mapping[str, Origin]
) -> Iterator[Record]:
    own = {n: origins.get(n, Origin(n)) for n in schema.names if n != source.line}
    columns = [
        _Cell(name, value_at(own[name]) if name in own else None, converter(kind))
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    check = case_check(head for origin in own.values() for head in origin.heads())
    exact = any(needs_exact(field.type) for field in schema)
    for line in text_lines(file, source.encoding):
        if line.text.strip():
            yield _record(line, columns, check, exact=exact)


def _record(
    line: TextLine,
    columns: list[_Cell],
    check: Callable[[dict[str, Any]], None],
    *,
    exact: bool,
) -> Record:
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
    return _checked(line, value, columns, check)


def _checked(
    line: TextLine,
    value: dict[str, Any],
    columns: list[_Cell],
    check: Callable[[dict[str, Any]], None],
) -> Record:
    number, text, _ = line
    try:
        check(value)
    except ValueError as error:
        return bad(number, str(error), text)
    cells: list[Any] = []
    why = None
    for column in columns:
        try:
            found = column.find(value) if column.find else None
            cells.append(None if found is None else column.convert(found))
        except ValueError as error:
            why = why or f"column {column.name}: {error}"
            cells.append(None)
    return good(number, cells, text) if why is None else bad(number, why, text, cells)


def _column(cells: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    return pa.array(cells, kind), {}
