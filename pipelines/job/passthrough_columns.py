"""Columns that a job keeps without declaring them: they have the type that the input gives them."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError
from pyspark.sql import SparkSession

from millrace.pipelines.sources.column_listing import columns_found
from millrace.pipelines.sources.input_column import FOLDER
from millrace.pipelines.sources.schema_check import check_schema
from millrace.schemas.column_spec import ColumnSpec
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.errors import SchemaMismatch, UsageError
from millrace.schemas.nearest import hint
from millrace.schemas.pinned import Pinned
from millrace.schemas.sources import Source
from millrace.schemas.types import ALLOWED

# Text files have no types: a passthrough column stays text. A Parquet column of nulls only has none either.
UNTYPED = {"any": "string", "null": "string", FOLDER: "string"}


def checked_contract(spark: SparkSession, job: Job, pinned: Pinned) -> Contract:
    """The job's contract with its passthrough columns, once the input is found to have all of them.

    Raises UsageError, SchemaMismatch or InputCorrupt.
    """
    contract = with_kept(spark, job.source, job.contract, job.keep, pinned)
    check_schema(spark, job.source, contract, pinned)
    return contract


def with_kept(
    spark: SparkSession, source: Source, contract: Contract, keep: tuple[str, ...], pinned: Pinned
) -> Contract:
    """The contract with every undeclared column in ``keep``, typed as in the input's first file.

    Raises UsageError where the input has no such column, SchemaMismatch for a type that no table has.
    """
    undeclared = [name for name in keep if name not in contract.columns]
    if not undeclared:
        return contract
    every = list(columns_found(spark, source, contract, pinned))
    name, found = next(iter(every), (pinned.root, []))
    types = {column.name: column.kind for column in found}
    for column in (column for _, others in every for column in others):
        if types.get(column.name) in UNTYPED:  # a file of nothing but nulls does not tell the type
            types[column.name] = column.kind
    refuse_missing(name, types, undeclared)
    try:
        columns = {c: ColumnSpec(type=UNTYPED.get(types[c], types[c])) for c in undeclared}
    except ValidationError:
        raise SchemaMismatch(
            f"{name}: a column to keep has a type that no table of Millrace has",
            got=", ".join(f"{column} {types[column]}" for column in undeclared),
            allowed=ALLOWED,
            next="take it out of keep, or write the input with another type",
        ) from None
    return contract.model_copy(update={"columns": {**contract.columns, **columns}})


def refuse_missing(name: str, found: Iterable[str], keep: Iterable[str]) -> None:
    """Raise UsageError for a column that the job keeps and the input ``name`` does not have."""
    known = list(found)
    missing = [column for column in keep if column not in known]
    if missing:
        raise UsageError(
            f"{name}: no such column to keep: {', '.join(missing)}{hint(missing[0], known)}",
            got=f"keep: {', '.join(missing)}",
            allowed=f"columns {', '.join(known) or 'none'}",
            next="correct keep in the job file",
        )
