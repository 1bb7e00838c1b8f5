#!/usr/bin/env bash
# What: Sail's to_json accepts the option ignoreNullFields=false and leaves null fields out all the same.
# Where: to_json(struct(...), map('ignoreNullFields', 'false')), by SQL and by DataFrame functions.
# Versions: pysail 0.7.2, pyspark 4.2.0 (as the client).
# Inconsistent: Spark writes "b":null with this option, and omits the field without it.
# Why it matters: a record that is stored as JSON loses columns without an error; a key of two columns may equal one of one.
# Instead: build the text in a Python function, or fill nulls before.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pysail==0.7.2 'pyspark[connect]==4.2.0'

cat > finding.py <<'PY'
import sys

from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession

server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
spark = SparkSession.builder.remote("sc://%s:%d" % server.listening_address).create()


def text(options):
    fields = "struct(a, b)"
    call = f"to_json({fields}, {options})" if options else f"to_json({fields})"
    rows = spark.createDataFrame([(1, None)], "a int, b string")
    return rows.selectExpr(f"{call} AS text").collect()[0].text


default, kept = text(None), text("map('ignoreNullFields', 'false')")
print("pysail 0.7.2")
print('expected with ignoreNullFields=false: {"a":1,"b":null}')
print("seen without the option:", default)
print("seen with the option:   ", kept)

checks = [
    ("without the option, nulls are written", default == '{"a":1}'),
    ("with the option, nulls are written", kept == '{"a":1}'),
]
changes = [text for text, holds in checks if not holds]
for text in changes:
    print("CHANGED:", text)
spark.stop()
server.stop()
sys.exit(1 if changes else 0)
PY

status=0
venv/bin/python finding.py 2> log || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 5 log >&2
    echo "$(basename "$0"): the behaviour differs from the description" >&2
    exit 1
fi
