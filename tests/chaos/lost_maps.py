"""``python -m tests.chaos.lost_maps FOLDER``: an executor is killed while a stage that writes a shuffle runs.

Tasks of the stage that had succeeded on it are computed again. The event log is left in FOLDER; printed
is the application's id.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pyarrow as pa
from pyspark.sql import SparkSession

from pipelines.session import open_session
from pipelines.task_times import tagged
from tests.chaos.driven import KILL, executors, send

RUN = "lost-a1"
MAPS, SECONDS = 6, 1.5  # of each map, on two slots
_ENDED = 2  # on the executor that is lost


def slow(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, later."""
    for batch in batches:
        time.sleep(SECONDS)
        yield batch


def kill_one(spark: SparkSession) -> None:
    """Kill the first executor on which two maps have ended: more than half of them are then still to end."""
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


def main(arguments: Sequence[str]) -> None:
    """Run, and say whose log is there."""
    spark = open_session("lost maps", Path(arguments[0]), master="local-cluster[2,1,1024]")
    killer = threading.Thread(target=kill_one, args=(spark,), daemon=True)
    killer.start()
    with tagged(spark, RUN, "infer", 0):
        rows = spark.range(0, MAPS, 1, MAPS).mapInArrow(slow, "id long").repartition(2)
        rows.write.format("noop").mode("overwrite").save()
    killer.join()
    print(spark.sparkContext.applicationId)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
