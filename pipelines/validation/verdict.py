"""The verdict of validation: the result of each rule, and whether the gate opens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.pipelines.sources.row_counts import StatedRows
from millrace.pipelines.validation.aggregate_scan import Scanned
from millrace.schemas.contract import Contract
from millrace.schemas.errors import GateRefused
from millrace.schemas.expectation import Expectation
from millrace.schemas.html import table
from millrace.schemas.ids import digest
from millrace.schemas.rule import WELL_FORMED, Rule


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule or expectation: a row of the validations table."""

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
    results: tuple[RuleResult, ...]
    max_quarantined: float  # rows where it is an int, else a share of them
    suite_fingerprint: str
    uncomputed: tuple[str, ...] = ()  # rules that Spark could not compute: the gate stays shut
    stated: StatedRows | None = (
        None  # by the pinned input; None: only some of its rows are validated
    )

    @property
    def input_rows(self) -> int:
        """Rows of the input: as its files state, or else as they were read."""
        known = None if self.stated is None else self.stated.rows
        return self.rows if known is None else known

    @property
    def notes(self) -> list[str]:
        """What a user should know of files that give no rows."""
        return [] if self.stated is None else self.stated.notes

    @property
    def refusals(self) -> list[str]:
        """Why nothing may be scored; empty where the gate may open."""
        shut = [_refusal(result) for result in self.results if result.shuts and not result.passed]
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

    def _repr_html_(self) -> str:
        names = ["rule", "severity", "checked", "failed", "passed"]
        rows = [[r.rule, r.severity, r.checked, r.failed, r.passed] for r in self.results]
        state = "stays shut" if self.refusals else "opens"
        caption = f"{self.rows:,} rows, {self.quarantined:,} quarantined: the gate {state}"
        return table(caption, names, rows)


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
        *(rule_result(rule, scanned) for rule in rules if rule.kind != "expectation"),
        *(freshness_result(name, hours, scanned, at) for name, hours in contract.fresh.items()),
        *(expectation_result(name, one, result, scanned.rows) for name, one, result in named),
    )
    suite = digest([result.fingerprint for result in results])[:16]
    uncomputed = tuple(name for name, result in scanned.broken.items() if isinstance(result, str))
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
            next='look at the rows: millrace sql "SELECT key, reasons FROM quarantine"',
        )


def as_rows(verdict: Verdict, run_id: str, job: str, at: datetime) -> list[dict[str, Any]]:
    """The verdict as rows of the validations table."""
    about = {"run_id": run_id, "job": job, "suite_fingerprint": verdict.suite_fingerprint, "at": at}
    return [
        {**vars(result), "columns": list(result.columns), **about} for result in verdict.results
    ]


def _refusal(result: RuleResult) -> str:
    if result.kind == "expectation":
        return f"expectation {result.rule} failed: observed {result.observed}"
    if result.failed is None:
        return f"{result.rule}: {result.observed}"
    return (
        f"{result.rule}: {result.failed} of {result.checked} rows break it, more than its "
        f"mostly {1 - result.threshold:g} lets through"
    )


def rule_result(rule: Rule, scanned: Scanned) -> RuleResult:
    """Return a rule's result; a rule that Spark could not compute has not passed."""
    found = scanned.broken[rule.name]
    failed, why = (None, found) if isinstance(found, str) else (found, None)
    mostly = 1.0 if rule.mostly is None else rule.mostly
    return RuleResult(
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        columns=rule.columns,
        definition=rule.predicate,
        checked=scanned.rows,
        failed=failed,
        threshold=round(1 - mostly, 12),
        passed=failed is not None and _satisfying(rule, scanned, failed) >= mostly * scanned.rows,
        fingerprint=rule.fingerprint,
        observed=why and f"could not be computed: {why[:300]}",
        shuts=rule.mostly is not None or why is not None,
    )


def _satisfying(rule: Rule, scanned: Scanned, failed: int) -> int:
    """Rows that satisfy the rule; of a share of all, those that could not be parsed do not."""
    unread = scanned.broken.get(WELL_FORMED, 0) if rule.mostly is not None else 0
    return scanned.rows - failed - (unread if isinstance(unread, int) else 0)


def freshness_result(column: str, hours: float, scanned: Scanned, at: datetime) -> RuleResult:
    """A column's freshness: the age of its newest value that is not in the future."""
    newest = scanned.newest[column]
    age_h = None if newest is None else (at - newest).total_seconds() / 3600
    observed = "no value" if newest is None else f"{newest.isoformat()}, {age_h:.2f} hours old"
    return RuleResult(
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
        observed=observed,
        shuts=True,
    )


def expectation_result(name: str, expectation: Expectation, outcome: Any, total: int) -> RuleResult:
    """Return an expectation's result from Great Expectations' own, over ``total`` rows."""
    result = outcome.result or {}
    found = result.get("observed_value", result.get("unexpected_percent"))
    message = None if outcome.success else _raised(outcome.exception_info)
    return RuleResult(
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
