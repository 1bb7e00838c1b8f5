"""The only place that writes Delta: declared schemas, one commit a call, each under a transaction id."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from millrace.pipelines.lake import live_rows, own_tables
from millrace.pipelines.lake.delta_history import MESSAGE
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.parquet_files import adding
from millrace.schemas.errors import RunFailed
from millrace.schemas.rule import quoted
from millrace.schemas.tables import Table
from millrace.udfs.engine.fault_injection import reached


def spark_schema(arrow: pa.Schema) -> StructType:
    """Return the Spark schema of an Arrow schema with its comments, which Delta stores with the columns."""
    schema: StructType = from_arrow_schema(arrow)
    for field, source in zip(schema.fields, arrow, strict=True):
        field.metadata = {k.decode(): v.decode() for k, v in (source.metadata or {}).items()}
    return schema


def committed(lake: LakeLocation, table: str, transaction: str) -> bool:
    """Whether the table holds a commit with this transaction id; read from its log, not from memory."""
    return bool(transactions(lake, table, [transaction]))


def transactions(lake: LakeLocation, table: str, names: Iterable[str]) -> set[str]:
    """Those of the transactions that the table holds."""
    log = own_tables.opened(lake, table)
    if log is None:
        return set()
    return {name for name in names if log.transaction_version(name) is not None}


def values(
    lake: LakeLocation,
    table: Table,
    filters: Sequence[tuple[str, str, Any]] = (),
    columns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """The rows of a small table for which all ``filters`` hold, without Spark; none where it is not there.

    In a table of an earlier version of Millrace, columns that came later are None.
    """
    log = own_tables.opened(lake, table.name)
    if log is None:
        return []
    own_tables.check_names(log, table)
    new = own_tables.absent(log, table)
    if any(name in new for name, _, _ in filters):  # no comparison holds for null
        return []
    stored = [name for name in columns or () if name not in new]
    found = live_rows.rows(log, stored or None, filters).to_pylist()
    if columns is None:
        return [{**row, **dict.fromkeys(new)} for row in found]
    return [{name: row.get(name) for name in columns} for row in found]


def append(rows: DataFrame, lake: LakeLocation, table: Table, transaction: str, by: Driver) -> None:
    """Append ``rows`` in one commit of an attempt, and prove by the table's log that it is there.

    The frame must have the table's columns, by name and type. Raises RunFailed where the log does
    not show the commit, and ClaimLost where another driver has taken the run over: its first act is
    to remove the files of this one, so that what is left of them may be a part, or nothing.
    """
    schema = spark_schema(table.arrow_schema)
    shaped = rows.select([F.col(quoted(column.name)) for column in table.columns])
    if shaped.schema.simpleString() != schema.simpleString():
        raise RunFailed(
            f"rows for table {table.name} have another schema than schemas/tables.py declares",
            got=shaped.schema.simpleString(),
            allowed=schema.simpleString(),
        )
    try:
        log = _existing(lake, table)
        if log is not None and log.transaction_version(transaction) is not None:
            return
        with _computed(shaped, by.folder) as files:
            by.may_commit()  # after the files were looked for: then they are all there
            log = log or _opened(lake, table)
            # Where it was not there: made meanwhile by another driver, and perhaps committed to.
            if log.transaction_version(transaction) is not None:
                raise RunFailed(f"another driver has committed {transaction} to {table.name}")
            moved = [file.rename(lake.folder(table.name) / file.name) for file in files]
        log.create_write_transaction(
            [*adding(moved, table.arrow_schema, table.indexed)],
            mode="append",
            schema=log.schema(),
            commit_properties=_naming(transaction),
        )
    except (DeltaError, OSError) as error:
        by.may_commit()  # else that is why
        raise _unwritten(table, error) from error
    _prove(lake, table, transaction)


def append_values(
    values: Iterable[Mapping[str, Any]], lake: LakeLocation, table: Table, transaction: str
) -> None:
    """Append a few rows that the driver made itself, without Spark; keys that are absent become null.

    A transaction that the table has already writes nothing. The commit is
    made against the version that was read, so of two drivers with one transaction the second fails.
    """
    names = [column.name for column in table.columns]
    rows = [{name: value.get(name) for name in names} for value in values]
    try:
        log = _opened(lake, table)
        if log.transaction_version(transaction) is not None:
            return
        made = _with_others(pa.Table.from_pylist(rows, table.arrow_schema), log)
        write_deltalake(log, made, mode="append", commit_properties=_naming(transaction))
    except (DeltaError, OSError) as error:
        raise _unwritten(table, error) from error
    _prove(lake, table, transaction)


def count(lake: LakeLocation, table: str, **equal: str | int) -> int:
    """Rows of a table whose columns have these values, counted without Spark."""
    mine = [(name, "=", value) for name, value in equal.items()]
    there = DeltaTable(lake.uri(table))
    return sum(len(batch) for batch in live_rows.batches(there, [*equal], mine))


def added(lake: LakeLocation, table: str, column: str) -> list[tuple[datetime, int]]:
    """Of each file of the table: the largest time in a column, and rows. From the log, no data is read."""
    there = DeltaTable(lake.uri(table))
    actions = pa.table(there.get_add_actions(flatten=True))
    if not {"num_records", f"max.{column}"} <= set(actions.column_names):  # no file yet
        return []
    largest = actions[f"max.{column}"].to_pylist()
    files = zip(largest, live_rows.live(there), strict=True)
    return [(newest, one.rows) for newest, one in files if one.rows and newest is not None]


def remove_older(lake: LakeLocation, table: Table, column: str, before: datetime) -> None:
    """Remove the rows whose time in a column is before that. Where others write at the moment: later."""
    limit = before.astimezone(UTC).isoformat(timespec="microseconds")
    with suppress(CommitFailedError):
        DeltaTable(lake.uri(table.name)).delete(f"\"{column}\" < '{limit}'")


def _opened(lake: LakeLocation, table: Table) -> DeltaTable:
    """The table as it is now; made, with its columns and their comments, where it was not there."""
    path = lake.uri(table.name)
    if not DeltaTable.is_deltatable(path):
        once = CommitProperties(max_commit_retries=0)  # version 0, or none
        with suppress(CommitFailedError):  # another driver was quicker: then it is there
            DeltaTable.create(
                path,
                table.arrow_schema,
                mode="ignore",
                configuration=_properties(table),
                commit_properties=once,
            )
    log = DeltaTable(path)
    own_tables.make_writable(log, table)
    return log


@contextmanager
def _computed(rows: DataFrame, folder: Path) -> Iterator[list[Path]]:
    """``rows`` as complete Parquet files, which go unless they are moved. Their names are unique."""
    scratch = folder / str(uuid4())
    try:
        rows.write.parquet(str(scratch))
        reached("computed")
        yield sorted(scratch.glob("*.parquet"))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _existing(lake: LakeLocation, table: Table) -> DeltaTable | None:
    """The table, where it is there. Raises UsageError where it is not one that can be written."""
    log = own_tables.opened(lake, table.name)
    if log is not None:
        own_tables.make_writable(log, table)
    return log


def _with_others(made: pa.Table, log: DeltaTable) -> pa.Table:
    """The rows with nulls in the columns that the table's owner has added."""
    for field in pa.schema(log.schema().to_arrow()):
        if field.name not in made.column_names:
            made = made.append_column(field, pa.nulls(len(made), field.type))
    return made


def _naming(transaction: str) -> CommitProperties:
    return CommitProperties(
        custom_metadata={"userMetadata": f"{MESSAGE}{transaction}"},
        app_transactions=[Transaction(transaction, 1)],
    )


def _unwritten(table: Table, error: Exception) -> RunFailed:
    return RunFailed(
        f"table {table.name} cannot be written",
        got=str(error)[:500],
        next="see what is in its folder, then run the job again",
    )


def _prove(lake: LakeLocation, table: Table, transaction: str) -> None:
    """Raise RunFailed where the table's log does not show the commit."""
    if not committed(lake, table.name, transaction):
        raise RunFailed(
            f"table {table.name} does not show the commit {transaction}", next="run the job again"
        )


def _properties(table: Table) -> dict[str, str]:
    """What a table is made with."""
    return {"delta.dataSkippingNumIndexedCols": str(table.indexed)}


def stage(rows: DataFrame, folder: Path) -> DataFrame:
    """``rows`` written to a scratch folder and read back: computed once, however often they are used."""
    rows.write.mode("overwrite").parquet(str(folder))
    return rows.sparkSession.read.schema(rows.schema).parquet(str(folder))


def read(spark: SparkSession, lake: LakeLocation, table: str) -> DataFrame:
    """A table of the lake as it is now."""
    return spark.read.format("delta").load(lake.uri(table))
