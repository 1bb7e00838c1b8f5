"""How much there is to compute, before any of it is read: rows from metadata, work from the model's size."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from pipelines.preflight import VerifiedModel
from schemas.pinned import Pinned
from udfs.files import locate

_FOOTERS = 16  # read at most; the other files are taken to be alike
_LINE_BYTES = 200  # of a text file's record, where nothing better is known
_FP32_BYTES = 4
_REUSE = 256  # times a weight is used for a row, at most: a token's, or a pixel's
_FLOPS = 5e10  # a second, of one core in fp32, about


def expected_rows(pinned: Pinned) -> int:
    """Rows of the pinned input, about: from footers or the table's log, else from bytes."""
    if pinned.format == "delta":
        return _delta_rows(pinned)
    if pinned.format == "images":
        return len(pinned.files)
    if pinned.format == "parquet":
        return _parquet_rows(pinned)
    return pinned.size_bytes // _LINE_BYTES


def most_seconds(model: VerifiedModel, rows: int) -> float:
    """What scoring the rows takes on one core in fp32, at most; by the size of the weights alone."""
    weights = sum(path.stat().st_size for path in model.folder.rglob("*") if path.is_file())
    reuse = 1 if model.card.preprocess.name == "columns" else _REUSE  # a row is one vector there
    return rows * 2 * (weights / _FP32_BYTES) * reuse / _FLOPS


def _parquet_rows(pinned: Pinned) -> int:
    looked = pinned.files[:: max(1, len(pinned.files) // _FOOTERS)]
    rows = size = 0
    for file in looked:
        filesystem, inside = locate(file.path)
        try:
            rows += pq.read_metadata(inside, filesystem=filesystem).num_rows
        except (OSError, pa.ArrowException):
            continue  # the pass that reads it will name it
        size += file.size_bytes
    return round(rows * pinned.size_bytes / size) if size else 0


def _delta_rows(pinned: Pinned) -> int:
    table = DeltaTable(pinned.root, version=pinned.version)
    counts = pa.table(table.get_add_actions(flatten=True)).column("num_records").to_pylist()
    return sum(count or 0 for count in counts)
