"""What the workers of a run are told: the model, how to compute it, and what to do with bad rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines import infer, place
from pipelines.calibrate import Way, cores_a_task
from pipelines.task_times import tagged
from pipelines.work import Work
from udfs.plan import Scorer
from udfs.spark import warmer


@dataclass(frozen=True)
class Task:
    """The unit that is scored, how many rows of its run may fail, and what memory is known not to hold."""

    folder: Path  # of the attempt
    unit: int
    may_fail: int
    too_large: int | None = None


def scorer(spark: SparkSession, work: Work, way: Way, task: Task | None = None) -> Scorer:
    """What each worker gets; without a ``task`` it only makes itself ready."""
    threads = cores_a_task(spark)
    batch = work.job.engine.batch
    plan = replace(
        infer.plan_of(work.job, work.model, None if batch == "auto" else batch),
        batch_cost=way.batch_cost,
        decode_ahead=threads > 1 or way.runtime.device.startswith("cuda"),
    )
    if task:
        plan = replace(
            plan,
            max_failed_rows=task.may_fail,
            too_large=task.too_large,
            batch_timeout_s=work.job.run.batch_timeout_s,
            journal=str(task.folder / f"unit-{task.unit}"),
        )
    # A core that decodes ahead is not there for the model.
    computing = max(1, threads - 1) if plan.decode_ahead else threads
    return Scorer(
        way.folder,
        way.digest,
        replace(way.runtime, threads=computing),
        plan,
        place.application(spark),
        time.time(),
        work.job.engine.host,
    )


def warm(spark: SparkSession, work: Work, run_id: str, way: Way) -> None:
    """Make a worker a slot ready to score, while the driver and the JVM are busy with validation."""
    slots = place.slots(spark)
    with tagged(spark, run_id, "warm"):
        rows = spark.range(0, slots, 1, slots)
        rows.mapInArrow(warmer(scorer(spark, work, way)), "ready boolean").collect()
