"""A loaded model: decode, run, finish. Backends differ only in the runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.model import ModelCard
from millrace.udfs.backends.postprocess import FINISHES, Finish, Outputs
from millrace.udfs.backends.runner import Arrays, Runner
from millrace.udfs.backends.runtimes import resolved
from millrace.udfs.runtime.decode import DECODERS
from millrace.udfs.runtime.examples import Decoder, Examples, Values
from millrace.udfs.runtime.plan import Runtime
from millrace.udfs.tokenization.tokenizer import TokenDecoder, padded


class LoadedModel:
    """A model from Arrow columns to named NumPy outputs, with the runner of its runtime."""

    def __init__(self, folder: Path, card: ModelCard, runtime: Runtime) -> None:
        self.card = card
        self.runtime = resolved(card, runtime)
        self.device = self.runtime.device
        self._decode, self.arrays = reader_of(folder, card)
        self._finish: Finish = FINISHES[card.postprocess.name](card.postprocess.options)
        self.runner = runner_of(folder, card, self.runtime)

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """Return the signature's inputs as one array, ``[rows, *shape]``, or token ids per row."""
        return self._decode(batch)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return the outputs of the postprocess step, in the order of ``values``; at least one row."""
        outputs: Outputs = self._finish(self.runner.run(self.arrays(values)))
        return outputs


def reader_of(folder: Path, card: ModelCard) -> tuple[Decoder, Callable[[Values], Arrays]]:
    """Return the decoder of a folder, and the function from its values to a graph's input arrays."""
    if card.preprocess.name == "tokens":
        decoder = TokenDecoder(folder, card)
        return decoder, partial(_token_arrays, decoder.pad_id)
    return DECODERS[card.preprocess.name](card.signature, card.preprocess.options), _one_array


def _token_arrays(pad_id: int, values: Values) -> Arrays:
    return padded(cast("list[NDArray[np.int32]]", values), pad_id)


def _one_array(values: Values) -> Arrays:
    return (cast("NDArray[Any]", values),)


def runner_of(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    """Return the backend's runner; with scaling and head around it for an exported graph."""
    runner = RUNNERS[runtime.backend](folder, card, runtime)
    if not card.is_foreign:
        return runner
    from millrace.udfs.backends.exported_graph import ForeignRunner

    return ForeignRunner(runner, card)


# Imported when first needed: a worker pays for the backend that it uses, and for no other.
def _torch(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    from millrace.udfs.backends.torch_backend import torch_runner

    return torch_runner(folder, card, runtime)


def _onnxruntime(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    from millrace.udfs.backends.onnx_backend import OnnxRunner

    return OnnxRunner(folder, card, runtime)


def _openvino(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    from millrace.udfs.backends.openvino_backend import OpenvinoRunner

    return OpenvinoRunner(folder, card, runtime)


RUNNERS: dict[str, Callable[[Path, ModelCard, Runtime], Runner]] = {
    "torch": _torch,
    "torch_compile": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
