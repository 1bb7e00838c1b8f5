"""Scaling of a network's input: ``(value * scale - mean) / std``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.model import ModelCard
from millrace.schemas.steps import ColumnsOptions, PixelsOptions, ScaleOptions

Float32s = NDArray[np.float32]


@dataclass(frozen=True)
class Scaling:
    """The numbers of a scaling; ``mean`` and ``std`` are ``[1]`` or ``[channels, 1, 1]``, or None."""

    scale: float = 1.0
    mean: Float32s | None = None
    std: Float32s | None = None
    keeps_type: bool = False  # values are of the type that the graph reads

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Scale ``[rows, *shape]`` of any number type; the result is float32 unless ``keeps_type``."""
        if self.keeps_type:
            return values if self.scale == 1 else np.asarray(values * self.scale, values.dtype)
        found = values.astype(np.float32) * np.float32(self.scale)
        if self.mean is not None:
            found -= self.mean
        if self.std is not None:
            found /= self.std
        return found


def scaling_of(card: ModelCard) -> Scaling:
    """Return the scaling of a card's preprocess step; the identity for texts."""
    options = card.preprocess.options
    if isinstance(options, PixelsOptions):
        mean, std = _per_channel(options.mean, 0.0), _per_channel(options.std, 1.0)
        return Scaling(options.scale, mean, std)
    if isinstance(options, ColumnsOptions):
        return Scaling(options.scale, keeps_type=options.type != "float")
    return Scaling(options.scale if isinstance(options, ScaleOptions) else 1.0)


def _per_channel(given: tuple[float, ...], neutral: float) -> Float32s | None:
    if set(given) == {neutral}:
        return None
    values = np.array(given, np.float32)
    return values if len(given) == 1 else values.reshape(-1, 1, 1)
