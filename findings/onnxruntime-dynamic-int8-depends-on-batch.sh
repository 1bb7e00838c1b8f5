#!/usr/bin/env bash
# What: after dynamic int8 quantization, the output for a row depends on the other rows of its batch.
# Where: onnxruntime.quantization.quantize_dynamic. DynamicQuantizeLinear computes one scale for the whole input tensor.
# Versions: onnxruntime 1.32.0, onnx 1.23.2.
# Why it matters: the same input gets other scores in another batch. One row with large values removes the precision of its
# neighbours. A retry or a replay with other batches does not reproduce the scores.
# Instead: use static quantization with calibrated scales. Otherwise score such a model with batches of one row,
# or compare its scores with a tolerance.
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
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

rng = np.random.default_rng(0)
weights = rng.normal(size=(16, 4)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "linear",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    [numpy_helper.from_array(weights, "w")],
)
onnx.save(
    helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "float.onnx"
)
quantize_dynamic("float.onnx", "int8.onnx", weight_type=QuantType.QInt8)

row = rng.normal(size=(1, 16)).astype(np.float32)
neighbour = 50 * rng.normal(size=(1, 16)).astype(np.float32)


def difference(path):
    session = onnxruntime.InferenceSession(path)
    alone = session.run(None, {"x": row})[0][0]
    together = session.run(None, {"x": np.vstack([row, neighbour])})[0][0]
    return float(np.abs(alone - together).max()), alone, together


float_difference, *_ = difference("float.onnx")
int8_difference, alone, together = difference("int8.onnx")
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
print("expected: the output for a row is the same, alone and beside another row")
print("seen, float model: largest difference", float_difference)
print("seen, int8 model: largest difference", round(int8_difference, 4))
print("  alone   ", alone)
print("  together", together)

checks = [
    ("the float model depends on the batch", float_difference < 1e-4),
    ("the int8 model does not depend on the batch", int8_difference > 0.1),
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
