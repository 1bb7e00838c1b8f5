"""What a run does before it scores: validate; each step acts once, however often it is tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import sink, validate
from pipelines.beside import beside
from pipelines.commits import Commits
from pipelines.progress import Progress
from pipelines.runs import Clock, Run
from pipelines.task_times import tagged
from pipelines.validate import Verdict
from pipelines.work import Work
from schemas import tables


def validate_rows(
    spark: SparkSession, work: Work, run: Run, progress: Progress, now: Clock
) -> tuple[dict[str, DataFrame], Verdict]:
    """Each unique column's repeated values, and the verdict; refused rows and results are in their tables."""
    rows = work.rows(spark)

    def expected() -> list[Any]:
        with tagged(spark, run.run_id, "validate"):  # a tag is its thread's
            return validate.expected(rows, work.contract)

    with (
        progress.step(spark, run.run_id, "validate", f"validating against {len(work.rules)} rules"),
        beside(spark, 1) as submit,
    ):
        asking = submit(expected)
        repeated = {
            column: sink.stage(values, work.staging(run.run_id) / f"repeated-{number}")
            for number, (column, values) in enumerate(
                validate.repeated_values(rows, work.rules).items()
            )
        }
        repeated = {column: values for column, values in repeated.items() if not values.isEmpty()}
        marked = validate.marked(rows, repeated)
        verdict = validate.judge(marked, work.contract, work.rules, asking.result)
    with progress.step(
        spark, run.run_id, "write", f"writing {verdict.quarantined} refused rows and the results"
    ):
        _write_verdict(work, run, marked, verdict, now())
    return repeated, verdict


def _write_verdict(work: Work, run: Run, marked: DataFrame, verdict: Verdict, at: datetime) -> None:
    history = Commits.of(work.lake, tables.QUARANTINE.name)
    transaction = history.name(run.transaction())
    if not verdict.quarantined:  # the table is made all the same, but no row is read again
        sink.append_values([], work.lake, tables.QUARANTINE, transaction)
    elif not sink.committed(work.lake, tables.QUARANTINE.name, transaction):
        refused = validate.quarantined(marked, work.rules, work.job, run.run_id, at)
        sink.append(refused, work.lake, tables.QUARANTINE, transaction)
    rows = validate.as_rows(verdict, run.run_id, work.job.name, at)
    sink.append_values(rows, work.lake, tables.VALIDATIONS, run.transaction())
