"""Everything that classic Spark and Spark Connect answer differently.

A Connect session has no JVM at hand: no context, no status tracker, no event log that is the run's own.
A run reads these only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from millrace.pipelines.spark.embedded import engine_of
from millrace.pipelines.spark.pyspark_internals import is_connect, worker_variable
from millrace.schemas.errors import UsageError
from millrace.udfs.worker.engine_tasks import IDLE_S, Batches, in_engine

# Tasks that have ended, and all, of what Spark works at now; and those that have failed so far.
Counts = Callable[[], tuple[int, int, int]]
_ROWS = 1 << 20  # enough for a row in each slot of any cluster
_NEW_WORKERS = "MILLRACE_PLAN"


def application(spark: SparkSession) -> str:
    """Spark's id of the application; a Connect server's, where that is what the session talks to."""
    if engine := engine_of(spark):
        return engine.application
    if is_connect(spark):
        return spark.conf.get("spark.app.id", "") or ""
    return spark.sparkContext.applicationId


def slots(spark: SparkSession) -> int:
    """How many tasks Spark makes of what nothing else divides: one a slot."""
    if engine := engine_of(spark):
        return engine.cores
    return _counted_slots(spark) if is_connect(spark) else spark.sparkContext.defaultParallelism


@lru_cache(maxsize=1)
def _counted_slots(spark: SparkSession) -> int:
    """Of a Connect server: it tells nobody, so rows without a number of partitions are counted by them."""
    numbered = spark.range(_ROWS).select(F.spark_partition_id().alias("slot"))
    (last,) = numbered.agg(F.max("slot").alias("slot")).collect()
    return 1 + int(last["slot"])


def is_embedded(spark: SparkSession) -> bool:
    """Whether the session talks to the embedded engine."""
    return engine_of(spark) is not None


def calls_at_once(spark: SparkSession) -> int:
    """How many tasks call one loaded model at the same time: of Spark's, each has a process of its own."""
    engine = engine_of(spark)
    return engine.cores if engine else 1


def in_tasks(
    spark: SparkSession, function: Callable[[Batches], Batches]
) -> Callable[[Batches], Batches]:
    """``function`` for `mapInArrow` in this session: where it is to be metered by the engine's process."""
    if engine_of(spark) is None:
        return function
    return in_engine(function, next(iter(spark.getTags()), ""))


@contextmanager
def patient(spark: SparkSession, seconds: int, setting: str) -> Iterator[None]:
    """While open, workers may send nothing for so long; never less than the session allows, 0 for ever."""
    if engine := engine_of(spark):
        with engine.patient(max(seconds, IDLE_S)):
            yield
        return
    before = spark.conf.get(setting, "0") or "0"
    if 0 < int(before) < seconds:
        spark.conf.set(setting, str(seconds))
    try:
        yield
    finally:
        spark.conf.set(setting, before)


def map_rows(
    rows: DataFrame, function: Callable[[Batches], Batches], schema: StructType
) -> DataFrame:
    """`mapInArrow` for columns of any name: it reads a dot or a backtick as syntax, so it gets numbers."""
    numbered = rows.toDF(*map(str, range(len(rows.columns))))
    return numbered.mapInArrow(in_tasks(rows.sparkSession, function), schema)


def shares_this_machine(spark: SparkSession) -> bool:
    """Whether tasks surely run on the machine of this process."""
    if is_connect(spark):
        return is_embedded(spark)
    return (spark.sparkContext.master or "").startswith("local")


def event_logs(spark: SparkSession) -> Path | None:
    """The folder of the application's event log; None where no log has this run alone.

    A Connect server's log has every session's tasks, and its cores serve all of them.
    """
    if engine := engine_of(spark):
        return engine.logs
    folder = urlparse(spark.conf.get("spark.eventLog.dir", "") or "")
    is_enabled = spark.conf.get("spark.eventLog.enabled", "false") == "true"
    if is_connect(spark) or not is_enabled or folder.scheme not in ("", "file"):
        return None
    return Path(unquote(folder.path))


def cancel(spark: SparkSession) -> None:
    """Cancel what this session asks of Spark now; of a Connect server, nobody else's."""
    if is_embedded(spark):
        with suppress(Exception):  # its process may be gone: then nothing runs
            spark.interruptAll()
    elif is_connect(spark):
        spark.interruptAll()
    else:
        spark.sparkContext.cancelAllJobs()


@contextmanager
def counting(spark: SparkSession) -> Iterator[Counts]:
    """While open, the function given back tells the tasks of what is running.

    Spark Connect tells of no failed ones: none are counted there.
    """
    if not is_connect(spark):
        failed: dict[int, int] = {}  # by stage: the tracker forgets stages that have ended
        yield lambda: _tracked(spark, failed)
        return
    running: dict[str, tuple[int, int]] = {}

    def heard(stages: list[Any], inflight_tasks: int, operation_id: str, done: bool) -> None:  # noqa: ARG001
        counts = [(stage.num_completed_tasks, stage.num_tasks) for stage in stages or ()]
        running[operation_id] = (sum(ended for ended, _ in counts), sum(n for _, n in counts))
        if done:
            del running[operation_id]

    spark.registerProgressHandler(heard)  # type: ignore[arg-type]
    try:
        yield lambda: (*_summed(list(running.values())), 0)
    finally:
        spark.removeProgressHandler(heard)  # type: ignore[arg-type]


def _tracked(spark: SparkSession, failed: dict[int, int]) -> tuple[int, int, int]:
    tracker = spark.sparkContext.statusTracker()
    found = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    stages = [stage for stage in found if stage]
    failed |= {stage.stageId: stage.numFailedTasks for stage in stages}
    ended = _summed([(stage.numCompletedTasks, stage.numTasks) for stage in stages])
    return (*ended, sum(failed.values()))


def _summed(counts: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(ended for ended, _ in counts), sum(every for _, every in counts)


def refuse_connect(spark: SparkSession, command: str) -> None:
    """Raise UsageError on Connect, for a command that cannot do there what it promises."""
    if engine_of(spark):
        raise UsageError(
            f"{command} has to start new workers to measure with, which the embedded engine does not have",
            allowed="run.place local",
            next=f"set run.place to local for {command}; millrace run works with embedded",
        )
    if is_connect(spark):
        raise UsageError(
            f"{command} has to start new workers to measure with, which Spark Connect does not support",
            allowed="a Spark session of this process's own",
            next=f"unset SPARK_REMOTE for {command}; millrace run works with it",
        )


@contextmanager
def new_workers(spark: SparkSession, name: str) -> Iterator[None]:
    """Tasks inside get workers that have yet to start: classic Spark keeps them by their environment."""
    with worker_variable(spark, _NEW_WORKERS, name):
        yield
