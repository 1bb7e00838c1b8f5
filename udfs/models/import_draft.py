"""The card of an imported graph while it is made, and the model that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.schemas.types import sql_type
from millrace.udfs.backends.onnx_surgery import Ending
from millrace.udfs.backends.runtimes import runtimes
from millrace.udfs.models.import_sample import Sample
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.models.model_folder import write_card


@dataclass(frozen=True)
class Draft:
    """A model card in the making: all that is known before its postprocess step."""

    about: Mapping[str, Any]
    sample: Sample
    kind: str
    end: Ending
    labels: tuple[str | int, ...]

    def write(self, made: Path, step: Mapping[str, Any], width: int, **more: Any) -> ModelCard:
        """Write the card for a postprocess step; ``width`` is how many numbers a row has."""
        missing = more.pop("missing", "error")
        fields = self.sample.inputs.schema
        options: dict[str, Any] = {} if self.kind == "float" else {"type": self.kind}
        options |= {} if missing == "error" else {"missing": missing}
        if self.kind != "bigint" and any(pa.types.is_integer(field.type) for field in fields):
            options["exact"] = True
        return write_card(
            made, **self.about, **more,
            signature={"inputs": {field.name: {"type": sql_type(field.type)} for field in fields},
                       "outputs": _outputs(step, width)},
            preprocess={"name": "columns", "options": options},
            postprocess=step,
        )  # fmt: skip


def _outputs(step: Mapping[str, Any], width: int) -> dict[str, Any]:
    if step["name"] == "values":
        wide = {"values": {"type": "array<float>", "shape": [width] if width else []}}
        return {"value": {"type": "float"}} if width == 1 else wide
    labels = step["options"].get("labels")
    is_text = labels is not None and any(isinstance(label, str) for label in labels)
    return {
        "label": {"type": "string" if is_text else "bigint"},
        "score": {"type": "float"},
        "probabilities": {"type": "array<float>", "shape": [width]},
    }


def width_of(card: ModelCard) -> int:
    """Return how many numbers a row of the card's outputs has."""
    outputs = card.signature.outputs
    wide = outputs.get("probabilities") or outputs.get("values")
    return wide.shape[0] if wide and wide.shape else 1


def cpu_model(made: Path, card: ModelCard) -> LoadedModel:
    """Load the folder on the CPU. Raises ModelError if no installed backend reads its format."""
    there = runtimes(card, "cpu")
    if not there:
        raise ModelError(
            f"a graph in {card.format} cannot be computed here",
            got="onnxruntime and onnx are not installed",
            next="pip install 'millrace[onnx]'",
        )
    return LoadedModel(made, card, there[0])
