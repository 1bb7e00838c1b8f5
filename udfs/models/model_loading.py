"""Loads models: once per process, after checking that the files are those of the card."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.schemas.yaml_file import load as load_yaml
from millrace.udfs.backends.runtimes import runtimes
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.runtime.examples import Examples, Values
from millrace.udfs.runtime.plan import Runtime

__all__ = ["Model", "digest_of", "load", "opened", "read_card", "runtimes", "sha256", "verify"]

CARD = "model.yaml"
HOLD_CODE = ("torchscript",)  # formats whose files run code when their model does
_CHUNK_BYTES = 1 << 20
_LITTER = (".DS_Store", ".directory", "Thumbs.db", "desktop.ini")


class Model(Protocol):
    """A loaded model on one device; ``runtime`` is fully resolved."""

    card: ModelCard
    device: str
    runtime: Runtime

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """Return what `predict` reads of the model's input columns."""
        ...

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return the outputs of the signature, each ``[rows, ...]``, in the order of ``values``."""
        ...


def read_card(folder: Path) -> ModelCard:
    """Read the folder's ``model.yaml``. Raises ModelError or JobFileError."""
    if not (folder / CARD).is_file():
        raise ModelError(
            "no model there",
            got=str(folder),
            allowed=f"a folder with {CARD} and weights",
            next="check model.uri",
        )
    return load_yaml(folder / CARD, ModelCard, env={})


def digest_of(folder: Path) -> str:
    """Return the sha256 (hex) of ``model.yaml``, which has the sha256 of every other file."""
    return sha256(folder / CARD)


def files_of(folder: Path) -> list[str]:
    """Return the names of a model's files, without its card and without files of file managers."""
    names = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    return sorted(str(name) for name in names if str(name) != CARD and not _is_litter(name))


def _is_litter(name: Path) -> bool:
    return name.parts[0] == "__MACOSX" or name.name in _LITTER or name.name.startswith("._")


def verify(folder: Path, card: ModelCard) -> None:
    """Raise ModelError unless the folder holds exactly the card's files, byte for byte."""
    present = set(files_of(folder))
    if present != set(card.files):
        missing, extra = sorted(set(card.files) - present), sorted(present - set(card.files))
        raise ModelError(
            f"model folder {folder} does not hold what its {CARD} lists",
            got=f"missing: {missing}; not listed: {extra}",
            next="restore the folder; if the change is meant: millrace model seal FOLDER",
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
                next="restore the file; if the change is meant: millrace model seal FOLDER",
            )


def promised_card(folder: Path, digest: str) -> ModelCard:
    """Return the folder's card. Raises ModelError if it is not the one that the driver saw."""
    if (found := digest_of(folder)) != digest:
        raise ModelError(
            f"model {folder} changed during the run",
            got=f"sha256 {found}",
            allowed=f"sha256 {digest}",
        )
    return read_card(folder)


def load(folder: Path, digest: str, runtime: Runtime) -> Model:
    """Load the model, at most once per process and runtime, after verifying its files.

    Args:
        digest: the sha256 of the card that the driver saw.

    Raises:
        ModelError: the folder has changed since.
        RunFailed: the runtime is not available.
    """
    place = (str(folder), digest, runtime)
    with _LOADING:  # the embedded engine has several tasks a process
        if place not in _LOADED:
            _LOADED[place] = opened(folder, digest, runtime)
        return _LOADED[place]


def opened(folder: Path, digest: str, runtime: Runtime) -> Model:
    """Load the model without caching it; checks and errors are those of `load`."""
    card = promised_card(folder, digest)
    verify(folder, card)
    return _made(folder, card, runtime)


_LOADED: dict[tuple[str, str, Runtime], Model] = {}
_LOADING = threading.Lock()


def _made(folder: Path, card: ModelCard, runtime: Runtime) -> Model:
    if card.postprocess.name != "generate":
        return LoadedModel(folder, card, runtime)
    from millrace.udfs.generation.selection import (
        writer,  # torch and Transformers, for those that write
    )

    return writer(folder, card, runtime)


def sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
