#!/usr/bin/env bash
# What: DataFusion's SUM of bigint or decimal(38, 0) wraps to a negative number. It raises no error.
# Where: the datafusion package, and QueryBuilder of deltalake, which runs DataFusion.
# Versions: datafusion 55.0.0, deltalake 1.6.6, pyarrow 26.0.1.
# Inconsistent: AVG of the same decimals and the operator + on them raise an overflow error.
# Why it matters: a total over a Delta table is wrong, and no error shows it. Spark in ANSI mode raises an error.
# Instead: cast before the sum. Use decimal(38, 0) for bigint and double for wide decimals, or sum in Spark.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile datafusion==55.0.0 deltalake==1.6.6 pyarrow==26.0.1

cat > finding.py <<'PY'
import sys
from decimal import Decimal

import datafusion
import deltalake
import pyarrow as pa

largest = Decimal("9" * 38)
table = pa.table(
    {
        "n": pa.array([2**63 - 1, 1], pa.int64()),
        "d": pa.array([largest, largest], pa.decimal128(38, 0)),
    }
)
context = datafusion.SessionContext()
context.register_record_batches("t", [table.to_batches()])


def query(sql):
    return context.sql(sql).to_pydict()["v"][0]


total_n = query("SELECT sum(n) AS v FROM t")
total_d = query("SELECT sum(d) AS v FROM t")
cast_n = query("SELECT sum(CAST(n AS decimal(38, 0))) AS v FROM t")
try:
    plus_d = str(query("SELECT d + d AS v FROM t"))
except Exception as error:
    plus_d = "error: " + str(error).split(":")[-2].strip()

deltalake.write_deltalake("table", table.select(["n"]))
builder = deltalake.QueryBuilder().register("t", deltalake.DeltaTable("table"))
total_delta = builder.execute("SELECT sum(n) AS v FROM t").read_all()["v"][0].as_py()

print("datafusion", datafusion.__version__, "deltalake", deltalake.__version__)
print("expected: sum(n) is", 2**63, "or an error; sum(d) is", 2 * largest, "or an error")
print("seen: sum(n) =", total_n, "; sum(d) =", total_d)
print("seen: QueryBuilder sum(n) =", total_delta)
print("seen: d + d ->", plus_d)
print("seen: sum(cast(n as decimal(38, 0))) =", cast_n)

checks = [
    ("sum of bigint does not wrap", total_n == -(2**63)),
    ("sum of decimal does not wrap", total_d < 0),
    ("QueryBuilder's sum of bigint does not wrap", total_delta == -(2**63)),
    ("d + d does not raise an error", plus_d.startswith("error")),
    ("the cast does not give the right sum", cast_n == 2**63),
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
