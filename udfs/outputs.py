"""A model's NumPy outputs as the Arrow columns that its signature promises, or an error that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import OutputMismatch
from schemas.model import Column, Signature
from schemas.types import arrow_type


def checked(
    outputs: Mapping[str, NDArray[Any]], signature: Signature, rows: int
) -> dict[str, NDArray[Any]]:
    """The signature's outputs, in its order. Raises OutputMismatch where names or shapes differ."""
    if missing := [name for name in signature.outputs if name not in outputs]:
        raise OutputMismatch(
            f"the model does not return {', '.join(missing)}",
            got=", ".join(outputs),
            allowed=", ".join(signature.outputs),
            next="correct the signature in model.yaml, or the model",
        )
    return {
        name: _shaped(name, outputs[name], spec, rows) for name, spec in signature.outputs.items()
    }


def column_of(name: str, values: NDArray[Any], spec: Column) -> pa.Array:
    """``values`` ``[rows]`` or ``[rows, width]`` as an Arrow array of the declared type, without objects."""
    kind = arrow_type(spec.type)
    try:
        if not pa.types.is_list(kind):
            return pa.array(values).cast(kind)
        flat = pa.array(values.reshape(-1)).cast(kind.value_type)
        rows, width = values.shape
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
        return pa.ListArray.from_arrays(offsets, flat)
    except pa.ArrowException as error:
        raise OutputMismatch(
            f"the model's output {name!r} is not {spec.type}",
            got=str(error)[:200],
            allowed=spec.type,
        ) from None


def not_finite(outputs: Mapping[str, NDArray[Any]], rows: int) -> NDArray[np.bool_]:
    """``[rows]``: whether any floating-point output of the row is NaN or infinite."""
    bad = np.zeros(rows, bool)
    for values in outputs.values():
        if np.issubdtype(values.dtype, np.floating):
            bad |= ~np.isfinite(values.reshape(rows, -1)).all(axis=1)
    return bad


def _shaped(name: str, values: NDArray[Any], spec: Column, rows: int) -> NDArray[Any]:
    is_list = pa.types.is_list(arrow_type(spec.type))
    expected = (rows, *spec.shape) if is_list and spec.shape else (rows,)
    if is_list and not spec.shape:
        fits = values.ndim == 2 and values.shape[0] == rows  # noqa: PLR2004 - rows and values
    else:
        fits = values.shape == expected
    if not fits:
        raise OutputMismatch(
            f"the model's output {name!r} has another shape than its signature",
            got=f"{list(values.shape)} {values.dtype}",
            allowed=f"{list(expected) if spec.shape or not is_list else [rows, 'any']} {spec.type}",
            next="correct the signature in model.yaml, or the model",
        )
    return values
