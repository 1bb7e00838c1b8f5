"""The JVM's classes, loaded and checked once and then mapped from a file: half of what starting Spark costs.

`make setup` makes it, in the environment whose JARs it is of: another environment has another. A JVM that
finds it to be for other JARs or another Java starts without it, only slower: it holds nothing that is not
in the JARs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def path() -> Path:
    """Where this environment's archive for its version of Spark is, or will be."""
    return Path(sys.prefix) / "share" / "millrace" / f"spark-{pyspark.__version__}.jsa"


def option() -> str:
    """What to add to the JVM's options: the archive, or nothing where there is none."""
    return f" -XX:SharedArchiveFile={path()} -Xshare:auto -Xlog:cds=off" if path().is_file() else ""


def making(options: str) -> dict[str, str]:
    """The settings of a session whose JVM writes the archive when it ends."""
    path().parent.mkdir(parents=True, exist_ok=True)
    return {"spark.driver.extraJavaOptions": f"{options} -XX:ArchiveClassesAtExit={path()}"}


def use_classes(spark: SparkSession, folder: Path) -> None:
    """Let Spark do what runs do, so that the classes which that takes are loaded."""
    # Every session imports this module, and few make an archive.
    from pipelines.counting import rows_where

    table, files = str(folder / "table"), str(folder / "files")
    rows = spark.range(1000).selectExpr("id", "cast(id % 7 AS string) AS text", "array(id) AS ids")
    rows.write.parquet(files)
    read = spark.read.schema(rows.schema).parquet(files)
    repeated = read.groupBy("text").count().where("count > 1").select("text")
    joined = read.join(repeated.hint("broadcast"), "text", "left")
    counts = [rows_where(condition) for condition in (F.col("id") > 1, F.col("ids").isNull())]
    joined.agg(F.count(F.lit(1)), *counts).collect()
    made = read.mapInArrow(lambda batches: batches, read.schema)
    for number in range(2):
        writer = made.write.format("delta").mode("append").option("txnAppId", f"setup-{number}")
        writer.option("txnVersion", 1).save(table)
    spark.read.format("delta").load(table).selectExpr("to_json(struct(*))").collect()
