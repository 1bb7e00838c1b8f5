"""The text of a row rule: its tokens, its syntax tree, and errors that show where they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from millrace.schemas.dialect import Spark4
from millrace.schemas.excerpt import excerpt, shown

LONGEST = 65_536  # characters of a rule
DEEPEST = 100  # levels of a tree
_WHOLE = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|/\*.*?\*/|--[^\n]*|(?!/\*)[^'"`]""", re.DOTALL
)
# What begins a piece of syntax whose tree does not say where it stood.
_WORDS = {"subquery": "select", "window": "over", "alias": "as", "intdiv": "div", "attimezone": "at",
          "placeholder": "?:{", "parameter": "@$", "aliases": "as", "unnest": "unnest"}  # fmt: skip


class RuleText:
    """A parsed rule.

    Raises ValueError, with the place, for a text that is not one SQL predicate.
    """

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = self._tokens()
        self.tree = self._tree()

    def refusal(self, what: str, node: exp.Expr) -> ValueError:
        """Return an error that shows where the node is."""
        return self._refusal(what, *self._span(node))

    def _refusal(self, what: str, start: int, end: int) -> ValueError:
        return ValueError(f"{shown(what)}\n{excerpt(self.sql, start, end)}")

    def _tokens(self) -> list[Any]:
        if len(self.sql) > LONGEST:
            raise ValueError(
                f"a predicate may have {LONGEST:,} characters at most, not {len(self.sql):,}"
            )
        try:
            tokens = sqlglot.tokenize(self.sql, dialect=Spark4)
        except SqlglotError:
            at = _unclosed(self.sql)
            what = "not a SQL predicate: a quote or a comment is never closed"
            raise self._refusal(what, at, at + 1) from None
        depth = 0
        for token in tokens:
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
            if depth > DEEPEST:
                raise self._refusal(
                    "the predicate is nested too deeply", token.start, token.end + 1
                )
            if token.token_type.name == "SEMICOLON":
                what = "one predicate is wanted, without semicolons"
                raise self._refusal(what, token.start, token.end + 1)
        return tokens

    def _tree(self) -> exp.Expr:
        try:
            trees = sqlglot.parse(self.sql, dialect=Spark4)
        except ParseError as error:
            first = error.errors[0]
            marked = str(first["highlight"] or "")
            end = self._offset(int(first["line"] or 1), int(first["col"] or 1))
            raise self._refusal(_parse_problem(first), end - len(marked), end) from None
        except SqlglotError as error:
            raise ValueError(f"not a SQL predicate: {str(error).splitlines()[0]}") from None
        if len(trees) != 1 or trees[0] is None:
            raise ValueError("one predicate is wanted, and the text holds none")
        return trees[0]

    def _offset(self, line: int, column: int) -> int:
        """A place counted in lines, from 1, as one counted in characters."""
        before = self.sql.split("\n")[: line - 1]
        return sum(len(text) + 1 for text in before) + column

    def _span(self, node: exp.Expr) -> tuple[int, int]:
        """Where a node stands: as it says itself, by its first word, or around what is in it."""
        if "start" in node.meta:
            return node.meta["start"], node.meta["end"] + 1
        if (word := self._word(node)) is not None:
            return word.start, word.end + 1
        inner = [part.meta for part in node.walk() if "start" in part.meta]
        if not inner:
            return 0, len(self.sql)
        return min(meta["start"] for meta in inner), max(meta["end"] for meta in inner) + 1

    def _word(self, node: exp.Expr) -> Any:
        wanted = _WORDS.get(node.key, node.key)
        matches = (
            (lambda text: text in wanted) if not wanted.isalpha() else (lambda text: text == wanted)
        )
        return next(
            (t for t in self.tokens if t.text and matches(t.text.lower().replace("_", ""))), None
        )


def _parse_problem(error: Mapping[str, Any]) -> str:
    what = str(error["description"]).splitlines()[0]
    missing = what.startswith("Required keyword")
    return f"not a SQL predicate: {'something is missing here' if missing else what}"


def _unclosed(sql: str) -> int:
    """Where a quote or a comment opens that never closes."""
    at = 0
    while whole := _WHOLE.match(sql, at):
        at = whole.end()
    return at
