"""Re-cutting: Spark's Arrow batches into windows, and windows into the batches that a model computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.sizing import Sizer

GROWTH = 8  # few short windows: in them, texts have few others of like length
FIRST_ROWS = 64  # of a task's first window: what is scored first is not held back for long


def windows(
    batches: Iterable[pa.RecordBatch], rows: int, max_bytes: int, *, first: int = FIRST_ROWS
) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order: at most ``rows`` at a time, and at most ``first`` in the first.

    Small batches are joined, large ones cut. Each window may hold `GROWTH` times the rows of the last:
    the first results leave soon, and later ones have more rows to order by length. A window closes
    before it would exceed ``max_bytes`` by more than one incoming batch.
    """
    held: list[pa.RecordBatch] = []
    count = size = 0
    most = min(rows, first)
    for batch in batches:
        piece = batch
        while count + piece.num_rows >= most:
            head = most - count
            yield _joined([*held, piece.slice(0, head)])
            piece, held, count, size = piece.slice(head), [], 0, 0
            most = min(rows, GROWTH * most)
        if piece.num_rows:
            held.append(piece)
            count, size = count + piece.num_rows, size + piece.nbytes
        if size >= max_bytes:
            yield _joined(held)
            held, count, size = [], 0, 0
    if held:
        yield _joined(held)


def cut(
    count: int, sizer: Sizer, lengths: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Positions 0..count in model batches; by length, longest first, where lengths differ.

    Alike lengths in a batch waste no padding, and the longest first shows at once what memory it
    needs. The sizer is asked before each batch, with the longest length in it.
    """
    order = np.arange(count) if lengths is None else np.argsort(-lengths, kind="stable")
    start = 0
    while start < count:
        width = 1 if lengths is None else int(lengths[order[start]])
        stop = start + sizer.rows_of(width)
        yield order[start:stop]
        start = stop


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
