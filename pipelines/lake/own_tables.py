"""Schema checks of Millrace's own tables, as a lake's owner left them: columns, names, features."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from millrace.pipelines.lake import live_rows, table_features
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import (
    CALIBRATIONS,
    DRIFT,
    LEDGER,
    PROFILES,
    QUARANTINE,
    RUNS,
    UNITS,
    VALIDATIONS,
    Table,
)

_ALWAYS = (RUNS, VALIDATIONS, QUARANTINE, CALIBRATIONS, UNITS, LEDGER)
_NEXT = "write to another lake (output.path), or move this table away"


def check_job(job: Job, predictions: Table | None = None) -> None:
    """Raise UsageError for a table that is there and the job could not write; nothing is computed yet.

    Of its predictions table the features alone are known to be right where ``predictions`` is None.
    """
    lake = LakeLocation.of(job)
    of_job = (*_ALWAYS, *((PROFILES, DRIFT) if job.monitor else ()))
    _check_folders(lake, (*(table.name for table in of_job), job.table))
    for table in (*of_job, *((predictions,) if predictions else ())):
        if log := opened(lake, table.name):
            check(log, table)
    if predictions is None and (log := opened(lake, job.table)):
        table_features.check_writable(log)


def _check_folders(lake: LakeLocation, names: Iterable[str]) -> None:
    for folder in (lake.folder(name) for name in names):
        if folder.exists() and not folder.is_dir():
            raise UsageError(
                f"{folder.name} is not a table",
                got=f"a file: {folder}",
                allowed="a Delta table, or nothing: the run creates it",
                next="move the file away",
            )


def opened(lake: LakeLocation, name: str) -> DeltaTable | None:
    """The table as it is now; None where no commit has made one, as after a kill before the first."""
    try:
        return DeltaTable(lake.uri(name))
    except TableNotFoundError:
        return None


def make_writable(log: DeltaTable, table: Table) -> None:
    """Check the table and add the columns that it lacks. Raises as `check` and `extend` do."""
    check(log, table)
    extend(log, table)


def check(log: DeltaTable, table: Table) -> None:
    """Raise UsageError where rows of ``table`` cannot be written there exactly.

    Other columns that the owner has added are null in new rows. Columns of `absent` are no error: `extend`
    adds them.
    """
    table_features.check_writable(log)
    _check_names(log, table)
    _check_columns(log, table)


def absent(log: DeltaTable, table: Table) -> list[str]:
    """List the columns that came after the table was made, by an earlier version of Millrace.

    With column mapping it cannot be told from a column that the owner dropped: then there are none.
    """
    mapping = log.metadata().configuration.get("delta.columnMapping.mode", "none")
    if table.is_of_job or mapping != "none":
        return []
    there = {field.name for field in log.schema().fields}
    return [column.name for column in table.columns if column.name not in there]


def extend(log: DeltaTable, table: Table) -> None:
    """Add the columns of `absent`, null in every row so far; ``log`` is then the table with them.

    Raises DeltaError where another driver changes the table at the same time.
    """
    names = absent(log, table)
    if not names:
        return
    declared = Schema.from_arrow(table.arrow_schema).fields
    once = CommitProperties(max_commit_retries=0)
    try:
        log.alter.add_columns(
            [field for field in declared if field.name in names], commit_properties=once
        )
    except CommitFailedError:  # another driver was quicker
        log.update_incremental()
        if absent(log, table):
            raise


def check_names(log: DeltaTable, table: Table) -> None:
    """Raise UsageError where a column of the table now has another name; others may be missing."""
    there = {field.name for field in log.schema().fields}
    moved = {old: new for new, old in live_rows.renamed(log).items() if old not in there}
    if gone := [column.name for column in table.columns if column.name in moved]:
        raise UsageError(
            f"table {table.name} has no column {gone[0]}",
            got=f"it was renamed to {moved[gone[0]]}",
            next=f"ALTER TABLE {table.name} RENAME COLUMN {moved[gone[0]]} TO {gone[0]}",
        )


def _check_columns(log: DeltaTable, table: Table) -> None:
    there = {one.name: one.type for one in pa.schema(log.schema().to_arrow())}
    mine = {one.name: one.type for one in table.arrow_schema}
    new = absent(log, table)
    if wrong := [name for name in mine if there.get(name) != mine[name] and name not in new]:
        raise UsageError(
            f"table {table.name} has other columns than this job writes",
            got=", ".join(f"{name} {there.get(name, 'absent')}" for name in wrong),
            allowed=", ".join(f"{name} {mine[name]}" for name in wrong),
            next=_NEXT,
        )


def _check_names(log: DeltaTable, table: Table) -> None:
    """A file is written with the names of the columns; under others it would be read as nulls."""
    mine = {column.name for column in table.columns}
    moved = {
        path: there
        for path, there in live_rows.renamed(log).items()
        if path.partition(".")[0] in mine or there in mine
    }
    if moved:
        raise UsageError(
            f"table {table.name} has renamed columns, which Millrace does not write",
            got=", ".join(f"{path}, in its files {there}" for path, there in moved.items()),
            allowed="columns as the table was made with",
            next=_NEXT,
        )
