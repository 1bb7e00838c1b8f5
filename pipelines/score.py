"""The story of a run, top to bottom; also what spark-submit starts."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines import console, report, runs, validate
from pipelines.calibrate import Way, way_of
from pipelines.faults import translated
from pipelines.progress import Progress
from pipelines.runs import Run
from pipelines.steps import Clock, account, infer_rows, validate_rows, warm_workers
from pipelines.task_times import EventLog
from pipelines.validate import Verdict
from pipelines.work import Work, prepare, session_for, spark_log
from schemas import ids
from schemas.config import Job
from schemas.errors import GateRefused, MillraceError
from schemas.summary import Summary
from schemas.yaml_file import load


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
    with translated(spark_log(job)):
        log = EventLog.of(spark)
        with progress.waiting("checking the model, the prices and the input"):
            work = prepare(spark, job)
        run, done = _claimed(work, now(), nonce)
        if done:
            return done
        with _told_if_it_fails(work, run, progress, now), ThreadPoolExecutor(1) as beside:
            finding = beside.submit(way_of, spark, work, run.run_id, now())
            beside.submit(_warm_when_found, spark, work, finding)
            marked, verdict = validate_rows(spark, work, run, progress, now)
            validate.gate(verdict)
            with progress.waiting("measuring ways to compute, beside validation"):
                way = finding.result()
            infer_s = infer_rows(spark, work, run, marked, way, progress, now)
            summary = account(spark, work, run, verdict, log, progress)
        summary = replace(
            summary,
            infer_s=infer_s,
            wall_s=round(time.monotonic() - started, 3),
            backend=way.runtime.backend,
            precision=way.runtime.precision,
            computed_so_because=way.why,
        )
        settings = json.dumps(work.settings | way.settings, sort_keys=True)
        runs.tell(work.lake, run, runs.DONE, now(), **runs.totals(summary) | {"settings": settings})
        return replace(summary, report=_report(work, run, progress))


def _warm_when_found(spark: SparkSession, work: Work, finding: Future[Way]) -> None:
    """Warm the workers. Whatever hinders that will hinder scoring, and is told there."""
    with suppress(Exception):
        warm_workers(spark, work, finding.result())


def check(spark: SparkSession, job: Job, progress: Progress, *, now: Clock = utc_now) -> Verdict:
    """Validation and gate only: refused rows and results are written, nothing is scored."""
    with translated(spark_log(job)):
        with progress.waiting("checking the model, the prices and the input"):
            work = prepare(spark, job)
        run = replace(_new_run(work, nonce()), fingerprint=f"validate:{work.fingerprint}")
        with _without_traces(work, run):
            _, verdict = validate_rows(spark, work, run, progress, now)
    return verdict


def _new_run(work: Work, nonce: str) -> Run:
    facts = runs.facts(
        work.pinned.summary(), work.model.card.title, work.model.digest, work.settings
    )
    return Run(
        ids.run_id(work.job.name, work.fingerprint, nonce), work.fingerprint, work.job.name, facts
    )


def _claimed(work: Work, at: datetime, nonce: Callable[[], str]) -> tuple[Run, Summary | None]:
    """The run that this fingerprint has or gets, and its summary where it is done already."""
    run = _new_run(work, nonce())
    before = runs.last_event(work.lake, work.fingerprint)
    if before is None:
        return runs.tell(work.lake, run, "started", at), None
    run = replace(run, run_id=before["run_id"], events=before["event"] + 1)
    if before["state"] == runs.DONE:
        return run, runs.summary_of(before, work.lake, report.path_of(work.lake, run.run_id))
    return runs.tell(work.lake, run, "resumed", at), None


@contextmanager
def _told_if_it_fails(work: Work, run: Run, progress: Progress, now: Clock) -> Iterator[None]:
    """What fails inside becomes an event of the run and a report, and is raised all the same."""
    try:
        with translated(spark_log(work.job)), _without_traces(work, run):
            yield
    except BaseException as error:
        state = "refused" if isinstance(error, GateRefused) else "failed"
        try:
            runs.tell(work.lake, run, state, now(), detail=_one_line(error))
            _report(work, run, progress)
        except Exception as other:  # noqa: BLE001 - Spark itself may be what is gone: the first error counts
            progress.say(f"  the run's end could not be written: {_one_line(other)[:200]}")
        raise


@contextmanager
def _without_traces(work: Work, run: Run) -> Iterator[None]:
    """Scratch folders of the run are removed at the end."""
    try:
        yield
    finally:
        scratch = work.staging(run.run_id)
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):  # another run's scratch is still there, or there was none
            scratch.parent.rmdir()


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
        with session_for(job) as spark:
            summary = run(spark, job, Progress(quiet=asked.json))
    except MillraceError as error:
        return console.print_error(error, as_json=asked.json)
    console.print_summary(summary, as_json=asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
