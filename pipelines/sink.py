"""The only place that writes Delta: declared schemas, one commit a call, each under a transaction id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from schemas.contract import quoted
from schemas.errors import RunFailed
from schemas.tables import Table


def spark_schema(arrow: pa.Schema) -> StructType:
    """The Spark schema of an Arrow schema, comments kept: Delta stores them with the columns."""
    schema: StructType = from_arrow_schema(arrow)
    for field, source in zip(schema.fields, arrow, strict=True):
        field.metadata = {k.decode(): v.decode() for k, v in (source.metadata or {}).items()}
    return schema


def committed(lake: Path, table: str, transaction: str) -> bool:
    """Whether the table holds a commit with this transaction id; read from its log, not from memory."""
    try:
        return DeltaTable(str(lake / table)).transaction_version(transaction) is not None
    except TableNotFoundError:
        return False


def append(rows: DataFrame, lake: Path, table: Table, transaction: str) -> None:
    """Append ``rows`` in one commit, and prove by the table's log that it is there.

    The frame must have the table's columns, by name and type. Raises RunFailed where the log does
    not show the commit.
    """
    schema = spark_schema(table.arrow_schema)
    shaped = rows.select([_declared(field.name, field.metadata) for field in schema.fields])
    if shaped.schema.simpleString() != schema.simpleString():
        raise RunFailed(
            f"rows for table {table.name} have another schema than schemas/tables.py declares",
            got=shaped.schema.simpleString(),
            allowed=schema.simpleString(),
        )
    (
        shaped.write.format("delta")
        .mode("append")
        .option("txnAppId", transaction)
        .option("txnVersion", 1)
        .option("userMetadata", f"millrace {transaction}")
        .save(str(lake / table.name))
    )
    if not committed(lake, table.name, transaction):
        raise RunFailed(
            f"table {table.name} does not show the commit {transaction}", next="run the job again"
        )


def append_values(
    spark: SparkSession,
    values: Iterable[Mapping[str, Any]],
    lake: Path,
    table: Table,
    transaction: str,
) -> None:
    """Append a few rows that the driver made itself; keys that are absent become null."""
    names = [column.name for column in table.columns]
    rows = [tuple(value.get(name) for name in names) for value in values]
    frame = spark.createDataFrame(rows, spark_schema(table.arrow_schema)).coalesce(1)
    append(frame, lake, table, transaction)


def stage(rows: DataFrame, folder: Path) -> DataFrame:
    """``rows`` written to a scratch folder and read back: computed once, however often they are used."""
    rows.write.mode("overwrite").parquet(str(folder))
    return rows.sparkSession.read.schema(rows.schema).parquet(str(folder))


def read(spark: SparkSession, lake: Path, table: str) -> DataFrame:
    """A table of the lake as it is now."""
    return spark.read.format("delta").load(str(lake / table))


def _declared(name: str, metadata: dict[str, Any]) -> Column:
    return F.col(quoted(name)).alias(name, metadata=metadata)
