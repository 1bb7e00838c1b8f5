"""``python -m millrace.examples.mnist --images IDX.gz --labels IDX.gz --out DIR``: a model for MNIST.

The files are yours to bring (LeCun, Cortes, Burges; CC BY-SA 3.0). The first 80 % of the images are
trained on, and the accuracy on the others is reported.
"""

from __future__ import annotations

import argparse
import gzip
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millrace.examples.digits import train
from millrace.examples.files import say
from millrace.examples.labels import write_labels
from millrace.schemas.errors import InputCorrupt, MillraceError, UsageError

EPOCHS = 3
TRAINED = 0.8
_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The file's array, gzipped or not. Raises UsageError or InputCorrupt, naming the file."""
    if not path.is_file():
        raise UsageError("no such file", got=str(path), next="check --images and --labels")
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, ValueError) as error:
            raise InputCorrupt(f"{path} is not whole", got=str(error)) from None
    if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):  # noqa: PLR2004 - the magic
        raise InputCorrupt(
            f"{path} is not idx", got=content[:4].hex(), allowed="000008 and dimensions"
        )
    start = 4 + 4 * content[3]
    shape = struct.unpack_from(f">{content[3]}I", content, 4) if len(content) >= start else ()
    if not shape or len(content) - start != math.prod(shape):
        raise InputCorrupt(f"{path} has another length than its header says", got=f"shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def make(images_path: Path, labels_path: Path, out: Path) -> float:
    """Make the model and the labels for ``conf/jobs/mnist.yaml``; the accuracy on held-out rows."""
    images, labels = read_idx(images_path)[:, None], read_idx(labels_path).astype(np.int64)
    if len(images) != len(labels):
        raise UsageError(
            "images and labels differ in number",
            got=f"{len(images)} images, {len(labels)} labels",
            next="give the two files that belong together",
        )
    holdout = np.arange(int(len(images) * TRAINED), len(images))
    measured = train(out / "model", images, labels, holdout, name="mnist-cnn", epochs=EPOCHS)
    write_labels(out / "lake" / "labels_mnist", "index", labels, holdout)
    say(f"held out: images {holdout[0]:,} to {holdout[-1]:,}; accuracy on them {measured:.4f}")
    return measured


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; an exit code."""
    parser = argparse.ArgumentParser(prog="python -m millrace.examples.mnist", description=__doc__)
    parser.add_argument(
        "--images", type=Path, required=True, help="idx or idx.gz, [n, 28, 28] bytes"
    )
    parser.add_argument("--labels", type=Path, required=True, help="idx or idx.gz, [n] bytes")
    parser.add_argument("--out", type=Path, required=True, help="folder for model/ and lake/")
    options = parser.parse_args(arguments)
    try:
        make(options.images, options.labels, options.out)
    except MillraceError as error:
        say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
