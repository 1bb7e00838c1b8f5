"""Writing a model folder: the weights that are there, and a ``model.yaml`` that vouches for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from schemas.model import ModelCard
from udfs.models.base import CARD, sha256


def write_card(folder: Path, **card: Any) -> ModelCard:
    """Write ``model.yaml`` for the files now in ``folder``; ``card`` is all that it says besides them."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    files = {name: sha256(folder / name) for name in names if name != CARD}
    checked = ModelCard.model_validate({**card, "files": files})
    text = yaml.safe_dump(checked.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    (folder / CARD).write_text(text, "utf-8")
    return checked
