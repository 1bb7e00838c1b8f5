"""Row rules: SQL predicates from a job file, which is untrusted text.

A rule is parsed and walked; only operators and functions on the list below pass, only columns of the
contract may be named, and what Spark gets is the text written from the checked tree, never the user's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.spark import Spark
from sqlglot.errors import SqlglotError

# Deterministic, pure functions of their arguments. `reflect`, `java_method`, `input_file_name`,
# `current_user`, `rand` and the rest of Spark's catalogue stay out.
FUNCTIONS: dict[str, type[exp.Expression]] = {
    "abs": exp.Abs,
    "array_contains": exp.ArrayContains,
    "bit_count": exp.BitwiseCount,
    "cast": exp.Cast,
    "ceil": exp.Ceil,
    "coalesce": exp.Coalesce,
    "concat": exp.Concat,
    "contains": exp.Contains,
    "date_diff": exp.DateDiff,
    "ends_with": exp.EndsWith,
    "exists": exp.Exists,  # over an array; a subquery inside is refused as what it is
    "floor": exp.Floor,
    "hex": exp.Hex,
    "if": exp.If,
    "isnan": exp.IsNan,
    "length": exp.Length,
    "lower": exp.Lower,
    "ltrim, rtrim, trim": exp.Trim,
    "regexp_extract": exp.RegexpExtract,
    "regexp_replace": exp.RegexpReplace,
    "repeat": exp.Repeat,
    "replace": exp.Replace,
    "round": exp.Round,
    "size": exp.ArraySize,
    "split": exp.RegexpSplit,
    "starts_with": exp.StartsWith,
    "substring": exp.Substring,
    "to_date": exp.TsOrDsToDate,
    "unhex": exp.Unhex,
    "upper": exp.Upper,
    "year": exp.Year,
    "month": exp.Month,
    "day": exp.Day,
}
NAMED_FUNCTIONS = {"crc32", "forall", "octet_length"}

_SYNTAX: tuple[type[exp.Expression], ...] = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Tuple, exp.DataType,
    exp.Interval, exp.Var, exp.Case, exp.And, exp.Or, exp.Not, exp.Neg, exp.EQ, exp.NEQ, exp.NullSafeEQ,
    exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.RegexpLike,
    exp.Escape, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Bracket, exp.Lambda, exp.DPipe,
)  # fmt: skip

ALLOWED = "operators, CASE, and " + ", ".join(sorted([*FUNCTIONS, *NAMED_FUNCTIONS]))


class Spark4(Spark):
    """Spark's SQL as of version 4, where a quote that is doubled inside a text stands for itself."""

    class Tokenizer(Spark.Tokenizer):  # noqa: D106 - sqlglot's way to set an option
        STRING_ESCAPES: ClassVar[list[str]] = ["\\", "'", '"']


def checked(sql: str, columns: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """The predicate as Spark SQL, written from its checked tree, and the columns it reads.

    Raises ValueError naming the first thing that is not allowed.
    """
    try:
        return _written(_parse(sql), columns)
    except RecursionError:
        raise ValueError("the predicate is nested too deeply") from None


def _written(tree: exp.Expr, columns: Collection[str]) -> tuple[str, tuple[str, ...]]:
    bound = {name.name for fn in tree.find_all(exp.Lambda) for name in fn.expressions}
    for node in tree.walk():
        _check(node, columns, bound)
    used = {column.name for column in tree.find_all(exp.Column)} - bound
    return tree.sql(dialect="spark", comments=False), tuple(
        name for name in columns if name in used
    )


def _parse(sql: str) -> exp.Expr:
    try:
        trees = sqlglot.parse(sql, dialect=Spark4)
    except SqlglotError as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"not a SQL predicate: {first}") from None
    if len(trees) != 1 or trees[0] is None:
        raise ValueError("one predicate is wanted, without semicolons")
    return trees[0]


def _check(node: exp.Expr, columns: Collection[str], bound: Collection[str]) -> None:
    if isinstance(node, exp.Column):
        _check_column(node, columns, bound)
    elif isinstance(node, exp.Anonymous):
        if node.name.lower() not in NAMED_FUNCTIONS:
            raise ValueError(f"{node.name}() is not allowed in a rule; allowed: {ALLOWED}")
    elif not isinstance(node, _SYNTAX) and not isinstance(node, tuple(FUNCTIONS.values())):
        raise ValueError(  # noqa: TRY004 - a value of a job file, not a type of ours
            f"{node.sql(dialect='spark')!r} ({node.key}) is not allowed in a rule; allowed: {ALLOWED}"
        )


def _check_column(node: exp.Column, columns: Collection[str], bound: Collection[str]) -> None:
    if node.name in bound and not node.table:
        return
    if node.table or node.name not in columns:
        raise ValueError(
            f"{node.sql()!r} is not a column of the contract; columns: {', '.join(columns)}"
        )
