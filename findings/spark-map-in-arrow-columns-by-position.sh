#!/usr/bin/env bash
# What: mapInArrow assigns the columns of a batch to the declared schema by position and ignores their names.
# It drops surplus columns. mapInPandas and applyInArrow assign by name.
# Where: DataFrame.mapInArrow. Fields of a struct are assigned by position too.
# Versions: pyspark 4.2.0, pyarrow 26.0.1, pandas 2.3.3.
# Why it matters: if a function returns columns in another order, values go to the wrong columns without an error.
# Scores and probabilities of the same type change places. A date in an int column becomes a number of days.
# Instead: end the function with batch.select(names of the declared schema) and a cast to its Arrow types.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyspark==4.2.0 pyarrow==26.0.1 pandas==2.3.3
export PYSPARK_PYTHON="$folder/venv/bin/python" SPARK_LOCAL_IP=127.0.0.1

cat > finding.py <<'PY'
import sys
from datetime import date

import pandas as pd
import pyarrow as pa
from pyspark.sql import SparkSession

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")


def arrow_batches(batches):
    for _ in batches:
        yield pa.RecordBatch.from_pydict({"b": [20], "a": [10]})


def pandas_frames(frames):
    for _ in frames:
        yield pd.DataFrame({"b": [20], "a": [10]})


def dates(batches):
    for _ in batches:
        yield pa.RecordBatch.from_pydict({"day": [date(1970, 1, 31)]})


one = spark.range(1, numPartitions=1)
schema = "a bigint, b bigint"
in_arrow = one.mapInArrow(arrow_batches, schema).first().asDict()
in_pandas = one.mapInPandas(pandas_frames, schema).first().asDict()
grouped = one.groupBy("id").applyInArrow(lambda _: pa.table({"b": [20], "a": [10]}), schema).first().asDict()
surplus = one.mapInArrow(arrow_batches, "a bigint").first().asDict()
day = one.mapInArrow(dates, "day int").first().day
print("pyspark", spark.version, "pyarrow", pa.__version__)
print("expected: a = 10 and b = 20, or an error")
print("seen, mapInPandas:", in_pandas)
print("seen, applyInArrow:", grouped)
print("seen, mapInArrow:", in_arrow)
print("seen, mapInArrow with one declared column:", surplus)
print("seen, mapInArrow with a date for an int column:", day)

right = {"a": 10, "b": 20}
checks = [
    ("mapInPandas does not assign by name", in_pandas == right),
    ("applyInArrow does not assign by name", grouped == right),
    ("mapInArrow does not assign by position", in_arrow == {"a": 20, "b": 10}),
    ("mapInArrow does not drop surplus columns", surplus == {"a": 20}),
    ("mapInArrow does not reinterpret a date", day == 30),
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
