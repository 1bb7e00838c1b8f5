"""Writes a model folder: its files, and a ``model.yaml`` with their digests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from millrace.schemas.errors import MillraceError, ModelError
from millrace.schemas.model import ModelCard
from millrace.schemas.yaml_errors import problems_of
from millrace.udfs.models.model_loading import CARD, files_of, read_card, sha256


@contextmanager
def whole_folder(out: Path, source: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes ``out`` if the block succeeds, and is removed otherwise.

    Errors inside name ``source`` instead of the temporary folder. Raises ModelError if ``out`` exists.
    """
    if out.exists():
        raise ModelError(f"{out} exists already", next="remove it, or choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / "model"
        made.mkdir(mode=0o755)
        try:
            yield made
        except MillraceError as error:
            names = {str(made / f"model{source.suffix}"): str(source)} if source.suffix else {}
            raise error.renamed({**names, str(made): str(source)}) from None
        for path in made.iterdir():
            path.chmod(0o644)  # executors may run as another user than the one who made it
        made.rename(out)


def write_card(folder: Path, **card: Any) -> ModelCard:
    """Write ``model.yaml`` for the files in ``folder``; ``card`` has its other keys.

    Raises ModelError if they are no valid card.
    """
    files = {name: sha256(folder / name) for name in files_of(folder)}
    try:
        checked = ModelCard.model_validate({**card, "files": files})
    except ValidationError as error:
        raise ModelError(
            f"no {CARD} can be written for {folder}", got=problems_of(error, ModelCard)
        ) from None
    text = yaml.safe_dump(checked.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    (folder / CARD).write_text(text, "utf-8")
    return checked


@dataclass(frozen=True)
class Sealed:
    """A card, and the files that differ from those that it listed before."""

    card: ModelCard
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def seal(folder: Path) -> Sealed:
    """Write the folder's ``model.yaml`` for its current files; other keys stay.

    If a file differs, the card's checks are removed, since they compared the old files. A card that is
    correct is not written. Raises ModelError.
    """
    card, names = read_card(folder), files_of(folder)
    added, removed = set(names) - set(card.files), set(card.files) - set(names)
    changed = [n for n in names if n in card.files and card.files[n] != sha256(folder / n)]
    if not (changed or added or removed):
        return Sealed(card)
    content = card.model_dump(mode="json", exclude_defaults=True, exclude={"files", "checks"})
    new = write_card(folder, **content)
    return Sealed(new, tuple(changed), tuple(sorted(added)), tuple(sorted(removed)))
