"""Checks whether a model can read the values of a declared column: exactly, or as the nearest number."""

from __future__ import annotations

import pyarrow as pa

from millrace.schemas.types import arrow_type

# Steps that make numbers of the model's own precision of whatever numbers a column has.
_OF_NUMBERS = ("columns", "vector")


def why_not(declared: str, wanted: str, step: str) -> str | None:
    """Return why a step cannot read a column of the declared type as the wanted one; None if it can.

    Equal types fit. A boolean is 0 or 1. An integer read as a smaller type is checked per row: one out of
    range has no prediction. Fractions are never read as integers.
    """
    here, there = arrow_type(declared), arrow_type(wanted)
    if here == there:
        return None
    if step in _OF_NUMBERS and pa.types.is_list(here) and pa.types.is_list(there):
        here, there = here.value_type, there.value_type
    elif step != "columns":
        return "another type"
    if not _is_number(here) or not _is_number(there) or pa.types.is_boolean(there):
        return "another type"
    if pa.types.is_integer(there) and not (pa.types.is_integer(here) or pa.types.is_boolean(here)):
        return "its values may have fractions"
    return None


def _is_number(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(is_kind(kind) for is_kind in kinds)
