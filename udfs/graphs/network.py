"""Format ``safetensors``: the graph of a shipped network, from decoded arrays to the last tensor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.models.heads import HEADS
from udfs.models.networks import build


class NetworkGraph(nn.Module):
    """Scale, network, head: ``[rows, *shape]`` of any number type to ``[rows, ...]`` float32.

    ``network`` may be in another precision; scaling before it and the head after it are in float32.
    """

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self._head = HEADS[card.postprocess.name](card.postprocess.options)
        self._scale = float(card.preprocess.options.get("scale", 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """The head's tensor."""
        x = (values.float() * self._scale).to(dtype_of(self.network))
        return self._head(self.network(x).float())


def network_graph(folder: Path, card: ModelCard) -> NetworkGraph:
    """The folder's network in float32, on the CPU. Raises ModelError where weights do not fit."""
    if card.architecture is None:  # the card's own check has refused this already
        raise ModelError("format safetensors needs an architecture", got=str(folder))
    network = build(card.architecture.name, _shape(card), card.architecture.options)
    (weights,) = [name for name in card.files if name.endswith(".safetensors")]
    try:
        network.load_state_dict(load_file(folder / weights))
    except (RuntimeError, SafetensorError) as error:  # torch's list of tensors that do not fit
        raise ModelError(
            f"the weights in {folder} do not fit the architecture", got=str(error)
        ) from None
    return NetworkGraph(network, card)


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type that a network computes in."""
    return next((p.dtype for p in network.parameters()), torch.float32)


def _shape(card: ModelCard) -> tuple[int, ...]:
    """The shape of one row's input: the only column's, or as many numbers as there are columns."""
    if card.preprocess.name == "columns":
        return (len(card.signature.inputs),)
    ((_, column),) = card.signature.inputs.items()
    return column.shape
