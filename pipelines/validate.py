"""Which rows break the contract, and whether the gate may open; the only place that imports GX."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StructType

from pipelines import sink
from schemas.config import Job
from schemas.contract import MALFORMED, Contract, Expectation, Rule, quoted
from schemas.errors import GateRefused, UsageError
from schemas.ids import digest
from schemas.tables import REASON

_MARK = "_repeated_"


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


@dataclass(frozen=True)
class Verdict:
    """What validation found: rows, refused rows, each rule's result, and why the gate stays shut."""

    rows: int
    quarantined: int
    results: tuple[Checked, ...]
    max_quarantined: float
    suite_fingerprint: str

    @property
    def refusals(self) -> list[str]:
        """Why nothing may be scored; empty where the gate may open."""
        shut = [
            f"expectation {r.rule} failed: observed {r.observed}"
            for r in self.results
            if r.kind == "expectation" and not r.passed and r.severity == "critical"
        ]
        if self.rows and self.quarantined / self.rows > self.max_quarantined:
            worst = sorted((r for r in self.results if r.failed), key=lambda r: -(r.failed or 0))[
                :3
            ]
            broken = ", ".join(f"{r.rule} ({r.failed})" for r in worst)
            shut.append(
                f"{self.quarantined} of {self.rows} rows ({self.quarantined / self.rows:.1%}) break the "
                f"contract, more than max_quarantined {self.max_quarantined:.1%}: {broken}"
            )
        return shut


def marked(rows: DataFrame, repeated: dict[str, DataFrame]) -> DataFrame:
    """``rows`` with a column a unique column that repeats, not null where the row's value is repeated."""
    for column, values in repeated.items():
        keys = F.broadcast(values.select(F.col(quoted(column)).alias(_mark(column))))
        rows = rows.join(keys, F.col(quoted(column)) == F.col(quoted(_mark(column))), "left")
    return rows


def refused(rules: Sequence[Rule], columns: Sequence[str]) -> Column:
    """Over `marked` rows: whether a rule of severity error is broken."""
    broken = [_broken(rule, columns) for rule in rules if rule.severity == "error"]
    return reduce(or_, broken, F.lit(False))


def warnings(rules: Sequence[Rule], columns: Sequence[str]) -> Column:
    """Over `marked` rows: the names of the rules of severity warn that are broken."""
    warns = [rule for rule in rules if rule.severity == "warn"]
    names = [F.when(_broken(rule, columns), F.lit(rule.name)) for rule in warns]
    return F.array_compact(F.array(*names)) if names else F.array().cast("array<string>")


def repeated_values(rows: DataFrame, rules: Sequence[Rule]) -> dict[str, DataFrame]:
    """For each unique column, the values that more than one row has; payload columns do not move."""
    found = {}
    for rule in rules:
        if rule.kind == "unique":
            (column,) = rule.columns
            name = F.col(quoted(column))
            counted = rows.where(name.isNotNull()).groupBy(name).count()
            found[column] = counted.where("count > 1").select(name)
    return found


def judge(
    rows: DataFrame, contract: Contract, rules: Sequence[Rule], outcomes: Callable[[], list[Any]]
) -> Verdict:
    """Count every rule's failures over the `marked` rows in one scan; ``outcomes`` are the `expected`."""
    # Each predicate is computed once a row, however often it is counted.
    broken = [_broken(rule, rows.columns).alias(f"rule_{i}") for i, rule in enumerate(rules)]
    refusing = [F.col(f"rule_{i}") for i, rule in enumerate(rules) if rule.severity == "error"]
    (counts,) = (
        rows.select(*broken)
        .agg(
            F.count(F.lit(1)).alias("rows"),
            F.count_if(reduce(or_, refusing, F.lit(False))).alias("refused"),
            *[F.count_if(f"rule_{i}").alias(f"rule_{i}") for i in range(len(rules))],
        )
        .collect()
    )
    results = [
        Checked(
            rule.name, rule.kind, rule.severity, rule.columns, rule.predicate or "unique",
            counts["rows"], counts[f"rule_{i}"], 0.0, counts[f"rule_{i}"] == 0, rule.fingerprint,
        )
        for i, rule in enumerate(rules)
    ]  # fmt: skip
    results += [
        _checked(expectation, outcome, counts["rows"])
        for expectation, outcome in zip(contract.expectations, outcomes(), strict=True)
    ]
    suite = digest([result.fingerprint for result in results])[:16]
    return Verdict(
        counts["rows"], counts["refused"], tuple(results), contract.max_quarantined, suite
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
    own = [name for name in rows.columns if name != MALFORMED and not name.startswith(_MARK)]
    told = [F.when(_broken(rule, rows.columns), _reason(rule)) for rule in rules]
    keep_nulls = {"ignoreNullFields": "false"}
    return rows.where(refused(rules, rows.columns)).select(
        F.lit(run_id).alias("run_id"),
        F.lit(job.name).alias("job"),
        F.to_json(F.struct(*map(quoted, job.key)), keep_nulls).alias("key"),
        F.to_json(F.struct(*map(quoted, own)), keep_nulls).alias("payload"),
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


def import_expectations(contract: Contract) -> None:
    """Import Great Expectations where the contract has any: seconds, best spent while the JVM starts."""
    if contract.expectations:
        import great_expectations  # noqa: F401


def suite_of(contract: Contract) -> Any:
    """The contract as a Great Expectations suite: its columns' promises, then its expectations.

    Row rules are not in it: they are SQL predicates, and `judge` counts them. Raises UsageError for
    an expectation that Great Expectations does not have, or does not take those arguments.
    """
    import great_expectations as gx

    promises = [
        Expectation(expect=expect, column=name)  # type: ignore[call-arg]
        for name, spec in contract.columns.items()
        for expect, holds in (
            ("ExpectColumnValuesToNotBeNull", not spec.nullable),
            ("ExpectColumnValuesToBeUnique", spec.unique),
        )
        if holds
    ]
    built = [_built(expectation) for expectation in (*promises, *contract.expectations)]
    return gx.ExpectationSuite(name="contract", expectations=built)


def check_with_gx(rows: DataFrame, suite: Any, result_format: str = "SUMMARY") -> list[Any]:
    """Great Expectations' own results for a suite, one an expectation, in the suite's order."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_spark("input", persist=False)
    definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    batch = definition.get_batch({"dataframe": rows})
    return list(batch.validate(suite, result_format=result_format).results)


def expected(rows: DataFrame, contract: Contract) -> list[Any]:
    """What Great Expectations says of the contract's expectations, each asked alone, in their order."""
    if not contract.expectations:
        return []
    import great_expectations as gx

    declared = rows.select(*map(quoted, contract.columns))
    suites = [
        gx.ExpectationSuite(name=one.expect, expectations=[_built(one)])
        for one in contract.expectations
    ]
    return [outcome for suite in suites for outcome in check_with_gx(declared, suite)]


def _checked(expectation: Expectation, outcome: Any, total: int) -> Checked:
    result = outcome.result or {}
    observed = result.get("observed_value", result.get("unexpected_percent"))
    message = None if outcome.success else _raised(outcome.exception_info)
    return Checked(
        rule=expectation.expect,
        kind="expectation",
        severity=expectation.severity,
        columns=tuple(
            v
            for k, v in expectation.arguments.items()
            if k.startswith("column") and isinstance(v, str)
        ),
        definition=json.dumps(expectation.arguments, sort_keys=True, default=str),
        checked=result.get("element_count", total),
        failed=result.get("unexpected_count"),
        threshold=1 - float(expectation.arguments.get("mostly", 1.0)),
        passed=bool(outcome.success),
        fingerprint=digest(expectation.model_dump(mode="json"))[:16],
        observed=message or json.dumps(observed, default=str),
    )


def _raised(info: Any) -> str | None:
    """Why an expectation could not be computed: an expectation that errors has not been met."""
    parts = info.values() if isinstance(info, dict) and "raised_exception" not in info else [info]
    texts = [
        str(part.get("exception_message"))
        for part in parts
        if part and part.get("raised_exception")
    ]
    return f"could not be computed: {texts[0][:300]}" if texts else None


def _built(expectation: Expectation) -> Any:
    from great_expectations import expectations as known

    kind = getattr(known, expectation.expect, None)
    if kind is None:
        import difflib

        names = [name for name in dir(known) if name.startswith("Expect")]
        close = difflib.get_close_matches(expectation.expect, names, n=3)
        raise UsageError(
            "Great Expectations has no such expectation",
            got=expectation.expect,
            allowed=f"for example {', '.join(close or names[:5])}",
            next="correct contract.expectations",
        )
    try:
        return kind(**expectation.arguments, severity=expectation.severity)
    except (TypeError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise UsageError(
            f"{expectation.expect} does not take these arguments", got=str(error)
        ) from None


def _broken(rule: Rule, columns: Sequence[str]) -> Column:
    """Whether a row breaks the rule, never NULL. A malformed record breaks that one rule and no other."""
    if rule.kind == "unique":
        mark = _mark(*rule.columns)
        broken = F.col(quoted(mark)).isNotNull() if mark in columns else F.lit(False)
    else:
        broken = ~F.coalesce(F.expr(rule.predicate), F.lit(rule.null_passes))
    if MALFORMED in rule.columns or MALFORMED not in columns:
        return broken
    return broken & F.col(MALFORMED).isNull()


def _reason(rule: Rule) -> Column:
    message = (
        F.col(MALFORMED)
        if MALFORMED in rule.columns
        else F.lit(rule.predicate or "the value is repeated")
    )
    return F.struct(
        F.lit(rule.name).alias("rule"),
        F.lit(rule.severity).alias("severity"),
        F.array(*[F.lit(column) for column in rule.columns]).alias("columns"),
        message.alias("message"),
        F.lit(None).cast("string").alias("observed"),
        F.lit(rule.fingerprint).alias("fingerprint"),
    )


def _reason_type() -> StructType:
    return sink.spark_schema(pa.schema([c.field for c in REASON]))


def _mark(column: str) -> str:
    return _MARK + column
