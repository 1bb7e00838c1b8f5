#!/usr/bin/env bash
# What: Sail compares a double with a decimal number such as 0.0 as decimals of 15 places, not as doubles.
# Where: any comparison, BETWEEN or IN with a number that has a point and no exponent: amount > 0.0, share = 0.1.
# Versions: pysail 0.7.2, pyspark 4.2.0 (as the client).
# Inconsistent: Spark casts the decimal number to double. Sail itself does so for 0 and 0e0.
# Why it matters: small values round to 0 and change sides without an error; NaN or a large value ends the query.
# Instead: write the number with an exponent, 0.0e0, or as a whole number.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pysail==0.7.2 'pyspark[connect]==4.2.0'

cat > finding.py <<'PY'
import sys

import pysail
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession

server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
spark = SparkSession.builder.remote("sc://%s:%d" % server.listening_address).create()


def kept(rule, values):
    rows = spark.createDataFrame([(value,) for value in values], "amount double")
    try:
        return sorted(row.amount for row in rows.where(rule).collect())
    except Exception as error:
        return type(error).__name__


SMALL = [1e-16, 0.25]
point, whole, exponent = (kept(f"amount > {zero}", SMALL) for zero in ("0.0", "0", "0.0e0"))
nan = kept("amount > 0.0", [float("nan"), 0.25])
nan_exponent = kept("amount > 0.0e0", [0.25])
print("pysail", pysail.__version__ if hasattr(pysail, "__version__") else "0.7.2")
print("expected: 1e-16 and 0.25 for each way to write 0; with NaN, rows and no error")
print("seen: amount > 0.0  ", point)
print("seen: amount > 0    ", whole)
print("seen: amount > 0.0e0", exponent)
print("seen: amount > 0.0 with a NaN:", nan)

checks = [
    ("a decimal number keeps small values", point == [0.25]),
    ("a whole number loses small values", whole == SMALL),
    ("a number with an exponent loses small values", exponent == SMALL),
    ("NaN is no error", isinstance(nan, str)),
    ("0.25 is not above 0.0e0", nan_exponent == [0.25]),
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
