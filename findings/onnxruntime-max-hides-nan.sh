#!/usr/bin/env bash
# What: ReduceMax, ReduceMin and MaxPool of ONNX Runtime skip NaN. ArgMax gives the index of another element.
# Where: the CPU execution provider. NumPy and PyTorch propagate NaN through the same functions.
# Versions: onnxruntime 1.32.0, onnx 1.23.2.
# Why it matters: a model with max pooling, or a graph that ends in ArgMax, turns a NaN into an ordinary score or label.
# A test for NaN on the output does not find the row.
# Instead: test the inputs for NaN before scoring. Return the logits as well, and test them.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat > finding.py <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

values = np.array([[1.0, np.nan, 3.0, 2.0]], np.float32)


def run(operator, x, output=TensorProto.FLOAT, **attributes):
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        "one_node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", output, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].ravel().tolist()[0]


largest = run("ReduceMax", values, axes=[1])
smallest = run("ReduceMin", values, axes=[1])
pooled = run("MaxPool", values.reshape(1, 1, 4), kernel_shape=[4])
index = run("ArgMax", values, TensorProto.INT64, axis=1)
print("onnxruntime", onnxruntime.__version__)
print("input:", values[0].tolist())
print("expected (NumPy): max", np.max(values), "min", np.min(values), "argmax", np.argmax(values))
print("seen: ReduceMax", largest, "ReduceMin", smallest, "MaxPool", pooled, "ArgMax", index)

checks = [
    ("ReduceMax does not skip NaN", largest == 3.0),
    ("ReduceMin does not skip NaN", smallest == 1.0),
    ("MaxPool does not skip NaN", pooled == 3.0),
    ("ArgMax does not skip NaN", index == 2),
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
