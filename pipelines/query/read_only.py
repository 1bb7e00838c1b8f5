"""Read-only queries, checked and parsed: tokens, syntax tree and the tables that they name.

DataFusion would also write files (``COPY``) and read any (``CREATE EXTERNAL TABLE``). A query is therefore
checked by its first keyword, its syntax tree, and every table that it names. The text that runs is put
together from the checked tokens, so that no comment or odd quote can hide text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import ParseError, TokenError

from millrace.pipelines.query.views import literal, quoted
from millrace.schemas.errors import QueryError

READS = ("SELECT", "WITH", "VALUES", "(")
ALLOWED = "one SELECT, WITH or VALUES statement, or EXPLAIN before one; SHOW TABLES, DESCRIBE name"
CHANGES = (exp.DML, exp.DDL, exp.Command, exp.Copy, exp.Into, exp.Set, exp.Drop)
HIDES = re.compile(r"['\"`\\$]|--|/\*")  # in a token that is neither a string nor an identifier
EXPLAIN = re.compile(r"EXPLAIN(\s+(ANALYZE|VERBOSE)\b)*", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """A query that was checked, taken apart; ``explain`` is what came before it, or empty."""

    text: str
    tokens: list[Token]
    tree: exp.Query | exp.Values
    explain: str = ""


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
        name = spelling(table.name, known)
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


def spelling(name: str, known: Iterable[str]) -> str:
    """Return the name as it is known: exactly so, or the only one that differs by case."""
    alike = {other for other in known if other.lower() == name.lower()}
    return name if name in alike or len(alike) != 1 else alike.pop()


def respelled(statement: Statement, known: set[str]) -> str:
    """Write the checked tokens as text again: known names quoted, comments left out."""
    unquoted = [
        found for found in statement.tree.find_all(exp.Identifier) if not found.args["quoted"]
    ]
    for found in unquoted:  # names that the query itself gives
        if isinstance(found.parent, exp.Alias | exp.TableAlias):
            known = known | {spelling(found.name, known)}
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
    if (name := names.get(token.start)) and (known_name := spelling(name, known)) in known:
        return quoted(known_name)
    return " ".join(sql[token.start : token.end + 1].split())


def relations(tree: exp.Query | exp.Values, used: list[str]) -> dict[str, str]:
    """By what the query calls it, each table or view that it reads itself."""
    found = [
        (table.alias_or_name, spelling(table.name, used)) for table in tree.find_all(exp.Table)
    ]
    return {called: name for called, name in found if name in used}
