"""What a run does before it scores: validate; each step acts once, however often it is tried."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import ingest, reference, sink, validate
from pipelines.beside import beside
from pipelines.commits import Commits
from pipelines.expectations import Expectations
from pipelines.marks import Mark, breaking_values, marked
from pipelines.pinning import check_unchanged
from pipelines.progress import Progress
from pipelines.runs import Clock, Run
from pipelines.task_times import tagged
from pipelines.validate import Verdict
from pipelines.work import Work
from schemas import tables


def validate_rows(
    spark: SparkSession, work: Work, run: Run, progress: Progress, now: Clock
) -> tuple[dict[str, Mark], Verdict]:
    """The rules' marks, which say of other frames too what breaks them, and the verdict.

    Refused rows and results are in their tables.
    """
    rows = work.rows(spark)
    at = now()
    with (
        progress.step(spark, run.run_id, "validate", f"validating against {len(work.rules)} rules"),
        beside(spark, 1) as submit,
    ):
        expectations = Expectations(rows, work.contract)

        def ask() -> list[Any]:
            with tagged(spark, run.run_id, "validate"):  # a tag is its thread's
                return expectations.ask()

        asking = submit(ask)
        values = _staged(run, breaking_values(rows, work.rules, _references(spark, work)))
        found, verdict = validate.examine(
            rows, (work.contract, work.rules), values, (expectations, asking.result), at
        )
    with progress.step(
        spark, run.run_id, "write", f"writing {verdict.quarantined} refused rows and the results"
    ):
        _write_verdict(work, run, marked(rows, found), verdict, now())
    return found, verdict


def _staged(run: Run, values: Mapping[str, DataFrame]) -> dict[str, Mark]:
    """The values that break rules, computed once; without the rules that none breaks."""
    folder = run.driver.folder
    kept = {
        mark: sink.stage(one, folder / f"values-{number}")
        for number, (mark, one) in enumerate(values.items())
    }
    return {mark: one for mark, one in kept.items() if not one.isEmpty()}


def _references(spark: SparkSession, work: Work) -> dict[str, DataFrame]:
    """The tables that rules refer to, each as it was pinned, by the rule's name."""
    return {
        rule.name: ingest.read(
            spark, reference.source_of(to), reference.contract_of(to, work.contract, rule), pinned
        )
        for rule in work.rules
        if (to := rule.reference) is not None
        for pinned in [work.references[rule.name]]
    }


def _write_verdict(work: Work, run: Run, marked: DataFrame, verdict: Verdict, at: datetime) -> None:
    history = Commits.of(work.lake, tables.QUARANTINE.name)
    transaction = history.name(run.transaction())
    if not verdict.quarantined:  # the table is made all the same, but no row is read again
        sink.append_values([], work.lake, tables.QUARANTINE, transaction)
    elif not sink.committed(work.lake, tables.QUARANTINE.name, transaction):
        sound = [rule for rule in work.rules if rule.name not in verdict.uncomputed]
        by = run.driver.only_if(partial(check_unchanged, work.pinned))
        refused = validate.quarantined(marked, sound, work.job, run.run_id, at)
        sink.append(refused, work.lake, tables.QUARANTINE, transaction, by)
    rows = validate.as_rows(verdict, run.run_id, work.job.name, at)
    sink.append_values(rows, work.lake, tables.VALIDATIONS, run.transaction())
