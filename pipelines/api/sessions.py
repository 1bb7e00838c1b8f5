"""The Spark session of a call: its own, or one that several calls share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from millrace.pipelines.api.job_argument import JobOrFile, job_of
from millrace.pipelines.spark import connect
from millrace.pipelines.spark.job_session import passing_session, session_for
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError

RUNNER = "millrace.pipelines.run.runner"


@contextmanager
def session(job: JobOrFile, **overrides: Any) -> Iterator[SparkSession]:
    """Open the Spark session that a job's calls share, and stop it at the end.

    A session takes seconds to start. Its log is in the job's lake.

    Args:
        job: a `Job`, or the path of a job file.
        overrides: as of `load_job`.

    Raises:
        UsageError: another session is active in this process.
    """
    with session_of(job_of(job, overrides), None) as spark:
        yield spark


@contextmanager
def session_of(
    job: Job,
    given: SparkSession | None,
    *,
    held_since: datetime | None = None,
    scores: bool = True,
) -> Iterator[SparkSession]:
    """Yield the given session, or a new one of the job, stopped at the end.

    ``held_since``: since when the run pays for the machine; None: from now on. The modules of a run are
    imported while the JVM starts.
    """
    if given is not None:
        yield given
        return
    _check_no_active_session()
    started = session_for(job, held_since=held_since, importing=[RUNNER], scores=scores)
    with started as spark:
        yield spark


@contextmanager
def lakeless_session(name: str, given: SparkSession | None = None) -> Iterator[SparkSession]:
    """Yield the given session, or a new one that writes its logs to a temporary folder."""
    if given is not None:
        yield given
        return
    _check_no_active_session()
    with passing_session(name) as spark:
        yield spark


def _check_no_active_session() -> None:
    """Raise UsageError where a session is active: to stop it would break what uses it.

    A session on a Connect server is another one, and its end stops no session of this process.
    """
    if connect.remote():
        return
    try:
        SparkSession.active()  # of any thread: getActiveSession knows the calling one alone
    except PySparkRuntimeError:
        return
    raise UsageError(
        "a Spark session is active in this process, and Millrace would stop it",
        allowed="the session of a `with millrace.session(job) as spark:`",
        next="pass it as spark=spark, or stop the active one first",
    )
