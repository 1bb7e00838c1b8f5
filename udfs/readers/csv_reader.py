"""Delimited text by RFC 4180: the header names the columns, in any order; other columns are ignored.

Without a header, names come from the source or, in order, from the declared columns. `csv_nulls` decides
which cells are NULL.

Empty lines are no records. With ``escape``, a doubled quote is still a quote. Lines that the csv module
refuses (an unclosed quote, text after a closing one) are malformed one by one: nobody knows where their
records end, so none is invented, and the count of malformed rows shows the loss.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import islice

import pyarrow as pa

from millrace.schemas.column_path import Origin
from millrace.schemas.errors import InputCorrupt
from millrace.schemas.sources import CsvSource
from millrace.udfs.readers.csv_nulls import Nulls
from millrace.udfs.readers.files import LONGEST_RECORD, InputFile, TextLine, bad_bytes, text_lines
from millrace.udfs.readers.records import BATCH_ROWS, Record, bad, good, in_batches
from millrace.udfs.readers.text_values import cast_cells

csv.field_size_limit(2 * LONGEST_RECORD)  # _Feed stops before it

Parsed = tuple[list[str], list[TextLine]]


def read_csv(
    file: InputFile,
    source: CsvSource,
    schema: pa.Schema,
    origins: Mapping[str, Origin] | None = None,
    *,
    rows: int = BATCH_ROWS,
    keeps: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Read the file's records as batches of the declared columns and ``_malformed``.

    Args:
        origins: by column, its name in the header; without them, its own.
        keeps: columns whose values a record has although another of its cells does not fit.

    Raises:
        InputCorrupt: the file cannot be read or decoded to its end, or its header does not have each declared
            column once.
    """
    records = _records(file, source, schema, origins or {})
    make = partial(cast_cells, notation=source.notation)
    yield from in_batches(
        records, file.name, schema, make, rows=rows, line=source.line, keeps=keeps
    )


def csv_width(file: InputFile, source: CsvSource) -> int | None:
    """Return the number of fields of the first record that parses; None if there is none."""
    parsed = _parsed(_Feed(text_lines(file, source.encoding)), source)
    return next((len(found[0]) for found in parsed if not isinstance(found, Record)), None)


def csv_header(file: InputFile, source: CsvSource) -> list[str] | None:
    """Return the names in the header; None for an empty file. Raises InputCorrupt as `read_csv`."""
    for parsed in _parsed(_Feed(text_lines(file, source.encoding)), source):
        return _header(file, parsed)
    return None


def has_records(file: InputFile, source: CsvSource) -> bool:
    """Whether the file has a record after its header, malformed or not. Raises InputCorrupt as `read_csv`."""
    parsed = _parsed(_Feed(text_lines(file, source.encoding)), source)
    headers = 1 if source.header is True else 0
    return len(list(islice(parsed, headers + 1))) > headers


def _records(
    file: InputFile, source: CsvSource, schema: pa.Schema, origins: Mapping[str, Origin]
) -> Iterator[Record]:
    parsed = _parsed(_Feed(text_lines(file, source.encoding)), source)
    header = list(source.names(schema.names) or ())
    if source.header is True:
        first = next(parsed, None)
        if first is None:
            return
        header = _header(file, first)
    positions = [
        None
        if name == source.line
        else _position(file, header, origins.get(name, Origin(name)).name)
        for name in schema.names
    ]
    nulls = Nulls(source)
    for found in parsed:
        if isinstance(found, Record):
            yield found
        else:
            yield _record(found, len(header), positions, nulls, by_header=source.header is True)


def _record(
    parsed: Parsed, width: int, positions: list[int | None], nulls: Nulls, *, by_header: bool
) -> Record:
    cells, lines = parsed
    raw = lines[0].text if len(lines) == 1 else "".join(line.text for line in lines)
    number = lines[0].number
    if bad_bytes(raw):
        return bad(number, "bytes that are not valid in the encoding", raw)
    if len(cells) != width:
        wanted = f"header has {width}" if by_header else f"{width} are named"
        return bad(number, f"{len(cells)} fields, {wanted}", raw)
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
        next="check delimiter, quote and encoding of the source, or repair the header line; files of "
        "banks and of Excel often have encoding: windows-1252",
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

    def __init__(self, lines: Iterator[TextLine]) -> None:
        self.lines = lines
        self.pending: list[TextLine] = []
        self.chars = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.pending.append(line)
        self.chars += len(line.text)
        if line.cut or self.chars > LONGEST_RECORD:
            raise _TooLongError
        return line.text

    def take_record(self) -> list[TextLine]:
        """Return the lines of the record that just ended."""
        lines, self.pending, self.chars = self.pending, [], 0
        return lines


def _parsed(feed: _Feed, source: CsvSource) -> Iterator[Parsed | Record]:
    """Records as cells with the lines they took, or as the malformed rows of those lines."""
    reader = _reader(feed, source)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield from _unparsed(feed.take_record(), _cause(error))
        except _TooLongError:  # still inside the record, so all that follows is as unknown
            lines = feed.take_record()
            start = lines[0].number
            yield from _unparsed(lines, "longer than a record may be")
            for line in feed.lines:
                yield bad(line.number, f"after the overlong record of line {start}", line.text)
            return
        else:
            lines = feed.take_record()
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


def _unparsed(lines: list[TextLine], cause: str) -> Iterator[Record]:
    start = lines[0].number
    yield bad(start, cause, lines[0].text)
    for line in lines[1:]:
        if line.text.strip("\r\n"):
            yield bad(line.number, f"inside the record of line {start}: {cause}", line.text)
