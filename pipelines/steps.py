"""What a run does one after the other: validate, infer, account; each step acts once, however often tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import infer, ingest, ledger, runs, sink, validate
from pipelines.ledger import Books
from pipelines.progress import Progress
from pipelines.runs import Run
from pipelines.task_times import EventLog
from pipelines.validate import Verdict
from pipelines.work import Work
from schemas import ids, tables
from schemas.summary import Summary
from udfs.plan import Runtime, Scorer

UNIT = 0  # the whole input is one unit
Clock = Callable[[], datetime]


def validate_rows(
    spark: SparkSession, work: Work, run: Run, progress: Progress, now: Clock
) -> tuple[DataFrame, Verdict]:
    """The rows, repeated values marked, and the verdict; refused rows and results are in their tables."""
    rows = ingest.read(spark, work.job.source, work.contract, work.pinned)
    with progress.step(spark, "validate", f"validating against {len(work.rules)} rules"):
        repeated = {
            column: sink.stage(values, work.staging(run.run_id) / f"repeated-{number}")
            for number, (column, values) in enumerate(
                validate.repeated_values(rows, work.rules).items()
            )
        }
        marked = validate.marked(rows, {c: v for c, v in repeated.items() if not v.isEmpty()})
        verdict = validate.judge(marked, work.contract, work.rules)
    with progress.step(
        spark, "write", f"writing {verdict.quarantined} refused rows and the results"
    ):
        _write_verdict(spark, work, run, marked, verdict, now())
    return marked, verdict


def _write_verdict(
    spark: SparkSession, work: Work, run: Run, marked: DataFrame, verdict: Verdict, at: datetime
) -> None:
    transaction = ids.transaction(run.fingerprint, UNIT)
    if not sink.committed(work.lake, tables.QUARANTINE.name, transaction):
        refused = validate.quarantined(marked, work.rules, work.job, run.run_id, UNIT, at)
        if not verdict.quarantined:  # the table is made all the same, but no row is read again
            refused = refused.limit(0)
        sink.append(refused, work.lake, tables.QUARANTINE, transaction)
    if not sink.committed(work.lake, tables.VALIDATIONS.name, transaction):
        rows = validate.as_rows(verdict, run.run_id, work.job.name, at)
        sink.append_values(spark, rows, work.lake, tables.VALIDATIONS, transaction)


def infer_rows(
    spark: SparkSession, work: Work, run: Run, marked: DataFrame, progress: Progress, now: Clock
) -> float:
    """Score and commit the accepted rows, unless that was done before; the seconds it took."""
    started, transaction = time.monotonic(), ids.transaction(work.fingerprint, UNIT)
    if sink.committed(work.lake, work.predictions.name, transaction):
        progress.say("  predictions were committed by an earlier attempt: nothing is scored again")
        return 0.0
    batch = work.job.engine.batch
    plan = infer.plan_of(work.job, work.model, None if batch == "auto" else batch)
    model = work.model
    application, runtime = spark.sparkContext.applicationId, Runtime(work.job.engine.device)
    scorer = Scorer(model.folder, model.digest, runtime, plan, application, time.time())
    with progress.step(spark, "infer", f"scoring with {model.card.title}"):
        accepted = infer.accepted(marked, work.rules, work.job, model)
        if ingest.reads_in_python(work.job.source):
            # One task reads such a file, however many cores wait; and a Python that reads in the stage
            # that scores would be a second worker a slot.
            slots = spark.sparkContext.defaultParallelism
            accepted = accepted.repartition(max(len(work.pinned.files), slots))
        rows = infer.scored(accepted, work.job, work.contract, model, scorer)
        named = infer.with_run(rows, work.predictions, run.run_id, UNIT, model, now())
        sink.append(named, work.lake, work.predictions, transaction)
    return round(time.monotonic() - started, 3)


def account(
    spark: SparkSession,
    work: Work,
    run: Run,
    verdict: Verdict,
    log: EventLog | None,
    progress: Progress,
) -> Summary:
    """Count what was committed, price what it took, and see whether both add up."""
    with progress.step(spark, "account", "accounting"):
        predictions = sink.read(spark, work.lake, work.predictions.name)
        mine = predictions.where(F.col("run_id") == run.run_id)
        counted = mine.agg(
            F.count_if(F.col("error").isNull()), F.count_if(F.col("error").isNotNull())
        ).collect()[0]
        metered = ledger.meters(mine)
        tasks = log.tasks([m["task_id"] for m in metered]) if log else []
        about = {
            "x_RunId": run.run_id,
            "x_Job": run.job,
            "x_Unit": UNIT,
            "x_AppId": spark.sparkContext.applicationId,
        }
        books = ledger.books(metered, tasks, work.rate, about)
        transaction = ids.transaction(work.fingerprint, UNIT)
        if not sink.committed(work.lake, tables.LEDGER.name, transaction):
            sink.append_values(spark, books.rows, work.lake, tables.LEDGER, transaction)
    scored, failed = counted
    balanced = scored + failed + verdict.quarantined == verdict.rows
    return Summary(
        run_id=run.run_id,
        state=runs.DONE,
        fingerprint=work.fingerprint,
        lake=str(work.lake),
        rows_read=verdict.rows,
        scored=scored,
        quarantined=verdict.quarantined,
        failed=failed,
        units_done=1,
        model_load_s=round(books.model_load_s, 3),
        cost=books.cost,
        currency=work.rate.currency if work.rate else None,
        ledger_coverage=books.coverage,
        books_closed=None if books.coverage is None else balanced and books.adds_up,
        warnings=tuple(_warnings(work, books, has_meters=bool(metered))),
    )


def _warnings(work: Work, books: Books, *, has_meters: bool) -> Iterator[str]:
    """What a user should know beside the totals."""
    if has_meters and books.coverage is None:
        yield "the ledger has the meters alone: Spark's task times could not be read"
    budget = work.job.cost.budget if work.job.cost else None
    if budget is not None and books.cost is not None and books.cost > budget:
        yield f"the run cost more than its budget of {budget}: nothing stops a run for that yet"
