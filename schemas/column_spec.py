"""The declared columns of a contract."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from millrace.schemas.frozen import Frozen
from millrace.schemas.types import arrow_type


def _known_type(sql: str) -> str:
    arrow_type(sql)
    return sql.strip()


TypeName = Annotated[str, AfterValidator(_known_type)]


class Reference(Frozen):
    """A column of another table, in which every value of the referring column must be."""

    path: str
    column: str
    format: Literal["parquet", "delta"] = "parquet"


class ColumnSpec(Frozen):
    """One declared input column."""

    type: TypeName
    origin: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        description="the input's own name of the column, or a path into its structs: address.city",
    )
    nullable: bool = True
    unique: bool = False
    references: Reference | None = None  # NULL refers to nothing, and passes
    fresh_within_h: Annotated[float, Field(gt=0)] | None = None  # the newest value's age, hours
    comment: str = ""

    @model_validator(mode="after")
    def _only_times_are_fresh(self) -> ColumnSpec:
        if self.fresh_within_h is not None and self.type.lower() not in ("timestamp", "date"):
            raise ValueError(f"fresh_within_h with type {self.type}; allowed: timestamp, date")
        return self

    @model_serializer(mode="wrap")
    def _as_it_is_written(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the keys of a job file: contracts without ``from`` keep their fingerprints."""
        values: dict[str, Any] = serialize(self)
        origin = values.pop("origin", None) or values.pop("from", None)
        return values if origin is None else values | {"from": origin}
