#!/usr/bin/env bash
# What: for trees, double input is worse than float input. A converted decision tree does not load in ONNX Runtime.
# A converted random forest loads, and its labels differ from scikit-learn's. With float input all labels agree.
# Where: skl2onnx.to_onnx with a float64 sample. scikit-learn casts inputs to float32 itself; the graph does not.
# Versions: skl2onnx 1.20.0, scikit-learn 1.9.1, onnx 1.23.2, onnxruntime 1.32.0.
# Why it matters: engineers choose double to match scikit-learn better. Decimal data, here with one decimal place,
# is then exactly where labels differ.
# Instead: convert tree models with float32 input, and cast the columns to float before scoring.
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
x = np.round(rng.normal(size=(4000, 5)), 1)
y = (x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=4000) > 0).astype(int)


def share_of_other_labels(model, dtype):
    onnx_model = skl2onnx.to_onnx(model, x[:1].astype(dtype), options={"zipmap": False})
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString())
    return (session.run(["label"], {"X": x.astype(dtype)})[0] != model.predict(x)).mean()


tree = DecisionTreeClassifier(random_state=0).fit(x, y)
forest = RandomForestClassifier(20, random_state=0).fit(x, y)
tree_float = share_of_other_labels(tree, np.float32)
forest_float = share_of_other_labels(forest, np.float32)
forest_double = share_of_other_labels(forest, np.float64)
try:
    tree_double = f"{share_of_other_labels(tree, np.float64):.2%} of labels differ"
except Exception as error:
    tree_double = "error: " + str(error)

print("skl2onnx", skl2onnx.__version__, "scikit-learn", sklearn.__version__, "onnxruntime", onnxruntime.__version__)
print("expected: double input gives labels that are at least as close to scikit-learn's")
print(f"seen, float: {tree_float:.2%} (tree) and {forest_float:.2%} (forest) of labels differ")
print(f"seen, double, forest: {forest_double:.2%} of labels differ")
print("seen, double, tree:", tree_double)

checks = [
    ("labels differ with float input", tree_float == 0 and forest_float == 0),
    ("the forest's labels agree with double input", forest_double > 0),
    ("the tree loads with double input", tree_double.startswith("error")),
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
