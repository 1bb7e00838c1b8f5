"""What of the rule language the embedded engine is known to answer as Spark does.

`tests/conformance/test_embedded_rules.py` asks both engines over the same rows. What differs there, or is
not asked there, is not in `CALLS`, and no rule with it is given to the embedded engine. docs/EMBEDDED.md has
a table of the differences that were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlglot import exp

from millrace.schemas.rule_text import RuleText

# The kinds of values by the contract's types; others are not compared.
KINDS = {
    "boolean": "boolean", "int": "number", "bigint": "number", "double": "number", "string": "text",
    "binary": "bytes",
}  # fmt: skip
ANY = "any"  # of NULL, and of an argument of any kind
SAME = "same"  # of arguments that have one kind, and of a result that has theirs
# By name: the kinds of the arguments, the last for all that follow, and of the result.
CALLS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "bit_count": (("number",), "number"),
    "ceil": (("number",), "number"),
    "ceiling": (("number",), "number"),
    "char_length": (("text",), "number"),
    "coalesce": ((SAME,), SAME),
    "concat": (("text",), "text"),
    "contains": (("text", "text"), "boolean"),
    "crc32": (("bytes",), "number"),
    "endswith": (("text", "text"), "boolean"),
    "floor": (("number",), "number"),
    "hex": ((ANY,), "text"),
    "ifnull": ((SAME,), SAME),
    "isnotnull": ((ANY,), "boolean"),
    "isnull": ((ANY,), "boolean"),
    "len": (("text",), "number"),
    "length": (("text",), "number"),
    "ltrim": (("text",), "text"),
    "nvl": ((SAME,), SAME),
    "octet_length": ((ANY,), "number"),
    "repeat": (("text", "number"), "text"),
    "replace": (("text",), "text"),
    "rtrim": (("text",), "text"),
    "startswith": (("text", "text"), "boolean"),
    "trim": (("text",), "text"),
    "unhex": (("text",), "bytes"),
}
MOST_WHOLE = 2**63 - 1


class _Different(ValueError):
    """A part of a rule that is not known to be the same."""


def different(predicate: str, columns: Mapping[str, str]) -> str | None:
    """The first part of a rule that is not known to be the same; None: all of it is.

    ``columns`` has the contract's types by name.
    """
    try:
        kind = _kind(RuleText(predicate).tree, columns)
    except _Different as error:
        return str(error)
    return None if kind in ("boolean", ANY) else f"a predicate that is a {kind}"


def _kind(node: exp.Expr, columns: Mapping[str, str]) -> str:
    for kinds, look in _LOOKS:
        if isinstance(node, kinds):
            return look(node, columns)
    raise _Different(node.sql(dialect="spark")[:60])


def _inner(node: exp.Expr, columns: Mapping[str, str]) -> str:
    return _kind(node.this, columns)


def _column(node: exp.Expr, columns: Mapping[str, str]) -> str:
    found = KINDS.get(columns.get(node.name, ""))
    if found is None:
        raise _Different(f"column {node.name}")
    return found


def _literal(node: exp.Expr, _columns: Mapping[str, str]) -> str:
    if isinstance(node, exp.Literal) and node.is_string:
        return "text"
    text = node.name.lower()
    if "e" not in text and ("." in text or int(text) > MOST_WHOLE):
        raise _Different(f"the decimal number {node.name}")
    return "number"


def _negative(node: exp.Expr, columns: Mapping[str, str]) -> str:
    if not isinstance(node.this, exp.Literal):
        raise _Different(f"-({node.this.sql(dialect='spark')[:50]})")
    return _kind(node.this, columns)


def _one(kinds: Iterable[str], node: exp.Expr) -> str:
    """The one kind that all have, beside NULLs."""
    found = set(kinds) - {ANY}
    if len(found) > 1:
        raise _Different(f"{' and '.join(sorted(found))} in {node.sql(dialect='spark')[:50]}")
    return found.pop() if found else ANY


def _compared(node: exp.Expr, columns: Mapping[str, str]) -> str:
    _one((_kind(side, columns) for side in (node.this, node.expression)), node)
    return "boolean"


def _truths(node: exp.Expr, columns: Mapping[str, str]) -> str:
    sides = [node.this] if isinstance(node, exp.Not) else [node.this, node.expression]
    _one([*(_kind(side, columns) for side in sides), "boolean"], node)
    return "boolean"


def _between(node: exp.Expr, columns: Mapping[str, str]) -> str:
    parts = [node.this, node.args["low"], node.args["high"]]
    if set(node.args) - {"this", "low", "high"} and node.args.get("symmetric"):
        raise _Different("BETWEEN SYMMETRIC")
    _one((_kind(part, columns) for part in parts), node)
    return "boolean"


def _among(node: exp.Expr, columns: Mapping[str, str]) -> str:
    _one((_kind(part, columns) for part in (node.this, *node.expressions)), node)
    return "boolean"


def _is(node: exp.Expr, columns: Mapping[str, str]) -> str:
    if not isinstance(node.expression, exp.Null):
        raise _Different("IS TRUE, IS FALSE")
    _kind(node.this, columns)
    return "boolean"


def _like(node: exp.Expr, columns: Mapping[str, str]) -> str:
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" in pattern.name:
        raise _Different(node.sql(dialect="spark")[:60])
    _one([_kind(node.this, columns), "text"], node)
    return "boolean"


def _case(node: exp.Expr, columns: Mapping[str, str]) -> str:
    conditions = [branch.this for branch in node.args["ifs"]]
    if node.this is not None:
        _one((_kind(part, columns) for part in (node.this, *conditions)), node)
    else:
        _one([*(_kind(part, columns) for part in conditions), "boolean"], node)
    results = [branch.args["true"] for branch in node.args["ifs"]]
    if node.args.get("default") is not None:
        results.append(node.args["default"])
    return _one((_kind(part, columns) for part in results), node)


def _joined(node: exp.Expr, columns: Mapping[str, str]) -> str:
    parts: Sequence[exp.Expr] = node.expressions or [node.this, node.expression]
    return _one([*(_kind(part, columns) for part in parts), "text"], node)


def _trimmed(node: exp.Expr, columns: Mapping[str, str]) -> str:
    if [name for name, value in node.args.items() if value and name != "this"]:
        raise _Different(node.sql(dialect="spark")[:60])
    return _one([_kind(node.this, columns), "text"], node)


def _call(node: exp.Expr, columns: Mapping[str, str]) -> str:
    name = str(node.this).lower()
    if name == "if":
        condition, *results = node.expressions
        _one([_kind(condition, columns), "boolean"], node)
        return _one((_kind(part, columns) for part in results), node)
    if name not in CALLS:
        raise _Different(f"{name}()")
    wanted, result = CALLS[name]
    given = [_kind(part, columns) for part in node.expressions]
    for at, kind in enumerate(given):
        want = wanted[min(at, len(wanted) - 1)]
        if want not in (ANY, SAME):
            _one([kind, want], node)
    same = _one(given, node) if SAME in wanted else ANY
    return same if result == SAME else result


def _plain(kind: str) -> Callable[[exp.Expr, Mapping[str, str]], str]:
    return lambda _node, _columns: kind


_LOOKS: tuple[
    tuple[tuple[type[exp.Expr], ...], Callable[[exp.Expr, Mapping[str, str]], str]], ...
] = (
    ((exp.Paren,), _inner),
    ((exp.Column,), _column),
    ((exp.Literal,), _literal),
    ((exp.Boolean,), _plain("boolean")),
    ((exp.Null,), _plain(ANY)),
    ((exp.Neg,), _negative),
    ((exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.GT, exp.GTE, exp.LT, exp.LTE), _compared),
    ((exp.And, exp.Or, exp.Not), _truths),
    ((exp.Between,), _between),
    ((exp.In,), _among),
    ((exp.Is,), _is),
    ((exp.Like,), _like),
    ((exp.Case,), _case),
    ((exp.DPipe, exp.Concat), _joined),
    ((exp.Trim,), _trimmed),
    ((exp.Anonymous,), _call),
)  # fmt: skip
