"""Inputs and models on disk: real ones, made once and kept under ``build/bench``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benches import payments
from benches.exported import export
from benches.workloads import WORKLOADS, Workload, parts
from millrace.examples import digits, docs
from millrace.examples.files import write_parts
from millrace.examples.paragraphs import corpus


@dataclass(frozen=True)
class Layout:
    """How the same rows lie on disk."""

    files: int | None = None  # None: as the workload says
    copies: int = 1  # the rows, again and again under new keys: twice the rows are twice the work


@dataclass(frozen=True)
class Made:
    """A workload on disk."""

    workload: Workload
    rows: int
    input: Path
    model: Path


def make(workload: Workload, rows: int | None, cache: Path, layout: Layout | None = None) -> Made:
    """The workload's input, at most ``rows`` of it, and model below ``cache``; made if need be.

    With copies, the result has ``rows * copies`` rows.
    """
    laid = layout or Layout()
    asked = rows or workload.rows
    once = min(asked, workload.most_rows or asked)
    files = min(laid.files or workload.files, once)
    name = f"{workload.name}-{once}x{laid.copies}-{files}files"
    made = Made(
        workload,
        once * laid.copies,
        cache / "inputs" / name,
        cache / "models" / workload.name,
    )
    MODELS[workload.name](made.model)
    export(workload.name, made.model)
    if _rows_in(made.input) != made.rows:
        shutil.rmtree(made.input, ignore_errors=True)
        table = ROWS[workload.name](once)
        write_parts(made.input, _repeated(table, workload.key, laid.copies), files)
    return made


def _repeated(table: pa.Table, key: str, copies: int) -> pa.Table:
    """The rows ``copies`` times; keys are numbered through."""
    again = pa.concat_tables([table] * copies)
    keys = pa.array(range(again.num_rows), pa.int64())
    return again.set_column(again.schema.get_field_index(key), again.schema.field(key), keys)


def _rows_in(folder: Path) -> int:
    return sum(pq.ParquetFile(path).metadata.num_rows for path in parts(folder))


def _digits_model(folder: Path) -> object:
    images, labels = digits.load_images()
    _, holdout = digits.split(labels)
    return digits.train(folder, images, labels, holdout)


def _digits_rows(rows: int) -> pa.Table:
    """The 1,797 images again and again, each time under new keys; none is broken."""
    images, _ = digits.load_images()
    cells = pa.array([image.tobytes() for image in images], pa.binary())
    keys = pa.array(range(rows), pa.int64())
    taken = cells.take(pa.array([key % len(images) for key in range(rows)]))
    return pa.table({"image_id": keys, "pixels": taken})


ROWS: dict[str, Callable[[int], pa.Table]] = {
    "docs": corpus,
    "digits": _digits_rows,
    "payments": payments.rows,
}
MODELS: dict[str, Callable[[Path], object]] = {
    "docs": docs.write_model,
    "digits": _digits_model,
    "payments": payments.write_model,
}
assert set(ROWS) == set(MODELS) == set(WORKLOADS)
