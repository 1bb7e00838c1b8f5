"""The calls about a job: each function is the command of its name, with exceptions for exit codes.

Modules of a run are imported in the functions: the session imports them while the JVM starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from millrace.pipelines.api.job_argument import JobOrFile, job_of, load_job
from millrace.pipelines.api.progress_events import OnProgress, progress_of
from millrace.pipelines.api.sessions import lakeless_session, session_of
from millrace.pipelines.spark import places
from millrace.pipelines.spark.embedded import EngineEnded
from millrace.pipelines.spark.job_session import check_before_start
from millrace.schemas.config import Job
from millrace.schemas.html import table
from millrace.schemas.job_file import load_job as load_file
from millrace.schemas.summary import RunSummary

if TYPE_CHECKING:
    from millrace.pipelines.console.progress import Progress
    from millrace.pipelines.planning.dry_run import DryRun
    from millrace.pipelines.planning.forecast import Forecast
    from millrace.pipelines.validation.verdict import Verdict

__all__ = [
    "Preflight", "dry_run", "dry_run_replay", "load_job", "load_job_file", "plan", "preflight", "replay",
    "run", "validate",
]  # fmt: skip


class Preflight(dict[str, Any]):
    """The facts about a job that `preflight` found, by name."""

    def _repr_html_(self) -> str:
        rows = [[name, self[name]] for name in self if name != "input"]
        rows += [[f"input.{name}", value] for name, value in self["input"].items()]
        return table(f"job {self['job']}", ["fact", "value"], rows)


def load_job_file(path: Path, overrides: Sequence[str] = ()) -> Job:
    """Return the job of a YAML file, with overrides as ``--set`` takes them: ``engine.batch=32``.

    Raises UsageError.
    """
    return load_file(path, overrides)


def run(
    job: JobOrFile,
    *,
    fresh: bool = False,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
    held_since: datetime | None = None,
    **overrides: Any,
) -> RunSummary:
    """Run a job, or resume it, and return its totals.

    Args:
        job: a `Job`, or the path of a job file.
        fresh: score all rows again, as a new run.
        spark: a session of `session`, for several calls; without it, the call starts one and stops it.
        on_progress: called with each event, about once a second while a step works, in other threads too.
        held_since: since when the run pays for this machine; None: since the session starts.
        overrides: as of `load_job`.

    Raises:
        UsageError: the job, its model or its lake cannot be used; nothing was read.
        GateRefused: the input breaks its contract; nothing was scored.
        BudgetExceeded, RunFailed: stopped; call again to resume.
        ClaimHeld: another run of the same job and input is at work.
    """
    made, progress = job_of(job, overrides), progress_of(on_progress)

    def resume(used: SparkSession, *, fresh: bool = False) -> RunSummary:
        from millrace.pipelines.run import runner

        return runner.run(used, made, progress, fresh=fresh)

    start = partial(resume, fresh=fresh)
    return _run_in_place(made, spark, (start, resume), progress, held_since)


def dry_run(
    job: JobOrFile,
    *,
    fresh: bool = False,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
    **overrides: Any,
) -> DryRun:
    """Return what `run` would do: input, units, state and forecast. Nothing is written to the lake.

    Args:
        job, fresh, spark, on_progress, overrides: as of `run`.

    Raises:
        UsageError, GateRefused: as `run` does before it reads a row.
    """
    made = job_of(job, overrides)
    preflight(made)  # what it refuses needs no session
    with lakeless_session("dry-run", spark) as used:
        from millrace.pipelines.planning import dry_run as dry_runs

        return dry_runs.of_run(used, made, progress_of(on_progress), fresh=fresh)


def dry_run_replay(
    run_id: str,
    job: JobOrFile,
    *,
    repaired: str | None = None,
    failed: bool = False,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
    **overrides: Any,
) -> DryRun:
    """Return what `replay` would do, with the number of rows that it would take, by outcome.

    Args:
        run_id, job, repaired, failed, spark, on_progress, overrides: as of `replay`.

    Raises:
        UsageError: as `replay` does.
    """
    made = job_of(job, overrides)
    from millrace.pipelines.planning import dry_run as dry_runs
    from millrace.pipelines.run import replay as replays

    request = replays.request(made, run_id, repaired, failed_too=failed)
    check_before_start(made)
    with lakeless_session("dry-run", spark) as used:
        return dry_runs.of_replay(used, made, request, progress_of(on_progress))


def validate(
    job: JobOrFile,
    *,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
    **overrides: Any,
) -> Verdict:
    """Validate a job's input, write refused rows and results to the lake, and return the verdict.

    A gate that would stay shut raises nothing here: `Verdict.refusals` says why.

    Args:
        job, spark, on_progress, overrides: as of `run`.

    Raises:
        UsageError, SchemaMismatch: the job or its input cannot be used.
    """
    made = job_of(job, overrides)
    with session_of(made, spark, scores=False) as used:
        from millrace.pipelines.run import runner

        return runner.check(used, made, progress_of(on_progress))


def plan(
    job: JobOrFile,
    *,
    deadline_s: float | None = None,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
    held_since: datetime | None = None,
    **overrides: Any,
) -> Forecast:
    """Forecast a run's rows, seconds and cost, here and on the price book's other instances.

    The call scores a small part of the input to measure, and keeps no prediction.

    Args:
        deadline_s: seconds within which the run must end; it limits the choice of the cheapest offer.
        job, spark, on_progress, held_since, overrides: as of `run`.

    Raises:
        UsageError: the job or its input cannot be used.
    """
    made = job_of(job, overrides)
    began = held_since or datetime.now(UTC)
    with session_of(places.in_spark(made), spark) as used:  # trials need Spark's tasks
        session_s = (datetime.now(UTC) - began).total_seconds()
        from millrace.pipelines.planning import forecast

        return forecast.foresee(used, made, progress_of(on_progress), session_s, deadline_s)


def preflight(job: JobOrFile, **overrides: Any) -> Preflight:
    """Check a job without Spark, and return its facts as `millrace preflight --json` prints them.

    Args:
        job, overrides: as of `run`.

    Raises:
        UsageError: the job, its model, prices or lake cannot be used.
        SchemaMismatch: a declared column is missing from the input or has another type.
    """
    from millrace.pipelines.job import preflight as job_preflight

    return Preflight(job_preflight.checked(job_of(job, overrides), datetime.now(UTC)))


def replay(
    run_id: str,
    job: JobOrFile,
    *,
    repaired: str | None = None,
    failed: bool = False,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
    held_since: datetime | None = None,
    **overrides: Any,
) -> RunSummary:
    """Score the quarantined rows of a run that were repaired, or that a corrected contract accepts.

    Args:
        run_id: the run, or the first characters of its id.
        job: the job, with the corrected contract if it was corrected.
        repaired: where the repaired rows are, a path or ``FORMAT:PATH``; None: the run's own input.
        failed: also replay rows that the model failed to score.
        spark, on_progress, held_since, overrides: as of `run`.

    Raises:
        UsageError: the run is not of this job, is not done, or has no such rows.
        RunFailed, BudgetExceeded, ClaimHeld: as `run` does.
    """
    made = job_of(job, overrides)
    from millrace.pipelines.run import replay as replays

    request = replays.request(made, run_id, repaired, failed_too=failed)
    progress = progress_of(on_progress)

    def replay_in(used: SparkSession) -> RunSummary:
        return replays.replay(used, made, request, progress)

    return _run_in_place(made, spark, (replay_in, replay_in), progress, held_since)


_Run = Callable[[SparkSession], RunSummary]


def _run_in_place(
    job: Job,
    given: SparkSession | None,
    start_and_resume: tuple[_Run, _Run],
    progress: Progress,
    held_since: datetime | None,
) -> RunSummary:
    """Run in the given session, or in a new one of the job's place.

    Where `auto` took the embedded engine and its process ends, the run is resumed in Spark, which finds a
    row that ends processes.
    """
    start, resume = start_and_resume
    if given is None and (why := places.of(job).why):
        progress.say(f"Running in Spark's JVM, not in the embedded engine: {why}")
    try:
        with session_of(job, given, held_since=held_since) as used:
            return start(used)
    except EngineEnded as error:
        if given is not None or job.run.place != "auto":
            raise
        progress.say(
            f"The embedded engine's process has ended ({error.got}): resuming in Spark's JVM"
        )
    with session_of(places.in_spark(job), None) as used:
        return resume(used)
