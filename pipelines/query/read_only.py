"""SQL over a lake in under a second: DataFusion reads the Delta tables, no JVM is started.

DataFusion would also write files (``COPY``) and read any (``CREATE EXTERNAL TABLE``), so a query is
checked first: its first keyword, its syntax tree, and every table it names. What then runs is put
together anew from the tokens that were checked, so that no comment or odd quote can hide text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlglot
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError
from sqlglot import Token, TokenType, exp
from sqlglot.errors import ParseError, TokenError

from pipelines.views import Fields, View, literal, quoted, tables, views
from schemas.errors import QueryError

READS = ("SELECT", "WITH", "VALUES", "(")
ALLOWED = "one SELECT, WITH or VALUES statement, or EXPLAIN before one; SHOW TABLES, DESCRIBE name"
CHANGES = (exp.DML, exp.DDL, exp.Command, exp.Copy, exp.Into, exp.Set, exp.Drop)
HIDES = re.compile(r"['\"`\\$]|--|/\*")  # in a token that is neither a string nor an identifier
EXPLAIN = re.compile(r"EXPLAIN(\s+(ANALYZE|VERBOSE)\b)*", re.IGNORECASE)
PARTS = re.compile(r"^((\w+ error|Error during planning|External error): )+")
LONGEST = 200  # characters of an error that are shown
CONFIG = {"datafusion.sql_parser.enable_ident_normalization": "false"}  # x_CostKind stays as it is


@dataclass(frozen=True)
class Statement:
    """A query that was checked, taken apart; ``explain`` is what came before it, or empty."""

    text: str
    tokens: list[Token]
    tree: exp.Query | exp.Values
    explain: str = ""


def query(lake: Path, sql: str, *, limit: int | None = None, offset: int = 0) -> pa.Table:
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
        _run(session, f"CREATE VIEW {quoted(view.name)} AS {text}", columns)
    return _run(session, _respelled(statement, columns | set(used)), columns, limit, offset)


def read_only(sql: str) -> Statement:
    """Take one statement apart; QueryError unless it only reads."""
    before, body = _explain(sql)
    tokens = _tokens(body)
    first = tokens[0].text.upper()
    if first not in READS:
        raise _not_read_only(first)
    if any(token.token_type is TokenType.SEMICOLON for token in tokens):
        raise QueryError("more than one statement", allowed=ALLOWED, next="run them one by one")
    for token in tokens:
        _refuse_hidden(token, body)
    return Statement(body, tokens, _parsed(body), before)


def names(statement: Statement, known: list[str]) -> list[str]:
    """List the tables and views that it reads; QueryError where one is not among those ``known``."""
    return _named(statement.tree, known)


def fields(lake: Path, table: str) -> Fields:
    """List a table's columns with their metadata, from its Delta log; no JVM is started."""
    return _fields(json.loads(_open(lake, table).schema().to_json()))


def _explain(sql: str) -> tuple[str, str]:
    """Split EXPLAIN from the rest, where blanks stand for it, so that places stay true."""
    match = EXPLAIN.match(sql.lstrip())
    if not match:
        return "", sql
    cut = len(sql) - len(sql.lstrip()) + match.end()
    return " ".join(match[0].split()), re.sub(r"[^\n]", " ", sql[:cut]) + sql[cut:]


def _tokens(sql: str) -> list[Token]:
    try:
        tokens = sqlglot.tokenize(sql)
    except TokenError as error:
        why = str(error.__cause__ or "")
        why = why if why.startswith("Missing") else "it ends too early"  # sqlglot's own IndexError
        raise QueryError(
            f"this SQL cannot be read: {why}", next="close every quote and comment"
        ) from None
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise QueryError(
            "no SQL was given", allowed=ALLOWED, next='for example "SELECT * FROM runs_current"'
        )
    return tokens


def _refuse_hidden(token: Token, sql: str) -> None:
    plain = token.token_type in (TokenType.STRING, TokenType.IDENTIFIER)
    if not plain and (hidden := HIDES.search(sql[token.start : token.end + 1])):
        raise QueryError(
            f"line {token.line}: {hidden[0]} has no meaning here",
            got=sql[token.start : token.end + 1],
            allowed="'strings', \"names\", -- and /* */ comments; no parameters, no hints",
        )


def _parsed(sql: str) -> exp.Query | exp.Values:
    try:
        statements = [tree for tree in sqlglot.parse(sql) if tree is not None]
    except RecursionError:
        raise QueryError("this SQL is nested too deeply", next="use WITH for its parts") from None
    except ParseError as error:
        place = error.errors[0]
        why = re.sub(r" but got <.*", "", str(place["description"]))
        why = re.sub(r"Required keyword.*", "Something is missing", why)
        raise QueryError(
            f"this SQL cannot be read: line {place['line']}, column {place['col']}: {why}",
            got=place["highlight"],
        ) from None
    if len(statements) != 1:
        raise QueryError("more than one statement", got=str(len(statements)), allowed=ALLOWED)
    tree = statements[0]
    change = tree.find(*CHANGES)
    if change is not None or not isinstance(tree, exp.Query | exp.Values):
        raise _not_read_only((change or tree).key.upper())
    return tree


def _not_read_only(got: str) -> QueryError:
    return QueryError("this SQL is not a read-only query", got=got, allowed=ALLOWED)


def _named(tree: exp.Query | exp.Values, known: list[str]) -> list[str]:
    """List the tables and views that the tree reads; QueryError for anything else there."""
    local = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    named = []
    for table in tree.find_all(exp.Table, exp.Lateral):
        if isinstance(table, exp.Lateral) and isinstance(table.this, exp.Subquery | exp.Unnest):
            continue
        if not isinstance(table.this, exp.Identifier) or table.args.get("db"):
            raise QueryError(
                "only this lake's tables and views can be read",
                got=table.sql(),
                allowed=", ".join(known),
            )
        name = _spelling(table.name, known)
        if name in known:
            named.append(name)
        elif table.name.lower() not in local:
            raise _unknown(table.name, known)
    return named


def _unknown(name: str, known: list[str]) -> QueryError:
    close = get_close_matches(name.lower(), known, 1)
    return QueryError(
        f"no table or view {name} in this lake",
        allowed=", ".join(known),
        next=f"did you mean {close[0]}?"
        if close
        else "a view appears with the tables that it reads",
    )


def _in_order(named: Iterable[str], allowed: Mapping[str, View]) -> list[str]:
    """List what is named and what that needs: tables, then views in the order of making."""
    wanted, todo = set[str](), list(named)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += allowed[name].needs if name in allowed else ()
    return [*sorted(wanted - set(allowed)), *(name for name in allowed if name in wanted)]


def _open(lake: Path, table: str) -> DeltaTable:
    try:
        return DeltaTable(str(lake / table))
    except (DeltaError, OSError) as error:
        raise QueryError(f"table {table} cannot be opened: {_first_line(error)}") from None


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


def _spelling(name: str, known: Iterable[str]) -> str:
    """Return the name as it is known: exactly so, or the only one that differs by case."""
    alike = {other for other in known if other.lower() == name.lower()}
    return name if name in alike or len(alike) != 1 else alike.pop()


def _respelled(statement: Statement, known: set[str]) -> str:
    """Write the checked tokens as text again: known names quoted, comments left out."""
    unquoted = [
        found for found in statement.tree.find_all(exp.Identifier) if not found.args["quoted"]
    ]
    for found in unquoted:  # names that the query itself gives
        if isinstance(found.parent, exp.Alias | exp.TableAlias):
            known = known | {_spelling(found.name, known)}
    names = {found.meta["start"]: found.name for found in unquoted if "start" in found.meta}
    parts = [statement.explain]
    end = -1
    for token in statement.tokens:
        dotted = token.start == end + 1 and (token.text == "." or parts[-1] == ".")
        parts += ["" if dotted else " ", _written(token, statement.text, names, known)]
        end = token.end
    return "".join(parts)


def _written(token: Token, sql: str, names: Mapping[int, str], known: set[str]) -> str:
    if token.token_type is TokenType.STRING:
        return literal(token.text)
    if token.token_type is TokenType.IDENTIFIER:
        return quoted(token.text)
    if (name := names.get(token.start)) and (spelling := _spelling(name, known)) in known:
        return quoted(spelling)
    return " ".join(sql[token.start : token.end + 1].split())


def _run(
    session: QueryBuilder, sql: str, columns: set[str], limit: int | None = None, offset: int = 0
) -> pa.Table:
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


def _explained(line: str, columns: set[str]) -> QueryError:
    missing = re.search(r"No field named (\S+?)\.?(?:\s|$)", line)
    if not missing:
        return QueryError(f"the query cannot be answered: {line}")
    name = missing[1].split(".")[-1].strip('"')
    close = get_close_matches(name, sorted(columns), 1)
    return QueryError(
        f"no column {name} in the tables that the query reads",
        allowed=", ".join(sorted(columns)),
        next=f"did you mean {close[0]}?" if close else None,
    )


def _first_line(error: BaseException) -> str:
    """Shorten an error to its cause, one line, without the names of DataFusion's own parts."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    after = [at + 1 for at, line in enumerate(lines[:-1]) if line.lower() == "caused by"]
    line = lines[after[-1] if after else 0] if lines else type(error).__name__
    line = PARTS.sub("", line)
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."
