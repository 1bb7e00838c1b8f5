"""Spark's own analysis of a contract's rules before a row is read: the second check.

The first, schemas/predicates.py, is what lets nothing hostile through, and needs no JVM. This one
finds a rule that Spark reads otherwise than the parser there did: every predicate must be a boolean,
give the same answer each time, be about one row alone, and name nothing but columns of the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import and_

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, StructType

from millrace.pipelines.spark.conditions import balanced
from millrace.schemas.errors import UsageError
from millrace.schemas.rule import Rule

ALLOWED = "a boolean of one row's columns, the same each time: no aggregate, window or generator"
_ESCAPES = "spark.sql.parser.escapedStringLiterals"


def check_rules(spark: SparkSession, rules: Sequence[Rule], schema: StructType) -> None:
    """Nothing, where Spark takes every rule of kind row for a predicate over ``schema``'s columns.

    Nothing is read, and no job runs. Raises UsageError, naming the rule and what Spark says of it.
    """
    _refuse_other_texts(spark)
    row_rules = [rule for rule in rules if rule.kind == "row"]
    empty = spark.createDataFrame([], schema)
    # All together first, since each look costs an analysis.
    if row_rules and _problem(empty, row_rules) is not None:
        for rule in row_rules:
            if (problem := _problem(empty, [rule])) is not None:
                raise _refused(rule, problem)
        raise UsageError(f"Spark cannot read the contract's {len(row_rules)} rules together")


def _problem(empty: DataFrame, rules: Sequence[Rule]) -> str | None:
    """What Spark has against these rules."""
    try:
        found = [F.expr(rule.predicate) for rule in rules]
        types = empty.select(*[one.alias(f"rule_{at}") for at, one in enumerate(found)]).schema
        other = empty.sparkSession.range(1).select(F.lit(1).alias("_other"))
        # A condition of a join may be nothing but deterministic, and about the rows of its two sides.
        empty.join(other, balanced(and_, found, none=True), "left_semi").schema  # noqa: B018 - analyses it
    except PySparkException as error:
        return str(error).strip().split(" SQLSTATE")[0].splitlines()[0]
    odd = [field.dataType.simpleString() for field in types if field.dataType != BooleanType()]
    return f"it is of type {odd[0]}" if odd else None


def _refuse_other_texts(spark: SparkSession) -> None:
    r"""A session in which ``'\\d'`` is another text than elsewhere would change what rules mean."""
    if str(spark.conf.get(_ESCAPES, "false")).lower() == "true":
        raise UsageError(
            "this session reads texts in SQL as Spark 1.6 did, and rules would mean something else",
            got=f"{_ESCAPES} true",
            allowed="false",
            next=f"start the session without {_ESCAPES}",
        )


def _refused(rule: Rule, problem: str) -> UsageError:
    return UsageError(
        f"Spark does not take rule {rule.name!r} for a predicate: {problem}",
        got=rule.predicate,
        allowed=ALLOWED,
        next="correct the rule in the contract, or the types of its columns",
    )
