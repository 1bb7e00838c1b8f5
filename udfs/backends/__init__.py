"""What computes a graph: torch, CUDA, ONNX Runtime or OpenVINO, behind one `Runner`.

In come a model folder and arrays; out goes the graph's last tensor as float32. Read `runner` first.
"""
