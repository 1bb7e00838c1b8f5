"""``model.yaml``: what a model folder holds, what the model takes, and what it promises to give."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from schemas.contract import Frozen
from schemas.types import arrow_type

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _known_type(sql: str) -> str:
    arrow_type(sql)
    return sql.strip()


class Column(Frozen):
    """One typed column of a signature; ``shape`` is that of one row's value, without the batch."""

    type: Annotated[str, AfterValidator(_known_type)]
    shape: tuple[int, ...] = ()
    comment: str = ""


class Signature(Frozen):
    """The columns a model reads and the columns it returns, in order."""

    inputs: dict[str, Column] = Field(min_length=1)
    outputs: dict[str, Column] = Field(min_length=1)


class Step(Frozen):
    """A pre- or post-processing step, by the name it has in Millrace, and its settings."""

    name: str
    options: dict[str, Any] = {}


class Architecture(Frozen):
    """A network that Millrace ships, by name, and its sizes."""

    name: Literal["cnn", "mlp", "lstm"]
    options: dict[str, Any] = {}


class ModelCard(Frozen):
    """Everything that ``model.yaml`` says."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    version: str
    format: Literal["safetensors", "huggingface"]
    architecture: Architecture | None = None
    signature: Signature
    preprocess: Step
    postprocess: Step
    files: dict[str, Sha256] = Field(min_length=1)
    licence: str
    metrics: dict[str, float] = {}

    @model_validator(mode="after")
    def _is_sound(self) -> ModelCard:
        if (self.format == "safetensors") != (self.architecture is not None):
            raise ValueError("architecture is given for format safetensors, and only there")
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"file {name!r} is outside of the model's folder")
            if path.suffix not in DATA_SUFFIXES:
                raise ValueError(
                    f"file {name!r} may hold code; models load as data: {', '.join(DATA_SUFFIXES)}"
                )
        return self

    @property
    def title(self) -> str:
        """Name and version, as tables show them."""
        return f"{self.name}:{self.version}"


DATA_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".md")
