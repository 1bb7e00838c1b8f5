"""Backend ``onnxruntime``: an ONNX graph, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.exported_graph import order_of, ordered, tensor_of
from millrace.udfs.backends.onnx_external_data import check_external_data
from millrace.udfs.backends.runner import Arrays
from millrace.udfs.runtime.plan import Runtime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRunner:
    """A session with as many threads as the task has, and only the requested provider."""

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
            raise ModelError(
                f"{folder / graph} cannot be loaded", got=str(error)[:500], next=_next(str(error))
            ) from None
        self._inputs = [one.name for one in self.session.get_inputs()]
        self._order = order_of([{name} for name in self._inputs], card)
        self._output = tensor_of(card, [{one.name} for one in self.session.get_outputs()])
        self._output_name = self.session.get_outputs()[self._output].name

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the graph's output that the card names, or its first one."""
        given = dict(zip(self._inputs, ordered(arrays, self._order), strict=True))
        (found,) = self.session.run([self._output_name], given)
        return np.asarray(found, np.float32)


def _next(why: str) -> str:
    """What helps where ONNX Runtime does not load a graph."""
    if "tensor(double)" in why:
        return 'export it from float32 rows, such as to_onnx(model, X[:1].astype("float32"))'
    return "export it again, with an opset that this version of ONNX Runtime reads"
