"""Row rules: SQL predicates from a job file, which is untrusted text.

A rule is parsed and checked: only listed operators and functions, and columns of the contract, are
allowed. Spark gets a text that is generated from the checked tree, never the user's. Calls stay as they
were written: only Spark defines what a function means. With a Spark session,
pipelines/validation/rule_analysis.py also analyses each rule before any row is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlglot import exp

from millrace.schemas import nulls, patterns
from millrace.schemas.excerpt import unusual
from millrace.schemas.rule_text import DEEPEST, RuleText
from millrace.schemas.rule_words import ALLOWED, FUNCTIONS, PATTERN_AT, RESERVED, TYPES, UNITS

__all__ = ["ALLOWED", "checked", "is_plain"]

MOST_GROWTH = 1_000_000  # how many times longer `repeat` and `replace` may make a text, at most
_MOST_TERMS = 1_000  # of one chain of AND, OR, + and the like

_SYNTAX: tuple[type[exp.Expression], ...] = (
    exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Tuple, exp.DataTypeParam, exp.Interval, exp.Var,
    exp.Case, exp.If, exp.And, exp.Or, exp.Not, exp.Neg, exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.GT, exp.GTE,
    exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.RegexpLike, exp.Escape, exp.Add,
    exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Bracket, exp.Lambda, exp.DPipe, exp.Cast, exp.Trim,
    exp.Substring, exp.Concat,
)  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SUBSTITUTED = (
    "${"  # Spark puts variables there, of its settings and of the environment, and parses then
)


def checked(sql: str, columns: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return the predicate as Spark SQL, generated from its checked tree, and the columns that it reads.

    Raises ValueError with the first part that is not allowed, and its place.
    """
    try:
        return _RuleChecker(sql, columns).written()
    except RecursionError:
        raise ValueError("the predicate is nested too deeply") from None


class _RuleChecker:
    """Checks every part of a rule."""

    def __init__(self, sql: str, columns: Collection[str]) -> None:
        self.text, self.columns = RuleText(sql), columns

    def written(self) -> tuple[str, tuple[str, ...]]:
        for node in self.text.tree.walk():
            self._check(node)
        self._check_growth()
        used = {column.name for column in self.text.tree.find_all(exp.Column)}
        for identifier in self.text.tree.find_all(exp.Identifier):
            identifier.set("quoted", not is_plain(identifier.name))
        text = self.text.tree.sql(dialect="spark", comments=False)
        # Only texts can hold this: there `\u007b` is the same brace.
        text = text.replace(_SUBSTITUTED, "$\\u007b")
        return text, tuple(name for name in self.columns if name in used)

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
            raise self.text.refusal(
                f"{shown!r} ({node.key}) is not allowed in a rule; allowed: {ALLOWED}", node
            )
        elif (why := nulls.why_never_known(node) or nulls.why_never_true(node)) is not None:
            raise self.text.refusal(why, node)
        elif isinstance(node, exp.Like | exp.ILike | exp.RegexpLike):
            self._check_pattern(node.expression, node)
        elif isinstance(node, exp.Cast):
            self._check_cast(node)
        self._check_depth(node)

    def _check_identifier(self, node: exp.Identifier) -> None:
        if not node.name:
            raise self.text.refusal("nothing between two back quotes is no name", node)
        if _SUBSTITUTED in node.name:
            raise self.text.refusal(f"{node.name!r} holds ${{, which Spark would substitute", node)
        if isinstance(node.parent, exp.Lambda) and node.arg_key == "expressions":
            columns = {name.lower() for name in self.columns}
            if node.name.lower() in columns:
                what = (
                    f"{node.name!r} is a column of the contract, and cannot be a lambda's variable"
                )
                raise self.text.refusal(what, node)

    def _check_column(self, node: exp.Column) -> None:
        if node.table or node.name not in self.columns:
            hint = "; a field of a struct is written a['b']" if node.table else ""
            raise self.text.refusal(
                f"{node.sql()!r} is not a column of the contract{unusual(node.name)}; "
                f"columns: {', '.join(self.columns)}{hint}",
                node,
            )

    def _check_call(self, node: exp.Anonymous) -> None:
        name = str(node.this)
        if isinstance(node.this, exp.Identifier) or name.lower() not in FUNCTIONS:
            raise self.text.refusal(
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
            raise self.text.refusal("a pattern must be a text that stands in the rule", node)
        is_like = isinstance(node, exp.Like | exp.ILike)
        judge = patterns.refuse_like if is_like else patterns.refuse_endless
        try:
            judge(pattern.this)
        except ValueError as error:
            raise self.text.refusal(str(error), pattern) from None

    def _check_type(self, node: exp.DataType) -> None:
        plain = all(isinstance(inner, exp.DataTypeParam) for inner in node.expressions)
        if node.this.name not in TYPES or not plain or node.args.get("nested"):
            allowed = "allowed: the types of columns, without arrays and structs"
            parent = node.parent or node
            raise self.text.refusal(f"a cast to {node.sql(dialect='spark')}; {allowed}", parent)

    def _check_cast(self, node: exp.Cast) -> None:
        odd = [
            name
            for name, value in node.args.items()
            if value and name not in ("this", "to", "safe")
        ]
        if set(odd) - {"requires_string"}:
            raise self.text.refusal(f"a cast with {', '.join(odd)} is not allowed in a rule", node)

    def _check_depth(self, node: exp.Expr) -> None:
        """Spark's parser and its optimizer go down a tree as this one does, and their stack is small."""
        depth = chain = 0
        above = node.parent
        while above is not None:
            in_chain = isinstance(above, exp.Binary)
            chain, depth = chain + in_chain, depth + (not in_chain)
            above = above.parent
        if depth > DEEPEST or chain > _MOST_TERMS:
            raise self.text.refusal("the predicate is nested too deeply", node)

    def _check_growth(self) -> None:
        """Refuse what can make a text longer than MOST_GROWTH times, one call inside of another."""
        longest: dict[int, float] = {}
        for node in reversed(list(self.text.tree.walk())):  # what is inside comes first
            inside = [longest[id(child)] for child in node.iter_expressions()]
            longest[id(node)] = max(inside, default=1.0) * _growth(node)
            if longest[id(node)] > MOST_GROWTH:
                what = (
                    f"the text could become more than {MOST_GROWTH:,} times longer; repeat wants a number, "
                    "and replace a text, that stand in the rule"
                )
                raise self.text.refusal(what, node)


def is_plain(name: str) -> bool:
    """Whether Spark reads the bare word as a name, in any place."""
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
