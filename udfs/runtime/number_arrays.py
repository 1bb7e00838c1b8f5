"""Arrow columns of numbers as NumPy arrays of one type, and the rows that the type cannot represent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from millrace.schemas.types import sql_type

_WHOLE = 2.0**53

NUMBERS: dict[str, type[np.generic]] = {
    "float": np.float32,
    "double": np.float64,
    "bigint": np.int64,
}


def out_of_range(name: str, cells: pa.Array, kind: pa.DataType) -> dict[int, str]:
    """Rows whose integer the model's own type does not have, which the contract's wider one does."""
    if not pa.types.is_integer(kind) or not pa.types.is_integer(cells.type):
        return {}
    if cells.type.bit_width <= kind.bit_width:
        return {}
    limit = 2 ** (kind.bit_width - 1)
    is_out = pc.or_(pc.less(cells, -limit), pc.greater(cells, limit - 1))
    rows = pc.indices_nonzero(pc.fill_null(is_out, False)).to_pylist()
    return {row: f"{name}: {cells[row].as_py()} is beyond {sql_type(kind)}" for row in rows}


def float32_of(cells: pa.Array) -> NDArray[np.float32]:
    """float32, NaN for null; of a large integer the nearest that float32 has."""
    floats = pc.fill_null(_without_decimals(cells).cast(pa.float32(), safe=False), float("nan"))
    found: NDArray[np.float32] = floats.to_numpy(zero_copy_only=False)
    return found


def _without_decimals(cells: pa.Array) -> pa.Array:
    if pa.types.is_decimal(cells.type):  # Arrow's own cast is off by one in the last place
        return cells.cast(pa.string()).cast(pa.float64())
    return cells


def numbers_of(cells: pa.Array, kind: type[np.generic]) -> NDArray[Any]:
    """The numbers as ``kind``; NaN for null, or 0 where the type has no NaN."""
    if kind is np.float32:
        return float32_of(cells)
    arrow = pa.from_numpy_dtype(np.dtype(kind))
    filler = float("nan") if kind is np.float64 else 0
    if kind is not np.int64:  # whole numbers beyond 2^53 are read as they are
        cells = _without_decimals(cells)
    return pc.fill_null(cells.cast(arrow, safe=False), filler).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _is_lossless(given: Decimal | None, read: np.generic) -> bool:
    """Whether a decimal was read without loss; one with a fraction may be rounded to a float."""
    if given is None:
        return not isinstance(read, np.int64)
    is_fraction = given != given.to_integral_value() and not isinstance(read, np.int64)
    return is_fraction or Decimal(read.item()) == given


def inexact(name: str, cells: pa.Array, read: NDArray[Any], is_time: bool) -> dict[int, str]:
    """The rows whose whole number, instant or null the type of ``read`` cannot hold, and why."""
    if pa.types.is_decimal(cells.type):
        pairs = zip(cells.to_pylist(), read, strict=True)
        exact = np.array([_is_lossless(given, one) for given, one in pairs], bool)
    elif read.dtype == np.int64:
        given = cells.cast(pa.float64(), safe=False) if pa.types.is_floating(cells.type) else cells
        same = pc.equal(given.cast(given.type), pa.array(read).cast(given.type, safe=False))
        exact = pc.fill_null(same, False).to_numpy(zero_copy_only=False)
    elif pa.types.is_integer(cells.type):
        whole = pc.fill_null(cells.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        back = pa.array(np.nan_to_num(read), pa.from_numpy_dtype(read.dtype))
        exact = back.cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False) == whole
    elif is_time:
        seconds = cells.to_numpy(zero_copy_only=False)
        exact = np.isnan(seconds) | (read.astype(np.float64) == seconds)
    else:  # beyond 2^53 all doubles are whole: they are measurements, not numbers of things
        given = pc.fill_null(cells.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        is_whole = (np.trunc(given) == given) & (np.abs(given) < _WHOLE)
        exact = ~is_whole | (np.nan_to_num(read.astype(np.float64)) == given)
    return {
        int(row): f"{name}: {cells[int(row)].as_py()} is not exact as {read.dtype.name}"
        for row in np.flatnonzero(~exact)
    }
