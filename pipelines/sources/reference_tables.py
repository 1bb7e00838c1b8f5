"""Tables that a contract's columns refer to: pinned and read as the input is."""

from __future__ import annotations

from pyspark.sql import SparkSession

from millrace.pipelines.sources.schema_check import check_schema
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.column_spec import ColumnSpec, Reference
from millrace.schemas.contract import Contract
from millrace.schemas.pinned import Pinned
from millrace.schemas.rule import Rule
from millrace.schemas.sources import DeltaSource, ParquetSource


def source_of(to: Reference) -> ParquetSource | DeltaSource:
    """The table as a source."""
    if to.format == "delta":
        return DeltaSource(format="delta", path=to.path)
    return ParquetSource(format="parquet", path=to.path)


def contract_of(to: Reference, contract: Contract, rule: Rule) -> Contract:
    """The one column of the table that is read: of the same type as the column that refers to it."""
    (name,) = rule.columns
    return Contract(columns={to.column: ColumnSpec(type=contract.columns[name].type)})


def pinned_references(
    spark: SparkSession, contract: Contract, rules: tuple[Rule, ...]
) -> dict[str, Pinned]:
    """By the name of each rule that refers to a table, what that table is now.

    Raises UsageError where it is not there, SchemaMismatch where it has no such column of the type.
    """
    found = {}
    for rule in rules:
        if rule.reference is not None:
            source = source_of(rule.reference)
            pinned = pin(source)
            check_schema(spark, source, contract_of(rule.reference, contract, rule), pinned)
            found[rule.name] = pinned
    return found
