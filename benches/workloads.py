"""What is scored: real inputs and real models, made once and kept under ``build/bench``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from examples import digits, docs
from examples.files import write_parts
from examples.paragraphs import corpus


@dataclass(frozen=True)
class Workload:
    """One input, one model, and what of a prediction has to be equal whoever made it."""

    name: str
    about: str
    rows: int  # unless asked otherwise
    most_rows: int | None  # what there is; None where it can be repeated
    files: int
    key: str
    column: str  # what the model reads
    keep: tuple[str, ...]  # what everybody carries over to the predictions
    outputs: tuple[str, ...]
    job: str
    make_rows: Callable[[int], pa.Table]
    make_model: Callable[[Path], object]


@dataclass(frozen=True)
class Made:
    """A workload on disk."""

    workload: Workload
    rows: int
    input: Path
    model: Path


def make(workload: Workload, rows: int | None, cache: Path) -> Made:
    """The workload's input, at most ``rows`` of it, and model below ``cache``; made if need be."""
    asked = rows or workload.rows
    count = min(asked, workload.most_rows or asked)
    made = Made(
        workload,
        count,
        cache / "inputs" / f"{workload.name}-{count}",
        cache / "models" / workload.name,
    )
    workload.make_model(made.model)
    if _rows_in(made.input) != count:
        shutil.rmtree(made.input, ignore_errors=True)
        write_parts(made.input, workload.make_rows(count), workload.files)
    return made


def parts(folder: Path) -> list[Path]:
    """A folder's Parquet files, by name."""
    return sorted(folder.glob("*.parquet"))


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


WORKLOADS = {
    "digits": Workload(
        name="digits",
        about="28x28 images, a CNN of 0.2 million weights: little arithmetic a row",
        rows=200_000,
        most_rows=None,
        files=8,
        key="image_id",
        column="pixels",
        keep=(),
        outputs=("label", "score", "probabilities"),
        job="conf/jobs/digits.yaml",
        make_rows=_digits_rows,
        make_model=_digits_model,
    ),
    "docs": Workload(
        name="docs",
        about=(
            "paragraphs of 5 to 400 words, MiniLM with 22.7 million weights: much arithmetic a row. "
            "In the order they come, batches of 64 compute about 4.1 tokens for each real one; "
            "Millrace puts texts of like length together, 32 at a time, and computes about 1.1"
        ),
        rows=docs.ROWS,
        most_rows=docs.ROWS,
        files=docs.FILES,
        key="paragraph_id",
        column="text",
        keep=("source", "text"),
        outputs=("embedding",),
        job="conf/jobs/docs.yaml",
        make_rows=corpus,
        make_model=docs.write_model,
    ),
}
