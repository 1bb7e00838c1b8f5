"""A model is two methods; `load` gives one a process, after checking that its files are the promised ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.model import ModelCard
from schemas.yaml_file import load as load_yaml
from udfs.decode import Examples, Values
from udfs.models.loaded import LoadedModel
from udfs.models.runtimes import runtimes
from udfs.plan import Runtime

__all__ = ["Model", "digest_of", "load", "opened", "read_card", "runtimes", "sha256", "verify"]

CARD = "model.yaml"
HOLD_CODE = ("torchscript",)  # formats whose files run code when their model does
_CHUNK_BYTES = 1 << 20


class Model(Protocol):
    """A loaded model on one device; ``runtime`` has nothing left to decide."""

    card: ModelCard
    device: str
    runtime: Runtime

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """The model's input columns as what `predict` reads."""
        ...

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """The outputs of the signature, each ``[rows, ...]``, in the order of ``values``."""
        ...


def read_card(folder: Path) -> ModelCard:
    """The folder's ``model.yaml``. Raises ModelError or JobFileError."""
    if not (folder / CARD).is_file():
        raise ModelError(
            "no model there",
            got=str(folder),
            allowed=f"a folder with {CARD} and weights",
            next="check model.uri",
        )
    return load_yaml(folder / CARD, ModelCard, env={})


def digest_of(folder: Path) -> str:
    """sha256 (hex) of ``model.yaml``, which holds the sha256 of every other file."""
    return sha256(folder / CARD)


def verify(folder: Path, card: ModelCard) -> None:
    """Raise ModelError unless the folder holds exactly the card's files, byte for byte."""
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {CARD}
    if present != set(card.files):
        missing, extra = sorted(set(card.files) - present), sorted(present - set(card.files))
        raise ModelError(
            f"model folder {folder} does not hold what its {CARD} lists",
            got=f"missing: {missing}; not listed: {extra}",
            next="restore the folder, or write its model.yaml anew",
        )
    for name, promised in card.files.items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ModelError(
                f"model file {folder / name} is a link out of its folder",
                got=str((folder / name).resolve()),
                next="copy the file into the folder",
            )
        if (found := sha256(folder / name)) != promised:
            raise ModelError(
                f"model file {folder / name} is not the one that {CARD} names",
                got=f"sha256 {found}",
                allowed=f"sha256 {promised}",
                next="restore the file; if the change is meant, write model.yaml anew",
            )


def promised_card(folder: Path, digest: str) -> ModelCard:
    """The folder's card. Raises ModelError where it is not the one that the driver saw."""
    if (found := digest_of(folder)) != digest:
        raise ModelError(
            f"model {folder} changed during the run",
            got=f"sha256 {found}",
            allowed=f"sha256 {digest}",
        )
    return read_card(folder)


def load(folder: Path, digest: str, runtime: Runtime) -> Model:
    """The model, loaded at most once a process and runtime; its files are verified before they are read.

    ``digest`` is what the driver saw: a folder that changed since is refused with ModelError. Raises
    RunFailed for a runtime that cannot be had here.
    """
    place = (str(folder), digest, runtime)
    if place not in _LOADED:
        _LOADED[place] = opened(folder, digest, runtime)
    return _LOADED[place]


def opened(folder: Path, digest: str, runtime: Runtime) -> Model:
    """The model, loaded anew and kept by nobody else; checks and errors are those of `load`."""
    card = promised_card(folder, digest)
    verify(folder, card)
    return _made(folder, card, runtime)


_LOADED: dict[tuple[str, str, Runtime], Model] = {}


def _made(folder: Path, card: ModelCard, runtime: Runtime) -> Model:
    if card.postprocess.name != "generate":
        return LoadedModel(folder, card, runtime)
    from udfs.models.writers import writer  # torch and Transformers, for those that write

    return writer(folder, card, runtime)


def sha256(path: Path) -> str:
    """sha256 (hex) of a file, read in pieces."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
