"""Cuts Spark's Arrow batches into windows, and windows into model batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.udfs.engine.batch_sizing import Sizer

GROWTH = 8  # few short windows: in them, texts have few others of like length
FIRST_ROWS = 64  # of a task's first window: its results leave soon


def windows(
    batches: Iterable[pa.RecordBatch], rows: int, max_bytes: int, *, first: int = FIRST_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in order: at most ``rows`` at a time, and at most ``first`` in the first window.

    Small batches are joined, large ones cut. Each window may have `GROWTH` times the rows of the last: the
    first results leave soon, and later windows have more rows to sort by length. A window closes before it
    exceeds ``max_bytes`` by more than one incoming batch.
    """
    pending: list[pa.RecordBatch] = []
    count = size = 0
    most = min(rows, first)
    for batch in batches:
        piece = batch
        while count + piece.num_rows >= most:
            head = most - count
            yield _joined([*pending, piece.slice(0, head)])
            piece, pending, count, size = piece.slice(head), [], 0, 0
            most = min(rows, GROWTH * most)
        if piece.num_rows:
            pending.append(piece)
            count, size = count + piece.num_rows, size + piece.nbytes
        if size >= max_bytes:
            yield _joined(pending)
            pending, count, size = [], 0, 0
    if pending:
        yield _joined(pending)


def cut(
    count: int, sizer: Sizer, lengths: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield the positions 0 to ``count`` in model batches; by length, longest first, if lengths differ.

    Similar lengths in a batch need little padding, and the longest batch, which needs most memory, comes
    first. The sizer gives the rows of each batch by its longest length.
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
