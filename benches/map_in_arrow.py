"""Contestant: `DataFrame.mapInArrow`, with a model loaded once a process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from benches import spark_stage
from benches.contestant import Told, told
from benches.loops import in_order


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input."""
    task = told(__doc__, arguments)
    spark_stage.run(task, partial(score, task))


def score(task: Told, _spark: SparkSession, rows: DataFrame) -> DataFrame:
    """``rows`` with the model's outputs."""
    carried = [rows.schema[name] for name in task.task.carried]
    made = StructType([*carried, *spark_stage.outputs_type(task)])
    read = dict.fromkeys([*task.task.carried, *task.task.columns])
    load, workload = spark_stage.loader(task), task.task

    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = load()
        for batch in batches:
            outputs = in_order(pa.Table.from_batches([batch]), model, workload)
            kept = {name: batch.column(name) for name in workload.carried}
            columns = {name: _listed(outputs[name]) for name in workload.outputs}
            yield pa.RecordBatch.from_pydict({**kept, **columns})

    return rows.select(*read).mapInArrow(predict, made)


def _listed(values: np.ndarray) -> pa.Array:
    """``[rows]`` or ``[rows, width]`` as the Arrow column that Spark has for it."""
    if values.ndim == 1:
        return pa.array(values)
    rows, width = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


if __name__ == "__main__":
    main()
