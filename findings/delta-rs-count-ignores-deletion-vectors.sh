#!/usr/bin/env bash
# What: DeltaTable.count() and num_records of get_add_actions() include rows that a deletion vector deletes.
# Where: a table with delta.enableDeletionVectors, written by Spark, after DELETE. QueryBuilder counts correctly.
# Versions: deltalake 1.6.6, delta-spark 4.4.0, pyspark 4.2.0.
# Also: to_pyarrow_table() of the same table raises an error, so a reader expects the same of count().
# Why it matters: a check "rows in the table = rows written" passes or fails for the wrong reason.
# Instead: count with QueryBuilder or Spark, or turn deletion vectors off for tables that delta-rs reads.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyspark==4.2.0 delta-spark==4.4.0 deltalake==1.6.6 pyarrow==26.0.1
export PYSPARK_PYTHON="$folder/venv/bin/python" SPARK_LOCAL_IP=127.0.0.1

cat > finding.py <<'PY'
import os
import sys

import deltalake
import pyarrow as pa
from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession

builder = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.databricks.delta.snapshotPartitions", "1")
    .config("spark.jars.ivy", os.path.abspath("ivy"))
    # Spark ships these itself.
    .config(
        "spark.jars.excludes",
        "org.apache.hadoop:*,org.apache.parquet:*,com.fasterxml.jackson.core:*,org.slf4j:*",
    )
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
)
spark = configure_spark_with_delta_pip(builder).getOrCreate()
spark.sparkContext.setLogLevel("OFF")
path = os.path.abspath("table")

spark.sql(
    f"CREATE TABLE delta.`{path}` (id BIGINT) USING delta "
    "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
)
spark.range(0, 1000, 1, 1).write.format("delta").mode("append").save(path)
spark.sql(f"DELETE FROM delta.`{path}` WHERE id % 4 = 0")
live = spark.read.format("delta").load(path).count()

table = deltalake.DeltaTable(path)
count = table.count()
records = sum(pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist())
builder = deltalake.QueryBuilder().register("t", table)
queried = builder.execute("SELECT count(*) AS n FROM t").read_all()["n"][0].as_py()
try:
    arrow = str(table.to_pyarrow_table().num_rows)
except Exception as error:
    arrow = "error: " + str(error)

print("deltalake", deltalake.__version__, "pyspark", spark.version)
print("expected: 750 everywhere, or an error")
print("seen, Spark:", live)
print("seen, QueryBuilder:", queried)
print("seen, DeltaTable.count():", count)
print("seen, sum of num_records:", records)
print("seen, to_pyarrow_table():", arrow)

checks = [
    ("Spark does not count 750", live == 750),
    ("QueryBuilder does not count 750", queried == 750),
    ("DeltaTable.count() does not count deleted rows", count == 1000),
    ("num_records does not count deleted rows", records == 1000),
    ("to_pyarrow_table() does not raise an error", arrow.startswith("error")),
]
changes = [text for text, holds in checks if not holds]
for text in changes:
    print("CHANGED:", text)
sys.exit(1 if changes else 0)
PY

status=0
venv/bin/python finding.py 2> log || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 5 log >&2
    echo "$(basename "$0"): the behaviour differs from the description" >&2
    exit 1
fi
