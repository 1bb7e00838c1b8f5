"""A column of an input, as one of its files or the table has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from millrace.pipelines.sources.parquet_footer import Form

ANY = "any"  # a type that a file does not say: csv text, a JSON null
FOLDER = "in a folder's name"  # a type, where folders hold the values


class InputColumn(NamedTuple):
    """A column of one file: its SQL type, and of Parquet the form in which the file has it."""

    name: str
    kind: str
    form: Form = "plain"
    finer: int = 0  # values that are no whole number of microseconds
    text: str | None = None  # in a folder's name
    fields: tuple[InputColumn, ...] = ()  # of a struct


InputColumns = list[InputColumn]


def tree(found: Iterable[InputColumn]) -> dict[str, Any]:
    """The columns by name; of a struct, its fields."""
    return {column.name: tree(column.fields) for column in found}
