"""The live rows of a Delta table without Spark, whatever features its owner has switched on.

Arrow's dataset of a table reads its files as they are: rows that a deletion vector removes are there,
and columns that were mapped to other names are null. Such tables are read by delta-rs's SQL engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, Field, QueryBuilder
from deltalake.schema import ArrayType, MapType, StructType

from millrace.pipelines.lake.table_features import check_readable, has_vectors, name_of, unread
from millrace.schemas.errors import UsageError

Filters = Sequence[tuple[str, str, Any]]  # column, operator, value: all of them hold

# What changes neither which rows of a file are live nor how its columns are called.
_HARMLESS = {"timestampNtz"}
_AS_WRITTEN = {"datafusion.sql_parser.enable_ident_normalization": "false"}
PHYSICAL = "delta.columnMapping.physicalName"


def is_plain(table: DeltaTable) -> bool:
    """Whether the table's files, read as they are, hold its rows."""
    protocol = table.protocol()
    if protocol.min_reader_version == 1:
        return True
    # Version 2 is column mapping; from version 3 on, each feature is named.
    return protocol.min_reader_version > 2 and set(protocol.reader_features or ()) <= _HARMLESS  # noqa: PLR2004


def batches(
    table: DeltaTable, columns: Sequence[str] | None = None, filters: Filters = ()
) -> Iterator[pa.RecordBatch]:
    """Yield the live rows for which all ``filters`` hold; of the columns named, else of all.

    Raises UsageError for a table that cannot be read exactly, or has no such column.
    """
    check_readable(table)
    schema = pa.schema(table.schema().to_arrow())
    _check_names(table, schema, [*(columns or ()), *(name for name, *_ in filters)])
    wanted = list(columns or schema.names)
    where = pq.filters_to_expression(list(filters)) if filters else None
    if is_plain(table):
        yield from table.to_pyarrow_dataset().to_batches(columns=wanted, filter=where)
        return
    session = QueryBuilder(_AS_WRITTEN).register("rows", table)
    for batch in pa.RecordBatchReader.from_stream(session.execute('SELECT * FROM "rows"')):
        part = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
        part = part if where is None else part.filter(where)
        yield from part.select(wanted).to_batches()


def rows(
    table: DeltaTable, columns: Sequence[str] | None = None, filters: Filters = ()
) -> pa.Table:
    """Return what `batches` yields as one table."""
    found = [*batches(table, columns, filters)]
    schema = pa.schema(table.schema().to_arrow())
    shaped = pa.schema([schema.field(name) for name in columns or schema.names])
    return pa.Table.from_batches([one.cast(shaped) for one in found], shaped)


def _check_names(table: DeltaTable, schema: pa.Schema, named: Iterable[str]) -> None:
    missing = [name for name in dict.fromkeys(named) if name not in schema.names]
    if missing:
        raise UsageError(
            f"table {name_of(table)} has no column {missing[0]}",
            got=", ".join(schema.names),
            next="where a column was renamed or dropped, give it its name back, or restore the table",
        )


@dataclass(frozen=True)
class LiveFile:
    """A file of a table, and how many of its rows are live; None where its statistics do not say."""

    path: str  # as the table's log has it
    size_bytes: int
    rows: int | None


def live(table: DeltaTable) -> list[LiveFile]:
    """The table's files, in the order of `get_add_actions`.

    Statistics count deleted rows, too: those that a deletion vector removes are taken off here.
    """
    actions = pa.table(table.get_add_actions(flatten=True))
    is_known = not (has_vectors(table) and unread(table))
    gone = deleted(table) if is_known else {}
    paths = actions.column("path").to_pylist()
    has_counts = is_known and "num_records" in actions.column_names and gone.keys() <= set(paths)
    counts = actions.column("num_records").to_pylist() if has_counts else [None] * len(paths)
    return [
        LiveFile(path, size, None if count is None else count - gone.get(path, 0))
        for path, size, count in zip(
            paths, actions.column("size_bytes").to_pylist(), counts, strict=True
        )
    ]


def deleted(table: DeltaTable) -> dict[str, int]:
    """By a file's path in the table, how many of its rows a deletion vector removes, where any."""
    if not has_vectors(table):
        return {}
    root, found = table.table_uri.rstrip("/") + "/", {}
    for batch in table.deletion_vectors():
        part = pa.record_batch(batch)
        for path, selected in zip(part["filepath"], part["selection_vector"], strict=True):
            # Of folders two may have files of one name, as Hive's tables do.
            is_live = pc.sum(selected.values).as_py() or 0
            found[path.as_py().removeprefix(root)] = len(selected.values) - is_live
    return found


def renamed(table: DeltaTable) -> dict[str, str]:
    """By column or field of a struct, the name that the table's files have for it, where it is another."""
    return dict(_renamed(table.schema().fields, ""))


def _renamed(fields: Iterable[Field], above: str) -> Iterator[tuple[str, str]]:
    for field in fields:
        path, there = above + field.name, str(field.metadata.get(PHYSICAL, field.name))
        if there != field.name:
            yield path, there
        yield from _renamed_below(field.type, path)


def _renamed_below(kind: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(kind, StructType):
        yield from _renamed(kind.fields, f"{path}.")
    elif isinstance(kind, ArrayType):
        yield from _renamed_below(kind.element_type, f"{path}.element")
    elif isinstance(kind, MapType):
        yield from _renamed_below(kind.key_type, f"{path}.key")
        yield from _renamed_below(kind.value_type, f"{path}.value")
