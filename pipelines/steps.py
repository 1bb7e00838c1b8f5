"""What a run does before and after it scores: validate, account; each step acts once, however often tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import ingest, ledger, runs, sink, validate
from pipelines.beside import beside
from pipelines.commits import Commits
from pipelines.ledger import Books
from pipelines.progress import Progress
from pipelines.runs import Clock, Run
from pipelines.saved import saving_of
from pipelines.task_times import EventLog, TaskTime, tagged
from pipelines.validate import Verdict
from pipelines.work import Work
from schemas import tables
from schemas.summary import Summary


def validate_rows(
    spark: SparkSession, work: Work, run: Run, progress: Progress, now: Clock
) -> tuple[dict[str, DataFrame], Verdict]:
    """Each unique column's repeated values, and the verdict; refused rows and results are in their tables."""
    rows = ingest.read(spark, work.job.source, work.contract, work.pinned)

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


def account(
    work: Work,
    run: Run,
    verdict: Verdict,
    units: int,
    log: EventLog | None,
    progress: Progress,
) -> Summary:
    """Count what was committed, price what it took, and see whether both add up."""
    with progress.waiting("accounting"):
        counted = ledger.counted(work.lake, work.predictions.name, run.run_id)
        tasks = _tasks(work, run, counted.meters, log)
        books = ledger.books(counted.meters, tasks, work.rate, run.run_id, run.job)
        known = ledger.tasks_of(work.lake, run.run_id)
        new = [row for row in books.rows if (row["x_AppId"], row["x_TaskId"]) not in known]
        sink.append_values(new, work.lake, tables.LEDGER, f"{run.transaction()}:{run.events}")
        computed = sum(meter["rows"] for meter in counted.meters)
        saving = saving_of(work, run, counted.scored + counted.failed, computed, books.rows)
        if saving.records:
            sink.append_values(
                saving.records, work.lake, tables.LEDGER, f"{run.transaction()}:saved"
            )
    balanced = counted.scored + counted.failed + verdict.quarantined == verdict.rows
    return Summary(
        run_id=run.run_id,
        state=runs.DONE,
        fingerprint=work.fingerprint,
        lake=str(work.lake),
        rows_read=verdict.rows,
        scored=counted.scored,
        quarantined=verdict.quarantined,
        failed=counted.failed,
        units_done=units,
        units_total=units,
        model_load_s=round(books.model_load_s, 3),
        cost=books.cost,
        currency=work.rate.currency if work.rate else None,
        ledger_coverage=books.coverage,
        books_closed=None if books.coverage is None else balanced and books.adds_up,
        saved_rows=saving.rows,
        saved_s=saving.seconds,
        saved_cost=saving.cost,
        warnings=tuple(_warnings(work, books, has_meters=bool(counted.meters))),
    )


def _tasks(
    work: Work, run: Run, meters: Sequence[dict[str, Any]], log: EventLog | None
) -> list[TaskTime]:
    """Spark's tasks of all attempts of the run, as far as their applications' logs are there."""
    if log is None:
        return []
    mine = [m["task_id"] for m in meters if m["application"] == log.application]
    before = runs.earlier_applications(work.lake, run)
    # An earlier attempt may have been this very session's: then its log is read from the beginning.
    found = (EventLog(log.path) if log.application in before else log).tasks(mine)
    for application in sorted(before - {log.application}):
        earlier = EventLog.named(log.path.parent, application)
        found += earlier.all_tasks() if earlier else []
    return [task for task in found if task.run_id == run.run_id]


def _warnings(work: Work, books: Books, *, has_meters: bool) -> Iterator[str]:
    """What a user should know beside the totals."""
    if has_meters and books.coverage is None:
        yield "the ledger has the meters alone: Spark's task times could not be read"
    budget = work.job.cost.budget if work.job.cost else None
    if budget is not None and books.cost is not None and books.cost > budget:
        yield f"the run cost more than its budget of {budget}: nothing stops a run for that yet"
