"""The networks that Millrace ships; a model card names one and its sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from millrace.schemas.architecture import NETWORK_OPTIONS
from millrace.schemas.errors import ModelError
from millrace.schemas.yaml_errors import problems_of


class Cnn(nn.Module):
    """3x3 convolutions, each with ReLU and 2x2 max-pooling, then two dense layers.

    ``[rows, channels, height, width]`` float32 to ``[rows, classes]`` logits.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        channels: Sequence[int],
        dense: int,
        classes: int,
    ) -> None:
        super().__init__()
        depth, height, width = shape
        layers: list[nn.Module] = []
        for size in channels:
            layers += [nn.Conv2d(depth, size, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            depth, height, width = size, height // 2, width // 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(depth * height * width, dense),
            nn.ReLU(),
            nn.Linear(dense, classes),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.features(x.contiguous(memory_format=torch.channels_last)))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Dense layers with ReLU between: ``[rows, *shape]`` float32 to ``[rows, outputs]``."""

    def __init__(self, *, shape: Sequence[int], hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        sizes = [prod(shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return one value per output."""
        return self.layers(x)  # type: ignore[no-any-return]


class Lstm(nn.Module):
    """An LSTM over time steps, then a dense layer on its last state.

    ``[rows, steps, features]`` float32 to ``[rows, outputs]``.
    """

    def __init__(self, *, shape: Sequence[int], hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        _, features = shape
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return one value per output."""
        states, _ = self.lstm(x)  # [rows, steps, hidden]
        return self.head(states[:, -1])  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[..., nn.Module]] = {"cnn": Cnn, "mlp": Mlp, "lstm": Lstm}


def build(name: str, shape: Sequence[int], options: Mapping[str, Any]) -> nn.Module:
    """Build a network with random weights. Raises ModelError for options that it does not have."""
    kind = NETWORK_OPTIONS[name]
    try:
        sizes = kind.model_validate(dict(options))
    except ValidationError as error:
        got = problems_of(error, kind)
        raise ModelError(f"architecture {name!r} cannot be built", got=got) from None
    try:
        return NETWORKS[name](shape=shape, **dict(sizes))
    except (TypeError, ValueError) as error:  # a shape that the network does not read
        raise ModelError(f"architecture {name!r} cannot be built", got=str(error)) from None


def save(network: nn.Module, path: Path) -> None:
    """Write the weights as safetensors, in contiguous memory order.

    The file is readable by all: executors may run as another user than the one who trained.
    """
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    path.chmod(0o644)
