"""Converts a model's NumPy outputs to the Arrow columns of its signature, or raises a clear error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.errors import OutputMismatch
from millrace.schemas.model import Signature, SignatureColumn
from millrace.schemas.types import arrow_type

Outputs = Mapping[str, NDArray[Any]]


class OutputBuffer:
    """The outputs of a window, each written once, in its row's place."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.arrays: dict[str, NDArray[Any]] = {}
        self._good = np.zeros(rows, bool)
        self._bad = np.zeros(rows, bool)

    def put(self, rows: NDArray[np.int64], outputs: Outputs, signature: Signature) -> None:
        """Write the outputs of a batch to these rows. Raises OutputMismatch.

        A label made of NaN looks like any other, so all outputs of the model are checked, promised or
        not.
        """
        for name, values in checked(outputs, signature, len(rows)).items():
            self._room(name, values)[rows] = values
        bad = not_finite(outputs, len(rows))
        self._good[rows], self._bad[rows] = ~bad, bad

    @property
    def not_finite(self) -> NDArray[np.int64]:
        """Return the rows of which some output is NaN or infinite."""
        return np.flatnonzero(self._bad)

    def columns(self, signature: Signature) -> dict[str, pa.Array]:
        """Return one Arrow array per output, null for rows without a finite one. Raises OutputMismatch."""
        if not self.arrays:
            kinds = {name: arrow_type(spec.type) for name, spec in signature.outputs.items()}
            return {name: pa.nulls(self._rows, kind) for name, kind in kinds.items()}
        missing = None if self._good.all() else ~self._good
        return {
            name: column_of(name, self.arrays[name], spec, missing)
            for name, spec in signature.outputs.items()
        }

    def _room(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """The window's array for an output, of a type that holds what came before and this."""
        array = self.arrays.get(name)
        if array is None:
            array = np.zeros((self._rows, *values.shape[1:]), values.dtype)
        elif array.dtype != values.dtype:
            array = array.astype(np.result_type(array.dtype, values.dtype))
        self.arrays[name] = array
        return array


def checked(
    outputs: Mapping[str, NDArray[Any]], signature: Signature, rows: int
) -> dict[str, NDArray[Any]]:
    """Return the signature's outputs, in its order. Raises OutputMismatch if names or shapes differ."""
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


def column_of(
    name: str, values: NDArray[Any], spec: SignatureColumn, missing: NDArray[np.bool_] | None = None
) -> pa.Array:
    """Convert ``values``, ``[rows]`` or ``[rows, width]``, to an Arrow array of the declared type.

    ``missing`` rows are null. Numbers of the declared type are not copied.
    """
    kind = arrow_type(spec.type)
    try:
        if not pa.types.is_list(kind):
            return pa.array(values, mask=missing).cast(kind)
        flat = pa.array(values.reshape(-1)).cast(kind.value_type)
        rows, width = values.shape
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
        mask = None if missing is None else pa.array(missing)
        return pa.ListArray.from_arrays(offsets, flat, mask=mask)
    except pa.ArrowException as error:
        raise OutputMismatch(
            f"the model's output {name!r} is not {spec.type}",
            got=str(error)[:200],
            allowed=spec.type,
        ) from None


def not_finite(outputs: Mapping[str, NDArray[Any]], rows: int) -> NDArray[np.bool_]:
    """Return ``[rows]``: whether any floating-point output of the row is NaN or infinite."""
    bad = np.zeros(rows, bool)
    for values in outputs.values():
        if np.issubdtype(values.dtype, np.floating):
            bad |= ~np.isfinite(values.reshape(rows, -1)).all(axis=1)
    return bad


def _shaped(name: str, values: NDArray[Any], spec: SignatureColumn, rows: int) -> NDArray[Any]:
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
