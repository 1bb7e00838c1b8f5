"""The one scan: how many rows break each rule, and what else is wanted of all rows, in one aggregate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import or_
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from millrace.pipelines.spark.conditions import balanced, rows_where, rows_where_named, whole
from millrace.pipelines.validation.violations import Mark, marked
from millrace.schemas.rule import MALFORMED, Rule, quoted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAILS = (PySparkException, Py4JJavaError)


@dataclass(frozen=True)
class Scanned:
    """What one aggregate over all rows found."""

    rows: int
    refused: int  # rows that break a rule of severity error
    broken: Mapping[str, int | str]  # by rule: the rows that break it, or why that is not known
    newest: Mapping[str, datetime | None]  # by column: its newest value that is not in the future
    aggregates: Mapping[str, Any]  # by name, the values of the further aggregates


def broken(rule: Rule, columns: Sequence[str]) -> Column:
    """Over `marked` rows with these columns: whether a row breaks the rule, never NULL.

    A record that did not parse breaks that one rule and no other.
    """
    mark = rule.mark
    if mark is None:
        found = ~F.coalesce(F.expr(rule.predicate), F.lit(rule.null_passes))
    else:
        found = F.expr(f"{quoted(mark)} <=> true") if mark in columns else F.lit(False)
    if MALFORMED in rule.columns or MALFORMED not in columns:
        return found
    return found & F.col(MALFORMED).isNull()


def scan(
    rows: DataFrame,
    rules: Sequence[Rule],
    found: Mapping[str, Mark],
    wanted: Mapping[str, Column],
    fresh: Sequence[str],
    at: datetime,
) -> Scanned:
    """Scan ``rows`` once, only the columns that are read. ``found`` are the rules' marks.

    A rule that Spark cannot compute for some row says so in `Scanned.broken`, and counts for no row;
    to find which it is costs more scans. What fails without any rule is raised.
    """
    ages = {f"newest {name}": _newest(name, at) for name in fresh}
    extra = {**wanted, **ages}
    every = marked(rows, found)
    try:
        counts, failing = _counted(every, rules, extra), dict[str, str]()
    except _FAILS:
        _counted(every, (), {name: F.count(F.col(quoted(name))) for name in _read(rules)})
        failing = _failing(every, rules)
        if not failing:
            raise
        counts = _counted(every, [rule for rule in rules if rule.name not in failing], extra)
    return Scanned(
        rows=counts["rows"],
        refused=whole(counts["refused"]),
        broken=failing
        | {
            rule.name: whole(counts[f"rule {rule.name}"])
            for rule in rules
            if rule.name not in failing
        },
        newest={name: _moment(counts[f"newest {name}"]) for name in fresh},
        aggregates={name: counts[name] for name in wanted},
    )


def aggregated(rows: DataFrame, rules: Sequence[Rule], extra: Mapping[str, Column]) -> DataFrame:
    """One row: how many of the `marked` rows there are, how many break each rule, and ``extra``."""
    # Each predicate is computed once a row, however often it is counted.
    flags = {f"rule {rule.name}": broken(rule, rows.columns) for rule in rules}
    refusing = [F.col(quoted(f"rule {rule.name}")) for rule in rules if rule.severity == "error"]
    flagged = rows.withColumns(flags) if flags else rows  # Connect refuses to add none
    return flagged.agg(
        F.count(F.lit(1)).alias("rows"),
        rows_where(balanced(or_, refusing, none=False)).alias("refused"),
        *map(rows_where_named, flags),
        *[column.alias(name) for name, column in extra.items()],
    )


def _counted(rows: DataFrame, rules: Sequence[Rule], extra: Mapping[str, Column]) -> dict[str, Any]:
    (counts,) = aggregated(rows, rules, extra).collect()
    found: dict[str, Any] = counts.asDict()
    return found


def _failing(rows: DataFrame, rules: Sequence[Rule]) -> dict[str, str]:
    """The rules that Spark cannot compute, and why; of k among n, about k log n scans."""
    try:
        _counted(rows, rules, {})
    except _FAILS as error:
        if len(rules) == 1:
            return {rules[0].name: _first_line(error)}
        half = len(rules) // 2
        return _failing(rows, rules[:half]) | _failing(rows, rules[half:])
    return {}


def _read(rules: Sequence[Rule]) -> list[str]:
    return list(dict.fromkeys(name for rule in rules for name in rule.columns))


def _newest(name: str, at: datetime) -> Column:
    value = F.col(quoted(name)).cast("timestamp")
    return F.unix_micros(F.max(F.when(value <= F.lit(at), value)))


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
