"""What a run does one after the other: validate, infer, account; each step acts once, however often tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import infer, ingest, ledger, runs, sink, validate, volume
from pipelines.calibrate import Way, cores_a_task
from pipelines.ledger import Books
from pipelines.progress import Progress
from pipelines.runs import Run
from pipelines.task_times import EventLog, tag
from pipelines.validate import Verdict
from pipelines.work import Work
from schemas import ids, tables
from schemas.summary import Summary
from udfs.plan import Scorer
from udfs.spark import warmer

UNIT = 0  # the whole input is one unit
TASKS_A_SLOT = 4  # at most, where files are small and many
ROWS_A_TASK = (
    4096  # at least, where there are many small files: as many as the engine orders at a time
)
Clock = Callable[[], datetime]


def validate_rows(
    spark: SparkSession, work: Work, run: Run, progress: Progress, now: Clock
) -> tuple[DataFrame, Verdict]:
    """The rows, repeated values marked, and the verdict; refused rows and results are in their tables."""
    rows = ingest.read(spark, work.job.source, work.contract, work.pinned)

    def expected() -> list[Any]:
        spark.addTag(tag("validate"))  # a tag is its thread's
        return validate.expected(rows, work.contract)

    with (
        progress.step(spark, "validate", f"validating against {len(work.rules)} rules"),
        ThreadPoolExecutor(1) as beside,
    ):
        asking = beside.submit(expected)
        repeated = {
            column: sink.stage(values, work.staging(run.run_id) / f"repeated-{number}")
            for number, (column, values) in enumerate(
                validate.repeated_values(rows, work.rules).items()
            )
        }
        marked = validate.marked(rows, {c: v for c, v in repeated.items() if not v.isEmpty()})
        verdict = validate.judge(marked, work.contract, work.rules, asking.result)
    with progress.step(
        spark, "write", f"writing {verdict.quarantined} refused rows and the results"
    ):
        _write_verdict(work, run, marked, verdict, now())
    return marked, verdict


def _write_verdict(work: Work, run: Run, marked: DataFrame, verdict: Verdict, at: datetime) -> None:
    transaction = ids.transaction(run.fingerprint, UNIT)
    if not verdict.quarantined:  # the table is made all the same, but no row is read again
        sink.append_values([], work.lake, tables.QUARANTINE, transaction)
    elif not sink.committed(work.lake, tables.QUARANTINE.name, transaction):
        refused = validate.quarantined(marked, work.rules, work.job, run.run_id, UNIT, at)
        sink.append(refused, work.lake, tables.QUARANTINE, transaction)
    rows = validate.as_rows(verdict, run.run_id, work.job.name, at)
    sink.append_values(rows, work.lake, tables.VALIDATIONS, transaction)


def infer_rows(
    spark: SparkSession,
    work: Work,
    run: Run,
    marked: DataFrame,
    way: Way,
    progress: Progress,
    now: Clock,
) -> float:
    """Score and commit the accepted rows, unless that was done before; the seconds it took."""
    started, transaction = time.monotonic(), ids.transaction(work.fingerprint, UNIT)
    if sink.committed(work.lake, work.predictions.name, transaction):
        progress.say("  predictions were committed by an earlier attempt: nothing is scored again")
        return 0.0
    model = work.model
    progress.say(f"  computing with {way.runtime.backend} {way.runtime.precision}: {way.why}")
    with progress.step(spark, "infer", f"scoring with {model.card.title}"):
        accepted = _spread(spark, work, infer.accepted(marked, work.rules, work.job, model))
        scorer = _scorer(spark, work, way)
        rows = infer.scored(accepted, work.job, work.contract, model, scorer)
        named = infer.with_run(rows, work.predictions, run.run_id, UNIT, model, now())
        sink.append(named, work.lake, work.predictions, transaction)
    return round(time.monotonic() - started, 3)


def warm_workers(spark: SparkSession, work: Work, way: Way) -> None:
    """Make a worker a slot ready to score, while the driver and the JVM are busy with validation."""
    slots = spark.sparkContext.defaultParallelism
    spark.addTag(tag("warm"))
    try:
        ready = spark.range(0, slots, 1, slots).mapInArrow(
            warmer(_scorer(spark, work, way)), "ready boolean"
        )
        ready.collect()
    finally:
        spark.removeTag(tag("warm"))


def _spread(spark: SparkSession, work: Work, accepted: DataFrame) -> DataFrame:
    """The rows over the slots: a task has enough of them to order by length, and no slot waits for long.

    Of few files Spark makes a task a slot, and the one with longer texts ends later. Four tasks a slot
    were tried: what they gained in balance they lost in padding, having fewer rows to order.

    One task reads a file that Python parses, however many cores wait; and a Python that reads in the
    stage that scores would be a second worker a slot.
    """
    slots = spark.sparkContext.defaultParallelism
    if ingest.reads_in_python(work.job.source):
        return accepted.repartition(max(len(work.pinned.files), slots))
    tasks = max(TASKS_A_SLOT * slots, volume.expected_rows(work.pinned) // ROWS_A_TASK)
    return accepted.coalesce(tasks)


def _scorer(spark: SparkSession, work: Work, way: Way) -> Scorer:
    threads = cores_a_task(spark)
    batch = work.job.engine.batch
    plan = replace(
        infer.plan_of(work.job, work.model, None if batch == "auto" else batch),
        batch_cost=way.batch_cost,
        decode_ahead=threads > 1 or way.runtime.device.startswith("cuda"),
    )
    # A core that decodes ahead is not there for the model.
    computing = max(1, threads - 1) if plan.decode_ahead else threads
    return Scorer(
        way.folder,
        way.digest,
        replace(way.runtime, threads=computing),
        plan,
        spark.sparkContext.applicationId,
        time.time(),
        work.job.engine.host,
    )


def account(
    spark: SparkSession,
    work: Work,
    run: Run,
    verdict: Verdict,
    log: EventLog | None,
    progress: Progress,
) -> Summary:
    """Count what was committed, price what it took, and see whether both add up."""
    with progress.waiting("accounting"):
        counted = ledger.counted(work.lake, work.predictions.name, run.run_id)
        tasks = log.tasks([m["task_id"] for m in counted.meters]) if log else []
        about = {
            "x_RunId": run.run_id,
            "x_Job": run.job,
            "x_Unit": UNIT,
            "x_AppId": spark.sparkContext.applicationId,
        }
        books = ledger.books(counted.meters, tasks, work.rate, about)
        transaction = ids.transaction(work.fingerprint, UNIT)
        sink.append_values(books.rows, work.lake, tables.LEDGER, transaction)
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
        units_done=1,
        model_load_s=round(books.model_load_s, 3),
        cost=books.cost,
        currency=work.rate.currency if work.rate else None,
        ledger_coverage=books.coverage,
        books_closed=None if books.coverage is None else balanced and books.adds_up,
        warnings=tuple(_warnings(work, books, has_meters=bool(counted.meters))),
    )


def _warnings(work: Work, books: Books, *, has_meters: bool) -> Iterator[str]:
    """What a user should know beside the totals."""
    if has_meters and books.coverage is None:
        yield "the ledger has the meters alone: Spark's task times could not be read"
    budget = work.job.cost.budget if work.job.cost else None
    if budget is not None and books.cost is not None and books.cost > budget:
        yield f"the run cost more than its budget of {budget}: nothing stops a run for that yet"
