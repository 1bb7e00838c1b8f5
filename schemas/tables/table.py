"""A Delta table's schema: its columns, each with a type, a comment and a unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

import pyarrow as pa

from millrace.schemas.types import arrow_type

ROLE = "millrace.role"


@dataclass(frozen=True)
class Column:
    """A column: its SQL type, and a comment that ends in the unit if there is one."""

    name: str
    type: str
    comment: str
    role: str = ""  # key, output or keep, in a predictions table

    @property
    def field(self) -> pa.Field:
        """Return the Arrow field, with comment and role in its metadata, which Delta stores."""
        metadata = {"comment": self.comment} | ({ROLE: self.role} if self.role else {})
        return pa.field(self.name, arrow_type(self.type), metadata=metadata)


@dataclass(frozen=True)
class Table:
    """A table's name, the meaning of a row, and its columns."""

    name: str
    row_is: str
    columns: tuple[Column, ...]
    is_of_job: bool = (
        False  # a job's key, model and `keep` decide its columns, not Millrace's version
    )

    @property
    def arrow_schema(self) -> pa.Schema:
        """Return the columns as an Arrow schema."""
        return pa.schema([column.field for column in self.columns])

    @property
    def indexed(self) -> int:
        """Return the number of columns with statistics: those before the first whose name begins with _.

        Fields of structs count each. Queries skip files by these columns; nobody filters by the others.
        """
        shown = takewhile(lambda field: not field.name.startswith("_"), self.arrow_schema)
        return sum(1 for _ in leaves(shown))


def leaves(fields: Iterable[pa.Field], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each field that is no struct."""
    for one in fields:
        if pa.types.is_struct(one.type):
            yield from leaves(one.type, (*above, one.name))
        else:
            yield (*above, one.name)


def struct_of(columns: tuple[Column, ...]) -> str:
    """Return the SQL struct type with these columns as fields."""
    return "struct<" + ",".join(f"{column.name}:{column.type}" for column in columns) + ">"
