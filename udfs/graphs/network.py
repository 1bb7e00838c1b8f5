"""Format ``safetensors``: the graph of a network that Millrace ships."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.graphs.heads import HEADS
from millrace.udfs.graphs.networks import build
from millrace.udfs.graphs.scaling import scaling_of


class NetworkGraph(nn.Module):
    """Scaling, network and head: ``[rows, *shape]`` of any number type to ``[rows, ...]`` float32.

    ``network`` may be in another precision; scaling and head are in float32.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self._head = HEADS[card.postprocess.name](card.postprocess.options)
        scaling = scaling_of(card)
        self._scale = scaling.scale
        for name, values in (("mean", scaling.mean), ("std", scaling.std)):
            self.register_buffer(name, None if values is None else torch.from_numpy(values))

    def forward(self, values: Tensor) -> Tensor:
        """Return the head's tensor."""
        x = values.float() * self._scale
        x = x if self.mean is None else x - self.mean
        x = x if self.std is None else x / self.std
        return self._head(self.network(x.to(dtype_of(self.network))).float())


def network_graph(folder: Path, card: ModelCard) -> NetworkGraph:
    """Load the folder's network in float32, on the CPU. Raises ModelError if its weights do not fit."""
    if card.architecture is None:  # the card's own check has refused this already
        raise ModelError("format safetensors needs an architecture", got=str(folder))
    network = build(card.architecture.name, _shape(card), dict(card.architecture.options))
    (weights,) = [name for name in card.files if name.endswith(".safetensors")]
    try:
        network.load_state_dict(load_file(folder / weights))
    except (RuntimeError, SafetensorError) as error:  # torch's list of tensors that do not fit
        raise ModelError(
            f"the weights in {folder} do not fit the architecture", got=str(error)
        ) from None
    return NetworkGraph(network, card)


def dtype_of(network: nn.Module) -> torch.dtype:
    """Return the type that a network computes in."""
    return next((p.dtype for p in network.parameters()), torch.float32)


def _shape(card: ModelCard) -> tuple[int, ...]:
    """The shape of one row's input: the only column's, or as many numbers as there are columns."""
    if card.preprocess.name == "columns":
        return (len(card.signature.inputs),)
    ((_, column),) = card.signature.inputs.items()
    return column.shape
