"""A command's session, with or without a job.

Spark starts as soon as the job is known, and the command's modules are imported meanwhile. This module
imports little, so that a command can import it first.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from pyspark.sql import SparkSession

from millrace.pipelines.lake import store_guarantees, write_access
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.spark import embedded, machine_check, places
from millrace.pipelines.spark.job_tags import tagged
from millrace.pipelines.spark.session import embedded_session, held_from, open_session
from millrace.schemas.config import Job
from millrace.udfs.worker.functions import starter


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
    lake that cannot be written, or is on a store that is not safe.
    """
    since = held_since or datetime.now(UTC)
    library = ("great_expectations",) if job.contract.expectations else ()
    check_before_start(job, master, scores=scores)
    meanwhile = partial(_import, [*importing, *library])
    if places.of(job, master).is_embedded:
        spark = embedded_session(
            LakeLocation.of(job).logs, settings, meanwhile, preload(job) if scores else ()
        )
    else:
        spark = open_session(
            f"millrace {job.name}",
            LakeLocation.of(job).logs,
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
        embedded.close(spark)


def check_before_start(job: Job, master: str | None = None, *, scores: bool = True) -> None:
    """Raise UsageError where a run could not use the lake or, if it ``scores``, this machine."""
    store_guarantees.refuse_unsafe(job.output.path, single_writer=job.run.single_writer)
    write_access.check_lake(LakeLocation.of(job))
    if scores and machine_check.computes_here(master):
        machine_check.check_machine(job.engine)


def _import(modules: Sequence[str]) -> None:
    gc.disable()  # imported objects stay: collecting among them takes an eighth of the time
    try:
        for module in modules:
            import_module(module)
    finally:
        gc.enable()


@contextmanager
def passing_session(name: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """Yield a session without a job; its logs are deleted at the end, its errors are translated."""
    from millrace.pipelines.spark.error_translation import translated

    with TemporaryDirectory() as folder, translated(Path(folder) / "spark.log"):
        spark = open_session(f"millrace {name}", Path(folder), settings)
        try:
            yield spark
        finally:
            spark.stop()


def preload(job: Job) -> list[str]:
    """Return the modules that the workers' fork server imports in addition to the common ones.

    torch where the job's words leave nothing else: it takes seconds and hundreds of megabytes, which
    a run that calibration gives to OpenVINO would have paid for nothing.
    """
    return ["torch"] if job.engine.backend in ("torch", "torch_compile") else []


def _start_workers(spark: SparkSession) -> None:
    """A first job, on one slot: it starts what forks workers, and the JVM's code for what all jobs do.

    Its errors are ignored: scoring would meet them again and report them.
    """
    with suppress(Exception):
        rows = spark.range(0, 1, 1, 1).mapInArrow(starter(), "id bigint")
        with tagged(spark, "", "start"):
            rows.groupBy("id").count().collect()
