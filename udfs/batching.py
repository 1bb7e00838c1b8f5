"""Re-cutting: Spark's Arrow batches into windows, and windows into the batches that a model computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def windows(
    batches: Iterable[pa.RecordBatch], rows: int, max_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, ``rows`` at a time, less only in the last and where bytes say so.

    Small batches are joined, large ones cut. A window closes before it would exceed ``max_bytes``
    by more than one incoming batch.
    """
    held: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        piece = batch
        while count + piece.num_rows >= rows:
            head = rows - count
            yield _joined([*held, piece.slice(0, head)])
            piece, held, count, size = piece.slice(head), [], 0, 0
        if piece.num_rows:
            held.append(piece)
            count, size = count + piece.num_rows, size + piece.nbytes
        if size >= max_bytes:
            yield _joined(held)
            held, count, size = [], 0, 0
    if held:
        yield _joined(held)


def cut(
    count: int, rows: int, lengths: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Positions 0..count in model batches of ``rows``; by length, longest first, where lengths differ.

    Alike lengths in a batch waste no padding, and the longest first shows at once what memory it needs.
    """
    order = np.arange(count) if lengths is None else np.argsort(-lengths, kind="stable")
    for start in range(0, count, rows):
        yield order[start : start + rows]


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
