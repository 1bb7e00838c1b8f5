"""What to set where a CSV file is read with the wrong delimiter, or as if it had a header."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from millrace.schemas.errors import InputCorrupt, SchemaMismatch
from millrace.schemas.sources import CsvSource
from millrace.udfs.readers.csv_reader import csv_header, csv_width
from millrace.udfs.readers.files import InputFile

DELIMITERS = (",", "\t", ";", "|")  # that a text may have, if not the one that is declared
_SHOWN = {"\t": "\\t"}


def hint_for(file: InputFile, source: CsvSource, declared: Collection[str]) -> str | None:
    """What to set where the first line shows that it is not the header that it is read as."""
    header = csv_header(file, source) or []
    found = _named(header, declared)
    others = {one: _header(file, source, one) for one in DELIMITERS if one != source.delimiter}
    best = max(others, key=lambda one: (_named(others[one], declared), len(others[one])))
    if _named(others[best], declared) > found:
        return _proposed(best, others[best])
    if any(found):
        return None
    if len(header) == len(declared):
        return (
            "if the first line is data, set source.header: false; its fields are then the contract's "
            "columns in their order"
        )
    return _other_delimiter(file, source)


def _named(header: Collection[str], declared: Collection[str]) -> tuple[int, int]:
    """How many of the declared columns a header names: exactly, and whatever the case and blanks."""
    alike = {one.strip().lower() for one in header} & {one.strip().lower() for one in declared}
    return len({*header} & {*declared}), len(alike)


def names_by_place(file: InputFile, source: CsvSource, names: Sequence[str]) -> list[str] | None:
    """The names that a file's fields get; None where it has no record."""
    width = csv_width(file, source)
    if width not in (None, len(names)):
        raise SchemaMismatch(
            f"{file.name}: the first record has another number of fields than there are names for",
            got=f"{width} fields; names: {', '.join(names)}",
            allowed="without a header, a name for each field: the contract's columns in their order",
            next=_other_delimiter(file, source)
            or "declare all columns in the order of the file, or list their names in source.header",
        )
    return None if width is None else list(names)


def _other_delimiter(file: InputFile, source: CsvSource) -> str | None:
    """What to set where another delimiter cuts the first record into more fields."""
    fields = {one: _header(file, source, one) for one in DELIMITERS if one != source.delimiter}
    best = max(fields, key=lambda one: len(fields[one]))
    if len(fields[best]) <= max(1, len(csv_header(file, source) or [])):
        return None
    return _proposed(best, fields[best])


def _header(file: InputFile, source: CsvSource, delimiter: str) -> list[str]:
    """The fields of the first record with this delimiter; none where it cannot be read so."""
    try:
        return csv_header(file, source.model_copy(update={"delimiter": delimiter})) or []
    except InputCorrupt:
        return []


def _proposed(delimiter: str, fields: Collection[str]) -> str:
    shown = _SHOWN.get(delimiter, delimiter)
    count = "one field" if len(fields) == 1 else f"{len(fields)} fields"
    return f'set source.delimiter: "{shown}", which makes {count} of the first line'
