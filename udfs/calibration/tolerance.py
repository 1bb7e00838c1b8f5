"""Differences of a model's outputs from those in fp32, and whether its card allows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.model import Tolerance
from millrace.udfs.runtime.outputs import not_finite

Outputs = Mapping[str, NDArray[Any]]
EXACT = 1e-5  # what fp32 may differ from fp32, relative to the largest number or absolute below one


def differences(reference: Outputs, found: Outputs) -> dict[str, float]:
    """Return differences by kind: ``min_cosine``, ``equal_labels``, ``max_relative_error``, ``max_error``.

    ``reference`` and ``found`` have the same rows in the same order. Rows that are not finite in the
    reference are left out, since the run reports them as errors. A number that is not finite in ``found``
    alone has an infinite error, and so has everything if no row is left.
    """
    is_finite = ~not_finite(reference, len(next(iter(reference.values()), ())))
    if not is_finite.any():
        return {"max_error": math.inf}
    reference, found = _only(is_finite, reference), _only(is_finite, found)
    errors: dict[str, float] = {"max_error": _largest(reference, found)}
    if "embedding" in reference:
        errors["min_cosine"] = _least_cosine(reference["embedding"], found["embedding"])
    for name in ("label", "text"):
        if name in reference:
            errors["equal_labels"] = float(np.asarray(reference[name] == found[name]).mean())
    for name in {"values", "value"} & set(reference):
        values = reference[name].astype(np.float64)  # whose spread float32 may not hold
        spread = float(np.ptp(values)) or float(np.abs(values).max()) or 1.0
        relative = _apart(reference[name], found[name]) / spread
        errors["max_relative_error"] = max(relative, errors.get("max_relative_error", 0.0))
    return errors


def within(errors: Mapping[str, float], tolerance: Tolerance, precision: str) -> bool:
    """Whether the tolerance allows all differences; fp32 must give fp32's numbers, whatever the tolerance.

    Values that should be finite and are not are never within.
    """
    if precision == "fp32":
        return errors["max_error"] <= EXACT
    return (
        math.isfinite(errors["max_error"])
        and errors.get("min_cosine", 1.0) >= tolerance.min_cosine
        and errors.get("equal_labels", 1.0) >= tolerance.min_equal_labels
        and errors.get("max_relative_error", 0.0) <= tolerance.max_relative_error
    )


def _largest(reference: Outputs, found: Outputs) -> float:
    """The largest difference of any number, relative where numbers are larger than one."""
    numeric = [n for n, values in reference.items() if np.issubdtype(values.dtype, np.number)]
    scales = {n: max(1.0, float(np.abs(reference[n]).max(initial=0.0))) for n in numeric}
    return max((_apart(reference[n], found[n]) / scales[n] for n in numeric), default=0.0)


def _only(rows: NDArray[np.bool_], outputs: Outputs) -> Outputs:
    return {name: values[rows] for name, values in outputs.items()}


def _apart(reference: NDArray[Any], found: NDArray[Any]) -> float:
    """The largest difference; ``reference`` is finite."""
    gap = np.abs(reference.astype(np.float64) - found.astype(np.float64))
    return float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))


def _least_cosine(reference: NDArray[Any], found: NDArray[Any]) -> float:
    """The least cosine of a row's two vectors; -1 where ``found`` is not finite."""
    a, b = reference.astype(np.float64), found.astype(np.float64)
    if not np.isfinite(b).all():
        return -1.0
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    cosines = np.where((lengths == 0) & (a == b).all(axis=1), 1.0, cosines)
    return float(cosines.min())
