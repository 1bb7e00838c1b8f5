"""Contestants without Spark, checks or tables: a loop in as many processes as there are cores.

Each process takes every n-th file and writes a Parquet file for each file it read. Variant ``plain``
computes rows in the order they come; what the others do is in `benches.tuned`.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benches import marks, tuned
from benches.contestant import Told, tell, told
from benches.predictors import LOADERS, Outputs, Predict
from benches.tuned import Tuned
from benches.workloads import Workload, parts


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input; the report has the seconds from process start to last write."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are started below
    task = told(__doc__, arguments)
    task.predictions.mkdir(parents=True)
    files = parts(task.input)
    shares = [share for slot in range(task.slots) if (share := files[slot :: task.slots])]
    folder, started = task.marks, time.time()
    with multiprocessing.get_context("spawn").Pool(len(shares)) as pool:
        ended = pool.starmap(_worker, [(task, share, folder) for share in shares], 1)
    tell(task.report, **marks.summary(folder, started, len(shares), max(ended) - started))


def _worker(task: Told, files: Sequence[Path], folder: Path) -> float:
    """When the last file was written, in seconds since 1970."""
    if task.variant == "plain":
        predict = marks.loaded(folder, partial(LOADERS[task.task.name], task.model))
        for path in files:
            rows = pq.read_table(path)
            _write(task, path.name, rows, in_order(rows, predict, task.task))
        return time.time()
    tables = [pq.read_table(path) for path in files]
    score = _tuned(tuned.SCORERS[task.task.name, task.variant], task, folder)
    outputs = score(pa.concat_tables(tables))
    start = 0
    for path, rows in zip(files, tables, strict=True):
        mine = {name: values[start : start + rows.num_rows] for name, values in outputs.items()}
        _write(task, path.name, rows, mine)
        start += rows.num_rows
    return time.time()


def in_order(rows: pa.Table, predict: Predict, workload: Workload) -> Outputs:
    """The outputs of all rows, a batch at a time as they come."""
    found = []
    for batch in rows.select(workload.columns).to_batches(max_chunksize=workload.batch_rows):
        cells = [cells_of(column) for column in batch.columns]
        found.append(predict(*cells))
    return {name: np.concatenate([one[name] for one in found]) for name in workload.outputs}


def cells_of(column: pa.Array) -> Sequence[object]:
    """Numbers as an array, anything else as a list of Python values."""
    kind = column.type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    return column.to_numpy() if is_number else column.to_pylist()  # type: ignore[no-any-return]


def _tuned(scorer: Tuned, task: Told, folder: Path) -> Callable[[pa.Table], Outputs]:
    """The scorer with its model loaded; its first batch leaves a mark."""
    compute = marks.loaded(folder, partial(scorer.load, task.model))
    return partial(scorer.score, task.model, compute)


def _write(task: Told, name: str, rows: pa.Table, outputs: Outputs) -> None:
    made = {output: column_of(outputs[output]) for output in task.task.outputs}
    kept = {column: rows.column(column) for column in task.task.carried}
    pq.write_table(pa.table({**kept, **made}), task.predictions / name)


def column_of(values: np.ndarray) -> pa.Array:
    """``[rows]`` or ``[rows, width]`` as an Arrow column."""
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


if __name__ == "__main__":
    main()
