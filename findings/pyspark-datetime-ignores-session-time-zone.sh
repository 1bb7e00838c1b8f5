#!/usr/bin/env bash
# What: a naive Python datetime in a Spark expression is read in the time zone of the driver's operating system.
# The same text as a SQL literal is read in spark.sql.session.timeZone. Two equal-looking instants then differ.
# Where: F.lit(datetime), a comparison of a column with a datetime, spark.sql(..., args=...) and createDataFrame.
# Versions: pyspark 4.2.0.
# Why it matters: a session time zone is set so that results do not depend on the machine. Filters by datetime still
# do: the same job keeps other rows on a laptop than in a container, without an error.
# Instead: give aware datetimes (tzinfo), or write the literal as text: F.expr("TIMESTAMP '2024-07-01 12:00:00'").
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
import time
from datetime import UTC, datetime

os.environ["TZ"] = "America/New_York"
time.tzset()

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")

noon = datetime(2024, 7, 1, 12, 0)
one = spark.sql("SELECT TIMESTAMP '2024-07-01 12:00:00' AS t")
by_sql = one.select(F.col("t").cast("string")).first()[0]
literal = one.select(F.lit(noon).cast("string")).first()[0]
argument = spark.sql("SELECT CAST(:at AS STRING)", args={"at": noon}).first()[0]
created = spark.createDataFrame([(noon,)], "t timestamp").select(F.col("t").cast("string")).first()[0]
aware = one.select(F.lit(noon.replace(tzinfo=UTC)).cast("string")).first()[0]
equal = one.filter(F.col("t") == noon).count()
print("pyspark", spark.version, "session time zone UTC, TZ America/New_York")
print("expected: every form of 2024-07-01 12:00:00 is noon in the session time zone")
print("seen, SQL literal:", by_sql)
print("seen, F.lit(datetime):", literal)
print("seen, args of spark.sql:", argument)
print("seen, createDataFrame:", created)
print("seen, F.lit(aware datetime in UTC):", aware)
print("seen, rows where the SQL literal equals the datetime:", equal, "of 1")

checks = [
    ("a SQL literal does not follow the session", by_sql == "2024-07-01 12:00:00"),
    ("F.lit follows the session", literal == "2024-07-01 16:00:00"),
    ("args of spark.sql follow the session", argument == "2024-07-01 16:00:00"),
    ("createDataFrame follows the session", created == "2024-07-01 16:00:00"),
    ("an aware datetime does not keep its instant", aware == "2024-07-01 12:00:00"),
    ("the comparison keeps the row", equal == 0),
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
