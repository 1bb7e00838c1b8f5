#!/usr/bin/env bash
# What: skl2onnx cannot convert HistGradientBoosting models with protobuf 7.36.2. It raises ValueError.
# With protobuf 6.33.2 and the same other packages it converts them.
# Where: skl2onnx puts a NumPy boolean into an integer attribute of a node. The newer protobuf rejects it.
# Versions: skl2onnx 1.20.0, onnx 1.23.2, scikit-learn 1.9.1. pip reports no conflict between them and protobuf 7.
# Why it matters: a fresh installation gets the newer protobuf. The error prints every tree of the model,
# and the cause is only in the chained exception. Other tree models convert with both.
# Instead: pin protobuf below 7 where models are converted, or convert GradientBoosting.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 protobuf==7.36.2
venv/bin/pip install --quiet --no-compile --no-deps --target older protobuf==6.33.2

cat > finding.py <<'PY'
import os
import subprocess
import sys

import google.protobuf
import numpy as np
import onnx
import skl2onnx
import sklearn
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

rng = np.random.default_rng(0)
x = rng.normal(size=(500, 3)).astype(np.float32)
y = (x[:, 0] > 0).astype(int)


def outcome(model):
    try:
        skl2onnx.to_onnx(model.fit(x, y), x[:1])
        return "converted"
    except Exception as error:
        return f"{type(error).__name__}, cause: {error.__cause__}"


hist = outcome(HistGradientBoostingClassifier(max_iter=3))
if "PYTHONPATH" in os.environ:
    print(google.protobuf.__version__, hist)
    sys.exit()

plain = outcome(GradientBoostingClassifier(n_estimators=3))
older = subprocess.run(
    [sys.executable, __file__], env={**os.environ, "PYTHONPATH": "older"}, capture_output=True, text=True
).stdout.strip()
print("skl2onnx", skl2onnx.__version__, "scikit-learn", sklearn.__version__, "onnx", onnx.__version__)
print("expected: both models convert with either protobuf")
print("seen, protobuf", google.protobuf.__version__, "HistGradientBoosting:", hist)
print("seen, protobuf", google.protobuf.__version__, "GradientBoosting:", plain)
print("seen, protobuf", older.replace(" ", " HistGradientBoosting: ", 1))

checks = [
    ("HistGradientBoosting converts with the newer protobuf", hist.startswith("ValueError")),
    ("GradientBoosting does not convert", plain == "converted"),
    ("HistGradientBoosting does not convert with the older protobuf", older == "6.33.2 converted"),
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
