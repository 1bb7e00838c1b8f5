"""Contestant 2: pyspark's own `predict_batch_udf`, in a session with Millrace's settings.

Reads the Parquet files, calls the model 64 rows at a time, appends to a Delta table. It has no
validation, no meter, no books.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, FloatType, IntegerType, StructField, StructType

from benches.contestant import Told, tell, told
from benches.workloads import WORKLOADS
from pipelines.session import open_session
from pipelines.task_times import tag

PREDICTIONS = "predictions"
LOGS = "logs"
WORKERS = (
    "workers"  # a file for each process that loaded the model: when it began, when it was ready
)

TYPES: dict[str, DataType] = {
    "digits": StructType(
        [
            StructField("label", IntegerType()),
            StructField("score", FloatType()),
            StructField("probabilities", ArrayType(FloatType())),
        ]
    ),
    "docs": StructType([StructField("embedding", ArrayType(FloatType()))]),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input; the report has the seconds of the write and of every worker's start."""
    task = told(__doc__, arguments)
    workers = task.output / WORKERS
    workers.mkdir(parents=True)
    began = time.time()
    spark = open_session("predict_batch_udf", task.output / LOGS)
    session_s = time.time() - began
    workload = WORKLOADS[task.workload]
    rows = spark.read.parquet(str(task.input))
    started = time.time()
    predict = predict_batch_udf(
        _maker(task, started),
        return_type=TYPES[task.workload],
        batch_size=task.batch,
    )
    scored = rows.select(
        workload.key, *workload.keep, predict(F.col(workload.column)).alias("scored")
    ).select(workload.key, *workload.keep, "scored.*")
    spark.addTag(tag("infer"))
    scored.write.format("delta").mode("append").save(str(task.output / PREDICTIONS))
    stage_s = time.time() - started
    spark.stop()
    seen = [json.loads(path.read_text("utf-8")) for path in workers.iterdir()]
    setup_s = sum(one["ready"] - one["since"] for one in seen)
    tell(
        task.report,
        session_s=session_s,
        stage_s=stage_s,
        steady_s=stage_s - setup_s / task.slots,
        setup_s=setup_s,
        load_s=sum(one["ready"] - one["began"] for one in seen),
        workers=len(seen),
    )


def _maker(task: Told, started: float) -> Callable[[], Callable[[Any], Any]]:
    """What `predict_batch_udf` calls once a process.

    A worker's start is counted as Millrace's meter counts it: from the start of Spark's forking
    server, where that came after ``started``.
    """
    name, model, workers = task.workload, str(task.model), str(task.output / WORKERS)

    def make() -> Callable[[Any], Any]:
        from benches.predictors import LOADERS
        from udfs.process import fresh_since

        began = time.time()
        since = fresh_since(started) or began
        predict = LOADERS[name](Path(model))
        seen = {"since": since, "began": began, "ready": time.time()}
        (Path(workers) / f"{os.getpid()}.json").write_text(json.dumps(seen), "utf-8")
        return predict

    return make


if __name__ == "__main__":
    main()
