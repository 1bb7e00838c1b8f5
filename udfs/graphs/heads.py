"""Heads: from a network's output to the last tensor, which the postprocess step names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from millrace.schemas.steps import ClassifyOptions, EmbedOptions, ValuesOptions

Head = Callable[[Tensor], Tensor]


def classify(options: ClassifyOptions) -> Head:
    """Return the head from ``[rows, classes]`` logits to probabilities.

    One logit per row is that of the second of two classes. With activation sigmoid each class has a
    probability of its own.
    """
    if options.activation == "sigmoid":
        return torch.sigmoid

    def head(logits: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            second = torch.sigmoid(logits)
            return torch.cat([1 - second, second], dim=1)
        return torch.softmax(logits, dim=1)

    return head


def embed(options: EmbedOptions) -> Head:
    """Return the head of ``[rows, dimensions]`` vectors: of length one, unless ``normalize`` is false."""
    if not options.normalize:
        return lambda vectors: vectors
    return lambda vectors: torch.nn.functional.normalize(vectors, dim=1)


def values(_options: ValuesOptions) -> Head:
    """Return the head of ``[rows, outputs]`` numbers, which are unchanged."""
    return lambda numbers: numbers


HEADS: dict[str, Callable[[Any], Head]] = {
    "classify": classify,
    "embed": embed,
    "values": values,
}
