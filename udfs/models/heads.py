"""How a torch graph ends: what a network gives as the last tensor that `finish` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Head = Callable[[Tensor], Tensor]


def classify(_options: Mapping[str, Any]) -> Head:
    """``[rows, classes]`` logits to probabilities."""
    return lambda logits: torch.softmax(logits, dim=1)


def embed(options: Mapping[str, Any]) -> Head:
    """``[rows, dimensions]`` vectors, of length one unless ``normalize`` is false."""
    if not options.get("normalize", True):
        return lambda vectors: vectors
    return lambda vectors: torch.nn.functional.normalize(vectors, dim=1)


def values(_options: Mapping[str, Any]) -> Head:
    """``[rows, outputs]`` numbers as they are."""
    return lambda numbers: numbers


HEADS: dict[str, Callable[[Mapping[str, Any]], Head]] = {
    "classify": classify,
    "embed": embed,
    "values": values,
}
