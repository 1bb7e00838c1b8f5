"""A loaded model: decode, run, finish; which runner it has is all that differs between backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.model import ModelCard
from udfs.decode import DECODERS, Decoder, Examples, Values
from udfs.models.finish import FINISHES, Finish, Outputs
from udfs.models.runtimes import resolved
from udfs.models.tokens import TokenDecoder, padded
from udfs.plan import Runtime

Arrays = tuple[NDArray[Any], ...]


class Runner(Protocol):
    """A graph on one device."""

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """The graph's last tensor, ``[rows, ...]`` float32, on the host."""
        ...


class LoadedModel:
    """Arrow in, named NumPy outputs out, by whatever runner the runtime names."""

    def __init__(self, folder: Path, card: ModelCard, runtime: Runtime) -> None:
        self.card = card
        self.runtime = resolved(card, runtime)
        self.device = self.runtime.device
        self._decode, self.arrays = reader_of(folder, card)
        self._finish: Finish = FINISHES[card.postprocess.name](card.postprocess.options)
        self.runner = runner_of(folder, card, self.runtime)

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """The signature's inputs as one array, ``[rows, *shape]``, or token ids, one sequence a row."""
        return self._decode(batch)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """The outputs that the postprocess step gives, in the order of ``values``; at least one row."""
        outputs: Outputs = self._finish(self.runner.run(self.arrays(values)))
        return outputs


def reader_of(folder: Path, card: ModelCard) -> tuple[Decoder, Callable[[Values], Arrays]]:
    """What makes values of a batch, and what makes a graph's input arrays of values."""
    if card.preprocess.name == "tokens":
        decoder = TokenDecoder(folder, card)
        return decoder, partial(_token_arrays, decoder.pad_id)
    return DECODERS[card.preprocess.name](card.signature, card.preprocess.options), _one_array


def _token_arrays(pad_id: int, values: Values) -> Arrays:
    return padded(cast("list[NDArray[np.int32]]", values), pad_id)


def _one_array(values: Values) -> Arrays:
    return (cast("NDArray[Any]", values),)


def runner_of(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    """The backend's runner; with scaling and head around it where the graph has none inside."""
    runner = RUNNERS[runtime.backend](folder, card, runtime)
    if card.made_from or card.format in ("safetensors", "huggingface"):
        return runner
    from udfs.models.foreign import ForeignRunner

    return ForeignRunner(runner, card)


# Imported when first needed: a worker pays for the backend that it uses, and for no other.
def _torch(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    from udfs.models.torch_runner import torch_runner

    return torch_runner(folder, card, runtime)


def _onnxruntime(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    from udfs.models.onnx_runner import OnnxRunner

    return OnnxRunner(folder, card, runtime)


def _openvino(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    from udfs.models.openvino_runner import OpenvinoRunner

    return OpenvinoRunner(folder, card, runtime)


RUNNERS: dict[str, Callable[[Path, ModelCard, Runtime], Runner]] = {
    "torch": _torch,
    "torch_compile": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
