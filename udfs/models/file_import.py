"""Imports an ONNX or TorchScript file, and compares it with its library's predictions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import MillraceError, ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.onnx_graph import graph_of
from millrace.udfs.backends.onnx_surgery import Ending, ending_of, joined_inputs
from millrace.udfs.models.graph_ending import check_ending, ending, how_it_ends
from millrace.udfs.models.import_draft import Draft, cpu_model
from millrace.udfs.models.import_sample import Sample, as_batch
from millrace.udfs.models.model_folder import whole_folder
from millrace.udfs.models.sample_comparison import compared

FORMATS = {".onnx": "onnx", ".ts": "torchscript"}


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model that its graph does not contain."""

    name: str | None = None  # none: the file's
    version: str = "1"
    licence: str | None = None


@dataclass(frozen=True)
class ImportResult:
    """The card of the new folder, and notes on what the comparison did not cover."""

    card: ModelCard
    notes: tuple[str, ...]


def import_file(
    source: Path,
    out: Path,
    sample: Sample,
    about: ModelInfo,
    *,
    task: str | None = None,
    labels: Sequence[str | int] | None = None,
    max_differing: float = 0.0,
) -> ImportResult:
    """Make the model folder ``out`` of a graph, with a card of what was found out.

    Args:
        task: classify or values; None: the graph decides.
        labels: the classes in the graph's order; None: those in the graph.
        max_differing: the share of the sample's rows that may differ from its predictions.

    Raises:
        ModelError: the graph cannot be read, or differs from the predictions.
    """
    format_ = FORMATS[source.suffix]
    with whole_folder(out, source) as made:
        kind, end = _copied(source, made / f"model{source.suffix}", format_, sample)
        named = {
            "name": about.name or source.stem, "version": about.version, "format": format_,
            "licence": about.licence or "not stated",
        }  # fmt: skip
        draft = Draft(named, sample, kind, end, tuple(labels or end.labels or ()))
        card = _card(made, draft, task)
        check_ending(made, card)
        card, notes = compared(made, draft, card, max_differing)
    return ImportResult(card, notes)


def _copied(source: Path, target: Path, format_: str, sample: Sample) -> tuple[str, Ending]:
    if format_ == "torchscript":
        shutil.copyfile(source, target)
        return "float", Ending("", None, False)
    import onnx

    from millrace.udfs.backends.onnx_external_data import tensors

    proto = graph_of(source)
    if any(tensor.external_data for tensor in tensors(proto.graph)):
        proto = onnx.load(str(source))  # its weights come into the one file
    end = ending_of(proto)
    kind = joined_inputs(proto, sample.inputs.column_names)
    onnx.save(proto, str(target))
    return kind, end


def _card(made: Path, draft: Draft, task: str | None) -> ModelCard:
    """The card for what the graph gives on a few rows."""
    tensor = {"tensor": draft.end.tensor} if draft.end.tensor else {}
    probe = draft.write(made, {"name": "values", "options": tensor}, 0)
    model = cpu_model(made, probe)
    try:
        rows = model.decode(as_batch(draft.sample.inputs.slice(0, 50))).values
        found = ending(model, rows)
        width = 1 if found.ndim == 1 else found.shape[1]
        how = how_it_ends(model, made)
    except MillraceError:
        raise
    except Exception as error:  # noqa: BLE001 - a backend's own words of a graph that cannot be run so
        raise ModelError(
            "the graph cannot compute the sample's rows",
            got=f"{type(error).__name__}: {error}"[:500],
            next="the sample's columns must be the model's inputs, in the order of training",
        ) from None
    is_meant = task == "classify" or (task is None and draft.end.is_classifier)
    is_probable = how == "probabilities" or (how == "either" and is_meant)
    if how == "either" and is_meant and not draft.sample.expected.num_columns:
        raise ModelError(
            "the graph's one number a row is either a probability or a logit, and nothing shows which",
            got=f"first row: {float(np.ravel(found)[0]):.4g}",
            next="--expect COLUMN names the library's predictions in the sample, which tell it; or "
            "--task values",
        )
    is_classifier = task == "classify" or (
        task is None and (draft.end.is_classifier or is_probable)
    )
    if not is_classifier or (draft.end.is_classifier and task is None and not is_probable):
        return _values(made, draft, found, width, task)
    options: dict[str, Any] = {**tensor, "output": "probabilities" if is_probable else "logits"}
    if draft.labels:
        options["labels"] = list(draft.labels)
    return draft.write(made, {"name": "classify", "options": options}, max(2, width))


def _values(
    made: Path, draft: Draft, found: NDArray[np.float32], width: int, task: str | None
) -> ModelCard:
    several = bool(((found >= 0) & (found <= 1)).all()) and width > 1
    if task is None and draft.end.is_classifier and not several:
        raise ModelError(
            "the classifier gives scores that are no probabilities",
            got=f"first row: {', '.join(f'{value:.4g}' for value in np.ravel(found[0])[:6])}",
            allowed="probabilities, or --task values for the scores as they are",
            next="train it with probabilities (SVC(probability=True)), or say --task",
        )
    tensor = {"tensor": draft.end.tensor} if draft.end.tensor else {}
    return draft.write(made, {"name": "values", "options": tensor}, width)
