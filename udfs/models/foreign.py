"""Graphs that somebody else exported: they read scaled floats, and end where their network does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.models.finish import pooled, softmax, unit
from udfs.models.loaded import Arrays, Runner


class ForeignRunner:
    """A runner with the scaling, pooling and head around it that a graph made here has inside."""

    def __init__(self, inner: Runner, card: ModelCard) -> None:
        self.inner = inner
        self._scale = np.float32(card.preprocess.options.get("scale", 1.0))
        self._pooling = str(card.postprocess.options.get("pooling", "mean"))
        self._head = _head(card)

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """``[rows, ...]`` float32 as a graph made here would give."""
        if len(arrays) == 1:
            (values,) = arrays
            return self._head(self.inner.run((values.astype(np.float32) * self._scale,)))
        found = self.inner.run(arrays)
        has_tokens = found.ndim == 3  # noqa: PLR2004 - [rows, tokens, dimensions]
        return self._head(pooled(found, arrays[1], self._pooling) if has_tokens else found)


def order_of(inputs: Sequence[AbstractSet[str]], card: ModelCard) -> list[int]:
    """Which of (ids, mask, types) a graph's inputs are, in its order; (0,) for an array.

    ``inputs`` are the names of each. Raises ModelError for a graph that wants something else.
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


def ordered(arrays: Arrays, order: Sequence[int]) -> list[NDArray[np.generic]]:
    """The arrays as the graph reads them; token types, which no text here has, are zero."""
    given = arrays if len(arrays) == 1 else (*arrays, np.zeros_like(arrays[0]))
    return [given[i] for i in order]


def _head(card: ModelCard) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    if card.postprocess.name == "classify":
        return softmax
    if card.postprocess.name == "embed" and card.postprocess.options.get("normalize", True):
        return unit
    return lambda found: found
