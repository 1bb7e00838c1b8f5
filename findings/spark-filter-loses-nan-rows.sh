#!/usr/bin/env bash
# What: Spark treats NaN as larger than every number, but the filter x > 5 on a Parquet file can lose NaN rows.
# The equivalent filter x + 0 > 5 returns them.
# Where: files that pyarrow writes, delta-rs's included. Their column statistics leave NaN out, as Parquet requires.
# Spark skips the row group by its maximum.
# Versions: pyspark 4.2.0, pyarrow 26.0.1.
# Why it matters: the result depends on the writer and on the values of other rows in the row group.
# Instead: write isnan(x) OR x > 5 where NaN is possible, or set spark.sql.parquet.filterPushdown to false.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyspark==4.2.0 pyarrow==26.0.1
export PYSPARK_PYTHON="$folder/venv/bin/python" SPARK_LOCAL_IP=127.0.0.1

cat > finding.py <<'PY'
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

pq.write_table(pa.table({"x": [1.0, float("nan")]}), "x.parquet")

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")

frame = spark.read.parquet("file://" + os.path.abspath("x.parquet"))
pushed = frame.filter("x > 5").count()
computed = frame.filter("x + 0 > 5").count()
both = frame.filter("isnan(x) OR x > 5").count()
spark.conf.set("spark.sql.parquet.filterPushdown", "false")
not_pushed = frame.filter("x > 5").count()
print("pyspark", spark.version, "pyarrow", pa.__version__)
print("rows: 1.0, NaN. expected: every form of the filter returns 1 row")
print("seen, x > 5:", pushed)
print("seen, x + 0 > 5:", computed)
print("seen, isnan(x) OR x > 5:", both)
print("seen, x > 5 without filterPushdown:", not_pushed)

checks = [
    ("x > 5 returns the NaN row", pushed == 0),
    ("x + 0 > 5 does not return the NaN row", computed == 1),
    ("isnan(x) OR x > 5 does not return the NaN row", both == 1),
    ("x > 5 without pushdown does not return the NaN row", not_pushed == 1),
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
