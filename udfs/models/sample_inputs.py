"""A few inputs that any model of a signature can read: to trace a graph with, and to compare two."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from schemas.model import ModelCard
from udfs.decode import Values
from udfs.models.loaded import LoadedModel

ROWS = 7
_TEXTS = (
    "The mill stands by the river.",
    "a",
    "Two sentences. The second one is a little longer than the first, and it ends with a question?",
    "Preise: 12,50 € je Stück; naïve façade, Ärger",
    "世界 😀 שלום мир",
    "unbelievably " * 40,
    "x = [i ** 2 for i in range(10)]  # 0, 1, 4 ...",
)


def sample(model: LoadedModel) -> Values:
    """`ROWS` values as the model's own decoder gives them; the same ones each time."""
    card: ModelCard = model.card
    if card.preprocess.name == "tokens":
        (column,) = card.signature.inputs
        return model.decode(pa.record_batch({column: list(_TEXTS)})).values
    drawn = np.random.default_rng(0)
    if card.preprocess.name == "columns":
        return drawn.standard_normal((ROWS, len(card.signature.inputs)), np.float32)
    ((_, spec),) = card.signature.inputs.items()
    if card.preprocess.name == "vector":
        return drawn.standard_normal((ROWS, *spec.shape), np.float32)
    return drawn.integers(0, 256, (ROWS, *spec.shape), np.uint8)
