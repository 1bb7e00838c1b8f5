"""Which rows break the contract, and whether the gate may open."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import or_
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StructType

from pipelines import observed, sink
from pipelines.balanced import balanced
from pipelines.expectations import Expectations
from pipelines.marks import Mark, predicates
from pipelines.row_key import row_key
from pipelines.scan import Scanned, broken, scan
from schemas.config import Job
from schemas.contract import MALFORMED, MARK, WELL_FORMED, Contract, Expectation, Rule
from schemas.errors import GateRefused
from schemas.ids import digest
from schemas.tables import REASON


@dataclass(frozen=True)
class Checked:
    """One rule or expectation, as it came out: a row of the validations table."""

    rule: str
    kind: str
    severity: str
    columns: tuple[str, ...]
    definition: str
    checked: int
    failed: int | None
    threshold: float
    passed: bool
    fingerprint: str
    observed: str | None = None
    result: str | None = None
    shuts: bool = False  # the gate, where it has not passed


@dataclass(frozen=True)
class Verdict:
    """What validation found: rows, refused rows, each rule's result, and why the gate stays shut."""

    rows: int
    quarantined: int
    results: tuple[Checked, ...]
    max_quarantined: float  # rows where it is an int, else a share of them
    suite_fingerprint: str
    uncomputed: tuple[str, ...] = ()  # rules that Spark could not compute: the gate stays shut

    @property
    def refusals(self) -> list[str]:
        """Why nothing may be scored; empty where the gate may open."""
        shut = [_why(result) for result in self.results if result.shuts and not result.passed]
        most = self.max_quarantined
        allowed, found = f"{most:.1%}", self.quarantined / max(1, self.rows)
        if isinstance(most, int):
            allowed, found = f"{most:,} rows", self.quarantined
        if found > most:
            worst = sorted((r for r in self.results if r.failed), key=lambda r: -(r.failed or 0))[
                :3
            ]
            named = ", ".join(f"{r.rule} ({r.failed})" for r in worst)
            shut.append(
                f"{self.quarantined} of {self.rows} rows ({self.quarantined / self.rows:.1%}) break the "
                f"contract, more than max_quarantined {allowed}: {named}"
            )
        return shut


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
    (contract, rules), (expectations, asked) = against, expected
    said, failed = predicates(rules, expectations)
    found: dict[str, Mark] = {**said, **values}
    sound = [rule for rule in rules if rule.name not in failed]
    scanned = scan(rows, sound, found, expectations.aggregates, [*contract.fresh], at)
    scanned = replace(scanned, broken={**scanned.broken, **failed})
    outcomes = expectations.results(scanned.aggregates, scanned.broken, asked())
    return found, judge(scanned, contract, rules, outcomes, at)


def judge(
    scanned: Scanned,
    contract: Contract,
    rules: Sequence[Rule],
    outcomes: Sequence[Any],
    at: datetime,
) -> Verdict:
    """Each rule's result, each expectation's, and each column's freshness at that time.

    ``outcomes`` are Great Expectations' results, one an expectation of the contract.
    """
    named = zip(contract.expectation_names, contract.expectations, outcomes, strict=True)
    results = (
        *(_of_rule(rule, scanned) for rule in rules if rule.kind != "expectation"),
        *(_of_age(name, hours, scanned, at) for name, hours in contract.fresh.items()),
        *(_of_expectation(name, one, told, scanned.rows) for name, one, told in named),
    )
    suite = digest([result.fingerprint for result in results])[:16]
    uncomputed = tuple(name for name, told in scanned.broken.items() if isinstance(told, str))
    return Verdict(
        scanned.rows, scanned.refused, results, contract.max_quarantined, suite, uncomputed
    )


def gate(verdict: Verdict) -> None:
    """Raise GateRefused, naming what is broken, unless the rows may be scored."""
    if refusals := verdict.refusals:
        raise GateRefused(
            "the input was refused before anything was scored",
            got="; ".join(refusals),
            allowed=f"max_quarantined {verdict.max_quarantined}, every critical expectation met",
            next='look at the rows: millrace sql "SELECT * FROM quarantine_reasons"',
        )


def quarantined(
    rows: DataFrame, rules: Sequence[Rule], job: Job, run_id: str, at: datetime
) -> DataFrame:
    """The refused ones of the `marked` rows as the quarantine table has them, with all their reasons."""
    redact, schema = job.contract.redact, rows.schema
    own = [name for name in rows.columns if name != MALFORMED and not name.startswith(MARK)]
    told = [F.when(broken(rule, rows.columns), _reason(rule, schema, redact)) for rule in rules]
    return rows.where(refused(rules, rows.columns)).select(
        F.lit(run_id).alias("run_id"),
        F.lit(job.name).alias("job"),
        row_key(job.key).alias("key"),
        observed.payload(schema, own, redact).alias("payload"),
        F.array_compact(F.array(*told)).cast(ArrayType(_reason_type())).alias("reasons"),
        F.lit("validate").alias("stage"),
        F.lit(at).alias("quarantined_at"),
    )


def as_rows(verdict: Verdict, run_id: str, job: str, at: datetime) -> list[dict[str, Any]]:
    """The verdict as rows of the validations table."""
    about = {"run_id": run_id, "job": job, "suite_fingerprint": verdict.suite_fingerprint, "at": at}
    return [
        {**vars(result), "columns": list(result.columns), **about} for result in verdict.results
    ]


def _why(result: Checked) -> str:
    if result.kind == "expectation":
        return f"expectation {result.rule} failed: observed {result.observed}"
    if result.failed is None:
        return f"{result.rule}: {result.observed}"
    return (
        f"{result.rule}: {result.failed} of {result.checked} rows break it, more than its "
        f"mostly {1 - result.threshold:g} lets through"
    )


def _of_rule(rule: Rule, scanned: Scanned) -> Checked:
    found = scanned.broken[rule.name]
    failed, why = (None, found) if isinstance(found, str) else (found, None)
    mostly = 1.0 if rule.mostly is None else rule.mostly
    return Checked(
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        columns=rule.columns,
        definition=rule.predicate,
        checked=scanned.rows,
        failed=failed,
        threshold=round(1 - mostly, 12),
        passed=failed is not None and _good(rule, scanned, failed) >= mostly * scanned.rows,
        fingerprint=rule.fingerprint,
        observed=why and f"could not be computed: {why[:300]}",
        shuts=rule.mostly is not None or why is not None,
    )


def _good(rule: Rule, scanned: Scanned, failed: int) -> int:
    """Rows that satisfy the rule; of a share of all, those that could not be parsed do not."""
    unread = scanned.broken.get(WELL_FORMED, 0) if rule.mostly is not None else 0
    return scanned.rows - failed - (unread if isinstance(unread, int) else 0)


def _of_age(column: str, hours: float, scanned: Scanned, at: datetime) -> Checked:
    """A column's freshness: the age of its newest value that is not in the future."""
    newest = scanned.newest[column]
    age_h = None if newest is None else (at - newest).total_seconds() / 3600
    told = "no value" if newest is None else f"{newest.isoformat()}, {age_h:.2f} hours old"
    return Checked(
        rule=f"{column}.fresh",
        kind="freshness",
        severity="critical",
        columns=(column,),
        definition=f"the newest value is at most {hours:g} hours old",
        checked=scanned.rows,
        failed=None,
        threshold=0.0,
        passed=age_h is not None and age_h <= hours,
        fingerprint=digest({"fresh": column, "within_h": hours})[:16],
        observed=told,
        shuts=True,
    )


def _of_expectation(name: str, expectation: Expectation, outcome: Any, total: int) -> Checked:
    result = outcome.result or {}
    found = result.get("observed_value", result.get("unexpected_percent"))
    message = None if outcome.success else _raised(outcome.exception_info)
    return Checked(
        rule=name,
        kind="expectation",
        severity=expectation.severity,
        columns=expectation.columns,
        definition=json.dumps(expectation.arguments, sort_keys=True, default=str),
        checked=result.get("element_count", total),
        failed=result.get("unexpected_count"),
        threshold=round(1 - float(expectation.arguments.get("mostly", 1.0)), 12),
        passed=bool(outcome.success),
        fingerprint=expectation.fingerprint,
        observed=message or json.dumps(found, default=str),
        result=json.dumps(outcome.to_json_dict(), default=_plain),
        shuts=expectation.severity == "critical",
    )


def _plain(value: Any) -> Any:
    """Numpy's scalars, which Great Expectations leaves in its results, as Python's; others as text."""
    return value.item() if hasattr(value, "item") else str(value)


def _raised(info: Any) -> str | None:
    """Why an expectation could not be computed: an expectation that errors has not been met."""
    parts = info.values() if isinstance(info, dict) and "raised_exception" not in info else [info]
    texts = [
        str(part.get("exception_message"))
        for part in parts
        if part and part.get("raised_exception")
    ]
    return f"could not be computed: {texts[0][:300]}" if texts else None


def _reason(rule: Rule, schema: StructType, redact: Sequence[str]) -> Column:
    return F.struct(
        F.lit(rule.name).alias("rule"),
        F.lit(rule.severity).alias("severity"),
        F.array(*[F.lit(column) for column in rule.columns]).alias("columns"),
        observed.message(rule, redact).alias("message"),
        observed.observed(rule, schema, redact).alias("observed"),
        F.lit(rule.fingerprint).alias("fingerprint"),
    )


def _reason_type() -> StructType:
    return sink.spark_schema(pa.schema([c.field for c in REASON]))
