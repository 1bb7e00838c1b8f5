"""The workers' plan: the model, what computes it, and what to do with bad rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.inference import scoring
from millrace.pipelines.inference.calibration import choose_config, cores_a_task
from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.job_tags import tagged
from millrace.udfs.runtime.plan import Scorer
from millrace.udfs.worker.functions import warmer


@dataclass(frozen=True)
class UnitTask:
    """The unit that is scored, how many rows of its run may fail, and what memory is known not to hold."""

    folder: Path  # of the attempt
    unit: int
    may_fail: int
    too_large: int | None = None


def counts_folder(attempt: Path, unit: int) -> Path:
    """Where a unit's tasks write how many rows they have finished."""
    return attempt / f"rows-{unit}"


def configure(
    submit: Callable[..., Future[Any]],
    spark: SparkSession,
    prepared: PreparedJob,
    run_id: str,
    at: datetime,
) -> Future[InferenceConfig]:
    """Choose what the run computes with, then warm the workers: both in threads of ``submit``."""
    configured: Future[InferenceConfig] = submit(choose_config, spark, prepared, run_id, at)
    submit(_warm_when_configured, spark, prepared, run_id, configured)
    return configured


def scorer(
    spark: SparkSession,
    prepared: PreparedJob,
    config: InferenceConfig,
    task: UnitTask | None = None,
) -> Scorer:
    """What each worker gets; without a ``task`` it only makes itself ready."""
    threads = cores_a_task(spark)
    batch = prepared.job.engine.batch
    plan = replace(
        scoring.plan_of(prepared.job, prepared.model, None if batch == "auto" else batch),
        batch_cost=config.batch_cost,
        decode_ahead=threads > 1 or config.runtime.device.startswith("cuda"),
    )
    if task:
        plan = replace(
            plan,
            max_failed_rows=task.may_fail,
            too_large=task.too_large,
            batch_timeout_s=prepared.job.run.batch_timeout_s,
            journal=str(task.folder / f"unit-{task.unit}"),
            counts=str(counts_folder(task.folder, task.unit)),
        )
    # A core that decodes ahead is not there for the model.
    computing = max(1, threads - 1) if plan.decode_ahead else threads
    return Scorer(
        config.folder,
        config.digest,
        replace(config.runtime, threads=computing, streams=cluster.calls_at_once(spark)),
        plan,
        cluster.application(spark),
        time.time(),
        prepared.job.engine.host,
    )


def warm(spark: SparkSession, prepared: PreparedJob, run_id: str, config: InferenceConfig) -> None:
    """Make a worker a slot ready to score, while the driver and the JVM are busy with validation."""
    slots = cluster.slots(spark)
    with tagged(spark, run_id, "warm"):
        rows = spark.range(0, slots, 1, slots)
        warmed = cluster.in_tasks(spark, warmer(scorer(spark, prepared, config)))
        rows.mapInArrow(warmed, "ready boolean").collect()


def _warm_when_configured(
    spark: SparkSession, prepared: PreparedJob, run_id: str, configured: Future[InferenceConfig]
) -> None:
    """Warm the workers. What prevents it will also prevent scoring, which reports it."""
    with suppress(Exception):
        warm(spark, prepared, run_id, configured.result())
