"""The validation pass: rows are judged, refused ones quarantined, and the gate opens or stays shut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.delta_history import Commits
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.monitoring.monitor import RunMonitor
from millrace.pipelines.reporting.run_pages import write_rule_pages
from millrace.pipelines.sources import reader, reference_tables, row_counts
from millrace.pipelines.sources.row_counts import StatedRows
from millrace.pipelines.sources.snapshot import check_unchanged
from millrace.pipelines.spark.concurrency import background
from millrace.pipelines.spark.job_tags import tagged
from millrace.pipelines.validation import contract_check
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.verdict import Verdict, as_rows, gate
from millrace.pipelines.validation.violations import Mark, breaking_values, marked
from millrace.schemas import tables


@dataclass(frozen=True)
class AdmittedRows:
    """An input that may be scored: the rules' marks, the verdict, and what was found of its drift."""

    marks: dict[str, Mark]
    verdict: Verdict
    warnings: tuple[str, ...]


def admit(
    spark: SparkSession,
    prepared: PreparedJob,
    run: Run,
    watch: RunMonitor | None,
    submit: Callable[..., Future[Any]],
    progress: Progress,
    now: Clock,
) -> AdmittedRows:
    """Validate the rows, open the gate, and compare the input with the baseline.

    The pages about the rules are written in a thread of ``submit`` meanwhile. Raises GateRefused.
    """
    marks, verdict = validate_rows(spark, prepared, run, progress, now)
    gate(verdict if prepared.replays is None else _of_refused_rows(verdict))
    submit(write_rule_pages, prepared.lake, run.run_id, progress)
    drifted = watch.input_warnings(progress, now(), is_stored=True) if watch else []
    return AdmittedRows(marks, verdict, tuple(drifted))


def _of_refused_rows(verdict: Verdict) -> Verdict:
    """The verdict on a replay: each of its rows was refused before, so only an unknown shuts the gate."""
    unknown = tuple(result for result in verdict.results if result.rule in verdict.uncomputed)
    return replace(verdict, results=unknown, max_quarantined=1.0)


def validate_rows(
    spark: SparkSession, prepared: PreparedJob, run: Run, progress: Progress, now: Clock
) -> tuple[dict[str, Mark], Verdict]:
    """The rules' marks, which say of other frames too what breaks them, and the verdict.

    Refused rows and results are in their tables. Raises InputCorrupt where other rows were read than the
    pinned input states.
    """
    rows = prepared.rows(spark)
    at = now()
    with (
        progress.step(
            spark, run.run_id, "validate", f"validating against {len(prepared.rules)} rules"
        ),
        background(spark, 2) as submit,
    ):
        counting = submit(row_counts.stated, prepared.job.source, prepared.pinned)
        expectations = Expectations(rows, prepared.contract)

        def ask() -> list[Any]:
            with tagged(spark, run.run_id, "validate"):  # a tag is its thread's
                return expectations.validate_with_spark()

        asking = submit(ask)
        values = _staged(run, breaking_values(rows, prepared.rules, _references(spark, prepared)))
        found, verdict = contract_check.examine(
            rows, (prepared.contract, prepared.rules), values, (expectations, asking.result), at
        )
        if prepared.selection is None:  # a replay reads some of the rows
            verdict = _with_stated_rows(prepared, verdict, counting.result(), progress)
    with progress.step(
        spark,
        run.run_id,
        "write",
        f"writing {verdict.quarantined} quarantined rows and the results",
    ):
        _write_verdict(
            prepared, run, marked(_with_keys(spark, prepared, rows), found), verdict, now()
        )
    return found, verdict


def _with_stated_rows(
    prepared: PreparedJob, verdict: Verdict, stated: StatedRows, progress: Progress
) -> Verdict:
    """The verdict with the rows that the input states. Raises InputCorrupt where others were read."""
    row_counts.check_read(stated, verdict.rows, prepared.pinned)
    for note in stated.notes:
        progress.say(f"  {note}")
    return replace(verdict, stated=stated)


def _with_keys(spark: SparkSession, prepared: PreparedJob, rows: DataFrame) -> DataFrame:
    """``rows`` as they are quarantined: a record that did not parse has its key, where that can be read.

    No rule and no expectation is judged on these, so that such a key repeats no other row's. A replay
    finds its rows by key: there a record that does not parse still has none.
    """
    if not reader.has_malformed(prepared.job.source) or prepared.selection is not None:
        return rows
    return prepared.rows(spark, how=reader.ReadOptions(keeps=tuple(prepared.job.key)))


def _staged(run: Run, values: Mapping[str, DataFrame]) -> dict[str, Mark]:
    """The values that break rules, computed once; without the rules that none breaks."""
    folder = run.driver.folder
    staged = {
        mark: delta.stage(one, folder / f"values-{number}")
        for number, (mark, one) in enumerate(values.items())
    }
    return {mark: one for mark, one in staged.items() if not one.isEmpty()}


def _references(spark: SparkSession, prepared: PreparedJob) -> dict[str, DataFrame]:
    """The tables that rules refer to, each as it was pinned, by the rule's name."""
    return {
        rule.name: reader.read(
            spark,
            reference_tables.source_of(to),
            reference_tables.contract_of(to, prepared.contract, rule),
            pinned,
        )
        for rule in prepared.rules
        if (to := rule.reference) is not None
        for pinned in [prepared.references[rule.name]]
    }


def _write_verdict(
    prepared: PreparedJob, run: Run, marked: DataFrame, verdict: Verdict, at: datetime
) -> None:
    history = Commits.of(prepared.lake, tables.QUARANTINE.name)
    transaction = history.name(run.transaction())
    if not verdict.quarantined:  # the table is made all the same, but no row is read again
        delta.append_values([], prepared.lake, tables.QUARANTINE, transaction)
    elif not delta.committed(prepared.lake, tables.QUARANTINE.name, transaction):
        sound = [rule for rule in prepared.rules if rule.name not in verdict.uncomputed]
        by = run.driver.only_if(partial(check_unchanged, prepared.pinned))
        refused = contract_check.quarantined(marked, sound, prepared.job, run.run_id, at)
        delta.append(refused, prepared.lake, tables.QUARANTINE, transaction, by)
    rows = as_rows(verdict, run.run_id, prepared.job.name, at)
    delta.append_values(rows, prepared.lake, tables.VALIDATIONS, run.transaction())
