"""How long a worker may say nothing before Spark takes it to hang, and ends it.

A worker speaks when a window of rows is done. Between two words it loads the model and makes as many
calls as a window has batches; where a window killed its worker before, rows of it are looked for that
hang, each by halving, in children that load the model again. A call that hangs is ended by
`run.batch_timeout_s`. This limit is for what hangs elsewhere, and must not end a worker that is only slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines import place, runs
from pipelines.calibrate import Way
from pipelines.work import Work
from udfs.plan import Plan
from udfs.watchdog import SLACK

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
    """Seconds that a worker may need between two words.

    ``rows_per_s`` is one worker's speed. Where nothing tells it, a window has as many calls as it can
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
def patient(spark: SparkSession, work: Work, way: Way) -> Iterator[None]:
    """While open, workers may be silent for as long as this job's may need; never less than was set."""
    before = spark.conf.get(IDLE_TIMEOUT, "0") or "0"
    slots = place.slots(spark)
    known = runs.rows_per_s(work.lake, work.job.name, work.model.digest)
    batch = work.job.engine.batch
    wanted = silence_s(
        _bytes(way.folder),
        None if batch == "auto" else batch,
        work.job.run.batch_timeout_s,
        way.rows_per_s or (known and known / slots),
    )
    is_limited = int(before) > 0  # 0: Spark waits for ever
    if is_limited and wanted > int(before):
        spark.conf.set(IDLE_TIMEOUT, str(wanted))
    try:
        yield
    finally:
        spark.conf.set(IDLE_TIMEOUT, before)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
