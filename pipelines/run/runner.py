"""A run, step by step: prepare, claim, select, validate, score, account, publish."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import worker_plan
from millrace.pipelines.job.prepared_job import PreparedJob, prepare
from millrace.pipelines.lake import runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.run_lock import LEASE, LeaseTimes
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.monitoring.monitor import monitor_of
from millrace.pipelines.observability.run_observers import observed
from millrace.pipelines.reporting import run_pages
from millrace.pipelines.run import (
    bookkeeping,
    claiming,
    failure,
    inference_pass,
    replay_selection,
    validation_pass,
)
from millrace.pipelines.run.bookkeeping import SessionResources
from millrace.pipelines.run.unit_scoring import ScoringInputs
from millrace.pipelines.spark.concurrency import background
from millrace.pipelines.spark.error_translation import translated
from millrace.pipelines.spark.event_log import settle
from millrace.pipelines.spark.session import held_since
from millrace.pipelines.validation.verdict import Verdict
from millrace.schemas.config import Job
from millrace.schemas.summary import RunSummary
from millrace.udfs.engine.fault_injection import reached


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def nonce() -> str:
    """What distinguishes two runs of the same fingerprint."""
    return secrets.token_hex(3)


def run(  # noqa: PLR0913 - what it takes from outside has defaults: clock, ids, lease, preparation
    spark: SparkSession,
    job: Job,
    progress: Progress,
    *,
    fresh: bool = False,
    now: Clock = utc_now,
    nonce: Callable[[], str] = nonce,
    lease: LeaseTimes = LEASE,
    prepare: Callable[[SparkSession, Job], PreparedJob] = prepare,
) -> RunSummary:
    """Run the job, or resume it, and return its totals; ``fresh``: score all rows again, as a new run.

    ``prepare`` gives the job over its input, or over the rows of a replay. Raises MillraceError.
    """
    started, began = time.monotonic(), held_since(spark) or now()
    with translated(LakeLocation.of(job).spark_log):
        resources = SessionResources.of(spark)
        with progress.waiting("checking the model, the prices and the input"):
            prepared = prepare(spark, job)
        for note in prepared.notes:
            progress.say(f"  {note}")
        with claiming.claimed_run(
            spark, prepared, began, progress, now=now, nonce=nonce, lease=lease, fresh=fresh
        ) as claimed:
            if claimed.summary is not None:
                return replace(claimed.summary, wall_s=round(time.monotonic() - started, 3))
            run = claimed.run
            with observed(prepared, run, progress, now) as undelivered:
                with failure.recorded_failure(spark, prepared, run, resources, progress, now):
                    summary, event = _scored(spark, prepared, run, resources, progress, now)
                reached("before_done")
                summary = replace(summary, wall_s=round(time.monotonic() - started, 3))
                runs.append_event(prepared.lake, run, runs.DONE, now(), **summary.totals | event)
                progress.tell("run", runs.DONE, **summary.totals)
                page = run_pages.write_report(prepared.lake, run.run_id, progress)
                report = None if page is None else str(page)
            warnings = (*summary.warnings, *undelivered)
            return replace(summary, report=report, warnings=warnings)


def _scored(
    spark: SparkSession,
    prepared: PreparedJob,
    run: Run,
    resources: SessionResources,
    progress: Progress,
    now: Clock,
) -> tuple[RunSummary, dict[str, Any]]:
    """Validate, score and account; return the totals, and further columns of the run's last event."""
    prepared = replay_selection.select_rows(spark, prepared, run, progress, now)
    # A run refused the rows of a replay before: they resemble no run's input.
    watch = monitor_of(spark, prepared, run) if prepared.replays is None else None
    with background(spark, 2) as submit:
        configured = worker_plan.configure(submit, spark, prepared, run.run_id, now())
        admitted = validation_pass.admit(spark, prepared, run, watch, submit, progress, now)
        verdict = admitted.verdict
        with progress.waiting("measuring inference settings during validation"):
            config = configured.result()
        inputs = ScoringInputs.of(prepared, run, (admitted.marks, verdict), config)
        scored = inference_pass.score(spark, inputs, watch, progress, now)
    replay_selection.record_outcomes(spark, prepared, run, progress, now)
    reached("before_ledger")
    run.driver.may_commit()
    settle(spark, resources.log, run.run_id)
    closed = now()
    summary = bookkeeping.account(prepared, run, resources, verdict, scored.units, closed, progress)
    warnings = (*summary.warnings, *admitted.warnings, *scored.warnings, *verdict.notes)
    summary = replace(
        summary,
        warnings=warnings,
        infer_s=scored.infer_s,
        backend=config.runtime.backend,
        precision=config.runtime.precision,
        computed_so_because=config.why,
        forecast=scored.forecast,
    )
    return summary, bookkeeping.last_event(prepared, config, summary, closed)


def check(spark: SparkSession, job: Job, progress: Progress, *, now: Clock = utc_now) -> Verdict:
    """Validation and gate only: refused rows and results are written, nothing is scored."""
    with translated(LakeLocation.of(job).spark_log):
        with progress.waiting("checking the model, the prices and the input"):
            prepared = prepare(spark, job)
        run = claiming.new_run(prepared, nonce())
        run = replace(run, fingerprint=f"validate:{prepared.fingerprint}")
        watch = monitor_of(spark, prepared, run)
        with failure.scratch_removed(run):
            _, verdict = validation_pass.validate_rows(spark, prepared, run, progress, now)
            for warning in watch.input_warnings(progress, now(), is_stored=False) if watch else []:
                progress.say(f"  {warning}", logged=warning.partition("; ")[0])  # no categories
        if page := run_pages.write_rule_pages(prepared.lake, run.run_id, progress):
            progress.say(f"  page      {page}")
    return verdict
