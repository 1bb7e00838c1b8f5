"""Format ``safetensors``: weights for one of the shipped networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.decode import DECODERS, Examples, Values
from udfs.models.device import resolve, to_device
from udfs.models.heads import HEADS
from udfs.models.networks import build


class NetworkModel:
    """A shipped network with its weights, on one device."""

    def __init__(self, folder: Path, card: ModelCard, device: str) -> None:
        if card.architecture is None:  # the card's own check has refused this already
            raise ModelError("format safetensors needs an architecture", got=str(folder))
        self.card = card
        self._device = resolve(device)
        self.device = str(self._device)
        self._decode = DECODERS[card.preprocess.name](card.signature, card.preprocess.options)
        self._head = HEADS[card.postprocess.name](card.postprocess.options)
        self._scale = float(card.preprocess.options.get("scale", 1.0))
        self._network = build(card.architecture.name, _shape(card), card.architecture.options)
        (weights,) = [name for name in card.files if name.endswith(".safetensors")]
        try:
            self._network.load_state_dict(load_file(folder / weights))
        except (RuntimeError, SafetensorError) as error:  # torch's list of tensors that do not fit
            raise ModelError(
                f"the weights in {folder} do not fit the architecture", got=str(error)
            ) from None
        self._network.eval().to(self._device)

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """The signature's inputs as one array, ``[rows, *shape]``."""
        return self._decode(batch)

    @torch.inference_mode()
    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """The head's outputs for ``values``, ``[rows, *shape]``; integers are scaled to float32 first."""
        x = to_device(values, self._device).float() * self._scale
        return self._head(self._network(x))


def _shape(card: ModelCard) -> tuple[int, ...]:
    """The shape of one row's input: the only column's, or as many numbers as there are columns."""
    if card.preprocess.name == "columns":
        return (len(card.signature.inputs),)
    ((_, column),) = card.signature.inputs.items()
    return column.shape
