"""The place of a declared column in the input: a name, or a path into structs such as ``address.city``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FieldPath = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """The input's name of a column. With ``is_path``, its dots may lead into structs."""

    name: str
    is_path: bool = False

    def resolve(self, columns: Mapping[str, Any]) -> FieldPath | None:
        """Return the names that lead to the column; None if the input does not have it.

        A struct is a mapping of its fields. The whole name is tried first, then the longest struct name
        that leads to a field, since names may have dots.
        """
        if self.name in columns:
            return (self.name,)
        for head, rest in self.splits():
            fields = columns.get(head)
            if isinstance(fields, Mapping) and (inner := Origin(rest, True).resolve(fields)):
                return (head, *inner)
        return None

    def heads(self) -> tuple[str, ...]:
        """Return the names that the top-level column may have."""
        return (self.name, *(head for head, _ in self.splits()))

    def splits(self) -> Iterator[tuple[str, str]]:
        """Yield the struct and the rest of the path at every dot, the longest struct name first."""
        for at in range(len(self.name) - 1, 0, -1) if self.is_path else ():
            if self.name[at] == "." and at + 1 < len(self.name):
                yield self.name[:at], self.name[at + 1 :]


def paths(columns: Mapping[str, Any]) -> Iterator[str]:
    """Yield the name of every column and the dotted path of every field."""
    for name, fields in columns.items():
        yield name
        if isinstance(fields, Mapping):
            yield from (f"{name}.{path}" for path in paths(fields))
