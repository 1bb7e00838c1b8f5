#!/usr/bin/env bash
# What: Spark takes a Parquet column of type null for an int. With a declared schema it reads the nulls as int, bigint,
# double or date, but fails for string, timestamp, boolean, decimal and binary.
# Where: files that pyarrow or pandas write for a column of nothing but None.
# Versions: pyspark 4.2.0, pyarrow 26.0.1.
# Why it matters: a day's file without one remark, among files with remarks, makes the whole folder unreadable, and
# which column types do so is arbitrary. No value is in doubt: every one is null.
# Instead: write with a declared schema (pa.schema, or dtype "string" in pandas), or write such a file anew.
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

os.mkdir("folder")
pq.write_table(pa.table({"n": pa.nulls(3)}), "folder/a.parquet")

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")
path = "file://" + os.path.abspath("folder")


def read(kind):
    try:
        rows = spark.read.schema(f"n {kind}").parquet(path).collect()
    except Exception as error:
        if "PARQUET_COLUMN_DATA_TYPE_MISMATCH" not in str(error):
            raise
        return "error"
    return [row.n for row in rows]


kinds = ("int", "bigint", "double", "date", "string", "timestamp", "boolean", "decimal(10,2)", "binary")
seen = {kind: read(kind) for kind in kinds}
inferred = spark.read.parquet(path).dtypes[0][1]
print("pyspark", spark.version, "pyarrow", pa.__version__)
print("expected: three nulls, as whatever type is declared")
print("seen, inferred type:", inferred)
for kind, rows in seen.items():
    print(f"seen, {kind}:", rows)

checks = [
    ("the inferred type is not int", inferred == "int"),
    ("numbers and dates are not read", all(seen[kind] == [None] * 3 for kind in kinds[:4])),
    ("one of the others is read", all(seen[kind] == "error" for kind in kinds[4:])),
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
