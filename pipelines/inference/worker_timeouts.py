"""How long a worker may send nothing before Spark assumes that it hangs, and ends it.

A worker sends rows when a window is done. Between two windows it loads the model and makes as many
calls as a window has batches; where a window killed its worker before, rows of it are looked for that
hang, each by halving, in children that load the model again. A call that hangs is ended by
`run.batch_timeout_s`. This limit is for what hangs elsewhere, and must not end a worker that is only slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.job.size_estimate import folder_bytes
from millrace.pipelines.lake import runs
from millrace.pipelines.spark import cluster
from millrace.udfs.runtime.plan import Plan
from millrace.udfs.runtime.watchdog import SLACK

IDLE_TIMEOUT = "spark.sql.execution.pyspark.udf.idleTimeoutSeconds"
IMPORTS_S = 120.0  # Python's start and the imports of a runtime, from a slow disk, at most
READ_BYTES_PER_S = 20e6  # of a model's files, from a slow network: digested, then loaded
SLOWER = 10.0  # times its usual time, a window's may be
HANGING = 4  # rows of one window whose calls never end


def silence_s(
    model_bytes: int,
    batch_rows: int | None,
    batch_timeout_s: float | None,
    rows_per_s: float | None,
) -> int:
    """Seconds that a worker may need between two windows.

    ``rows_per_s`` is one worker's speed. Where it is unknown, a window has as many calls as it can
    have, each as long as ``batch_timeout_s`` allows; without that too, model load alone is known.
    """
    load_s = IMPORTS_S + 2 * model_bytes / READ_BYTES_PER_S
    call_s = (1 + SLACK) * (batch_timeout_s or 0.0)
    halvings = HANGING * math.ceil(math.log2(Plan.window_rows))
    if rows_per_s:
        window_s = SLOWER * Plan.window_rows / rows_per_s + call_s
    else:
        window_s = call_s * math.ceil(Plan.window_rows / (batch_rows or 1))
    return math.ceil((1 + HANGING) * load_s + window_s + halvings * call_s)


@contextmanager
def patient(spark: SparkSession, prepared: PreparedJob, config: InferenceConfig) -> Iterator[None]:
    """While open, workers may be silent for as long as this job's may need; never less than was set."""
    slots = cluster.slots(spark)
    known = runs.rows_per_s(prepared.lake, prepared.job.name, prepared.model.digest)
    batch = prepared.job.engine.batch
    wanted = silence_s(
        folder_bytes(config.folder),
        None if batch == "auto" else batch,
        prepared.job.run.batch_timeout_s,
        config.rows_per_s or (known and known / slots),
    )
    with cluster.patient(spark, wanted, IDLE_TIMEOUT):
        yield
