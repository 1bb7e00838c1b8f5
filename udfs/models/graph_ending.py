"""Tries an exported graph on a few rows: it must compute, fit its signature, and end as its card says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import MillraceError, ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.exported_graph import ForeignRunner, are_probabilities, is_single
from millrace.udfs.backends.onnx_graph import operators_of
from millrace.udfs.backends.runtimes import runtimes
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.models.sample_inputs import is_whole, sample
from millrace.udfs.runtime.outputs import checked

FAR = 1e3  # a logit of inputs so large is not between 0 and 1
_PROBABLE = ("Sigmoid", "Softmax", "HardSigmoid")
_BOUNDED = ("TreeEnsemble", "SVM")  # of no inputs, however large, are their numbers large


def check_ending(folder: Path, card: ModelCard) -> None:
    """Raise ModelError if an exported graph does not do on a few rows what its card says.

    It must compute them, return what the signature promises, and end in logits or probabilities as
    declared. Nothing is checked if no backend for the format is installed.
    """
    there = runtimes(card, "cpu")
    if not card.is_foreign or not there:
        return
    model = LoadedModel(folder, card, there[0])
    try:
        rows = sample(model)
        if card.postprocess.name == "classify":
            _check_output(model, folder)
        checked(model.predict(rows), card.signature, len(rows))
    except ModelError:
        raise
    except MillraceError as error:
        raise ModelError(
            error.what, got=error.got, allowed=error.allowed, next=error.next
        ) from None
    except Exception as error:  # noqa: BLE001 - a backend raises errors of its own for a graph's faults
        raise ModelError(
            f"the graph of {card.title} cannot compute rows of its signature",
            got=f"{type(error).__name__}: {error}"[:500],
            next="correct the signature in model.yaml, or import the file: millrace model import",
        ) from None


def how_it_ends(model: LoadedModel, folder: Path) -> Literal["probabilities", "logits", "either"]:
    """Return what a classifier's graph ends in, by its last operator and its outputs.

    Either: one number per row between 0 and 1 proves nothing for trees, nor without rows far from zero.
    """
    rows = sample(model)
    found = ending(model, rows)
    if not is_single(found):
        return "probabilities" if are_probabilities(found).all() else "logits"
    operators = operators_of(folder, model.card) if model.card.format == "onnx" else None
    if operators is not None and operators.last in _PROBABLE:
        return "probabilities"
    far = _far_ending(model, rows)
    if not all(((numbers >= 0) & (numbers <= 1)).all() for numbers in (found, *far)):
        return "logits"
    is_bounded = operators is not None and any(one.startswith(_BOUNDED) for one in operators.every)
    return "probabilities" if far and not is_bounded else "either"


def ending(model: LoadedModel, rows: Any) -> NDArray[np.float32]:
    """Return the graph's own last tensor."""
    if not isinstance(model.runner, ForeignRunner):
        raise TypeError("only a graph made elsewhere is looked at so")
    return model.runner.ending(model.arrays(rows))


def _far_ending(model: LoadedModel, rows: Any) -> list[NDArray[np.float32]]:
    """What the graph gives of numbers far from zero; nothing of texts, categories and whole numbers."""
    runner, card = model.runner, model.card
    if card.preprocess.name == "tokens" or not isinstance(runner, ForeignRunner):
        return []
    read = runner.scaling(rows)
    is_far = np.ones(read.shape[1:], bool)
    if card.preprocess.name == "columns":
        is_far = np.array([not is_whole(one.type) for one in card.signature.inputs.values()])
    if read.dtype.kind != "f" or not is_far.any():
        return []
    given = [np.where(is_far, read * one, read).astype(read.dtype) for one in (FAR, -FAR)]
    try:
        return [runner.inner.run((one,)) for one in given]
    except Exception:  # noqa: BLE001 - a graph may refuse numbers that no real row has
        return []


def _check_output(model: LoadedModel, folder: Path) -> None:
    step = model.card.postprocess
    is_declared = step.name == "classify" and step.options.output == "probabilities"
    declared, other = ("probabilities", "logits") if is_declared else ("logits", "probabilities")
    if how_it_ends(model, folder) != other:
        return
    first = np.ravel(ending(model, sample(model))[0])[:6]
    raise ModelError(
        f"the graph of {model.card.title} does not end in {declared}",
        got=f"first row: {', '.join(f'{value:.4g}' for value in first)}",
        allowed="probabilities are from 0 to 1 and sum to 1; logits are any numbers",
        next=f"set postprocess.options.output: {other} in model.yaml",
    )
