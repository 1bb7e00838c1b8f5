"""Pooling of token vectors, in NumPy: no worker imports torch for this."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.model import ModelCard


def pooling_of(card: ModelCard) -> str:
    """Return the pooling of the step ``embed``, or mean for another step."""
    return card.postprocess.options.pooling if card.postprocess.name == "embed" else "mean"


def pooled(
    states: NDArray[np.float32], mask: NDArray[np.int64], pooling: str
) -> NDArray[np.float32]:
    """Pool ``[rows, tokens, dimensions]`` to ``[rows, dimensions]``: mean of real tokens, or first token."""
    if pooling == "first":
        return states[:, 0]
    weights = mask[:, :, None].astype(np.float32)
    return np.asarray((states * weights).sum(axis=1) / weights.sum(axis=1), np.float32)
