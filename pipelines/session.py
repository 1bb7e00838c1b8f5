"""The only place that builds a SparkSession, and keeps its log noise off the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark import SparkContext
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

# PySpark imports these when it is first asked for rows: in another thread here, and two threads that
# import at once may find each other's modules half made.
from pyspark.sql.classic import column as _column  # noqa: F401
from pyspark.sql.classic import dataframe as _dataframe  # noqa: F401
from pyspark.sql.pandas import map_ops as _map_ops  # noqa: F401

from pipelines import class_archive, connect
from udfs.daemon import PRELOAD

DELTA_PACKAGE = "io.delta:delta-spark_4.2_2.13:4.4.0"
# Ivy names a JAR organisation_module-version; of what Delta brings, Spark already ships the rest.
JARS = (
    "io.delta_delta-spark_4.2_2.13-4.4.0.jar",
    "io.delta_delta-storage-4.4.0.jar",
    "io.delta_delta-kernel-api-4.4.0.jar",
    "io.delta_delta-kernel-defaults-4.4.0.jar",
    "io.delta_delta-kernel-unitycatalog-4.4.0.jar",
    "io.unitycatalog_unitycatalog-client-0.6.0.jar",
    "io.unitycatalog_unitycatalog-hadoop-0.6.0.jar",
)
# What Delta's dependencies name and Spark ships itself: not fetched a second time.
PROVIDED = "org.apache.hadoop:*,org.apache.parquet:*,com.fasterxml.jackson.core:*,org.slf4j:*"

DEFAULTS: dict[str, str] = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.session.timeZone": "UTC",
    # Which line of ours made a column: a dozen calls to the JVM for each, and no user reads that.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # Spark's own choice, INT96, has no bounds in a file's footer, by which queries skip files.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # With more than 100 columns or counts Spark would interpret what it compiles: many rules have that.
    "spark.sql.codegen.maxFields": "1000",
    "spark.sql.execution.arrow.maxBytesPerBatch": "64m",
    "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
    "spark.python.worker.faulthandler.enabled": "true",
    # A worker that says nothing for ten minutes hangs: it is killed, and its task tried again. While
    # rows are scored, pipelines/patience.py allows what the model's load and slowest window may take.
    "spark.python.worker.idleTimeoutSeconds": "600",
    "spark.python.worker.killOnIdleTimeout": "true",
    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds": "600",
    "spark.sql.execution.pyspark.udf.killOnIdleTimeout": "true",
    # A driver must not grow with the units of its run: what it forgets is in the event log.
    "spark.ui.retainedJobs": "100",
    "spark.ui.retainedStages": "100",
    "spark.ui.retainedTasks": "10000",
    "spark.sql.ui.retainedExecutions": "20",
    "spark.ui.showConsoleProgress": "false",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.compress": "false",  # the ledger reads it back
    "spark.eventLog.rolling.enabled": "false",
}
_HELD_SINCE = "spark.millrace.heldSince"
# One machine: compile once and cheaply, since torch needs the cores more than the JVM does; and also
# the long methods that Spark makes of many rules, which Java else interprets for good.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:-DontCompileHugeMethods -XX:+UseSerialGC"
LOCAL_DEFAULTS: dict[str, str] = {
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "2g",
    "spark.driver.extraJavaOptions": JAVA_OPTIONS,
}


def open_session(
    app_name: str,
    log_dir: Path,
    settings: Mapping[str, str] | None = None,
    *,
    master: str | None = None,
    preload: Sequence[str] = (),
    meanwhile: Callable[[], object] = lambda: None,
    first: Callable[[SparkSession], object] | None = None,
) -> SparkSession:
    """A session that can write Delta, whose JVM logs to ``log_dir/spark.log``.

    ``settings`` go over the defaults. Without ``master``, what spark-submit or the environment says
    applies, else two task slots a machine's cores allow, each task tried four times. ``preload`` names
    modules that the workers' fork server imports; ``meanwhile`` is called once, while Spark starts.
    Of a JVM that starts here, ``first`` gets the session in a thread of its own, as soon as it is there:
    it is not waited for, and must import nothing.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started the JVM already
    if url := connect.remote():
        return _open_remote(url, log_dir, settings or {}, meanwhile)
    where = master or os.environ.get("MASTER") or f"local[{os.cpu_count()},4]"
    chosen = dict(DEFAULTS) if submitted else {**DEFAULTS, **_local_settings(where, preload)}
    chosen["spark.eventLog.dir"] = log_dir.absolute().as_uri()
    builder = SparkSession.builder.appName(app_name)
    if not submitted:
        builder = builder.master(where)
        chosen |= {"spark.master": where, "spark.app.name": app_name}
    chosen |= settings or {}
    for key, value in chosen.items():
        builder = builder.config(key, value)
    with (
        _terminal_into(log_dir / "spark.log", when=not submitted),
        _leaving() as starter,
    ):
        # All that Python does for it is to wait: what else it has to do, it does meanwhile.
        started = starter.submit(_started, builder)
        if first is not None and not submitted:
            starter.submit(lambda: first(started.result()))
        meanwhile()
        spark = started.result()
    _python_logs_into(log_dir / "spark.log")
    return spark


@contextmanager
def _leaving() -> Iterator[ThreadPoolExecutor]:
    """A thread to give work to, which ends it after the block has been left."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)


def _started(builder: SparkSession.Builder) -> SparkSession:
    """The session, with all that Spark makes for it when it is first asked something."""
    spark: SparkSession = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    spark.conf.get("spark.sql.session.timeZone")
    return spark


def _open_remote(
    url: str, log_dir: Path, settings: Mapping[str, str], meanwhile: Callable[[], object]
) -> SparkSession:
    meanwhile()
    spark = connect.open_remote(url, DEFAULTS, settings)
    _python_logs_into(log_dir / "spark.log")
    return spark


def held_from(spark: SparkSession, since: datetime) -> None:
    """Charge the session's first run for its machines since then: nobody else wanted them."""
    spark.conf.set(_HELD_SINCE, since.isoformat())


def held_since(spark: SparkSession) -> datetime | None:
    """What `held_from` was told, to the first run that asks; None: it was told nothing."""
    told = spark.conf.get(_HELD_SINCE, None)
    if told is None:
        return None
    spark.conf.unset(_HELD_SINCE)
    return datetime.fromisoformat(told)


def _python_logs_into(log: Path) -> None:
    """PySpark prints a failed query's whole JVM stack on the terminal; the log is the place for that."""
    for name in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logger = PySparkLogger.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.addHandler(logging.FileHandler(log, delay=True))
        logger.propagate = False


def _local_settings(master: str, preload: Sequence[str]) -> dict[str, str]:
    """What a session that starts its own JVM sets besides.

    Its workers come from udfs/daemon.py. Under spark-submit they do not: Spark gives submitted files to
    workers, not to the server that forks them, which then would not find that module.
    """
    packages = Path(__file__).resolve().parents[1]  # the server imports what runs here
    return {
        **LOCAL_DEFAULTS,
        **_jars(master),
        "spark.driver.extraJavaOptions": f"{JAVA_OPTIONS}{class_archive.option()}",
        "spark.python.daemon.module": "udfs.daemon",
        "spark.executorEnv.PYTHONPATH": str(packages),
        f"spark.executorEnv.{PRELOAD}": ",".join(preload),
    }


def _jars(master: str) -> dict[str, str]:
    """Delta's JARs from Ivy's cache, or, the first time, the order to fetch them.

    In one JVM they are on its own class path: they are not copied, and its class archive has them.
    """
    for home in sorted(Path.home().glob(".ivy2*/jars"), reverse=True):
        found = [home / name for name in JARS]
        if all(jar.is_file() for jar in found):
            alone = master.startswith("local[") or master == "local"
            key, comma = ("spark.driver.extraClassPath", ":") if alone else ("spark.jars", ",")
            return {key: comma.join(str(jar) for jar in found)}
    return {"spark.jars.packages": DELTA_PACKAGE, "spark.jars.excludes": PROVIDED}


@contextmanager
def _terminal_into(log: Path, *, when: bool) -> Iterator[None]:
    """While open, processes started here get ``log`` as their standard output and error."""
    if not when:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, saved in enumerate(kept, start=1):
                os.dup2(saved, number)
                os.close(saved)


def prepare_machine(folder: Path) -> None:
    """Fetch Delta's JARs and archive the JVM's classes, so that no run has to wait for either."""
    open_session("millrace-setup", folder / "first").stop()
    _end_jvm()  # the next session needs one of its own
    class_archive.path().unlink(missing_ok=True)
    spark = open_session("millrace-setup", folder / "second", class_archive.making(JAVA_OPTIONS))
    class_archive.use_classes(spark, folder)
    spark.stop()
    _end_jvm()  # it writes the archive when it ends


def _end_jvm() -> None:
    """End the JVM that this process started, and wait for that."""
    gateway: Any = SparkContext._gateway  # noqa: SLF001 - pyspark has no public way
    gateway.proc.stdin.close()
    gateway.proc.wait()
    gateway.shutdown()
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001


if __name__ == "__main__":  # `make setup`
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        prepare_machine(Path(scratch))
