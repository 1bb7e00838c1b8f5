"""Makes named outputs of a graph's last tensor, in NumPy: no worker imports torch for this.

A graph made by Millrace ends in probabilities, embeddings of length one, or values. The rest of an exported
graph, such as a softmax, is computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import OutputMismatch
from millrace.schemas.steps import ClassifyOptions, EmbedOptions, ValuesOptions

Outputs = dict[str, NDArray[Any]]
Finish = Callable[[NDArray[np.float32]], Outputs]


def classify(options: ClassifyOptions) -> Finish:
    """Return the step from ``[rows, classes]`` probabilities to label, score and all probabilities.

    Without ``labels`` a class is its number. The step raises OutputMismatch if the number of classes is not
    that of the labels.
    """
    labels = None if options.labels is None else np.array(options.labels, dtype=object)

    def finish(probabilities: NDArray[np.float32]) -> Outputs:
        if labels is not None and len(labels) != probabilities.shape[1]:
            raise OutputMismatch(
                "the model has another number of classes than its card has labels",
                got=f"{probabilities.shape[1]} classes, {len(labels)} labels",
                next="correct postprocess.options.labels in model.yaml",
            )
        number = probabilities.argmax(axis=1)
        return {
            "label": number if labels is None else labels[number],
            "score": probabilities.max(axis=1),
            "probabilities": probabilities,
        }

    return finish


def embed(_options: EmbedOptions) -> Finish:
    """Return the step that names ``[rows, dimensions]`` vectors."""
    return lambda vectors: {"embedding": vectors}


def values(_options: ValuesOptions) -> Finish:
    """Return the step from ``[rows, outputs]`` numbers to the first as ``value``, and all as ``values``."""
    return lambda numbers: {"value": numbers[:, 0], "values": numbers}


FINISHES: dict[str, Callable[[Any], Finish]] = {
    "classify": classify,
    "embed": embed,
    "values": values,
}


def two_classes(second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of both classes for those of the second, ``[rows]`` or ``[rows, 1]``."""
    column = second.reshape(len(second), 1)
    return np.concatenate([1 - column, column], axis=1)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of each logit."""
    small = np.exp(-np.abs(logits))  # no power overflows
    return np.asarray(np.where(logits >= 0, 1, small) / (1 + small), np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of ``[rows, classes]`` logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale ``[rows, dimensions]`` vectors to length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
