"""Spark settings of every session, and of one that starts its own JVM."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from millrace.pipelines.spark import class_data_sharing
from millrace.udfs.worker.daemon import PRELOAD
from millrace.udfs.worker.engine_tasks import IDLE_S

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

_IDLE_S = f"{IDLE_S:.0f}"

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
    # Workers start with `python -m`, which would import from the working directory before all else.
    "spark.executorEnv.PYTHONSAFEPATH": "1",
    "spark.sql.execution.arrow.maxBytesPerBatch": "64m",
    "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
    "spark.python.worker.faulthandler.enabled": "true",
    # A worker that says nothing for ten minutes hangs: it is killed, and its task tried again. While
    # rows are scored, pipelines/inference/worker_timeouts.py allows what the model's load and slowest
    # window may take.
    "spark.python.worker.idleTimeoutSeconds": _IDLE_S,
    "spark.python.worker.killOnIdleTimeout": "true",
    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds": _IDLE_S,
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


def local_settings(master: str, preload: Sequence[str]) -> dict[str, str]:
    """Return the additional settings of a session that starts its own JVM.

    udfs/worker/daemon.py forks its workers. Under spark-submit it does not: Spark gives submitted files
    to workers, but not to the server that forks them, which then would not find that module.
    """
    packages = Path(str(files("millrace"))).resolve().parent  # the server imports what runs here
    return {
        **LOCAL_DEFAULTS,
        **_jars(master),
        "spark.driver.extraJavaOptions": f"{JAVA_OPTIONS}{class_data_sharing.option()}",
        "spark.python.daemon.module": "millrace.udfs.worker.daemon",
        "spark.executorEnv.PYTHONPATH": str(packages),
        f"spark.executorEnv.{PRELOAD}": ",".join(preload),
    }


def _jars(master: str) -> dict[str, str]:
    """Return the setting that adds Delta's JARs from Ivy's cache, or at first use fetches them.

    A single JVM has them on its own class path: they are not copied, and the class archive covers them.
    """
    for home in sorted(Path.home().glob(".ivy2*/jars"), reverse=True):
        found = [home / name for name in JARS]
        if all(jar.is_file() for jar in found):
            alone = master.startswith("local[") or master == "local"
            key, comma = ("spark.driver.extraClassPath", ":") if alone else ("spark.jars", ",")
            return {key: comma.join(str(jar) for jar in found)}
    return {"spark.jars.packages": DELTA_PACKAGE, "spark.jars.excludes": PROVIDED}
