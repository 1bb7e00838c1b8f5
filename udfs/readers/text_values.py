"""Casts text cells to Arrow columns of declared types, vectorised; misfits are handled one by one.

Without a notation of the source, cells are: ``boolean`` true or false, any case; integers ``[+-]digits``;
``float`` and ``double`` also with fraction and exponent, nan, inf; ``decimal`` without loss; ``date``
YYYY-MM-DD; ``timestamp`` ISO 8601 to the microsecond, in UTC if it has no zone; ``timestamp_ntz`` the
same without a zone; ``binary`` base64; arrays and structs JSON. Blanks around them are not allowed.
``string`` is the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.schemas.notation import ISO, Notation
from millrace.schemas.time_format import pattern_of
from millrace.schemas.types import sql_type
from millrace.udfs.readers.json_text import loads
from millrace.udfs.readers.json_values import DATE, TIME, ZONE, converter, misfit, needs_exact

_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"


def cast_cells(
    cells: Sequence[str | None], kind: pa.DataType, notation: Notation = ISO
) -> tuple[pa.Array, dict[int, str]]:
    """Return an array of the type, null for cells that do not fit, and the reason for each such position.

    A ``notation`` replaces the default: without a mark for thousands 1.234,5 is no number, and with a
    format of dates an ISO date is no date.
    """
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return _by_value(cells, kind)
    texts = pa.array(cells, pa.string())
    if pa.types.is_string(kind):
        return texts, {}
    plain, form = _as_iso(texts, kind, notation)
    plain = pc.replace_substring_regex(_matching(plain, _pattern(kind)), r"^\+", "")
    array = _zoned(plain, kind) if _has_zone(kind) else _cast(plain, kind)
    if pa.types.is_floating(kind):
        array = _without_overflow(array, plain)
    if array.null_count == texts.null_count:
        return array, {}
    lost = pc.and_(pc.is_null(array), pc.is_valid(texts))
    rows = pc.indices_nonzero(lost).to_pylist()
    wanted = f"{sql_type(kind)} ({form})" if form else sql_type(kind)
    return array, {row: str(misfit(cells[row], wanted)) for row in rows}


def _as_iso(texts: pa.Array, kind: pa.DataType, notation: Notation) -> tuple[pa.Array, str | None]:
    """The texts with a point, without marks and in ISO 8601; null where they are not so written."""
    if pa.types.is_temporal(kind):
        form = notation.date_format if pa.types.is_date(kind) else notation.timestamp_format
        return (_iso_times(texts, form) if form else texts), form
    if pa.types.is_integer(kind):
        return _ungrouped(texts, notation.thousands, ""), None
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        plain = _ungrouped(texts, notation.thousands, notation.decimal)
        return _pointed(plain, notation.decimal), None
    return texts, None


def _iso_times(texts: pa.Array, form: str) -> pa.Array:
    pattern, iso = pattern_of(form)
    padded = pc.replace_substring_regex(_matching(texts, pattern), f"^{pattern}$", iso)
    return pc.replace_substring(pc.replace_substring_regex(padded, "~([0-9]{2})", r"\1"), "~", "0")


def _ungrouped(texts: pa.Array, mark: str, decimal: str) -> pa.Array:
    """The numbers without marks between groups of three digits; null where a mark stands elsewhere."""
    if not mark:
        return texts
    fraction = f"({re.escape(decimal)}[0-9]*)?" if decimal else ""
    grouped = rf"^[+-]?[0-9]{{1,3}}({re.escape(mark)}[0-9]{{3}})+{fraction}$"
    is_fit = pc.or_(
        pc.match_substring_regex(texts, grouped), pc.invert(pc.match_substring(texts, mark))
    )
    fit = pc.if_else(is_fit, texts, pa.scalar(None, pa.string()))
    return pc.replace_substring(fit, mark, "")


def _pointed(texts: pa.Array, decimal: str) -> pa.Array:
    """The texts of fractions with a point, null where one is there already and is not the sign."""
    if decimal == ".":
        return texts
    own = pc.if_else(pc.match_substring(texts, "."), pa.scalar(None, pa.string()), texts)
    return pc.replace_substring(own, decimal, ".")


def _by_value(cells: Sequence[str | None], kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """Types that no vectorised cast covers: base64, and JSON for arrays and structs."""
    convert, nested, exact = converter(kind), pa.types.is_nested(kind), needs_exact(kind)
    values: list[Any] = [None] * len(cells)
    whys: dict[int, str] = {}
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        try:
            values[row] = convert(loads(cell, exact=exact) if nested else cell)
        except ValueError as error:
            whys[row] = str(error)
    return pa.array(values, kind), whys


def _has_zone(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _pattern(kind: pa.DataType) -> str:
    """What Arrow's casts must not see: they would take 0x1f for an integer and 1 for a boolean."""
    if pa.types.is_integer(kind):
        return r"[+-]?[0-9]+"
    if pa.types.is_floating(kind):
        return _NUMBER + r"|[+-]?(?i:nan|inf|infinity)"
    if pa.types.is_decimal(kind):
        return _NUMBER
    if pa.types.is_boolean(kind):
        return "(?i:true|false)"
    if pa.types.is_date(kind):
        return DATE
    return f"{DATE}({TIME}{ZONE}?)?" if kind.tz else f"{DATE}({TIME})?"


def _matching(texts: pa.Array, pattern: str) -> pa.Array:
    fits = pc.match_substring_regex(texts, f"^(?:{pattern})$")
    return pc.if_else(fits, texts, pa.scalar(None, pa.string()))


def _cast(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """The cast array; halved until what does not fit stands alone, and is null."""
    try:
        return pc.cast(texts, kind)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, kind)
        middle = len(texts) // 2
        return pa.concat_arrays([_cast(texts[:middle], kind), _cast(texts[middle:], kind)])


def _zoned(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Arrow refuses texts without a zone for a type that has one; here they mean UTC."""
    has_zone = pc.match_substring_regex(texts, f"{TIME}{ZONE}$")
    none = pa.scalar(None, pa.string())
    zoned = _cast(pc.if_else(has_zone, texts, none), kind)
    naive = _cast(pc.if_else(has_zone, none, texts), pa.timestamp(kind.unit))
    return pc.coalesce(zoned, naive.cast(kind))


def _without_overflow(array: pa.Array, texts: pa.Array) -> pa.Array:
    """Arrow rounds 1e400 to infinity; a number that does not fit is null here."""
    written = pc.match_substring_regex(texts, "[0-9]")
    overflow = pc.and_kleene(pc.is_inf(array), written)
    return pc.if_else(overflow, pa.scalar(None, array.type), array)
