"""The one Spark stage of the contestants that are UDFs: Parquet in, a model, a Delta table out.

Sessions have Millrace's settings, but workers come from Spark's own server, and the JVM starts as it
does for everybody: the other server and the class archive are Millrace's. There is no validation, no
meter and no ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    ArrayType,
    DataType,
    FloatType,
    IntegerType,
    StructField,
    StructType,
)

from benches import marks
from benches.contestant import Told, tell
from benches.predictors import LOADERS, Predict
from millrace.pipelines.spark.job_tags import tagged
from millrace.pipelines.spark.session import open_session

LOGS = "logs"
STOCK = {
    "spark.python.daemon.module": "pyspark.daemon",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
_TYPES: dict[str, DataType] = {
    "label": IntegerType(),
    "score": FloatType(),
    "probabilities": ArrayType(FloatType()),
    "embedding": ArrayType(FloatType()),
    "value": FloatType(),
}


def outputs_type(task: Told) -> StructType:
    """The workload's outputs as Spark types."""
    return StructType([StructField(name, _TYPES[name]) for name in task.task.outputs])


def run(task: Told, score: Callable[[SparkSession, DataFrame], DataFrame]) -> None:
    """Write ``score`` of the input; the report has the seconds of the write and of workers' starts.

    Workers leave their marks by `loader`, from the start of Spark's forking server on.
    """
    folder, began = task.marks, time.time()
    name = f"{score.__module__} {task.task.name}"
    spark = open_session(name, task.output / LOGS, STOCK, master=f"local[{task.slots},4]")
    session_s = time.time() - began
    started = time.time()
    scored = score(spark, spark.read.parquet(str(task.input)))
    with tagged(spark, task.task.name, "infer"):
        scored.write.format("delta").mode("append").save(str(task.predictions))
    stage_s = time.time() - started
    spark.stop()
    told = marks.summary(folder, started, task.slots, stage_s)
    tell(task.report, session_s=session_s, **told)


def loader(task: Told) -> Callable[[], Predict]:
    """What gives a worker the plain fp32 model, loaded once a process; small to pickle."""
    return partial(model, task.task.name, str(task.model), str(task.marks))


@cache
def model(name: str, folder: str, left: str) -> Predict:
    """The workload's plain model, the same for every call in this process; marks go to ``left``."""
    from millrace.udfs.runtime.process import fresh_since

    # A worker's start is counted as Millrace's meter counts it: from its fork server's start on.
    load = partial(LOADERS[name], Path(folder))
    return marks.loaded(Path(left), load, fresh_since(0.0))  # type: ignore[no-any-return]
