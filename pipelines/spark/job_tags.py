"""Tags that name the run, the step and the unit of each Spark job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from pyspark.sql import SparkSession

from millrace.pipelines.spark.embedded import engine_of

_TAG = "millrace"


@contextmanager
def tagged(spark: SparkSession, run_id: str, step: str, unit: int | None = None) -> Iterator[None]:
    """Tag the Spark jobs of this thread with a step of a run, and with a unit."""
    name = "/".join([_TAG, run_id, step, *([] if unit is None else [str(unit)])])
    engine = engine_of(spark)
    spark.addTag(name)
    try:
        with engine.step(name) if engine else nullcontext():
            yield
    finally:
        spark.removeTag(name)


def step_of(properties: Mapping[str, str]) -> tuple[str, str, int | None]:
    """Return the run, step and unit of a job by its tags; empty texts for a job of another origin."""
    tags = properties.get("spark.job.tags", "").split(",")
    names = [name.partition(f"{_TAG}/")[2] for name in tags if f"{_TAG}/" in name]
    run_id, step, unit = [*max(names, key=len, default="").split("/"), "", ""][:3]
    return run_id, step, int(unit) if unit else None  # of two tags, the one with a unit
