"""Converts dates, timestamps and texts to the numbers that a card declares, without silent changes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from millrace.schemas.steps import ColumnsOptions, Unit, Vocabulary

_MICROS_A_SECOND = 1_000_000
_SHOWN = 40  # characters of a text


def as_numbers(
    name: str, cells: pa.Array, options: ColumnsOptions
) -> tuple[pa.Array, dict[int, str]]:
    """Return a column's numbers, null for null, and reasons for rows without one."""
    if name in options.times:
        return _since_1970(name, cells, options.times[name], whole=options.type == "bigint")
    if name in options.categories:
        return _places(name, cells, options.categories[name])
    return cells, {}


def _since_1970(
    name: str, cells: pa.Array, unit: Unit, *, whole: bool
) -> tuple[pa.Array, dict[int, str]]:
    """Whole days or microseconds; seconds with their fraction, or ``whole`` ones alone."""
    if unit == "days":
        return cells.cast(pa.date32()).cast(pa.int32()), {}
    micros = cells.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    if unit == "microseconds":
        return micros, {}
    if not whole:
        return pc.divide(micros.cast(pa.float64(), safe=False), float(_MICROS_A_SECOND)), {}
    seconds = pc.divide(micros, _MICROS_A_SECOND)
    is_off = pc.not_equal(pc.multiply(seconds, _MICROS_A_SECOND), micros)
    rows = pc.indices_nonzero(pc.fill_null(is_off, False)).to_pylist()
    return seconds, {row: f"{name}: {cells[row].as_py()} is no whole second" for row in rows}


def _places(name: str, cells: pa.Array, known: Vocabulary) -> tuple[pa.Array, dict[int, str]]:
    places = pc.index_in(cells, pa.array(known.values, cells.type))
    is_unknown = pc.and_(pc.is_null(places), pc.is_valid(cells))
    if known.unknown != "error":
        other = pa.scalar(known.unknown, pa.int64())
        return pc.if_else(is_unknown, other, places.cast(pa.int64())), {}
    rows = pc.indices_nonzero(is_unknown).to_pylist()
    why = f"is none of its {len(known.values)} values"
    return places, {row: f"{name}: {_quoted(cells[row])} {why}" for row in rows}


def _quoted(cell: pa.Scalar) -> str:
    """The text, which no reader checked for UTF-8, shortened."""
    return repr(cell.cast(pa.large_binary()).as_py().decode(errors="replace")[:_SHOWN])
