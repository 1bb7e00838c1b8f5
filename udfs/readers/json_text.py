"""Parses JSON texts: fractions as written, no key twice, no number that a double cannot hold."""

from __future__ import annotations

import json
import math
from decimal import Decimal, DecimalException
from typing import Any


def loads(text: str, *, exact: bool = False) -> Any:
    """Parse a JSON text; ``exact`` reads fractions as Decimal.

    Accepts NaN, Infinity and -Infinity, as Python writes them. Raises ValueError, also for a repeated
    key, a number beyond a double or a Decimal, and too deep nesting.
    """
    parse_float = _as_written if exact else _finite
    try:
        return json.loads(text, parse_float=parse_float, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number {text} is beyond a double")
    return value


def _as_written(text: str) -> Decimal:
    try:
        return Decimal(text)
    except DecimalException:  # an ArithmeticError: no caller takes that for a bad value
        raise ValueError(f"number {text} is beyond a decimal") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key twice: {next(n for n in names if names.count(n) > 1)!r}")
    return found
