"""``python -m tests.chaos.lost_maps FOLDER``: an executor is killed while a stage that writes a shuffle runs.

Tasks of the stage that had succeeded on it are computed again. The event log is left in FOLDER; printed
is the application's id.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import SparkSession

from millrace.pipelines.spark.job_tags import tagged
from millrace.pipelines.spark.session import open_session
from tests.chaos.driven import KILL, executors, send

RUN = "lost-a1"
MAPS, SECONDS = 6, 1.5  # of each map, on two slots
_ENDED = 2  # on the executor that is lost


def slow(batches: Iterator[pa.RecordBatch], *, killed: Path) -> Iterator[pa.RecordBatch]:
    """The same rows, later; each executor's third map waits until one executor was killed.

    The killed executor's map has to be computed elsewhere, so the stage cannot end before Spark knows
    that the executor, and with it two maps' output, is lost.
    """
    task = TaskContext.get()
    for batch in batches:
        while task and task.partitionId() >= 2 * _ENDED and not killed.exists():
            time.sleep(0.05)
        time.sleep(SECONDS)
        yield batch


def kill_one(spark: SparkSession, killed: Path) -> None:
    """Kill the first executor on which two maps have ended, and create ``killed``."""
    store = spark.sparkContext._jsc.sc().statusStore()
    while True:
        time.sleep(0.05)
        about = store.executorList(True)
        each = [about.apply(at) for at in range(about.size())]
        done = next((one.id() for one in each if one.completedTasks() >= _ENDED), None)
        if done is not None:
            break
    (lost,) = (
        one
        for one in executors(psutil.Process().children(recursive=True))
        if one.cmdline()[one.cmdline().index("--executor-id") + 1] == done
    )
    send(lost, KILL)
    killed.touch()


def main(arguments: Sequence[str]) -> None:
    """Run, and say whose log is there."""
    spark = open_session("lost maps", Path(arguments[0]), master="local-cluster[2,1,1024]")
    killed = Path(arguments[0]) / "killed"
    killer = threading.Thread(target=kill_one, args=(spark, killed), daemon=True)
    killer.start()
    with tagged(spark, RUN, "infer", 0):
        waiting = partial(slow, killed=killed)
        rows = spark.range(0, MAPS, 1, MAPS).mapInArrow(waiting, "id long").repartition(2)
        rows.write.format("noop").mode("overwrite").save()
    killer.join()
    print(spark.sparkContext.applicationId)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
