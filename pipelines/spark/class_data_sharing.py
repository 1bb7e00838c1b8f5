"""The archive of the JVM's classes, loaded and verified once: it halves the time to start Spark.

`make setup` makes it in each environment, from that environment's JARs. A JVM with other JARs or another
Java ignores it and starts more slowly: it has nothing that is not in the JARs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def path() -> Path:
    """Return the path of this environment's archive for its version of Spark."""
    return Path(sys.prefix) / "share" / "millrace" / f"spark-{pyspark.__version__}.jsa"


def option() -> str:
    """Return the JVM option that uses the archive; empty where there is none."""
    return f" -XX:SharedArchiveFile={path()} -Xshare:auto -Xlog:cds=off" if path().is_file() else ""


def making(options: str) -> dict[str, str]:
    """Return the settings of a session whose JVM writes the archive when it ends."""
    path().parent.mkdir(parents=True, exist_ok=True)
    return {"spark.driver.extraJavaOptions": f"{options} -XX:ArchiveClassesAtExit={path()}"}


def use_classes(spark: SparkSession, folder: Path) -> None:
    """Run the Spark operations of a run, which loads the classes for the archive.

    They are those of a run alone: Spark writes Parquet files, and delta-rs commits them.
    """
    # Every session imports this module, and few make an archive.
    from millrace.pipelines.spark.conditions import rows_where

    files = str(folder / "files")
    rows = spark.range(1000).selectExpr("id", "cast(id % 7 AS string) AS text", "array(id) AS ids")
    rows.write.parquet(files)
    read = spark.read.schema(rows.schema).parquet(files)
    repeated = read.groupBy("text").count().where("count > 1").select("text")
    joined = read.join(repeated.hint("broadcast"), "text", "left")
    counts = [rows_where(condition) for condition in (F.col("id") > 1, F.col("ids").isNull())]
    joined.agg(F.count(F.lit(1)), *counts).collect()
    read.mapInArrow(lambda batches: batches, read.schema).write.parquet(str(folder / "scored"))
