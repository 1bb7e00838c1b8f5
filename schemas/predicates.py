"""Row rules: SQL predicates from a job file, which is untrusted text.

A rule is parsed and walked; only operators and functions on the list below pass, only columns of the
contract may be named, and what Spark gets is the text written from the checked tree, never the user's.
Calls are kept as they were written: nothing here knows better than Spark what a function means.
Where there is a Spark, pipelines/rule_check.py asks it too, before anything is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from schemas import patterns
from schemas.dialect import Spark4
from schemas.excerpt import excerpt, shown, unusual
from schemas.rule_words import ALLOWED, FUNCTIONS, PATTERN_AT, RESERVED, TYPES, UNITS

__all__ = ["ALLOWED", "checked", "is_plain"]

LONGEST = 65_536  # characters of a rule
MOST_GROWTH = 1_000_000  # how many times longer `repeat` and `replace` may make a text, at most
_DEEPEST = 100
_MOST_TERMS = 1_000  # of one chain of AND, OR, + and the like

_SYNTAX: tuple[type[exp.Expression], ...] = (
    exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Tuple, exp.DataTypeParam, exp.Interval, exp.Var,
    exp.Case, exp.If, exp.And, exp.Or, exp.Not, exp.Neg, exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.GT, exp.GTE,
    exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.RegexpLike, exp.Escape, exp.Add,
    exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Bracket, exp.Lambda, exp.DPipe, exp.Cast, exp.Trim,
    exp.Substring, exp.Concat,
)  # fmt: skip
_WHOLE = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|/\*.*?\*/|--[^\n]*|(?!/\*)[^'"`]""", re.DOTALL
)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SUBSTITUTED = (
    "${"  # Spark puts variables there, of its settings and of the environment, and parses then
)
# What begins a piece of syntax whose tree does not say where it stood.
_WORDS = {"subquery": "select", "window": "over", "alias": "as", "intdiv": "div", "attimezone": "at",
          "placeholder": "?:{", "parameter": "@$", "aliases": "as", "unnest": "unnest"}  # fmt: skip


def checked(sql: str, columns: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """The predicate as Spark SQL, written from its checked tree, and the columns it reads.

    Raises ValueError naming the first thing that is not allowed, and where it stands.
    """
    try:
        return _Rule(sql, columns).written()
    except RecursionError:
        raise ValueError("the predicate is nested too deeply") from None


class _Rule:
    """A rule's text, and what is known of its parts."""

    def __init__(self, sql: str, columns: Collection[str]) -> None:
        self.sql, self.columns = sql, columns
        self.tokens = self._tokens()
        self.tree = self._tree()

    def written(self) -> tuple[str, tuple[str, ...]]:
        for node in self.tree.walk():
            self._check(node)
        self._check_growth()
        used = {column.name for column in self.tree.find_all(exp.Column)}
        for identifier in self.tree.find_all(exp.Identifier):
            identifier.set("quoted", not is_plain(identifier.name))
        text = self.tree.sql(dialect="spark", comments=False)
        # Only texts can hold this: there `\u007b` is the same brace.
        text = text.replace(_SUBSTITUTED, "$\\u007b")
        return text, tuple(name for name in self.columns if name in used)

    def _refusal(self, what: str, start: int, end: int) -> ValueError:
        return ValueError(f"{shown(what)}\n{excerpt(self.sql, start, end)}")

    def _refused(self, what: str, node: exp.Expr) -> ValueError:
        return self._refusal(what, *self._span(node))

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
            if depth > _DEEPEST:
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

    def _check(self, node: exp.Expr) -> None:
        if isinstance(node, exp.Identifier):
            self._check_identifier(node)
        elif isinstance(node, exp.Column):
            self._check_column(node)
        elif isinstance(node, exp.Anonymous):
            self._check_call(node)
        elif isinstance(node, exp.DataType):
            self._check_type(node)
        elif not isinstance(node, _SYNTAX):
            shown = node.sql(dialect="spark")
            shown = shown if len(shown) <= 100 else shown[:97] + "..."  # noqa: PLR2004 - a line
            raise self._refused(
                f"{shown!r} ({node.key}) is not allowed in a rule; allowed: {ALLOWED}", node
            )
        elif isinstance(node, exp.Like | exp.ILike | exp.RegexpLike):
            self._check_pattern(node.expression, node)
        elif isinstance(node, exp.Cast):
            self._check_cast(node)
        self._check_depth(node)

    def _check_identifier(self, node: exp.Identifier) -> None:
        if not node.name:
            raise self._refused("nothing between two back quotes is no name", node)
        if _SUBSTITUTED in node.name:
            raise self._refused(f"{node.name!r} holds ${{, which Spark would substitute", node)
        if isinstance(node.parent, exp.Lambda) and node.arg_key == "expressions":
            taken = {name.lower() for name in self.columns}
            if node.name.lower() in taken:
                what = (
                    f"{node.name!r} is a column of the contract, and cannot be a lambda's variable"
                )
                raise self._refused(what, node)

    def _check_column(self, node: exp.Column) -> None:
        if node.table or node.name not in self.columns:
            hint = "; a field of a struct is written a['b']" if node.table else ""
            raise self._refused(
                f"{node.sql()!r} is not a column of the contract{unusual(node.name)}; "
                f"columns: {', '.join(self.columns)}{hint}",
                node,
            )

    def _check_call(self, node: exp.Anonymous) -> None:
        name = str(node.this)
        if isinstance(node.this, exp.Identifier) or name.lower() not in FUNCTIONS:
            raise self._refused(
                f"{node.name}() is not allowed in a rule{unusual(node.name)}; allowed: {ALLOWED}",
                node,
            )
        _name_unit(node)
        if (at := PATTERN_AT.get(name.lower())) is not None and len(node.expressions) > at:
            self._check_pattern(node.expressions[at], node)

    def _check_pattern(self, pattern: exp.Expr, node: exp.Expr) -> None:
        """A pattern that comes from the data could be any: only one that stands in the rule is judged."""
        while isinstance(pattern, exp.Paren):
            pattern = pattern.this
        if not (isinstance(pattern, exp.Literal) and pattern.is_string):
            raise self._refused("a pattern must be a text that stands in the rule", node)
        is_like = isinstance(node, exp.Like | exp.ILike)
        judge = patterns.refuse_like if is_like else patterns.refuse_endless
        try:
            judge(pattern.this)
        except ValueError as error:
            raise self._refused(str(error), pattern) from None

    def _check_type(self, node: exp.DataType) -> None:
        plain = all(isinstance(inner, exp.DataTypeParam) for inner in node.expressions)
        if node.this.name not in TYPES or not plain or node.args.get("nested"):
            allowed = "allowed: the types of columns, without arrays and structs"
            parent = node.parent or node
            raise self._refused(f"a cast to {node.sql(dialect='spark')}; {allowed}", parent)

    def _check_cast(self, node: exp.Cast) -> None:
        odd = [
            name
            for name, value in node.args.items()
            if value and name not in ("this", "to", "safe")
        ]
        if set(odd) - {"requires_string"}:
            raise self._refused(f"a cast with {', '.join(odd)} is not allowed in a rule", node)

    def _check_depth(self, node: exp.Expr) -> None:
        """Spark's parser and its optimizer go down a tree as this one does, and their stack is small."""
        depth = chain = 0
        above = node.parent
        while above is not None:
            in_chain = isinstance(above, exp.Binary)
            chain, depth = chain + in_chain, depth + (not in_chain)
            above = above.parent
        if depth > _DEEPEST or chain > _MOST_TERMS:
            raise self._refused("the predicate is nested too deeply", node)

    def _check_growth(self) -> None:
        """Refuse what can make a text longer than MOST_GROWTH times, one call inside of another."""
        longest: dict[int, float] = {}
        for node in reversed(list(self.tree.walk())):  # what is inside comes first
            inside = [longest[id(child)] for child in node.iter_expressions()]
            longest[id(node)] = max(inside, default=1.0) * _growth(node)
            if longest[id(node)] > MOST_GROWTH:
                what = (
                    f"the text could become more than {MOST_GROWTH:,} times longer; repeat wants a number, "
                    "and replace a text, that stand in the rule"
                )
                raise self._refused(what, node)

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


def is_plain(name: str) -> bool:
    """Whether Spark takes the bare word for a name, wherever it stands."""
    return bool(_PLAIN.fullmatch(name)) and name.lower() not in RESERVED


def _name_unit(node: exp.Anonymous) -> None:
    """The first of three arguments of date_diff is a unit of time, not a column."""
    arguments = node.expressions
    if str(node.this).lower() in ("date_diff", "datediff") and len(arguments) == 3:  # noqa: PLR2004
        unit = arguments[0]
        if isinstance(unit, exp.Column) and unit.name.lower() in UNITS and not unit.table:
            unit.replace(exp.Var(this=unit.name.upper()))


def _growth(node: exp.Expr) -> float:
    if not isinstance(node, exp.Anonymous):
        return 1.0
    name, arguments = str(node.this).lower(), list(node.expressions)
    if name == "repeat" and len(arguments) > 1:
        times = arguments[1]
        return (
            float(times.this) if isinstance(times, exp.Literal) and times.is_int else float("inf")
        )
    if name in ("replace", "regexp_replace") and len(arguments) > 2:  # noqa: PLR2004
        put = arguments[2]
        return 1.0 + len(put.this) if isinstance(put, exp.Literal) else float("inf")
    return 1.0
