"""Names that a contract and its tables can have, for columns that the input calls otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from millrace.schemas.column_path import FieldPath, Origin
from millrace.schemas.tables import RESERVED

_AWKWARD = re.compile(r"^_|[\s,;{}()=.`]")  # not for Delta, for Great Expectations, or a contract


def declared_names(paths: Iterable[FieldPath]) -> dict[str, str]:
    """Return by declared name what the input calls the column; for most they are the same.

    A field of a struct, and a name that a table cannot have, get a name in small letters.
    """
    every = list(paths)
    taken = {path[0].lower() for path in every if not _is_renamed(path)}
    found: dict[str, str] = {}
    for number, path in enumerate(every, start=1):
        name = path[0]
        if _is_renamed(path):
            plain = re.sub(r"\W+", "_", "_".join(path).lower()).strip("_") or f"column_{number}"
            name = plain if plain not in RESERVED else f"{plain}_"
            name = next(n for n in (name, *_numbered(name, len(every))) if n not in taken)
            taken.add(name)
        found[name] = ".".join(path)
    return found


def unresolved(paths: Iterable[FieldPath]) -> list[FieldPath]:
    """Return the paths that, written with dots, lead to another column, or to none."""
    every = list(paths)
    columns: dict[str, Any] = {}
    for path in every:
        _put(columns, path)
    return [path for path in every if Origin(".".join(path), is_path=True).resolve(columns) != path]


def _is_renamed(path: FieldPath) -> bool:
    return len(path) > 1 or _AWKWARD.search(path[0]) is not None


def _numbered(name: str, most: int) -> list[str]:
    return [f"{name}_{number}" for number in range(2, most + 2)]


def _put(columns: dict[str, Any], path: FieldPath) -> None:
    for name in path[:-1]:
        columns = columns.setdefault(name, {})
    columns.setdefault(path[-1], {})


def origin_of(name: str, names: Mapping[str, str]) -> str | None:
    """Return what a column's ``from`` says; None where it needs none."""
    return None if names.get(name, name) == name else names[name]
