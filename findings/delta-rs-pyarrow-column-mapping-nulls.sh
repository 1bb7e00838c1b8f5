#!/usr/bin/env bash
# What: to_pyarrow_table() and to_pandas() give a table full of nulls if the table has column mapping. No error.
# Where: a table with delta.columnMapping.mode = name, written by Spark. QueryBuilder reads the values.
# Versions: deltalake 1.6.6, delta-spark 4.4.0, pyspark 4.2.0, pyarrow 26.0.1.
# Why it matters: the number of rows and the schema are right, so only a test for nulls finds it.
# A column that is renamed or dropped in Spark needs column mapping, so a table can get it late in its life.
# Instead: read with QueryBuilder, or refuse tables whose properties set delta.columnMapping.mode.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyspark==4.2.0 delta-spark==4.4.0 deltalake==1.6.6 pyarrow==26.0.1 pandas==2.3.3
export PYSPARK_PYTHON="$folder/venv/bin/python" SPARK_LOCAL_IP=127.0.0.1

cat > finding.py <<'PY'
import os
import sys

import deltalake
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
    "TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
)
spark.range(0, 3, 1, 1).write.format("delta").mode("append").save(path)

table = deltalake.DeltaTable(path)
arrow = table.to_pyarrow_table()["id"].to_pylist()
frame_nulls = int(table.to_pandas()["id"].isna().sum())
builder = deltalake.QueryBuilder().register("t", table)
queried = [value.as_py() for value in builder.execute("SELECT id FROM t ORDER BY id").read_all()["id"]]
print("deltalake", deltalake.__version__, "pyspark", spark.version)
print("expected: [0, 1, 2], or an error")
print("seen, QueryBuilder:", queried)
print("seen, to_pyarrow_table():", arrow)
print("seen, to_pandas():", frame_nulls, "nulls")

checks = [
    ("QueryBuilder does not read the values", queried == [0, 1, 2]),
    ("to_pyarrow_table() does not give nulls", arrow == [None, None, None]),
    ("to_pandas() does not give nulls", frame_nulls == 3),
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
