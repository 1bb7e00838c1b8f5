"""What a trained model was made from: one that is up to date is not trained again. No torch."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import MillraceError
from millrace.udfs.models.model_loading import read_card, verify

RECIPE = "recipe.json"  # lies in the model's folder; its card lists it, like the weights


def recipe_of(images: NDArray[np.uint8], labels: NDArray[np.int64], **settings: Any) -> str:
    """All that decides the weights, as JSON: data, settings, the training's code and torch."""
    code = Path(__file__).with_name("training.py").read_bytes()
    return json.dumps(
        {
            "data": hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
            "images": len(images),
            **settings,
            "code": hashlib.sha256(code).hexdigest(),
            "torch": version("torch"),
        },
        indent=2,
    )


def reusable(folder: Path, recipe: str) -> dict[str, float] | None:
    """The metrics of a model that is whole and made by this very recipe, else None."""
    try:
        card = read_card(folder)
        verify(folder, card)
    except MillraceError:
        return None
    made_by = folder / RECIPE
    same = made_by.is_file() and made_by.read_text("utf-8") == recipe
    return dict(card.metrics) if same else None
