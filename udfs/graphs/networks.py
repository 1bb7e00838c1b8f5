"""The networks that Millrace ships: a model folder names one and gives its sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from schemas.errors import ModelError


class Cnn(nn.Module):
    """3x3 convolutions with ReLU and 2x2 max-pooling after each, then two dense layers.

    ``[rows, channels, height, width]`` float32 to ``[rows, classes]`` logits.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        dense: int = 64,
        classes: int = 10,
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
        """Logits."""
        return self.classifier(self.features(x.contiguous(memory_format=torch.channels_last)))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Dense layers with ReLU between: ``[rows, *shape]`` float32 to ``[rows, outputs]``."""

    def __init__(
        self, *, shape: Sequence[int], hidden: Sequence[int] = (64,), outputs: int = 1
    ) -> None:
        super().__init__()
        sizes = [prod(shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """One value an output."""
        return self.layers(x)  # type: ignore[no-any-return]


class Lstm(nn.Module):
    """An LSTM over time steps, then a dense layer on its last state.

    ``[rows, steps, features]`` float32 to ``[rows, outputs]``.
    """

    def __init__(
        self, *, shape: Sequence[int], hidden: int = 64, layers: int = 1, outputs: int = 1
    ) -> None:
        super().__init__()
        _, features = shape
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """One value an output."""
        states, _ = self.lstm(x)  # [rows, steps, hidden]
        return self.head(states[:, -1])  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[..., nn.Module]] = {"cnn": Cnn, "mlp": Mlp, "lstm": Lstm}


def build(name: str, shape: Sequence[int], options: dict[str, Any]) -> nn.Module:
    """The network, with random weights. Raises ModelError where its options are not those it has."""
    try:
        return NETWORKS[name](shape=shape, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"architecture {name!r} cannot be built", got=str(error)) from None


def save(network: nn.Module, path: Path) -> None:
    """Write the weights as safetensors, in the plain memory order that any reader expects.

    Readable by all: executors may run as another user than the one who trained.
    """
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    path.chmod(0o644)
