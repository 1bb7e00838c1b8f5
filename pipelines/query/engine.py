"""SQL over a lake in under a second: DataFusion reads the Delta tables, no JVM is started."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import sqlglot
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError
from sqlglot import exp

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.table_features import check_readable
from millrace.pipelines.query.read_only import names, read_only, relations, respelled
from millrace.pipelines.query.views import Fields, View, quoted, tables, views
from millrace.schemas.errors import QueryError

PARTS = re.compile(r"^((\w+ error|Error during planning|External error): )+")
LONGEST = 200  # characters of an error that are shown
CONFIG = {"datafusion.sql_parser.enable_ident_normalization": "false"}  # x_CostKind stays as it is


def query(lake: LakeLocation, sql: str, *, limit: int | None = None, offset: int = 0) -> pa.Table:
    """Return the rows of one read-only query over the tables and views of a lake.

    Of them ``limit``, from the one at ``offset`` on: what comes after is not computed. Names are found
    whatever their case. Raises QueryError for everything that cannot be answered.
    """
    statement = read_only(sql)
    existing = tables(lake)
    allowed = views(existing)
    used = _in_order(names(statement, [*existing, *allowed]), allowed)
    opened = {name: _open(lake, name) for name in used if name not in allowed}
    schemas = {name: json.loads(table.schema().to_json()) for name, table in opened.items()}
    session = QueryBuilder(CONFIG)
    for name, table in opened.items():
        session.register(name, table)
    columns = {name for schema in schemas.values() for name in _names(schema)}
    for view in (allowed[name] for name in used if name in allowed):
        text = view.sql(_fields(schemas.get(view.over)))
        columns |= {found.name for found in sqlglot.parse_one(text).find_all(exp.Identifier)}
        _run(session, f"CREATE VIEW {quoted(view.name)} AS {text}", _always(columns))
    named = relations(statement.tree, used)
    return _run(
        session,
        respelled(statement, columns | set(used)),
        lambda relation: _columns(session, named, relation),
        limit,
        offset,
    )


def fields(lake: LakeLocation, table: str) -> Fields:
    """List a table's columns with their metadata, from its Delta log; no JVM is started."""
    return _fields(json.loads(_open(lake, table).schema().to_json()))


def _in_order(named: Iterable[str], allowed: Mapping[str, View]) -> list[str]:
    """List what is named and what that needs: tables, then views in the order of making."""
    wanted, todo = set[str](), list(named)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += allowed[name].needs if name in allowed else ()
    return [*sorted(wanted - set(allowed)), *(name for name in allowed if name in wanted)]


def _open(lake: LakeLocation, table: str) -> DeltaTable:
    try:
        log = DeltaTable(lake.uri(table))
    except (DeltaError, OSError) as error:
        raise QueryError(f"table {table} cannot be opened: {_first_line(error)}") from None
    check_readable(log, QueryError)
    return log


def _fields(schema: Any) -> list[tuple[str, Mapping[str, Any]]]:
    return [(field["name"], field["metadata"]) for field in schema["fields"]] if schema else []


def _names(kind: Any) -> Iterator[str]:
    """Yield every column and struct field in a Delta type."""
    for field in kind.get("fields", ()) if isinstance(kind, dict) else ():
        yield field["name"]
        yield from _names(field["type"])
    for part in ("elementType", "keyType", "valueType"):
        if isinstance(kind, dict) and part in kind:
            yield from _names(kind[part])


def _always(columns: set[str]) -> Callable[[str], Iterable[str]]:
    return lambda _: columns


def _columns(session: QueryBuilder, named: Mapping[str, str], relation: str) -> set[str]:
    """The columns of the relation that the query calls so; of all that it reads, where none is."""
    candidates = [named[relation]] if relation in named else named.values()
    found = set[str]()
    for name in candidates:
        reader = pa.RecordBatchReader.from_stream(
            session.execute(f"SELECT * FROM {quoted(name)} LIMIT 0")  # noqa: S608 - a checked name
        )
        found |= set(reader.schema.names)
    return found


def _run(
    session: QueryBuilder,
    sql: str,
    columns: Callable[[str], Iterable[str]],
    limit: int | None = None,
    offset: int = 0,
) -> pa.Table:
    """Run a statement; ``columns`` says, of an unknown one, which its relation has."""
    try:
        reader = pa.RecordBatchReader.from_stream(session.execute(sql))
        table = reader.read_all() if limit is None else _page(reader, limit, offset)
    except (DeltaError, pa.ArrowException, OSError) as error:
        raise _explained(_first_line(error), columns) from None
    plain = pa.schema([field.with_type(_plain(field.type)) for field in table.schema])
    return table if table.schema.equals(plain) else table.cast(plain)  # the import alone is 0.1 s


def _page(reader: pa.RecordBatchReader, limit: int, offset: int) -> pa.Table:
    """Read no more batches than the page needs."""
    found, seen = list[pa.RecordBatch](), 0
    for batch in reader:
        found.append(
            batch.slice(max(0, offset - seen)) if seen + len(batch) > offset else batch[:0]
        )
        seen += len(batch)
        if seen >= offset + limit:
            break
    return pa.Table.from_batches(found, reader.schema).slice(0, limit)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Replace Arrow's string and binary views by the types that every reader knows."""
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.string() if pa.types.is_string_view(kind) else pa.binary()
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct(
            [pa.field(field.name, _plain(field.type), field.nullable) for field in kind]
        )
    return kind


def _explained(line: str, columns: Callable[[str], Iterable[str]]) -> QueryError:
    missing = re.search(r"No field named (\S+?)\.?(?:\s|$)", line)
    if not missing:
        return QueryError(f"the query cannot be answered: {line}")
    *before, name = (part.strip('"') for part in missing[1].split("."))
    known = sorted(columns(before[-1] if before else ""))
    close = get_close_matches(name, known, 1)
    return QueryError(
        f"no column {name} in the tables that the query reads",
        allowed=", ".join(known),
        next=f"did you mean {close[0]}?" if close else None,
    )


def _first_line(error: BaseException) -> str:
    """Shorten an error to its cause, one line, without the names of DataFusion's own parts."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    after = [at + 1 for at, line in enumerate(lines[:-1]) if line.lower() == "caused by"]
    line = lines[after[-1] if after else 0] if lines else type(error).__name__
    line = PARTS.sub("", line)
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."
