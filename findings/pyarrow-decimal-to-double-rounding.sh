#!/usr/bin/env bash
# What: pyarrow's cast of a decimal to double does not give the nearest double. It differs from Python's float(Decimal).
# Where: pyarrow.Array.cast(pa.float64()) of decimal128. A cast through string gives the nearest double.
# Versions: pyarrow 26.0.1.
# Why it matters: a price of two decimals has another value in the model's input than in pandas or in the training set.
# A tree model with a threshold at that value takes the other branch. Equality with a double from another source fails.
# Instead: cast the decimal to string first, then to double.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyarrow==26.0.1

cat > finding.py <<'PY'
import sys
from decimal import Decimal

import pyarrow as pa

amounts = [Decimal(cents) / 100 for cents in range(1, 100_000)]  # 0.01 to 999.99
decimals = pa.array(amounts, pa.decimal128(9, 2))
nearest = [float(amount) for amount in amounts]
cast = decimals.cast(pa.float64()).to_pylist()
by_text = decimals.cast(pa.string()).cast(pa.float64()).to_pylist()


def differing(values):
    return [at for at, value in enumerate(values) if value != nearest[at]]


off = differing(cast)
print("pyarrow", pa.__version__)
print("expected: 0 of", len(amounts), "amounts differ from float(Decimal)")
print("seen:", len(off), "differ by the cast,", len(differing(by_text)), "by the cast through string")
if off:
    print("for example", amounts[off[0]], "becomes", repr(cast[off[0]]), "instead of", repr(nearest[off[0]]))
checks = [
    ("the cast gives the nearest double", len(off) > 0),
    ("the cast through string does not give the nearest double", not differing(by_text)),
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
