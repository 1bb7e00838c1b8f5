"""Backend ``openvino``: an OpenVINO or ONNX graph on the CPU, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.models.foreign import order_of, ordered
from udfs.models.loaded import Arrays
from udfs.plan import Runtime

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}


class OpenvinoRunner:
    """A compiled graph and one request.

    One stream, since a task has one caller; no pinning of threads, since two processes would pin
    theirs to the same cores. Weights stay mapped from their file.
    """

    def __init__(self, folder: Path, card: ModelCard, runtime: Runtime) -> None:
        import openvino

        suffix = {"openvino": ".xml", "onnx": ".onnx"}[card.format]
        (graph,) = [name for name in card.files if name.endswith(suffix)]
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[runtime.precision],
            "INFERENCE_NUM_THREADS": runtime.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        if card.format == "onnx":
            from udfs.models.external_data import check_external_data

            check_external_data(folder, graph, card)
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": True})
        try:
            compiled = core.compile_model(core.read_model(folder / graph), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{folder / graph} cannot be loaded", got=str(error)[:500]) from None
        self._order = order_of([port.get_names() for port in compiled.inputs], card)
        self._request = compiled.create_infer_request()

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """The graph's last tensor, copied out of the request's own memory."""
        given = ordered(arrays, self._order)
        results = self._request.infer(given, share_inputs=True, share_outputs=True)
        return np.array(results[0], np.float32)
