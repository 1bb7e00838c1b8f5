"""The sources of a job: where its input is, and how files are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from millrace.schemas.frozen import Frozen
from millrace.schemas.notation import Notation
from millrace.schemas.time_format import DateFormat, TimestampFormat

Path = Annotated[str, Field(min_length=1)]


class ParquetSource(Frozen):
    """A Parquet file, or a folder of them."""

    format: Literal["parquet"]
    path: Path


class DeltaSource(Frozen):
    """A Delta table; without ``version``, the latest one when the run starts."""

    format: Literal["delta"]
    path: Path
    version: int | None = Field(default=None, ge=0)


class CsvSource(Frozen):
    """Delimited text: RFC 4180 quotes, line breaks inside quotes, one header line a file or none."""

    format: Literal["csv"]
    path: Path
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', max_length=1, description="empty: quotes are ordinary text")
    escape: str = Field(
        default="", max_length=1, description="empty: a quote is escaped by doubling it"
    )
    encoding: str = "utf-8"
    null: str = Field(default="", description="the unquoted text that stands for NULL")
    header: bool | tuple[str, ...] = Field(
        default=True,
        description="false: no file has one, and its fields are the contract's columns in their order; "
        "a list: the names of all fields, in order, of files without one",
    )
    decimal: Literal[".", ","] = Field(
        default=".", description="what stands before the fraction of a number"
    )
    thousands: Literal["", ".", ",", " ", "\u00a0", "\u202f", "'", "\u2019", "_"] = Field(
        default="", description="what groups the digits of a number by three; empty: nothing does"
    )
    date_format: DateFormat | None = Field(
        default=None, description="as strptime's, such as %d.%m.%Y; none: ISO 8601"
    )
    timestamp_format: TimestampFormat | None = Field(
        default=None, description="as strptime's, such as %d.%m.%Y %H:%M:%S; none: ISO 8601"
    )
    line: str | None = None  # a declared bigint column that gets each record's line number

    @model_validator(mode="after")
    def _marks_differ(self) -> CsvSource:
        if self.thousands == self.decimal:
            raise ValueError(
                f"thousands and decimal are both {self.decimal!r}: which one 1{self.decimal}234 has "
                "cannot be known"
            )
        return self

    @property
    def notation(self) -> Notation:
        """Return how the file writes numbers, dates and timestamps."""
        return Notation(self.decimal, self.thousands, self.date_format, self.timestamp_format)

    @field_validator("header")
    @classmethod
    def _names_differ(cls, value: bool | tuple[str, ...]) -> bool | tuple[str, ...]:
        names = [] if isinstance(value, bool) else [name.lower() for name in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"header names must differ by more than case; twice: {', '.join(twice)}"
            )
        return value

    def names(self, declared: Iterable[str]) -> tuple[str, ...] | None:
        """Return the names of the fields of a file without a header; None if files have one."""
        if self.header is True:
            return None
        if self.header is False:
            return tuple(name for name in declared if name != self.line)
        return self.header


class JsonSource(Frozen):
    """JSON Lines: one object a line."""

    format: Literal["json"]
    path: Path
    encoding: str = "utf-8"
    line: str | None = None  # a declared bigint column that gets each record's line number


class ImagesSource(Frozen):
    """A folder of pictures: columns ``path`` (relative to the folder) and ``content`` (the file's bytes)."""

    format: Literal["images"]
    path: Path


class IdxSource(Frozen):
    """MNIST's idx or idx.gz: columns ``index``, ``pixels`` and, with ``labels``, ``label``."""

    format: Literal["idx"]
    path: Path
    labels: str | None = None


Source = Annotated[
    ParquetSource | DeltaSource | CsvSource | JsonSource | ImagesSource | IdxSource,
    Field(discriminator="format"),
]
