"""How much there is to compute, before any of it is read: rows from metadata, work from the model's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from millrace.pipelines.job.model_check import VerifiedModel
from millrace.pipelines.lake import live_rows
from millrace.schemas.errors import InputCorrupt
from millrace.schemas.pinned import Pinned
from millrace.udfs.readers.files import InputFile, locate
from millrace.udfs.readers.idx_reader import idx_shape

_FOOTERS = 16  # read at most; the other files are taken to be alike
_LINE_BYTES = 200  # of a text file's record, where nothing better is known
_SAMPLED_BYTES = 1 << 18  # of a text file
_COMPRESSED = (".gz", ".bz2", ".zst")
_FP32_BYTES = 4
_REUSE = 256  # times a weight is used for a row, at most: a token's, or a pixel's
_FLOPS = 5e10  # a second, of one core in fp32, about


@dataclass(frozen=True)
class RowEstimate:
    """Rows, and what they were counted from; ``is_exact`` where nothing was extrapolated."""

    rows: int
    counted_from: str
    is_exact: bool


def expected_rows(pinned: Pinned) -> int:
    """Rows of the pinned input, about: from footers or the table's log, else from bytes."""
    return counted(pinned).rows


def counted(pinned: Pinned) -> RowEstimate:
    """Rows of the pinned input, and how that is known; no row is read for it but a few of texts."""
    if not pinned.files and pinned.format != "delta":
        return RowEstimate(0, "no files", is_exact=True)
    return COUNTS[pinned.format](pinned)


def most_seconds(model: VerifiedModel, rows: int) -> float:
    """What scoring the rows takes on one core in fp32, at most; by the size of the weights alone."""
    weights = folder_bytes(model.folder)
    reuse = 1 if model.card.preprocess.name == "columns" else _REUSE  # a row is one vector there
    return rows * 2 * (weights / _FP32_BYTES) * reuse / _FLOPS


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _parquet_rows(pinned: Pinned) -> RowEstimate:
    looked = pinned.files[:: max(1, len(pinned.files) // _FOOTERS)]
    rows = size = 0
    for file in looked:
        filesystem, inside = locate(file.path)
        try:
            rows += pq.read_metadata(inside, filesystem=filesystem).num_rows
        except (OSError, pa.ArrowException):
            continue  # the pass that reads it will name it
        size += file.size_bytes
    if size == pinned.size_bytes:
        return RowEstimate(rows, f"the footers of {len(looked)} Parquet files", is_exact=True)
    basis = (
        f"the footers of {len(looked)} of {len(pinned.files)} Parquet files, the others by bytes"
    )
    return RowEstimate(round(rows * pinned.size_bytes / size) if size else 0, basis, is_exact=False)


def _delta_rows(pinned: Pinned) -> RowEstimate:
    table = DeltaTable(pinned.root, version=pinned.version)
    files = live_rows.live(table)
    rows = sum(one.rows for one in files if one.rows is not None)
    known = sum(one.size_bytes for one in files if one.rows is not None)
    whole = sum(one.size_bytes for one in files)
    if known == whole:
        return RowEstimate(rows, "the Delta table's statistics", is_exact=True)
    basis = "the Delta table's statistics, files without them by bytes"
    return RowEstimate(round(rows * whole / known) if known else 0, basis, is_exact=False)


def _image_files(pinned: Pinned) -> RowEstimate:
    return RowEstimate(len(pinned.files), "the number of files", is_exact=True)


def _idx_rows(pinned: Pinned) -> RowEstimate:
    images = pinned.files[0]
    try:
        (rows, *_) = idx_shape(InputFile(images.path, images.path, images.size_bytes))
    except InputCorrupt:
        return _guessed(pinned)  # the pass that reads it will name it
    return RowEstimate(rows, "the idx file's header", is_exact=True)


def _text_rows(pinned: Pinned) -> RowEstimate:
    """Lines, counted in the beginnings of some files; a record may take several, so about."""
    step = max(1, len(pinned.files) // _FOOTERS)
    lines = size = 0
    for file in pinned.files[::step]:
        if file.path.endswith(_COMPRESSED):
            continue
        filesystem, inside = locate(file.path)
        try:
            with filesystem.open_input_stream(inside, compression=None) as stream:
                begun = stream.read(_SAMPLED_BYTES)
        except (OSError, pa.ArrowException):
            continue  # here too
        lines, size = lines + begun.count(b"\n"), size + len(begun)
    if lines:
        basis = f"lines in {size:,} sampled bytes of {pinned.size_bytes:,}"
        return RowEstimate(round(lines * pinned.size_bytes / size), basis, is_exact=False)
    return _guessed(pinned)


def _guessed(pinned: Pinned) -> RowEstimate:
    basis = f"bytes alone, {_LINE_BYTES} a record, which is a guess"
    return RowEstimate(pinned.size_bytes // _LINE_BYTES, basis, is_exact=False)


COUNTS: dict[str, Callable[[Pinned], RowEstimate]] = {
    "delta": _delta_rows,
    "parquet": _parquet_rows,
    "images": _image_files,
    "idx": _idx_rows,
    "csv": _text_rows,
    "json": _text_rows,
}
