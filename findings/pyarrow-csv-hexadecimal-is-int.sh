#!/usr/bin/env bash
# What: pyarrow.csv reads texts such as 0x1f as whole numbers, with type inference and for a declared int64 column.
# Where: pyarrow.csv.read_csv and ConvertOptions(column_types=...). A cast of the same strings by pyarrow.compute too.
# Versions: pyarrow 26.0.1, pandas 2.3.3.
# Inconsistent: Spark and pandas read the same column as text, and refuse it for a declared whole number.
# Why it matters: identifiers such as 0x10 and 0x010 become the same number, 16, and no error shows it.
# Instead: declare such columns as strings, and cast them after a check of their characters.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyarrow==26.0.1 pandas==2.3.3

cat > finding.py <<'PY'
import io
import sys

import pandas as pd
import pyarrow as pa
from pyarrow import compute, csv

CONTENT = b"device\n0x10\n0x010\n0X1f\n"


def arrow(**options):
    table = csv.read_csv(io.BytesIO(CONTENT), convert_options=csv.ConvertOptions(**options))
    return str(table.schema.field("device").type), table["device"].to_pylist()


inferred = arrow()
declared = arrow(column_types={"device": pa.int64()})
cast = compute.cast(pa.array(["0x10", "0x010"]), pa.int64()).to_pylist()
pandas_type = pd.read_csv(io.BytesIO(CONTENT))["device"].tolist()
try:
    pd.read_csv(io.BytesIO(CONTENT), dtype={"device": "int64"})
    pandas_declared = "read"
except ValueError as error:
    pandas_declared = type(error).__name__

print("pyarrow", pa.__version__, "pandas", pd.__version__)
print("expected: strings where the type is inferred, an error where int64 is declared")
print("seen: inferred", *inferred)
print("seen: declared int64", *declared)
print("seen: cast", cast)
print("seen: pandas inferred", pandas_type, "; declared int64:", pandas_declared)

checks = [
    ("an inferred column is not int64", inferred == ("int64", [16, 16, 31])),
    ("a declared column is refused", declared == ("int64", [16, 16, 31])),
    ("a cast is refused", cast == [16, 16]),
    ("pandas infers no text", pandas_type == ["0x10", "0x010", "0X1f"]),
    ("pandas reads a declared column", pandas_declared == "ValueError"),
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
