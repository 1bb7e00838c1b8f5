#!/usr/bin/env bash
# What: a converted decision tree or random forest sends every missing value to the right branch.
# scikit-learn sends it in the direction that the tree learnt.
# Where: skl2onnx writes nodes_missing_value_tracks_true = 0 for every node.
# Versions: skl2onnx 1.20.0, scikit-learn 1.9.1, onnxruntime 1.32.0.
# Why it matters: rows with NaN get other labels than in scikit-learn, without an error or a warning. Here all of them do.
# Instead: impute missing values in the pipeline before the tree. Compare both runtimes on rows with NaN before release.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

cat > finding.py <<'PY'
import sys

import numpy as np
import onnxruntime
import skl2onnx
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 3)).astype(np.float32)
y = (x[:, 0] > 0).astype(int)
missing = rng.random(2000) < 0.3
x[missing, 0] = np.nan
y[missing] = 0

print("skl2onnx", skl2onnx.__version__, "scikit-learn", sklearn.__version__, "onnxruntime", onnxruntime.__version__)
print("expected: both runtimes give the same labels")
checks = []
for model in (
    DecisionTreeClassifier(max_depth=3, random_state=0),
    RandomForestClassifier(20, max_depth=4, random_state=0),
):
    name = type(model).__name__
    model.fit(x, y)
    onnx_model = skl2onnx.to_onnx(model, x[:1], options={"zipmap": False})
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString())
    differs = session.run(["label"], {"X": x})[0] != model.predict(x)
    with_nan, without_nan = differs[missing].mean(), differs[~missing].mean()
    accuracy = (model.predict(x) == y)[missing].mean()
    print(f"seen, {name}: {with_nan:.1%} of labels differ on {missing.sum()} rows with NaN,")
    print(f"  {without_nan:.1%} on the others; scikit-learn's accuracy on rows with NaN is {accuracy:.1%}")
    checks += [
        (f"{name}: labels of rows with NaN agree", with_nan > 0.5),
        (f"{name}: labels of rows without NaN differ", without_nan == 0),
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
