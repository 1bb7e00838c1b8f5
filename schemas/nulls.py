"""Finds comparisons of a rule that decide nothing: with NULL, or between swapped bounds.

In SQL a comparison with NULL is neither true nor false. A list with NULL therefore never excludes a
value, so that a rule with ``on_null: pass`` would accept every row.
"""

from __future__ import annotations

from decimal import Decimal

from sqlglot import exp

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_PATTERNS = (exp.Like, exp.ILike, exp.RegexpLike)
_OPERATORS = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe)
_NEITHER = "NULL is neither true nor false; leave it out, or write IS NULL"
# By kind, why an operand that is NULL decides nothing.
_UNKNOWN: dict[tuple[type[exp.Expr], ...], str] = {
    _COMPARISONS: "a comparison with NULL is never true",
    (exp.Between,): "BETWEEN with NULL is never true",
    _PATTERNS: "a pattern and NULL never match",
    (exp.Case,): "CASE ... WHEN NULL never matches",
    (exp.And, exp.Or, exp.Not): "NULL is neither true nor false",
}
_INSTEAD: dict[type[exp.Expr], str] = {
    exp.NEQ: "IS NOT NULL",
    exp.Between: ">= or <= with the other bound",
    exp.Case: "CASE WHEN ... IS NULL",
}


def why_never_known(node: exp.Expr) -> str | None:
    """Return why the result can be unknown for any row; None if nothing is NULL."""
    if isinstance(node, exp.In):
        return _of_list(node)
    for kinds, why in _UNKNOWN.items():
        if isinstance(node, kinds) and any(map(is_null, _operands(node))):
            return f"{why}; write {_INSTEAD.get(type(node), 'IS NULL')}"
    return _NEITHER if node.parent is None and is_null(node) else None


def why_never_true(node: exp.Expr) -> str | None:
    """Return why no row can make it true; None if one may."""
    if isinstance(node, exp.Between):
        low, high = _number(node.args["low"]), _number(node.args["high"])
        if low is not None and high is not None and low > high:
            return f"nothing is BETWEEN {low} AND {high}; write the smaller number first"
    return None


def is_null(node: exp.Expr | None) -> bool:
    """Whether a part of a rule is NULL for every row."""
    if isinstance(node, exp.Paren | exp.Cast | exp.Neg):
        return is_null(node.this)
    if isinstance(node, exp.Tuple):
        return any(map(is_null, node.expressions))
    if isinstance(node, _OPERATORS):
        return is_null(node.this) or is_null(node.expression)
    return isinstance(node, exp.Null)


def _operands(node: exp.Expr) -> list[exp.Expr]:
    if not isinstance(node, exp.Case):
        return list(node.iter_expressions())
    # What CASE compares with; without it each WHEN is a condition of its own.
    return [one.this for one in node.args["ifs"]] if node.this is not None else []


def _of_list(node: exp.In) -> str | None:
    members = node.args.get("expressions") or []
    if not members:
        return "IN with an empty list is true of no row; write the values"
    if is_null(node.this):
        return "NULL is in no list; write the column's name before IN"
    if not any(map(is_null, members)):
        return None
    what = node.this.sql(dialect="spark")
    above = node.parent
    while isinstance(above, exp.Paren):
        above = above.parent
    if isinstance(above, exp.Not):
        return (
            f"NOT IN with NULL in the list is true of no row; leave NULL out, and write "
            f"{what} IS NOT NULL AND {what} NOT IN (...) where a missing value is wrong"
        )
    return (
        f"IN with NULL in the list is never false; leave NULL out, and write "
        f"({what} IS NULL OR {what} IN (...)) where a missing value is right"
    )


def _number(node: exp.Expr) -> Decimal | None:
    if isinstance(node, exp.Paren | exp.Cast):
        return _number(node.this)
    if isinstance(node, exp.Neg):
        found = _number(node.this)
        return None if found is None else -found
    return Decimal(node.this) if isinstance(node, exp.Literal) and not node.is_string else None
