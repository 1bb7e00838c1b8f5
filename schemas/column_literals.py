"""Checks whether a column's type can represent a value that a job file compares it with."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from millrace.schemas.types import arrow_type

Literal = bool | int | float | str | date | datetime
EXACT = 2**53  # from here on a double does not hold every whole number
_LONG = 2**63


def why_unfit(value: Any, sql_type: str) -> str | None:
    """Return why a column of the type cannot have the value; None if it can."""
    kind = arrow_type(sql_type)
    if pa.types.is_boolean(kind):
        return None if isinstance(value, bool) else "allowed: true or false"
    if pa.types.is_string(kind):
        return None if isinstance(value, str) else "allowed: a text; put it in quotes"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _unfit_time(value, kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _unfit_number(value, kind)
    return "Great Expectations compares no such column with a value; write a rule"


def why_unfit_bound(value: Any, sql_type: str, *, needs_time: bool) -> str | None:
    """Return why the value is no bound of a column of the type; None if it is one.

    Bounds are compared as doubles. ``needs_time``: a date alone is no bound of a timestamp.
    """
    kind = arrow_type(sql_type)
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        return f"Great Expectations has no bounds for a {sql_type}; write a rule"
    if (unfit := why_unfit(value, sql_type)) is not None:
        return unfit
    found = number(value)
    if found is not None and not pa.types.is_floating(kind) and abs(found) >= EXACT:
        return f"a bound is compared as a double, exact below {EXACT:,}; write a rule"
    if needs_time and pa.types.is_timestamp(kind) and not isinstance(moment(value), datetime):
        return "write the time of day, too, as in 2026-01-31T00:00:00"
    return None


def moment(value: Any) -> date | datetime | None:
    """Return the date, or the time in UTC, of a value or its ISO text; None if it is neither."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value if isinstance(value, date) else None


def number(value: Any) -> int | float | None:
    """Return the number of a value, or of its text, such as that of an environment variable, else None."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unfit_time(value: Any, kind: pa.DataType) -> str | None:
    found = moment(value)
    if found is None:
        return "allowed: a date, or a date and time, as in 2026-01-31T12:00:00"
    if pa.types.is_date(kind) and isinstance(found, datetime):
        return "a date has no time of day; write the date alone"
    return None


def _unfit_number(value: Any, kind: pa.DataType) -> str | None:
    found = number(value)
    if found is None:
        return "allowed: a number"
    if pa.types.is_integer(kind):
        whole = isinstance(found, int) or (math.isfinite(found) and found.is_integer())
        if not whole:
            return "allowed: a whole number"
        return None if abs(found) < _LONG else "allowed: a number of 64 bits"
    if pa.types.is_decimal(kind):
        exact = Decimal(repr(found)) if isinstance(found, float) else Decimal(found)
        digits = -int(exact.normalize().as_tuple().exponent)
        return None if digits <= kind.scale else f"allowed: {kind.scale} decimal places at most"
    if kind.equals(pa.float32()) and found != struct.unpack("f", struct.pack("f", found))[0]:
        return f"a float holds no exact {found}; write a rule with CAST({found} AS FLOAT)"
    is_exact = isinstance(found, float) or int(float(found)) == found
    return None if is_exact else f"a double holds no exact {found}; write a rule"
