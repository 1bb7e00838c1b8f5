#!/usr/bin/env bash
# What: OrdinalEncoder with its default handle_unknown="error" raises in scikit-learn for an unknown category.
# The converted model returns -1 without an error. OneHotEncoder keeps the error when it is converted.
# Where: skl2onnx writes a LabelEncoder node with the default value -1. The same happens with sklearn's LabelEncoder.
# Versions: skl2onnx 1.20.0, scikit-learn 1.9.1, onnxruntime 1.32.0.
# Why it matters: -1 passes into the model behind the encoder as an ordinary number. Bad rows get ordinary scores.
# Instead: check categories before scoring (for example with an expectation on the value set), or use OneHotEncoder.
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
from skl2onnx.common.data_types import StringTensorType
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

onnxruntime.set_default_logger_severity(4)
known = np.array([["a"], ["b"]], object)
unknown = np.array([["z"]], object)


def in_onnx(encoder):
    onnx_model = skl2onnx.to_onnx(encoder, initial_types=[("x", StringTensorType([None, 1]))])
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString())
    return session.run(None, {"x": unknown})[0].ravel().tolist()


def outcome(function, argument):
    try:
        return str(function(argument))
    except Exception as error:
        return "error: " + str(error)


ordinal = OrdinalEncoder().fit(known)
one_hot = OneHotEncoder(sparse_output=False).fit(known)
ordinal_sklearn = outcome(ordinal.transform, unknown)
ordinal_onnx = outcome(in_onnx, ordinal)
one_hot_onnx = outcome(in_onnx, one_hot)
print("skl2onnx", skl2onnx.__version__, "scikit-learn", sklearn.__version__, "onnxruntime", onnxruntime.__version__)
print("expected: an unknown category raises an error in both runtimes")
print("seen, OrdinalEncoder in scikit-learn:", ordinal_sklearn)
print("seen, OrdinalEncoder in ONNX Runtime:", ordinal_onnx)
print("seen, OneHotEncoder in ONNX Runtime:", one_hot_onnx)

checks = [
    ("OrdinalEncoder does not raise in scikit-learn", ordinal_sklearn.startswith("error")),
    ("OrdinalEncoder does not give -1 in ONNX Runtime", ordinal_onnx == "[-1.0]"),
    ("OneHotEncoder does not raise in ONNX Runtime", one_hot_onnx.startswith("error")),
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
