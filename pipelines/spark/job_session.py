"""A command's session, of a job or of none.

It starts as soon as the job is known, and what the command needs is imported meanwhile: this module
itself imports little, so that a command can ask for it before the rest.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from pyspark.sql import SparkSession

from pipelines import store
from pipelines.session import held_from, open_session
from schemas.config import Job
from udfs.spark import starter


def logs(lake: Path) -> Path:
    """Where the runs of a lake leave Spark's log and event logs."""
    return lake / "_logs"


def spark_log(job: Job) -> str:
    """Where the whole story of a failure is told."""
    return str(logs(Path(job.output.path)) / "spark.log")


def process_began() -> datetime:
    """When this process began: a command holds its machine since then."""
    return datetime.fromtimestamp(psutil.Process().create_time(), UTC)


@contextmanager
def session_for(
    job: Job,
    settings: Mapping[str, str] | None = None,
    *,
    master: str | None = None,
    held_since: datetime | None = None,
    importing: Sequence[str] = (),
    scores: bool = True,
) -> Iterator[SparkSession]:
    """A session that logs into the job's lake, stopped at the end; ``settings`` go over the defaults.

    Its first run is charged for machines from ``held_since`` on, or from now: a JVM starts. While it
    does, the modules named ``importing`` are imported; and for one that ``scores``, what its workers are
    forked from is started as soon as it can be. Raises UsageError, before anything is started, for a
    lake on a store that is not safe.
    """

    def meanwhile() -> None:
        known = ("great_expectations",) if job.contract.expectations else ()
        gc.disable()  # what is imported stays: to look through it is an eighth of the time
        try:
            for module in (*importing, *known):
                import_module(module)
        finally:
            gc.enable()

    since = held_since or datetime.now(UTC)
    store.refuse_unsafe(job.output.path, single_writer=job.run.single_writer)
    spark = open_session(
        f"millrace {job.name}",
        logs(Path(job.output.path)),
        settings,
        master=master,
        preload=preload(job) if scores else (),
        meanwhile=meanwhile,
        first=_start_workers if scores else None,
    )
    held_from(spark, since)
    try:
        yield spark
    finally:
        spark.stop()


@contextmanager
def passing_session(name: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A session of no job, whose logs go when it ends; what fails inside is told as of a run."""
    from pipelines.faults import translated

    with TemporaryDirectory() as folder, translated(str(Path(folder) / "spark.log")):
        spark = open_session(f"millrace {name}", Path(folder), settings)
        try:
            yield spark
        finally:
            spark.stop()


def preload(job: Job) -> list[str]:
    """What the workers' fork server imports beside what every worker needs.

    torch where the job's words leave nothing else: it takes seconds and hundreds of megabytes, which
    a run that calibration gives to OpenVINO would have paid for nothing.
    """
    return ["torch"] if job.engine.backend in ("torch", "torch_compile") else []


def _start_workers(spark: SparkSession) -> None:
    """A first job, on one slot: it starts what forks workers, and the JVM's code for what all jobs do.

    Whatever hinders it will hinder scoring, and is told there.
    """
    with suppress(Exception):
        rows = spark.range(0, 1, 1, 1).mapInArrow(starter(), "id bigint")
        rows.groupBy("id").count().collect()
