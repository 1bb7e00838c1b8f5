"""``python -m millrace.examples.digits --out DIR``: real handwritten digits, a trained model, some bad rows.

The images are the 1,797 that scikit-learn carries (Alpaydin and Kaynak, UCI; CC BY 4.0): nothing
is downloaded. Five rows are broken on purpose, to be caught by the contract.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from millrace.examples.files import say, write_parts
from millrace.examples.labels import write_labels
from millrace.examples.recipes import recipe_of, reusable
from millrace.schemas.errors import MillraceError, UsageError

SEED = 7
EPOCHS = 10
HOLDOUT = 0.2  # share of the images that training never sees
FILES = 4
SIDE = 28
TRUNCATED_BYTES = 300

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class BrokenRow:
    """One row that was broken on purpose."""

    row: int  # position in the input, which was its image_id as well
    what: str
    caught_by: str  # the rule of conf/jobs/digits.yaml that refuses it


def load_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images as uint8 ``[1797, 1, 28, 28]``, 255 is full ink, and their labels ``[1797]``.

    Raises UsageError where scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError(
            "the digits come with scikit-learn, which is not installed",
            next="uv pip install 'millrace[demo]'",
        ) from None
    digits = load_digits()  # [1797, 8, 8] float64, 0 to 16
    small = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return np.stack([_enlarged(image) for image in small])[:, None], digits.target.astype(np.int64)


def split(labels: NDArray[np.int64], *, seed: int = SEED) -> tuple[Indices, Indices]:
    """Sorted positions to train on and to hold out; each digit is held out to the same share."""
    random = np.random.default_rng(seed)
    chosen_rows: list[int] = []
    for digit in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == digit))
        chosen_rows += rows[: round(len(rows) * HOLDOUT)].tolist()
    holdout = np.sort(np.array(chosen_rows, np.int64))
    return np.setdiff1d(np.arange(len(labels)), holdout), holdout


def break_some(
    images: NDArray[np.uint8], train: Indices, *, seed: int = SEED
) -> tuple[pa.Table, list[BrokenRow]]:
    """The input, ``image_id bigint, pixels binary``, with five bad rows, and which they are.

    Only rows that were trained on are broken: each held-out row stays whole, so that the accuracy
    on them can be measured. Number of rows and order stay as they are.
    """
    ids: list[int | None] = list(range(len(images)))
    pixels = [image.tobytes() for image in images]
    chosen = np.random.default_rng(seed).choice(train, 5, replace=False)
    cut, nameless, copy, original, blank = (int(row) for row in chosen)
    pixels[cut] = pixels[cut][:TRUNCATED_BYTES]
    ids[nameless] = None
    ids[copy] = original
    pixels[blank] = bytes(len(pixels[blank]))
    table = pa.table(
        {"image_id": pa.array(ids, pa.int64()), "pixels": pa.array(pixels, pa.binary())}
    )
    return table, [
        BrokenRow(
            cut, f"its image is cut after {TRUNCATED_BYTES} of {SIDE * SIDE} bytes", "whole_image"
        ),
        BrokenRow(nameless, "its image_id is null", "image_id.not_null"),
        BrokenRow(
            copy, f"its image_id is {original}, which row {original} has too", "image_id.unique"
        ),
        BrokenRow(original, f"row {copy} has its image_id", "image_id.unique"),
        BrokenRow(blank, "its image is blank", "has_ink"),
    ]


def write_input(folder: Path, table: pa.Table) -> list[Path]:
    """The input as four Parquet files; those that are there already and equal are not touched."""
    return write_parts(folder, table, FILES)


def train(
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    holdout: Indices,
    *,
    name: str = "digits-cnn",
    epochs: int = EPOCHS,
) -> float:
    """Train on all but the held-out rows, if need be; the model's accuracy on the held-out ones.

    ``folder`` gets the model. One that is there, whole and made the same way, is not trained again.
    """
    rows = np.setdiff1d(np.arange(len(labels)), holdout)
    recipe = recipe_of(images[rows], labels[rows], epochs=epochs, seed=SEED)
    if found := reusable(folder, recipe):
        say(f"model: {folder} is up to date and is reused")
        return found["holdout_accuracy"]
    from millrace.examples.training import accuracy, epoch_reporter, train_cnn, write_cnn_model

    started = time.perf_counter()
    with epoch_reporter(epochs) as progress:
        network = train_cnn(images[rows], labels[rows], epochs=epochs, seed=SEED, progress=progress)
    say(f"model: trained on {len(rows):,} images in {time.perf_counter() - started:.1f} s")
    measured = accuracy(network, images[holdout], labels[holdout])
    metrics = {"holdout_accuracy": measured, "holdout_rows": float(len(holdout))}
    write_cnn_model(folder, network, name, metrics, recipe)
    return measured


def make(out: Path) -> float:
    """Make what ``conf/jobs/digits.yaml`` needs, in ``out``; the accuracy on held-out rows."""
    images, labels = load_images()
    rows, holdout = split(labels)
    measured = train(out / "model", images, labels, holdout)
    table, broken = break_some(images, rows)
    files = write_input(out / "input", table)
    write_labels(out / "lake" / "labels_digits", "image_id", labels, holdout)
    say(f"input: {table.num_rows:,} rows in {len(files)} files; {len(broken)} broken on purpose:")
    for one in broken:
        say(f"  row {one.row}: {one.what} (rule {one.caught_by})")
    say(f"held out: {len(holdout)} rows, none of them broken; accuracy on them {measured:.4f}")
    return measured


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; an exit code."""
    parser = argparse.ArgumentParser(prog="python -m millrace.examples.digits", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for model/, input/ and lake/"
    )
    try:
        make(parser.parse_args(arguments).out)
    except MillraceError as error:
        say(str(error))
        return error.exit_code
    return 0


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``[8, 8]`` to ``[28, 28]``, bilinear."""
    picture = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
