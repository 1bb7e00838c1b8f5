"""Strict conversion of JSON values to declared types: a string is never read as a number."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any

import pyarrow as pa

from millrace.schemas.types import sql_type

Convert = Callable[[Any], Any]
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})"

_MAX_KNOWN_KEYS = 10_000  # undeclared keys that are known not to be meant; objects may have any
_DATE = re.compile(DATE)
_NAIVE = re.compile(f"{DATE}({TIME})?")
_ZONED = re.compile(f"{DATE}({TIME}{ZONE}?)?")
_LARGEST_FLOAT32 = 3.4028235677973366e38  # what is beyond it rounds to infinity
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])


def needs_exact(kind: pa.DataType) -> bool:
    """Whether values of the type must not be read as binary floats."""
    return "decimal" in str(kind)


def converter(kind: pa.DataType) -> Convert:
    """Return a function from a JSON value (not null) to a Python value that Arrow accepts for the type.

    The function raises ValueError for a value of another type or out of range.
    """
    if pa.types.is_list(kind):
        return _list(converter(kind.value_type))
    if pa.types.is_struct(kind):
        return _struct({field.name: converter(field.type) for field in kind})
    if pa.types.is_integer(kind):
        return _integer(kind)
    if pa.types.is_decimal(kind):
        return _decimal(kind)
    return _PLAIN[sql_type(kind)]


def nullable(convert: Convert) -> Convert:
    """Return the same function, with null for null."""
    return lambda value: None if value is None else convert(value)


def misfit(value: object, wanted: str) -> ValueError:
    """Return the error for a value of another type; the value is shown, shortened."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return ValueError(f"{text[:40]}{'...' if len(text) > 40 else ''} is not {wanted}")  # noqa: PLR2004


def _list(item: Convert) -> Convert:
    item = nullable(item)

    def convert(value: Any) -> list[Any]:
        if type(value) is not list:
            raise misfit(value, "an array")
        return [item(one) for one in value]

    return convert


def case_check(names: Iterable[str]) -> Callable[[dict[str, Any]], None]:
    """Return a function that raises ValueError for a key that differs from a name in case alone.

    Such a key is ambiguous for readers of SQL names, or a renamed column: it never counts as missing.
    """
    declared = {name.lower(): name for name in names}
    exact, others = set(declared.values()), set[str]()

    def check(value: dict[str, Any]) -> None:
        for key in value.keys() - exact - others:
            if key.lower() in declared:
                raise ValueError(
                    f"key {key!r} differs from {declared[key.lower()]!r} in case alone"
                )
            if len(others) < _MAX_KNOWN_KEYS:
                others.add(key)

    return check


def _struct(fields: dict[str, Convert]) -> Convert:
    fields = {name: nullable(convert) for name, convert in fields.items()}
    check = case_check(fields)

    def convert(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise misfit(value, "an object")
        check(value)
        return {name: convert(value.get(name)) for name, convert in fields.items()}

    return convert


def _integer(kind: pa.DataType) -> Convert:
    limit, name = 2 ** (kind.bit_width - 1), sql_type(kind)

    def convert(value: Any) -> int:
        if type(value) is not int or not -limit <= value < limit:
            raise misfit(value, name)
        return value

    return convert


def _decimal(kind: pa.DataType) -> Convert:
    step, name = Decimal(1).scaleb(-kind.scale), sql_type(kind)
    limit = Decimal(10) ** (kind.precision - kind.scale)

    def convert(value: Any) -> Decimal:
        if type(value) not in {int, Decimal}:
            raise misfit(value, name)
        try:
            found = _EXACT.quantize(Decimal(value), step)  # in this form Arrow takes any of them
        except DecimalException:
            raise misfit(value, name) from None
        if found.copy_abs() >= limit:  # `abs` would round it
            raise misfit(value, name)
        return found

    return convert


def _float64(value: Any) -> float:
    if type(value) not in {int, float, Decimal}:
        raise misfit(value, "double")
    try:
        found = float(value)
    except OverflowError:
        raise misfit(value, "double") from None
    if math.isinf(found) and type(value) is Decimal and value.is_finite():
        raise misfit(value, "double")
    return found


def _float32(value: Any) -> float:
    found = _float64(value)
    if abs(found) >= _LARGEST_FLOAT32 and math.isfinite(found):
        raise misfit(value, "float")
    return found


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise misfit(value, "boolean")
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise misfit(value, "string")
    if not value.isascii():
        _utf8(value)
    return value


def _utf8(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise misfit(ascii(value), "a string of Unicode characters") from None


def _binary(value: Any) -> bytes:
    try:
        return base64.b64decode(_string(value), validate=True)
    except (binascii.Error, ValueError):
        raise misfit(value, "binary (base64)") from None


def _date(value: Any) -> date:
    if type(value) is str and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass  # a day the calendar does not have: the same misfit
    raise misfit(value, "date (YYYY-MM-DD)")


def _naive(value: Any) -> datetime:
    if type(value) is str and _NAIVE.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass  # a time the calendar does not have: the same misfit
    raise misfit(value, "timestamp_ntz (ISO 8601, no zone, to the microsecond)")


def _zoned(value: Any) -> datetime:
    if type(value) is str and _ZONED.fullmatch(value):
        try:
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # a time the calendar does not have: the same misfit
    raise misfit(value, "timestamp (ISO 8601, to the microsecond)")


_PLAIN: dict[str, Convert] = {
    "boolean": _boolean,
    "string": _string,
    "binary": _binary,
    "date": _date,
    "double": _float64,
    "float": _float32,
    "timestamp": _zoned,
    "timestamp_ntz": _naive,
}
