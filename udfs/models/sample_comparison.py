"""Compares an imported graph with the predictions in a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.models.import_draft import Draft, cpu_model, width_of
from millrace.udfs.models.import_sample import as_batch, uncovered

ALLOWED = 1e-4  # between our scores and the library's, relative to numbers above one


def compared(
    made: Path, draft: Draft, card: ModelCard, max_differing: float
) -> tuple[ModelCard, tuple[str, ...]]:
    """The card with its check, and what the sample leaves unchecked. Raises ModelError."""
    notes = list(uncovered(draft.sample))
    if not draft.sample.expected.num_columns:
        return card, (*notes, "the library's own predictions were not given: nothing was compared")
    step, width = card.postprocess.model_dump(mode="json"), width_of(card)
    has_null = any(column.null_count for column in draft.sample.inputs.columns)
    if has_null and draft.kind != "bigint":
        card = draft.write(made, step, width, missing="nan")
    gaps = _gaps(made, card, draft)
    share, largest = float((gaps > ALLOWED).mean()), float(gaps.max(initial=0.0))
    if not share <= max_differing:
        raise ModelError(
            f"the graph does not give the predictions in {draft.sample.name}",
            got=f"{share:.1%} of {len(gaps)} rows differ, by {largest:.3g} at most",
            allowed=f"{max_differing:.1%} of the rows by more than {ALLOWED:g}",
            next="export it again: trees read float32, and conversions may send missing values another "
            "way; --max-differing SHARE accepts the difference",
        )
    if share:
        notes.append(f"{share:.1%} of the rows differ from the library by more than {ALLOWED:g}")
    check = {
        "compared": "probabilities" if card.postprocess.name == "classify" else "values",
        "library": f"predictions in {draft.sample.name}", "version": "as given", "rows": len(gaps),
        "largest_difference": largest, "allowed": max(ALLOWED, largest),
    }  # fmt: skip
    missing = "nan" if has_null and draft.kind != "bigint" else "error"
    return draft.write(made, step, width, missing=missing, checks=[check]), tuple(notes)


def _gaps(made: Path, card: ModelCard, draft: Draft) -> NDArray[np.float64]:
    """How far each row is from the library's prediction: infinitely where a label differs."""
    model = cpu_model(made, card)
    examples = model.decode(as_batch(draft.sample.inputs))
    count = draft.sample.inputs.num_rows
    if examples.errors:
        row, why = next(iter(examples.errors.items()))
        raise ModelError(
            "the graph cannot read rows of the sample as they are",
            got=f"{len(examples.errors)} of {count} rows; row {row + 1}: {why}",
            next="export the graph with inputs of double or int64, or leave such rows out",
        )
    found = model.predict(examples.values)
    expected = draft.sample.expected
    wanted = [column.to_numpy() for column in expected.columns]
    if card.postprocess.name == "classify":
        given = np.asarray(found["probabilities"], np.float64)
        if len(wanted) == 1 and not _are_scores(wanted[0], found["label"]):
            labels = np.array([str(label) for label in found["label"]])
            return np.where(labels == np.array([str(one) for one in wanted[0]]), 0.0, np.inf)
        given = given[:, 1:] if len(wanted) == 1 else given
    else:
        given = np.asarray(found["values"], np.float64)
    stacked = np.stack(wanted, axis=1).astype(np.float64)
    if given.shape != stacked.shape:
        raise ModelError(
            "--expect names another number of columns than the model gives numbers",
            got=f"{stacked.shape[1]}: {', '.join(expected.column_names)}",
            allowed=f"{given.shape[1]}, or one of labels",
        )
    gap = np.abs(given - stacked) / np.maximum(1.0, np.abs(stacked))
    return np.asarray(np.where(np.isnan(gap), np.inf, gap).max(axis=1), np.float64)


def _are_scores(wanted: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Whether a single column holds probabilities of the second class, and no labels."""
    return wanted.dtype.kind == "f" and not np.isin(wanted, labels.astype(object)).all()
