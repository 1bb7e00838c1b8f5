"""From a graph's last tensor to named outputs, in NumPy: no worker imports torch for this.

A graph that Millrace made ends in probabilities, embeddings of length one, or values. One that
somebody else exported ends where its network does; what is left to do is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = dict[str, NDArray[Any]]
Finish = Callable[[NDArray[np.float32]], Outputs]


def classify(options: Mapping[str, Any]) -> Finish:
    """``[rows, classes]`` probabilities: the likeliest class, its probability, and all of them.

    ``labels`` names the classes; without it a class is its number.
    """
    labels = np.array(options["labels"], dtype=object) if "labels" in options else None

    def finish(probabilities: NDArray[np.float32]) -> Outputs:
        number = probabilities.argmax(axis=1)
        return {
            "label": number if labels is None else labels[number],
            "score": probabilities.max(axis=1),
            "probabilities": probabilities,
        }

    return finish


def embed(_options: Mapping[str, Any]) -> Finish:
    """``[rows, dimensions]`` vectors as they are."""
    return lambda vectors: {"embedding": vectors}


def values(_options: Mapping[str, Any]) -> Finish:
    """``[rows, outputs]`` numbers: the first as ``value``, all as ``values``."""
    return lambda numbers: {"value": numbers[:, 0], "values": numbers}


FINISHES: dict[str, Callable[[Mapping[str, Any]], Finish]] = {
    "classify": classify,
    "embed": embed,
    "values": values,
}


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[rows, classes]`` logits as probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[rows, dimensions]`` vectors, each of length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def pooled(
    states: NDArray[np.float32], mask: NDArray[np.int64], pooling: str
) -> NDArray[np.float32]:
    """``[rows, tokens, dimensions]`` to ``[rows, dimensions]``: the mean of real tokens, or the first."""
    if pooling == "first":
        return states[:, 0]
    weights = mask[:, :, None].astype(np.float32)
    return np.asarray((states * weights).sum(axis=1) / weights.sum(axis=1), np.float32)
