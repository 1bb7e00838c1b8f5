"""Cells of text to Arrow columns of the declared types, vectorised; misfits are looked at singly.

What a cell may hold: ``boolean`` true or false, any case; integers ``[+-]digits``; ``float`` and
``double`` also with fraction and exponent, nan, inf; ``decimal`` without loss; ``date`` YYYY-MM-DD;
``timestamp`` ISO 8601 to the microsecond, UTC where it has no zone; ``timestamp_ntz`` the same
without a zone; ``binary`` base64; arrays and structs JSON. No blanks around any of them. ``string``
is the text itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.types import sql_type
from udfs.json_values import DATE, TIME, ZONE, converter, loads, misfit, needs_exact

_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"


def cast_cells(cells: Sequence[str | None], kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """An array of the type, null where a cell does not fit, and why for each such position."""
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return _by_value(cells, kind)
    texts = pa.array(cells, pa.string())
    if pa.types.is_string(kind):
        return texts, {}
    plain = pc.replace_substring_regex(_matching(texts, _pattern(kind)), r"^\+", "")
    array = _zoned(plain, kind) if _has_zone(kind) else _cast(plain, kind)
    if pa.types.is_floating(kind):
        array = _without_overflow(array, plain)
    if array.null_count == texts.null_count:
        return array, {}
    lost = pc.and_(pc.is_null(array), pc.is_valid(texts))
    rows = pc.indices_nonzero(lost).to_pylist()
    return array, {row: str(misfit(cells[row], sql_type(kind))) for row in rows}


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
