"""Validation of rows against a contract: one scan, its verdict, and the rows to quarantine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import or_
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StructType

from millrace.pipelines.lake import delta
from millrace.pipelines.sources.row_key import row_key
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.conditions import balanced
from millrace.pipelines.validation import quarantine
from millrace.pipelines.validation.aggregate_scan import broken, scan
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.verdict import Verdict, judge
from millrace.pipelines.validation.violations import Mark, predicates
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.rule import MALFORMED, MARK, Rule, quoted
from millrace.schemas.tables import PAYLOAD_CELL_BYTES, QUARANTINE, REASON
from millrace.udfs.worker.quarantine_rows import QuarantinePlan, RefusalReason, quarantiner


def refused(rules: Sequence[Rule], columns: Sequence[str]) -> Column:
    """Over `marked` rows: whether a rule of severity error is broken."""
    found = [broken(rule, columns) for rule in rules if rule.severity == "error"]
    return balanced(or_, found, none=False)


def warnings(rules: Sequence[Rule], columns: Sequence[str]) -> Column:
    """Over `marked` rows: the names of the rules of severity warn that are broken."""
    warns = [rule for rule in rules if rule.severity == "warn"]
    names = [F.when(broken(rule, columns), F.lit(rule.name)) for rule in warns]
    return F.array_compact(F.array(*names)) if names else F.array().cast("array<string>")


def examine(
    rows: DataFrame,
    against: tuple[Contract, Sequence[Rule]],
    values: Mapping[str, Mark],
    expected: tuple[Expectations, Callable[[], Sequence[Any]]],
    at: datetime,
) -> tuple[dict[str, Mark], Verdict]:
    """One scan of ``rows``: the rules' marks, and the verdict at that time.

    ``values`` are those that break rules about several rows; ``expected`` are the contract's
    expectations, and what gives the results that they ask for themselves.
    """
    (contract, rules), (expectations, compute) = against, expected
    conditions, failed = predicates(rules, expectations)
    found: dict[str, Mark] = {**conditions, **values}
    sound = [rule for rule in rules if rule.name not in failed]
    scanned = scan(rows, sound, found, expectations.aggregates, [*contract.fresh], at)
    scanned = replace(scanned, broken={**scanned.broken, **failed})
    outcomes = expectations.results(scanned.aggregates, scanned.broken, compute())
    return found, judge(scanned, contract, rules, outcomes, at)


def quarantined(
    rows: DataFrame, rules: Sequence[Rule], job: Job, run_id: str, at: datetime
) -> DataFrame:
    """The refused ones of the `marked` rows as the quarantine table has them, with all their reasons."""
    redact, schema = job.contract.redact, rows.schema
    if cluster.is_embedded(rows.sparkSession):
        return _quarantined_in_tasks(rows, rules, job, run_id, at)
    own = _own(rows)
    reasons = [F.when(broken(rule, rows.columns), _reason(rule, schema, redact)) for rule in rules]
    return rows.where(refused(rules, rows.columns)).select(
        F.lit(run_id).alias("run_id"),
        F.lit(job.name).alias("job"),
        row_key(job.key).alias("key"),
        quarantine.payload(schema, own, redact).alias("payload"),
        F.array_compact(F.array(*reasons)).cast(ArrayType(_reason_type())).alias("reasons"),
        F.lit("validate").alias("stage"),
        F.lit(at).alias("quarantined_at"),
    )


def _own(rows: DataFrame) -> list[str]:
    """The input's columns of `marked` rows."""
    return [name for name in rows.columns if name != MALFORMED and not name.startswith(MARK)]


def _quarantined_in_tasks(
    rows: DataFrame, rules: Sequence[Rule], job: Job, run_id: str, at: datetime
) -> DataFrame:
    """The same, of rows whose texts Python writes: the embedded engine would write others than Spark."""
    own = tuple(_own(rows))
    reasons = tuple(
        RefusalReason(
            rule.name,
            rule.severity,
            rule.columns,
            None if MALFORMED in rule.columns else rule.predicate,
            rule.fingerprint,
        )
        for rule in rules
    )
    plan = QuarantinePlan(
        run_id, job.name, tuple(job.key), own, frozenset(job.contract.redact), reasons, at,
        quarantine.MOST_CHARACTERS, PAYLOAD_CELL_BYTES,
    )  # fmt: skip
    flags = [broken(rule, rows.columns) for rule in rules]
    malformed = F.col(MALFORMED) if MALFORMED in rows.columns else F.lit(None).cast("string")
    given = rows.where(refused(rules, rows.columns)).select(*map(quoted, own), malformed, *flags)
    schema = QUARANTINE.arrow_schema
    return cluster.map_rows(given, quarantiner(plan, schema), delta.spark_schema(schema))


def _reason(rule: Rule, schema: StructType, redact: Sequence[str]) -> Column:
    return F.struct(
        F.lit(rule.name).alias("rule"),
        F.lit(rule.severity).alias("severity"),
        F.array(*[F.lit(column) for column in rule.columns]).alias("columns"),
        quarantine.message(rule, redact).alias("message"),
        quarantine.observed(rule, schema, redact).alias("observed"),
        F.lit(rule.fingerprint).alias("fingerprint"),
    )


def _reason_type() -> StructType:
    return delta.spark_schema(pa.schema([c.field for c in REASON]))
