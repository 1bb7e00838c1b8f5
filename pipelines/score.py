"""The story of a run, top to bottom; also what spark-submit starts."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import console, infer, ingest, ledger, report, runs, sink, validate
from pipelines.faults import translated
from pipelines.progress import Progress
from pipelines.runs import Run
from pipelines.session import open_session
from pipelines.task_times import EventLog
from pipelines.validate import Verdict
from pipelines.work import Work, logs, prepare
from schemas import ids, tables
from schemas.config import Job
from schemas.errors import GateRefused, MillraceError
from schemas.summary import Summary
from schemas.yaml_file import load
from udfs.plan import Scorer

UNIT = 0  # the whole input is one unit
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def nonce() -> str:
    """What tells two runs of the same fingerprint apart."""
    return secrets.token_hex(3)


def run(
    spark: SparkSession,
    job: Job,
    progress: Progress,
    *,
    now: Clock = utc_now,
    nonce: Callable[[], str] = nonce,
) -> Summary:
    """Run the job, or what is left of it. Raises MillraceError; what was committed stays committed."""
    started = time.monotonic()
    with translated(f"{job.output.path}/_logs/spark.log"):
        log = EventLog.of(spark)
        with progress.waiting("checking the model, the prices and the input"):
            work = prepare(spark, job)
        run, done = _claimed(spark, work, now(), nonce)
        if done:
            return done
        try:
            marked, verdict = _validate(spark, work, run, progress, now)
            validate.gate(verdict)
            infer_s = _infer(spark, work, run, marked, progress, now)
            summary = _account(spark, work, run, verdict, log, progress)
        except BaseException as error:
            state = "refused" if isinstance(error, GateRefused) else "failed"
            runs.tell(spark, work.lake, run, state, now(), detail=_one_line(error))
            _report(work, run, progress)
            raise
        finally:
            shutil.rmtree(work.staging(run.run_id), ignore_errors=True)
        summary = replace(summary, infer_s=infer_s, wall_s=round(time.monotonic() - started, 3))
        runs.tell(spark, work.lake, run, runs.DONE, now(), **runs.totals(summary))
        return replace(summary, report=_report(work, run, progress))


def check(spark: SparkSession, job: Job, progress: Progress, *, now: Clock = utc_now) -> Verdict:
    """Validation and gate only: refused rows and results are written, nothing is scored."""
    with translated(f"{job.output.path}/_logs/spark.log"):
        with progress.waiting("checking the model, the prices and the input"):
            work = prepare(spark, job)
        run = replace(_new_run(work, nonce()), fingerprint=f"validate:{work.fingerprint}")
        try:
            _, verdict = _validate(spark, work, run, progress, now)
        finally:
            shutil.rmtree(work.staging(run.run_id), ignore_errors=True)
    return verdict


def _new_run(work: Work, nonce: str) -> Run:
    facts = runs.facts(
        work.pinned.summary(), work.model.card.title, work.model.digest, work.settings
    )
    return Run(
        ids.run_id(work.job.name, work.fingerprint, nonce), work.fingerprint, work.job.name, facts
    )


def _claimed(
    spark: SparkSession, work: Work, at: datetime, nonce: Callable[[], str]
) -> tuple[Run, Summary | None]:
    """The run that this fingerprint has or gets, and its summary where it is done already."""
    run = _new_run(work, nonce())
    before = runs.last_event(work.lake, work.fingerprint)
    if before is None:
        return runs.tell(spark, work.lake, run, "started", at), None
    run = replace(run, run_id=before["run_id"], events=before["event"] + 1)
    if before["state"] == runs.DONE:
        return run, runs.summary_of(before, work.lake, work.report(run.run_id))
    return runs.tell(spark, work.lake, run, "resumed", at), None


def _validate(
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


def _infer(
    spark: SparkSession, work: Work, run: Run, marked: DataFrame, progress: Progress, now: Clock
) -> float:
    """Score and commit the accepted rows, unless that was done before; the seconds it took."""
    started, transaction = time.monotonic(), ids.transaction(work.fingerprint, UNIT)
    if sink.committed(work.lake, work.predictions.name, transaction):
        progress.say("  predictions were committed by an earlier attempt: nothing is scored again")
        return 0.0
    plan = infer.plan_of(work.job, work.model, int(work.settings["batch_rows"]))
    model = work.model
    application, device = spark.sparkContext.applicationId, work.job.engine.device
    scorer = Scorer(model.folder, model.digest, device, plan, application, time.time())
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


def _account(
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
    unclear = metered and books.coverage is None
    warnings = (
        ("the ledger has the meters alone: Spark's task times could not be read",)
        if unclear
        else ()
    )
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
        warnings=warnings,
    )


def _report(work: Work, run: Run, progress: Progress) -> str | None:
    """Where the run's report is. What is committed stays so, and what failed is told, without it too."""
    try:
        return str(report.write(work.lake, run.run_id))
    except (MillraceError, OSError) as error:
        progress.say(
            f"  no report: {error}; later: millrace report {run.run_id} --lake {work.lake}"
        )
        return None


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2000]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job file, as ``millrace run`` does; the exit code. This is what spark-submit starts."""
    parser = argparse.ArgumentParser(prog="pipelines/score.py", description=main.__doc__)
    parser.add_argument("job_file", type=Path)
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a key of the job file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    asked = parser.parse_args(arguments)
    try:
        job = load(asked.job_file, Job, overrides=asked.set)
        spark = open_session(f"millrace {job.name}", logs(Path(job.output.path)))
        try:
            summary = run(spark, job, Progress(quiet=asked.json))
        finally:
            spark.stop()
    except MillraceError as error:
        return console.print_error(error, as_json=asked.json)
    console.print_summary(summary, as_json=asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
