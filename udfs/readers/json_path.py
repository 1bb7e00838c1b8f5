"""Reads the value of a JSON object at a key, or at a path into nested objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millrace.schemas.column_path import Origin
from millrace.udfs.readers.json_values import misfit


def value_at(origin: Origin) -> Callable[[dict[str, Any]], Any]:
    """Return a function from an object to its value there; None if the key is missing.

    The function raises ValueError if the path leads through a value that is no object, and for a nested
    key that differs from the path's in case alone.
    """
    if len(origin.heads()) == 1:
        return lambda value: value.get(origin.name)

    def find(value: dict[str, Any]) -> Any:
        path = origin.resolve(value)
        if path is None:
            _check_absent(value, origin)
            return None
        found: Any = value[path[0]]
        for name in path[1:]:
            _check_keys(found, (name,))
            found = found[name]
        return found

    return find


def _check_absent(value: dict[str, Any], origin: Origin) -> None:
    """Raise ValueError for what the path could have meant, and did not find."""
    for head, rest in origin.splits():
        inner, after = value.get(head), Origin(rest, is_path=True)
        if type(inner) is dict:
            _check_keys(inner, after.heads())
            _check_absent(inner, after)
        elif inner is not None:
            raise misfit(inner, f"an object with {rest!r}")


def _check_keys(value: dict[str, Any], names: tuple[str, ...]) -> None:
    meant = {name.lower(): name for name in names}
    for key in value:
        if key.lower() in meant and key not in names:
            raise ValueError(f"key {key!r} differs from {meant[key.lower()]!r} in case alone")
