"""Values as JSON that every program reads: Python's own has NaN and Infinity, which are no JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any


def json_text(value: Any, default: Callable[[Any], Any] = str, *, sort_keys: bool = False) -> str:
    """On one line; a float that is no number is null, ``default`` says what JSON has no type for."""
    try:
        return json.dumps(value, default=default, sort_keys=sort_keys, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), default=default, sort_keys=sort_keys)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not isfinite(value) else value
