"""Backend ``onnxruntime``: an ONNX graph, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.models.external_data import check_external_data
from udfs.models.foreign import order_of, ordered
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
        self._inputs = [one.name for one in self.session.get_inputs()]
        self._order = order_of([{name} for name in self._inputs], card)

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """The graph's first output."""
        given = dict(zip(self._inputs, ordered(arrays, self._order), strict=True))
        (found, *_) = self.session.run(None, given)
        return np.asarray(found, np.float32)
