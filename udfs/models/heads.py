"""What is made of a model's raw output: classes, embeddings, values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Outputs = dict[str, NDArray[Any]]
Head = Callable[[Tensor], Outputs]


def classify(options: Mapping[str, Any]) -> Head:
    """``[rows, classes]`` logits: the likeliest class, its probability, and all probabilities.

    ``labels`` names the classes; without it a class is its number.
    """
    labels = np.array(options["labels"], dtype=object) if "labels" in options else None

    def head(logits: Tensor) -> Outputs:
        probabilities = torch.softmax(logits.float(), dim=1)
        score, index = probabilities.max(dim=1)
        number = index.cpu().numpy()
        return {
            "label": number if labels is None else labels[number],
            "score": score.cpu().numpy(),
            "probabilities": probabilities.cpu().numpy(),
        }

    return head


def embed(options: Mapping[str, Any]) -> Head:
    """``[rows, dimensions]`` vectors, of length one unless ``normalize`` is false."""
    normalize = bool(options.get("normalize", True))

    def head(vectors: Tensor) -> Outputs:
        vectors = vectors.float()
        if normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        return {"embedding": vectors.cpu().numpy()}

    return head


def values(_options: Mapping[str, Any]) -> Head:
    """``[rows, outputs]`` numbers: the first as ``value``, all as ``values``."""

    def head(outputs: Tensor) -> Outputs:
        numbers = outputs.float().cpu().numpy()
        return {"value": numbers[:, 0], "values": numbers}

    return head


HEADS: dict[str, Callable[[Mapping[str, Any]], Head]] = {
    "classify": classify,
    "embed": embed,
    "values": values,
}
