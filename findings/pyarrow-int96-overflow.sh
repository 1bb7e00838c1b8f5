#!/usr/bin/env bash
# What: pyarrow reads INT96 timestamps as nanoseconds. Dates outside the years 1677 to 2262 become other dates.
# It raises no error. The file itself is correct: with microseconds pyarrow reads the right date.
# Where: pyarrow.parquet.read_table, and pandas.read_parquet, which uses it. Spark writes INT96 by default.
# Versions: pyarrow 26.0.1, pandas 2.3.3.
# Why it matters: a placeholder such as 9999-12-31 or 2500-01-01 becomes an ordinary date in this century or the last.
# Instead: read with coerce_int96_timestamp_unit="us". In Spark, write TIMESTAMP_MICROS
# (spark.sql.parquet.outputTimestampType).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyarrow==26.0.1 pandas==2.3.3

cat > finding.py <<'PY'
import sys
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

dates = [datetime(2500, 1, 1), datetime(1500, 1, 1), datetime(2026, 1, 1)]
pq.write_table(
    pa.table({"t": pa.array(dates, pa.timestamp("us"))}), "dates.parquet", use_deprecated_int96_timestamps=True
)
physical = pq.ParquetFile("dates.parquet").schema.column(0).physical_type
read = [value.as_py().year for value in pq.read_table("dates.parquet")["t"].cast(pa.timestamp("us"), safe=False)]
in_pandas = pd.read_parquet("dates.parquet")["t"].dt.year.tolist()
coerced = pq.read_table("dates.parquet", coerce_int96_timestamp_unit="us")["t"].to_pylist()
print("pyarrow", pa.__version__, "pandas", pd.__version__, "- physical type", physical)
print("expected: the years 2500, 1500, 2026, or an error")
print("seen, pyarrow:", read)
print("seen, pandas:", in_pandas)
print("seen, pyarrow with coerce_int96_timestamp_unit='us':", [value.year for value in coerced])

checks = [
    ("the file does not hold INT96", physical == "INT96"),
    ("pyarrow does not overflow", read == [1915, 2084, 2026]),
    ("pandas does not overflow", in_pandas == [1915, 2084, 2026]),
    ("microseconds do not give the right dates", coerced == dates),
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
