"""Marks of rows that break a rule, computed before the scan.

For a rule about several rows or another table, the mark comes from the values that break it. They are
found from that rule's columns alone, so that no payload moves. For an expectation it is its predicate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from millrace.pipelines.validation.expectations import Expectations, considered
from millrace.schemas.rule import MARK, Rule, quoted

Mark = DataFrame | Column


def marked(rows: DataFrame, found: Mapping[str, Mark]) -> DataFrame:
    """``rows`` with a column a mark: true in the rows that break the rule, else false or NULL."""
    predicates = {name: mark for name, mark in found.items() if isinstance(mark, Column)}
    if predicates:
        rows = rows.withColumns(predicates)
    for name, mark in found.items():
        if isinstance(mark, DataFrame):
            rows = _joined(rows, name, mark)
    return rows


def breaking_values(
    rows: DataFrame, rules: Sequence[Rule], references: Mapping[str, DataFrame]
) -> dict[str, DataFrame]:
    """By mark, the values that break a rule about several rows or another table.

    ``references`` has the table of each rule that refers to one, by the rule's name.
    """
    found = {}
    for rule in rules:
        if _is_about_repeats(rule):
            found[MARK + rule.name] = _repeated(rows, rule)
        elif rule.kind == "reference":
            found[MARK + rule.name] = _without_referent(rows, rule, references[rule.name])
    return found


def predicates(
    rules: Sequence[Rule], expectations: Expectations
) -> tuple[dict[str, Column], dict[str, str]]:
    """By mark, each expectation's predicate; and by rule, why there is none."""
    names = [r.name for r in rules if r.kind == "expectation" and not _is_about_repeats(r)]
    columns = expectations.predicates(names)
    found = {MARK + name: one for name, one in columns.items() if isinstance(one, Column)}
    return found, {name: why for name, why in columns.items() if isinstance(why, str)}


def _is_about_repeats(rule: Rule) -> bool:
    return rule.kind == "unique" or (
        rule.expectation is not None and rule.expectation.evaluation == "unique"
    )


def _repeated(rows: DataFrame, rule: Rule) -> DataFrame:
    keys = [F.col(quoted(name)) for name in rule.columns]
    if rule.expectation is None:
        among: Column | None = keys[0].isNotNull()
    else:
        among = considered(rule.expectation)
    rows = rows if among is None else rows.where(among)
    return (
        rows.groupBy(*keys).agg(F.count(F.lit(1)).alias(_COUNT)).where(f"{_COUNT} > 1").drop(_COUNT)
    )


def _without_referent(rows: DataFrame, rule: Rule, others: DataFrame) -> DataFrame:
    """The values of the referring column that no row of the other table has; NULL refers to nothing."""
    (name,) = rule.columns
    values = rows.select(F.col(quoted(name))).where(F.col(quoted(name)).isNotNull()).distinct()
    there = others.select(F.col(quoted(others.columns[0])).alias(_THERE))
    return values.join(there, F.col(quoted(name)) == F.col(_THERE), "left_anti")


def _joined(rows: DataFrame, name: str, values: DataFrame) -> DataFrame:
    own = {column: f"{name} {place}" for place, column in enumerate(values.columns)}
    keys = values.select(
        *[F.col(quoted(column)).alias(key) for column, key in own.items()], F.lit(True).alias(name)
    )
    same = [F.col(quoted(c)).eqNullSafe(F.col(quoted(key))) for c, key in own.items()]
    joined = rows.join(F.broadcast(keys), reduce(and_, same), "left")
    return joined.select(*map(quoted, rows.columns), F.col(quoted(name)))


_COUNT = "_count"
_THERE = "_there"
