"""Column types: the SQL name that a user writes, and the Arrow type."""

from __future__ import annotations

import re

import pyarrow as pa

from millrace.schemas.nearest import hint

SCALARS: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}
ALLOWED = ", ".join([*SCALARS, "decimal(p,s)", "array<type>", "struct<name:type,...>"])

_LARGE = {"large string": pa.large_string(), "large binary": pa.large_binary()}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_MAX_DECIMAL_DIGITS = 38


def arrow_type(sql: str) -> pa.DataType:
    """Return the Arrow type of a SQL type name such as ``bigint`` or ``array<float>``.

    Raises ValueError, with the allowed types, for another name.
    """
    name = sql.strip().lower()
    if name in SCALARS:
        return SCALARS[name]
    if match := _DECIMAL.fullmatch(name):
        return _decimal(int(match[1]), int(match[2]))
    if name.startswith("array<") and name.endswith(">"):
        return pa.list_(arrow_type(sql.strip()[6:-1]))
    if name.startswith("struct<") and name.endswith(">"):
        return _struct([_field(part) for part in _split(sql.strip()[7:-1])])
    raise ValueError(f"unknown type {sql!r}; allowed: {ALLOWED}{hint(sql, SCALARS)}")


def sql_type(arrow: pa.DataType) -> str:
    """Return the SQL name of an Arrow type; the inverse of `arrow_type`, large variants included.

    Arrow types without a SQL name are named as Arrow prints them.
    """
    for name, candidate in [*SCALARS.items(), *_LARGE.items()]:
        if arrow.equals(candidate):
            return name.removeprefix("large ")
    if pa.types.is_timestamp(arrow):
        return "timestamp" if arrow.tz else "timestamp_ntz"
    if pa.types.is_decimal(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    if (
        pa.types.is_list(arrow)
        or pa.types.is_large_list(arrow)
        or pa.types.is_fixed_size_list(arrow)
    ):
        return f"array<{sql_type(arrow.value_type)}>"
    if pa.types.is_struct(arrow):
        return "struct<" + ",".join(f"{f.name}:{sql_type(f.type)}" for f in arrow) + ">"
    return str(arrow)


def _decimal(precision: int, scale: int) -> pa.DataType:
    if not 1 <= precision <= _MAX_DECIMAL_DIGITS or scale > precision:
        raise ValueError(
            f"decimal({precision},{scale}): precision 1 to 38, scale at most precision"
        )
    return pa.decimal128(precision, scale)


def _struct(fields: list[pa.Field]) -> pa.DataType:
    names = [field.name.lower() for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"struct fields must differ by more than case; twice: {', '.join(twice)}")
    return pa.struct(fields)


def _field(part: str) -> pa.Field:
    name, colon, kind = part.partition(":")
    if not colon:
        raise ValueError(f"struct field {part!r} has no type; write name:type")
    return pa.field(name.strip(), arrow_type(kind))


def _split(inner: str) -> list[str]:
    """The fields of a struct, cut at commas outside of nested brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(inner):
        depth += (char in "<(") - (char in ">)")
        if char == "," and depth == 0:
            parts.append(inner[start:at])
            start = at + 1
    return [*parts, inner[start:]]
