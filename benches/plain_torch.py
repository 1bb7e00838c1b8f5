"""Contestant 1: a torch loop in as many processes as there are cores. No Spark, no checks, no tables.

Each process takes every n-th file, 64 rows at a time in the order they come, and writes a Parquet
file for each file it read.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benches.contestant import Told, tell, told
from benches.predictors import LOADERS, Outputs, Predict
from benches.workloads import WORKLOADS, parts

PREDICTIONS = "predictions"


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input; the report has the seconds from process start to last write."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are started below
    task = told(__doc__, arguments)
    (task.output / PREDICTIONS).mkdir(parents=True)
    files = parts(task.input)
    shares = [files[slot :: task.slots] for slot in range(task.slots)]
    started = time.time()
    with multiprocessing.get_context("spawn").Pool(len(shares)) as pool:
        spans = pool.starmap(_worker, [(task, share) for share in shares if share], 1)
    tell(
        task.report,
        stage_s=max(span["last_write"] for span in spans) - started,
        steady_s=max(span["last_write"] for span in spans) - min(span["ready"] for span in spans),
        setup_s=sum(span["ready"] - started for span in spans),
        load_s=sum(span["load_s"] for span in spans),
    )


def _worker(task: Told, files: Sequence[Path]) -> dict[str, float]:
    """When, in seconds since 1970, the model was ready and the last file written."""
    began = time.time()
    predict = LOADERS[task.workload](task.model)
    ready = time.time()
    for path in files:
        scored = _scored(pq.read_table(path), predict, task)
        pq.write_table(scored, task.output / PREDICTIONS / path.name)
    return {"ready": ready, "load_s": ready - began, "last_write": time.time()}


def _scored(rows: pa.Table, predict: Predict, task: Told) -> pa.Table:
    workload = WORKLOADS[task.workload]
    batches = rows.to_batches(max_chunksize=task.batch)
    outputs = [predict(batch.column(workload.column).to_pylist()) for batch in batches]
    columns: dict[str, Any] = {name: _column(outputs, name) for name in workload.outputs}
    kept = {name: rows.column(name) for name in (workload.key, *workload.keep)}
    return pa.table({**kept, **columns})


def _column(outputs: Sequence[Outputs], name: str) -> pa.Array:
    values = np.concatenate([output[name] for output in outputs])
    if values.ndim == 1:
        return pa.array(values)
    rows, width = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


if __name__ == "__main__":
    main()
