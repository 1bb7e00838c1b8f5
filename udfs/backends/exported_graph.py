"""Runs exported graphs of other tools: they read scaled floats, and end where their network ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError, OutputMismatch
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.postprocess import sigmoid, softmax, two_classes, unit
from millrace.udfs.backends.runner import Arrays, Runner
from millrace.udfs.graphs.pooling import pooled, pooling_of
from millrace.udfs.graphs.scaling import scaling_of

SUM_ERROR = 1e-3  # of the probabilities of a row, summed in float32


class ForeignRunner:
    """Wraps a runner with the scaling, pooling and head that the graph itself does not contain."""

    def __init__(self, inner: Runner, card: ModelCard) -> None:
        self.inner = inner
        self.scaling = scaling_of(card)
        self._pooling = pooling_of(card)
        self._is_pooled = card.postprocess.name == "embed"
        self._head = _head(card)

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return ``[rows, ...]`` float32, as a graph made by Millrace would."""
        return self._head(self.ending(arrays))

    def ending(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the graph's own last tensor, ``[rows, ...]``; of an encoder, pooled."""
        if len(arrays) == 1:
            (values,) = arrays
            return self.inner.run((self.scaling(values),))
        found = self.inner.run(arrays)
        has_tokens = found.ndim == 3  # noqa: PLR2004 - [rows, tokens, dimensions]
        return pooled(found, arrays[1], self._pooling) if has_tokens and self._is_pooled else found


def order_of(inputs: Sequence[AbstractSet[str]], card: ModelCard) -> list[int]:
    """Return which of (ids, mask, types) each input of a graph is; ``[0]`` for a graph of one array.

    Args:
        inputs: the names of each input; some formats have several names for one.

    Raises:
        ModelError: the graph has other inputs than the card's step gives.
    """
    if card.preprocess.name != "tokens":
        if len(inputs) == 1:
            return [0]
        known: tuple[str, ...] = ("one array",)
    else:
        known = ("input_ids", "attention_mask", "token_type_ids")
        order = [i for names in inputs for i, name in enumerate(known) if name in names]
        if len(order) == len(inputs) and 0 in order:
            return order
    raise ModelError(
        f"the graph of {card.title} reads what {card.preprocess.name} does not give",
        got=", ".join("/".join(sorted(names)) for names in inputs),
        allowed=", ".join(known),
        next="export it with these inputs",
    )


def tensor_of(card: ModelCard, outputs: Sequence[AbstractSet[str]]) -> int:
    """Return the index of the output that the card reads. Raises ModelError.

    ``outputs`` has the names of each output.
    """
    wanted = card.tensor
    if wanted is None:
        return 0
    for at, names in enumerate(outputs):
        if wanted in names:
            return at
    raise ModelError(
        f"the graph of {card.title} has no output {wanted!r}",
        got=f"postprocess.options.tensor: {wanted}",
        allowed=", ".join("/".join(sorted(names)) for names in outputs),
    )


def ordered(arrays: Arrays, order: Sequence[int]) -> list[NDArray[np.generic]]:
    """Return the arrays in the graph's order; token types are zero, since every row has one text."""
    given = arrays if len(arrays) == 1 else (*arrays, np.zeros_like(arrays[0]))
    return [given[i] for i in order]


def _head(card: ModelCard) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    step = card.postprocess
    if step.name == "classify":
        return _from_logits if step.options.output == "logits" else _checked
    if step.name == "embed" and step.options.normalize:
        return unit
    if step.name == "values":  # regressions often give one number a row, without a second dimension
        return lambda found: found.reshape(len(found), -1)
    return lambda found: found


def _from_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    _check_shape(logits)
    if is_single(logits):
        return two_classes(sigmoid(logits))
    return softmax(logits)


def _checked(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities as they are. Raises OutputMismatch where a finite row is none."""
    _check_shape(found)
    probabilities = two_classes(found) if is_single(found) else found
    finite = probabilities[np.isfinite(probabilities).all(axis=1)]
    if len(finite) and not are_probabilities(finite).all():
        bad = finite[~are_probabilities(finite)][0]
        raise OutputMismatch(
            "the card says that the graph ends in probabilities, and a row is none",
            got=", ".join(f"{value:.6g}" for value in bad[:8]),
            allowed="numbers from 0 to 1 that sum to 1",
            next="set postprocess.options.output: logits in model.yaml if they are logits; use the "
            "step values for several labels a row",
        )
    return probabilities


def is_single(found: NDArray[np.float32]) -> bool:
    """Whether the graph gives one number per row, that of the second of two classes."""
    return found.ndim == 1 or found.shape[1] == 1


def are_probabilities(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return ``[rows]``: whether the numbers of a row are in 0 to 1 and sum to 1, within float32's error."""
    in_range = (rows >= -SUM_ERROR) & (rows <= 1 + SUM_ERROR)
    return np.asarray(in_range.all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= SUM_ERROR))


def _check_shape(found: NDArray[np.float32]) -> None:
    if found.ndim > 2:  # noqa: PLR2004 - [rows, classes]
        raise OutputMismatch(
            "the graph gives more than one vector a row, which no class can be chosen from",
            got=f"shape {list(found.shape)}",
            allowed="[rows, classes], [rows, 1] or [rows]",
            next="export the graph with its classification head",
        )
