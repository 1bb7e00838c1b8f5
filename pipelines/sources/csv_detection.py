"""How a CSV file is written, found from its first records: delimiter, quote, header, marks in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from millrace.pipelines.sources.csv_hints import DELIMITERS
from millrace.schemas.errors import UsageError
from millrace.schemas.rule import MALFORMED
from millrace.schemas.sources import CsvSource
from millrace.schemas.types import arrow_type
from millrace.udfs.readers.csv_reader import csv_header, csv_width, read_csv
from millrace.udfs.readers.files import InputFile
from millrace.udfs.readers.text_values import cast_cells

LOOKED_AT_ROWS = 20_000  # to find the types of columns
# The narrowest first: what fits all texts of a column is its type.
TYPES = ("boolean", "bigint", "double", "date", "timestamp")
# Before the fraction, and between groups of three digits; the usual ones first.
_MARKS = [(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (",", "\u00a0"), (".", "'")]
_FEW_VALUES = 20  # distinct texts of a column that names kinds of rows


def settings_of(source: CsvSource, file: InputFile) -> CsvSource:
    """Return the source with the settings that fit its first file best; those that it gives stay."""
    found = _delimited(source, file)
    if "header" not in source.model_fields_set and not _has_header(found, file):
        found = found.model_copy(update={"header": False})
    if not {"decimal", "thousands"} & source.model_fields_set:
        found = _marked(found, file)
    return found


def names_of(source: CsvSource, file: InputFile) -> list[str]:
    """Return the names of the file's fields; without a header, those that a contract gives by place."""
    if source.header is True:
        return csv_header(file, source) or []
    if source.header is False:
        return [f"column_{number}" for number in range(1, (csv_width(file, source) or 0) + 1)]
    return [*source.header]


def types_of(source: CsvSource, file: InputFile) -> dict[str, str]:
    """Return the columns with the narrowest types that all texts of the first records fit."""
    names = names_of(source, file)
    able, seen, rows = {name: list(TYPES) for name in names}, set[str](), 0
    for good in _batches(source, file, names):
        for name in names:
            texts = good.column(name).drop_null()
            seen |= {name} if len(texts) else set()
            able[name] = [kind for kind in able[name] if _fits(texts, kind, source)]
        rows += len(good)
        if rows >= LOOKED_AT_ROWS:
            break
    return {name: able[name][0] if able[name] and name in seen else "string" for name in names}


def _delimited(source: CsvSource, file: InputFile) -> CsvSource:
    """The source with the delimiter that makes the most fields, of those that fit the most records.

    Quotes are ordinary text only where more records parse so: a comma inside of quotes is no delimiter.
    """
    given = source.model_fields_set
    quotes = [source.quote] if "quote" in given else ['"', ""]
    quoted = [
        min(
            (source.model_copy(update={"delimiter": one, "quote": quote}) for quote in quotes),
            key=lambda tried: (_unfit(tried, file)[0], not tried.quote),
        )
        for one in ([source.delimiter] if "delimiter" in given else DELIMITERS)
    ]
    return min(quoted, key=lambda one: _unfit(one, file))


def _unfit(source: CsvSource, file: InputFile) -> tuple[float, int]:
    """How badly it fits: the share of records that do not parse, then few columns."""
    plain = _without_header(source)
    try:
        names = names_of(plain, file)
        batch = next(_texts(plain, file, names), None)
    except UsageError:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, this is not how the file is delimited
        return 1.0, 0
    if batch is None or not batch.num_rows:
        return 0.0, -len(names)
    bad = len(batch) - batch.column(MALFORMED).null_count
    return bad / len(batch), -len(names)


def _has_header(source: CsvSource, file: InputFile) -> bool:
    """Whether the first record names columns: no name is empty, stands twice, or is like the values below."""
    first, columns = _first_and_rest(source, file)
    if not first or len({*first}) < len(first) or not all(first):
        return bool(not first)
    typed = [
        (text, kind)
        for text, texts in zip(first, columns, strict=True)
        if (kind := _kind_of(texts, source))
    ]
    if typed and all(_kind_of(pa.array([text]), source) == kind for text, kind in typed):
        return _are_steps([text for text, _ in typed])
    return bool(typed) or not any(
        _is_kind_of_row(text, texts) for text, texts in zip(first, columns, strict=True)
    )


def _are_steps(texts: Sequence[str]) -> bool:
    """Whether the numbers follow each other, as years do that name the columns of a wide table."""
    if len(texts) < 2 or not all(text.isdigit() for text in texts):  # noqa: PLR2004
        return False
    return [int(text) - int(texts[0]) for text in texts] == [*range(len(texts))]


def _kind_of(texts: pa.Array, source: CsvSource) -> str | None:
    """Which kind of values a column has, under any marks in numbers; None for texts and for none."""
    if not len(texts):
        return None
    sources = [source, *(_with_marks(source, *marks) for marks in _MARKS[1:])]
    if any(_fits(texts, "double", one) for one in sources):  # or whole numbers
        return "number"
    return next(
        (kind for kind in ("boolean", "date", "timestamp") if _fits(texts, kind, source)), None
    )


def _is_kind_of_row(text: str, texts: pa.Array) -> bool:
    """Whether a text names a kind of rows: it comes again, in a column of few values."""
    counted = Counter(texts.to_pylist())
    return counted[text] > 1 and len(counted) <= _FEW_VALUES


def _marked(source: CsvSource, file: InputFile) -> CsvSource:
    """The source with the marks with which most columns are numbers; the usual ones where that is open."""
    names = names_of(source, file)
    good = next(_batches(source, file, names), None)
    if good is None:
        return source
    tries = [_with_marks(source, *marks) for marks in _MARKS]
    numbers = [sum(_is_number(good.column(name), one) for name in names) for one in tries]
    best = [one for one, count in zip(tries, numbers, strict=True) if count == max(numbers)]
    is_open = tries[0] not in best and len({one.decimal for one in best}) > 1
    return source if is_open else best[0]


def _is_number(texts: pa.Array, source: CsvSource) -> bool:
    there = texts.drop_null()
    return bool(len(there)) and any(_fits(there, kind, source) for kind in ("bigint", "double"))


def _with_marks(source: CsvSource, decimal: str, thousands: str) -> CsvSource:
    return source.model_copy(update={"decimal": decimal, "thousands": thousands})


def _fits(texts: pa.Array, kind: str, source: CsvSource) -> bool:
    """Whether all texts are of the type; 007 is none: it would lose its zeros."""
    if (
        kind in ("bigint", "double")
        and pc.any(pc.match_substring_regex(texts, r"^[+-]?0[0-9]")).as_py()
    ):
        return False
    _, misfits = cast_cells(texts.to_pylist(), arrow_type(kind), source.notation)
    return not misfits


def _first_and_rest(source: CsvSource, file: InputFile) -> tuple[list[str], list[pa.Array]]:
    """The texts of the first record, and by column those of the others that are there."""
    plain = _without_header(source)
    names = names_of(plain, file)
    batch = next(_batches(plain, file, names), None)
    if batch is None or not len(batch):
        return [], []
    columns = [batch.column(name) for name in names]
    first = [column[0].as_py() or "" for column in columns]
    return first, [column[1:].drop_null() for column in columns]


def _without_header(source: CsvSource) -> CsvSource:
    return source.model_copy(update={"header": False}) if source.header is True else source


def _batches(source: CsvSource, file: InputFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The records that parse, as texts."""
    for batch in _texts(source, file, names):
        yield batch.filter(pc.is_null(batch.column(MALFORMED)))


def _texts(source: CsvSource, file: InputFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([pa.field(name, pa.string()) for name in names])
    return read_csv(file, source, schema)
