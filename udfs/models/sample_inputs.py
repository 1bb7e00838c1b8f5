"""A few inputs that any model of a signature can read, to trace a graph, and to compare two."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from millrace.schemas.model import ModelCard
from millrace.schemas.types import arrow_type
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.runtime.examples import Values
from millrace.udfs.runtime.number_arrays import NUMBERS

ROWS = 7
TEXTS = (
    "The mill stands by the river.",
    "a",
    "Two sentences. The second one is a little longer than the first, and it ends with a question?",
    "Preise: 12,50 € je Stück; naïve façade, Ärger",
    "世界 😀 שלום мир",
    "unbelievably " * 40,
    "x = [i ** 2 for i in range(10)]  # 0, 1, 4 ...",
)


def sample(model: LoadedModel) -> Values:
    """Return `ROWS` values, as the model's own decoder makes them; always the same ones."""
    card: ModelCard = model.card
    if card.preprocess.name == "tokens":
        (column,) = card.signature.inputs
        return model.decode(pa.record_batch({column: list(TEXTS)})).values
    drawn = np.random.default_rng(0)
    if card.preprocess.name == "columns":
        numbers = drawn.standard_normal((ROWS, len(card.signature.inputs)), np.float32)
        if card.preprocess.options.type == "bigint":
            return np.arange(numbers.size).reshape(numbers.shape) % 2  # in range for any category
        for at, spec in enumerate(card.signature.inputs.values()):
            if is_whole(spec.type):  # perhaps the number of a category
                numbers[:, at] = drawn.integers(0, 2, ROWS)
        return numbers.astype(NUMBERS[card.preprocess.options.type])
    ((_, spec),) = card.signature.inputs.items()
    if card.preprocess.name == "vector":
        return drawn.standard_normal((ROWS, *spec.shape), np.float32)
    return drawn.integers(0, 256, (ROWS, *spec.shape), np.uint8)


def is_whole(kind: str) -> bool:
    """Whether a graph reads a column of this type as whole numbers; texts and days are."""
    arrow = arrow_type(kind)
    return not pa.types.is_floating(arrow)
