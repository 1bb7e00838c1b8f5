"""Backend ``onnxruntime``: an ONNX graph, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.models.loaded import Arrays
from udfs.plan import Runtime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRunner:
    """A session that takes as many threads as the task has, and no other provider than asked for."""

    def __init__(self, folder: Path, card: ModelCard, runtime: Runtime) -> None:
        import onnxruntime

        (graph,) = [name for name in card.files if name.endswith(".onnx")]
        check_external_data(folder, graph, card)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = runtime.threads
        options.inter_op_num_threads = 1
        # Its arena would keep what the largest batch took, and every shape makes new ones.
        options.enable_cpu_mem_arena = False
        kind, _, index = runtime.device.partition(":")
        try:
            self.session = onnxruntime.InferenceSession(
                folder / graph,
                options,
                providers=[(PROVIDERS[kind], {"device_id": index} if index else {})],
            )
        except Exception as error:  # noqa: BLE001 - its errors have no common base of their own
            raise ModelError(f"{folder / graph} cannot be loaded", got=str(error)[:500]) from None
        self.inputs = [one.name for one in self.session.get_inputs()]

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """The graph's first output."""
        (found, *_) = self.session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        return np.asarray(found, np.float32)


def check_external_data(folder: Path, graph: str, card: ModelCard) -> None:
    """Raise ModelError where weights are to be read from a file that the card does not vouch for."""
    import onnx
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(folder / graph, load_external_data=False)
    except Exception as error:  # noqa: BLE001 - protobuf's errors have no common base
        raise ModelError(f"{folder / graph} is not an ONNX graph", got=str(error)[:500]) from None
    beside = Path(graph).parent
    for tensor in _tensors(model.graph):
        if not uses_external_data(tensor):
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if str(beside / place) not in card.files:
            raise ModelError(
                f"{folder / graph} reads weights from a file that its card does not list",
                got=place,
                allowed=", ".join(card.files),
                next="list the file in model.yaml, in the model's folder",
            )


def _tensors(graph: Any) -> list[Any]:
    """Every stored tensor of a graph: its initializers, and those inside nodes and their branches."""
    found = list(graph.initializer)
    for sparse in graph.sparse_initializer:
        found += [sparse.values, sparse.indices]
    for node in graph.node:
        for attribute in node.attribute:
            found += [*attribute.tensors, attribute.t]
            for branch in (*attribute.graphs, attribute.g):
                found += _tensors(branch)
    return found
