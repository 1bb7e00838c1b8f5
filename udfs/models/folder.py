"""Writing a model folder: the weights that are there, and a ``model.yaml`` that vouches for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.models.base import CARD, sha256


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``out`` once the block has ended well, and else is gone.

    Raises ModelError where ``out`` is there already.
    """
    if out.exists():
        raise ModelError(f"{out} exists already", next="remove it, or choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / "model"
        made.mkdir(mode=0o755)
        yield made
        for path in made.iterdir():
            path.chmod(0o644)  # executors may run as another user than the one who made it
        made.rename(out)


def write_card(folder: Path, **card: Any) -> ModelCard:
    """Write ``model.yaml`` for the files now in ``folder``; ``card`` is all that it says besides them."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    files = {name: sha256(folder / name) for name in names if name != CARD}
    checked = ModelCard.model_validate({**card, "files": files})
    text = yaml.safe_dump(checked.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    (folder / CARD).write_text(text, "utf-8")
    return checked
