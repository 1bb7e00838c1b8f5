"""Every model, format, backend and precision that the suite runs over, and the folders for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from helpers import image_cnn, images, pixel_mlp, series_lstm, tiny_bert
from numpy.typing import NDArray
from PIL import Image
from reference import reference

from millrace.schemas.model import ConversionSource, ModelCard
from millrace.schemas.steps import ValuesStep
from millrace.udfs.models.conversion import convert
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.models.model_loading import digest_of, load, read_card, runtimes
from millrace.udfs.runtime.plan import Runtime

ROWS = 11
_DRAWN = np.random.default_rng(3)
_WORDS = ["good", "bad", "day", "night", "a", "the", "unknown", "badly", "!", "😀"]


def _texts() -> list[str]:
    return [" ".join(_DRAWN.choice(_WORDS, 1 + 3 * row % 29)) for row in range(ROWS)]


def _png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(_DRAWN.integers(0, 256, (4, 4, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@dataclass(frozen=True)
class Subject:
    """A model to be made, the type of its input column, and cells for it, one of them broken."""

    make: Callable[[Path], Path]
    kind: pa.DataType
    cells: list[Any]
    broken: Any


SUBJECTS = {
    "mlp": Subject(pixel_mlp, pa.binary(), list(images(ROWS)), b"short"),
    "cnn": Subject(
        image_cnn,
        pa.binary(),
        [_png() for _ in range(ROWS)],
        b"no image",
    ),
    "lstm": Subject(
        series_lstm,
        pa.list_(pa.float32()),
        _DRAWN.standard_normal((ROWS, 6)).round(3).tolist(),
        [1.0],
    ),
    "embedder": Subject(lambda f: tiny_bert(f, "embed"), pa.string(), _texts(), None),
    "classifier": Subject(lambda f: tiny_bert(f, "classify"), pa.string(), _texts(), None),
}
FORMATS = {
    "source": ("", ""),
    "torchscript": ("torchscript", "fp32"),
    "onnx": ("onnx", "fp32"),
    "onnx-int8": ("onnx", "int8"),
    "openvino": ("openvino", "fp32"),
}


@dataclass(frozen=True)
class Way:
    """One model in one format on one runtime."""

    subject: str
    format: str
    runtime: Runtime

    def __str__(self) -> str:
        return f"{self.subject}-{self.format}-{self.runtime.backend}-{self.runtime.precision}"


def _card(subject: str, name: str) -> ModelCard:
    """As much of a card as `runtimes` asks for, before there is a folder."""
    format_, precision = FORMATS[name]
    if name == "source":
        format_ = "huggingface" if subject in ("embedder", "classifier") else "safetensors"
    made_from = (
        ConversionSource(digest="0" * 64, format="x", precision=precision) if precision else None
    )  # type: ignore[arg-type]
    known: dict[str, Any] = {"format": format_, "made_from": made_from}
    return ModelCard.model_construct(**known, postprocess=ValuesStep(name="values"))


def ways() -> list[Way]:
    """All of them that this machine and its packages can run on the CPU."""
    return [
        Way(subject, name, runtime)
        for subject in SUBJECTS
        for name in FORMATS
        for runtime in runtimes(_card(subject, name), "cpu")
    ]


class Folders:
    """Model folders, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cache  # noqa: B019 - one object a session
    def folder(self, subject: str, name: str) -> Path:
        """The subject in that format."""
        if name == "source":
            return SUBJECTS[subject].make(self._root / subject)
        format_, precision = FORMATS[name]
        out = self._root / f"{subject}-{name}"
        convert(self.folder(subject, "source"), out, format_, precision)
        return out

    @cache  # noqa: B019
    def expected(self, subject: str) -> NDArray[np.float32]:
        """Plain torch's answers for the subject's cells."""
        folder = self.folder(subject, "source")
        return reference(folder, read_card(folder), SUBJECTS[subject].cells)

    def model(self, way: Way) -> LoadedModel:
        """The way's model, loaded as a worker does."""
        folder = self.folder(way.subject, way.format)
        found = load(folder, digest_of(folder), way.runtime)
        assert isinstance(found, LoadedModel)
        return found
