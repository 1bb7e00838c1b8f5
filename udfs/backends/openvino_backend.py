"""Backend ``openvino``: an OpenVINO or ONNX graph on the CPU, without torch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.exported_graph import order_of, ordered, tensor_of
from millrace.udfs.backends.runner import Arrays
from millrace.udfs.runtime.plan import Runtime

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}


class OpenvinoRunner:
    """A compiled graph with an infer request for each thread that calls it.

    As many streams as calls at the same time; where each task has a process, that is one. No thread
    pinning, since two processes would pin theirs to the same cores. Weights stay mapped from their file.
    """

    def __init__(self, folder: Path, card: ModelCard, runtime: Runtime) -> None:
        import openvino

        suffix = {"openvino": ".xml", "onnx": ".onnx"}[card.format]
        (graph,) = [name for name in card.files if name.endswith(suffix)]
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[runtime.precision],
            "INFERENCE_NUM_THREADS": runtime.threads * runtime.streams,
            "NUM_STREAMS": runtime.streams,
            "ENABLE_CPU_PINNING": False,
        }
        if card.format == "onnx":
            from millrace.udfs.backends.onnx_external_data import check_external_data

            check_external_data(folder, graph, card)
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": True})
        try:
            compiled = core.compile_model(core.read_model(folder / graph), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{folder / graph} cannot be loaded", got=str(error)[:500]) from None
        self._order = order_of([port.get_names() for port in compiled.inputs], card)
        self._output = tensor_of(card, [port.get_names() for port in compiled.outputs])
        self._compiled, self._of_thread = compiled, threading.local()

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the output that the card names, or the first one, copied out of the request's memory."""
        given = ordered(arrays, self._order)
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        results = self._of_thread.request.infer(given, share_inputs=True, share_outputs=True)
        return np.array(results[self._output], np.float32)
