"""Parquet files that Spark wrote as add actions of a Delta commit, with statistics from their footers.

Delta's own writer in Spark counts nulls and compares every value of every row for that, a second time
after Parquet's writer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from millrace.schemas.tables import leaves

_TEXT = 32  # characters of a text that a bound has
_DIGITS = 15
_LAST = "\U0010ffff"  # no character is larger
_MILLISECOND = timedelta(milliseconds=1)


def adding(files: Iterable[Path], schema: pa.Schema, indexed: int) -> list[AddAction]:
    """What adds the files, which stand in the table's folder; those without a row are left out.

    Of the first ``indexed`` columns of the table's ``schema``, fields of structs counted each, it has
    statistics: rows, nulls, and the smallest and largest value where its kind has an order in Delta.
    """
    columns = list(leaves(schema))[:indexed]
    return [
        AddAction(
            path=path.name,
            size=path.stat().st_size,
            partition_values={},
            modification_time=int(path.stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps(_statistics(footer, columns)),
        )
        for path in files
        if (footer := pq.read_metadata(path)).num_rows
    ]


@dataclass
class _Bounds:
    """Of one column, what all row groups of a file say; a None of theirs makes it unknown."""

    nulls: list[int | None] = field(default_factory=list)
    least: list[Any] = field(default_factory=list)
    most: list[Any] = field(default_factory=list)


def _statistics(footer: pq.FileMetaData, columns: list[tuple[str, ...]]) -> dict[str, Any]:
    found = {".".join(path): _Bounds() for path in columns}
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for at in range(group.num_columns):
            chunk = group.column(at)
            if (bounds := found.get(chunk.path_in_schema)) is not None:
                _take(bounds, chunk)
    nulls: dict[str, Any] = {}
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for path in columns:
        for bounded in (nulls, least, most):
            _struct(bounded, path)
        bounds = found[".".join(path)]
        known = [count for count in bounds.nulls if count is not None]
        if known and len(known) == len(bounds.nulls):
            _put(nulls, path, sum(known))
        if bounds.least and None not in bounds.least and None not in bounds.most:
            _put(least, path, _least(min(bounds.least, key=_order)))
            _put(most, path, _most(max(bounds.most, key=_order)))
    return {
        "numRecords": footer.num_rows,
        "nullCount": nulls,
        "minValues": least,
        "maxValues": most,
    }


def _take(bounds: _Bounds, chunk: pq.ColumnChunkMetaData) -> None:
    stats = chunk.statistics
    bounds.nulls.append(stats.null_count if stats is not None and stats.has_null_count else None)
    if stats is not None and stats.has_null_count and stats.null_count == chunk.num_values:
        return  # nothing but nulls: they have no bounds, and leave those of other groups as they are
    least, most = _ends(stats)
    bounds.least.append(least)
    bounds.most.append(most)


def _ends(stats: pq.Statistics | None) -> tuple[Any, Any]:
    """The smallest and the largest value; None for kinds that Delta does not order."""
    if stats is None or not stats.has_min_max:
        return None, None
    try:
        ends = stats.min, stats.max
    except UnicodeDecodeError:  # no text: Spark lets any bytes pass as one
        return None, None
    return ends if all(map(_has_order, ends)) else (None, None)


def _has_order(value: Any) -> bool:
    if isinstance(value, Decimal):  # a number in JSON holds fewer digits: no bound
        return len(value.as_tuple().digits) <= _DIGITS
    return isinstance(value, int | float | str | date) and not isinstance(value, bool)


def _order(value: Any) -> tuple[bool, Any]:
    """By which values are compared: NaN is larger than any number, as Spark has it."""
    return value != value, value  # noqa: PLR0124 - NaN alone differs from itself


def _least(value: Any) -> Any:
    """A lower bound as Delta writes it in JSON: a long text is cut, as is a time."""
    return value[:_TEXT] if isinstance(value, str) else _plain(value)


def _most(value: Any) -> Any:
    """An upper bound: what is cut off is made up for."""
    if isinstance(value, str) and len(value) > _TEXT:
        end = _TEXT
        while value[end : end + 1] == _LAST:
            end += 1
        return value[:end] + _LAST
    if isinstance(value, datetime) and value.microsecond % 1000:
        value += _MILLISECOND
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        at = value if value.tzinfo is None else value.astimezone(UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("nan", "NaN").replace("inf", "Infinity")
    return float(value) if isinstance(value, Decimal) else value


def _put(into: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    _struct(into, path)[path[-1]] = value


def _struct(into: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Where the field's value goes. Without a struct for its fields, readers take the struct for NULL."""
    for name in path[:-1]:
        into = into.setdefault(name, {})
    return into
