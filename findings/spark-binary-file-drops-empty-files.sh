#!/usr/bin/env bash
# What: Spark's binaryFile source returns no row for a file of 0 bytes. It gives no error and no warning.
# Where: spark.read.format("binaryFile"). SparkContext.binaryFiles returns the empty file.
# Versions: pyspark 4.2.0.
# Why it matters: an empty image or document is a typical failed upload. It does not reach the checks for bad rows,
# and the number of results is smaller than the number of files.
# Instead: compare the row count with a listing of the folder, or list paths first and join.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyspark==4.2.0
export PYSPARK_PYTHON="$folder/venv/bin/python" SPARK_LOCAL_IP=127.0.0.1

cat > finding.py <<'PY'
import os
import sys

from pyspark.sql import SparkSession

os.mkdir("files")
for name, content in (("a.bin", b"abc"), ("b.bin", b"x"), ("empty.bin", b"")):
    with open(os.path.join("files", name), "wb") as file:
        file.write(content)

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")

folder = "file://" + os.path.abspath("files")
frame = spark.read.format("binaryFile").load(folder)
names = sorted(os.path.basename(row.path) for row in frame.select("path").collect())
by_rdd = spark.sparkContext.binaryFiles(folder).count()
print("pyspark", spark.version)
print("expected: 3 rows, one of them with length 0")
print("seen, binaryFile:", frame.count(), "rows,", names)
print("seen, SparkContext.binaryFiles:", by_rdd, "files")

checks = [
    ("binaryFile returns the empty file", names == ["a.bin", "b.bin"]),
    ("SparkContext.binaryFiles does not return the empty file", by_rdd == 3),
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
