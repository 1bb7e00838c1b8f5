"""The run that a job gets: a new one, one to resume, or one that is done; one driver at a time has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import run_lock, runs
from millrace.pipelines.lake.run_lock import Claim, LeaseTimes
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.spark import cluster
from millrace.schemas.summary import RunSummary


@dataclass(frozen=True)
class ClaimedRun:
    """A run that this driver alone may commit to, and its summary if it is done already."""

    run: Run
    summary: RunSummary | None = None


@contextmanager
def claimed_run(  # noqa: PLR0913 - what comes from outside: clock, ids, lease
    spark: SparkSession,
    prepared: PreparedJob,
    began: datetime,
    progress: Progress,
    *,
    now: Clock,
    nonce: Callable[[], str],
    lease: LeaseTimes,
    fresh: bool,
) -> Iterator[ClaimedRun]:
    """Claim the run of the job's fingerprint, and tell that its attempt began.

    Args:
        began: since when machines are held for it.
        fresh: score all rows again, as a new run, where the last one is done.

    Raises ClaimHeld.
    """
    with run_lock.claimed(
        prepared.lake, prepared.fingerprint, prepared.job.name, watch=progress.say, lease=lease
    ) as claim:
        found = _find_or_begin(spark, prepared, claim, (began, now()), nonce, fresh=fresh)
        if found.summary is None:
            progress.about(found.run.run_id)
            _say_begun(found.run, progress)
        yield found


def new_run(prepared: PreparedJob, nonce: str, series: int = 0) -> Run:
    """Return a run of the job without events."""
    return runs.new_run(
        prepared.lake, prepared.job.name, prepared.fingerprint, prepared.facts, nonce, series
    )


def is_new(event: Mapping[str, Any] | None, *, fresh: bool = False) -> bool:
    """Say whether a job whose fingerprint has this last event gets a new run."""
    return event is None or (fresh and event["state"] == runs.DONE)


def has_lost_commits(prepared: PreparedJob, event: Mapping[str, Any]) -> bool:
    """Say whether a table was restored to before what the run of this event committed."""
    run = earlier_run(prepared, event)
    return work_units.has_lost_commits(prepared.lake, run, prepared.predictions.name)


def earlier_run(prepared: PreparedJob, event: Mapping[str, Any]) -> Run:
    """Return the run of its last event, which no driver has claimed yet."""
    return runs.run_of(prepared.lake, event, prepared.facts)


def _find_or_begin(
    spark: SparkSession,
    prepared: PreparedJob,
    claim: Claim,
    times: tuple[datetime, datetime],
    nonce: Callable[[], str],
    *,
    fresh: bool,
) -> ClaimedRun:
    """Find the run of this fingerprint or begin one; ``times``: held since, and now."""
    lake, (began, at) = prepared.lake, times
    before = runs.last_event(lake, prepared.fingerprint)
    application = cluster.application(spark)
    if before is None or is_new(before, fresh=fresh):
        number = runs.next_number(lake, prepared.job.name)
        run = new_run(prepared, nonce(), 0 if before is None else before["series"] + 1)
        run = replace(run, number=number, application=application).claimed_by(lake, claim)
        return ClaimedRun(runs.append_event(lake, run, "started", at, held_since=began))
    run = replace(earlier_run(prepared, before), application=application).claimed_by(lake, claim)
    summary = runs.summary_of(before, lake) if before["state"] == runs.DONE else None
    if summary and not has_lost_commits(prepared, before):
        return ClaimedRun(run, summary)
    return ClaimedRun(runs.append_event(lake, run, "resumed", at, held_since=began))


def _say_begun(run: Run, progress: Progress) -> None:
    is_resumed = run.events > 1
    progress.tell("run", "resumed" if is_resumed else "started", job=run.job)
    if is_resumed:
        progress.say(f"  run {run.run_id} resumes where it stopped")
