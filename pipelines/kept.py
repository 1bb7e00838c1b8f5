"""Columns that a job keeps without declaring them: they have the type that the input gives them."""

from __future__ import annotations

from pydantic import ValidationError
from pyspark.sql import SparkSession

from pipelines.schema_check import columns_found
from schemas.config import Source
from schemas.contract import ColumnSpec, Contract
from schemas.errors import SchemaMismatch
from schemas.pinned import Pinned
from schemas.types import ALLOWED

# Text files say nothing of types: a kept column is handed through as the text that it is.
UNTYPED = {"any": "string"}


def with_kept(
    spark: SparkSession, source: Source, contract: Contract, keep: tuple[str, ...], pinned: Pinned
) -> Contract:
    """The contract with every undeclared column in ``keep``, typed as in the input's first file.

    Raises SchemaMismatch where the input has no such column.
    """
    undeclared = [name for name in keep if name not in contract.columns]
    if not undeclared:
        return contract
    name, found = next(iter(columns_found(spark, source, contract, pinned)), (pinned.root, []))
    types = dict(found)
    if missing := [column for column in undeclared if column not in types]:
        raise SchemaMismatch(
            f"{name}: no such column to keep",
            got=f"columns {', '.join(types) or 'none'}",
            allowed=f"the job keeps {', '.join(missing)}",
            next="correct keep in the job file, or declare the column in contract.columns",
        )
    try:
        kept = {c: ColumnSpec(type=UNTYPED.get(types[c], types[c])) for c in undeclared}
    except ValidationError:
        raise SchemaMismatch(
            f"{name}: a column to keep has a type that no table of Millrace has",
            got=", ".join(f"{column} {types[column]}" for column in undeclared),
            allowed=ALLOWED,
            next="take it out of keep, or write the input with another type",
        ) from None
    return contract.model_copy(update={"columns": {**contract.columns, **kept}})
