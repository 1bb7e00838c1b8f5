"""Delimited text by RFC 4180: the header line names the columns, in any order; others are ignored.

NULL is an unquoted cell whose text, as it stands in the file, equals the source's ``null``; a
quoted one is that text, so ``""`` is an empty string where a bare nothing is NULL. The csv module
does not tell the two apart: a record that has quotes and such a cell is looked at once more.

Empty lines are no records. With ``escape``, a doubled quote is still a quote. What the csv module
refuses (an unclosed quote, text after a closing one) is malformed line by line: where its records
would have ended cannot be known, none is made up, and the count of malformed rows shows how much
was lost.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import pyarrow as pa

from schemas.config import CsvSource
from schemas.errors import InputCorrupt
from udfs.cells import cast_cells
from udfs.files import LONGEST_RECORD, InputFile, Line, bad_bytes, text_lines
from udfs.records import BATCH_ROWS, Record, bad, good, in_batches

csv.field_size_limit(2 * LONGEST_RECORD)  # _Feed stops before it

Parsed = tuple[list[str], list[Line]]


def read_csv(
    file: InputFile, source: CsvSource, schema: pa.Schema, *, rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The file's records as batches of the declared columns and ``_malformed``.

    Raises InputCorrupt, naming the file, when it cannot be read or decoded to its end, or when its
    header does not have a declared column exactly once.
    """
    records = _records(file, source, schema)
    yield from in_batches(records, file.name, schema, cast_cells, rows=rows, line=source.line)


def csv_header(file: InputFile, source: CsvSource) -> list[str] | None:
    """The names in the header, None for a file without one. Raises InputCorrupt as read_csv."""
    for parsed in _parsed(_Feed(text_lines(file, source.encoding)), source):
        return _header(file, parsed)
    return None


def _records(file: InputFile, source: CsvSource, schema: pa.Schema) -> Iterator[Record]:
    parsed = _parsed(_Feed(text_lines(file, source.encoding)), source)
    first = next(parsed, None)
    if first is None:
        return
    header = _header(file, first)
    positions = [
        None if field.name == source.line else _position(file, header, field.name)
        for field in schema
    ]
    nulls = _Nulls(source)
    for found in parsed:
        yield found if isinstance(found, Record) else _record(found, len(header), positions, nulls)


def _record(parsed: Parsed, width: int, positions: list[int | None], nulls: _Nulls) -> Record:
    cells, lines = parsed
    raw = lines[0].text if len(lines) == 1 else "".join(line.text for line in lines)
    number = lines[0].number
    if bad_bytes(raw):
        return bad(number, "bytes that are not valid in the encoding", raw)
    if len(cells) != width:
        return bad(number, f"{len(cells)} fields, header has {width}", raw)
    with_nulls = nulls.applied(cells, raw)
    return good(number, [None if at is None else with_nulls[at] for at in positions], raw)


def _header(file: InputFile, parsed: Parsed | Record) -> list[str]:
    if isinstance(parsed, Record):
        why, number = parsed.why, parsed.line
    else:
        cells, lines = parsed
        number = lines[0].number
        if not any(bad_bytes(line.text) for line in lines):
            return cells
        why = "bytes that are not valid in the encoding"
    raise InputCorrupt(
        f"{file.name} line {number}: the header cannot be parsed",
        got=why,
        next="check delimiter, quote and encoding of the source, or repair the header line",
    )


def _position(file: InputFile, header: list[str], name: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    raise InputCorrupt(
        f"{file.name}: the header has column {name!r} {header.count(name)} times",
        got=", ".join(header),
        allowed="each declared column once",
        next="repair the header line; it may have changed since the run was planned",
    )


class _TooLongError(Exception):
    """A record goes on past LONGEST_RECORD."""


class _Feed:
    """Lines for csv.reader that keeps those of the current record."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self.lines = lines
        self.held: list[Line] = []
        self.chars = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.held.append(line)
        self.chars += len(line.text)
        if line.cut or self.chars > LONGEST_RECORD:
            raise _TooLongError
        return line.text

    def taken(self) -> list[Line]:
        """The lines of the record that just ended."""
        taken, self.held, self.chars = self.held, [], 0
        return taken


def _parsed(feed: _Feed, source: CsvSource) -> Iterator[Parsed | Record]:
    """Records as cells with the lines they took, or as the malformed rows of those lines."""
    reader = _reader(feed, source)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield from _unparsed(feed.taken(), _cause(error))
        except _TooLongError:  # still inside the record, so all that follows is as unknown
            held = feed.taken()
            start = held[0].number
            yield from _unparsed(held, "longer than a record may be")
            for line in feed.lines:
                yield bad(line.number, f"after the overlong record of line {start}", line.text)
            return
        else:
            lines = feed.taken()
            if cells:
                yield cells, lines


def _reader(feed: _Feed, source: CsvSource) -> Iterator[list[str]]:
    escape = (
        source.escape if source.escape != source.quote else ""
    )  # that is doubling, by another name
    return csv.reader(
        feed,
        delimiter=source.delimiter,
        quotechar=source.quote or None,
        quoting=csv.QUOTE_MINIMAL if source.quote else csv.QUOTE_NONE,
        escapechar=escape or None,
        doublequote=True,
        strict=True,
    )


def _cause(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote is never closed"
    return str(error)


def _unparsed(lines: list[Line], cause: str) -> Iterator[Record]:
    start = lines[0].number
    yield bad(start, cause, lines[0].text)
    for line in lines[1:]:
        if line.text.strip("\r\n"):
            yield bad(line.number, f"inside the record of line {start}: {cause}", line.text)


class _Nulls:
    """Tells NULL from text, by what stands in the file."""

    def __init__(self, source: CsvSource) -> None:
        quote, escape = source.quote, source.escape if source.escape != source.quote else ""
        self.null, self.marks = source.null, [mark for mark in (quote, escape) if mark]
        self.escaped_null = bool(escape) and escape in source.null
        q, e, d = re.escape(quote), re.escape(escape), re.escape(source.delimiter)
        any_escaped = f"|{e}." if e else ""
        quoted = f"{q}[^{q}{e}]*(?:(?:{q}{q}{any_escaped})[^{q}{e}]*)*{q}" if quote else r"(?!)"
        plain = rf"[^{d}{e}\r\n]*(?:{e}.[^{d}{e}\r\n]*)*" if e else rf"[^{d}\r\n]*"
        self.cell = re.compile(rf"(?:{quoted}|(?P<plain>{plain}))(?:{d}|\r\n|\r|\n|\Z)", re.DOTALL)

    def applied(self, cells: list[str], raw: str) -> list[str | None]:
        """The cells of a record, None for those that are NULL."""
        if not any(mark in raw for mark in self.marks):
            return [None if cell == self.null else cell for cell in cells]
        if not self.escaped_null and self.null not in cells:
            return list(cells)
        found: list[str | None] = []
        position = 0
        for cell in cells:
            match = self.cell.match(raw, position)
            if match is None:  # the two parsers disagree: a fault of this file, not of the data
                raise AssertionError(f"cannot find cell {len(found)} again in {raw[:200]!r}")
            found.append(None if match["plain"] == self.null else cell)
            position = match.end()
        return found
