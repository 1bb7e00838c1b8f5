"""Contestant: Daft, a class UDF in as many processes of its own as there are slots.

Runs in its own environment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import daft
from daft import DataType

from benches import marks
from benches.contestant import Told, tell, told
from benches.loops import cells_of, column_of
from benches.predictors import LOADERS
from benches.workloads import WORKLOADS

_TYPES = {
    "label": DataType.int32(),
    "score": DataType.float32(),
    "probabilities": DataType.fixed_size_list(DataType.float32(), 10),
    "embedding": DataType.fixed_size_list(DataType.float32(), 384),
    "value": DataType.float32(),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input."""
    task = told(__doc__, arguments)
    folder, started = task.marks, time.time()
    daft.set_runner_native()
    scorer = _scorer(task)(task.task.name, str(task.model), str(folder))
    rows = daft.read_parquet(str(task.input))
    scored = rows.with_column("scored", scorer.predict(*(rows[c] for c in task.task.columns)))
    outputs = [daft.col("scored")[name].alias(name) for name in task.task.outputs]
    scored.select(*task.task.carried, *outputs).write_parquet(str(task.predictions))
    ended = time.time()
    tell(task.report, **marks.summary(folder, started, task.slots, ended - started))


def _scorer(task: Told) -> Any:
    """The class UDF for this workload: what it returns and how many rows it gets are part of its type."""
    returned = DataType.struct({name: _TYPES[name] for name in task.task.outputs})

    @daft.cls(max_concurrency=task.slots, use_process=True)
    class Scorer:
        def __init__(self, name: str, model: str, left: str) -> None:
            self.workload = WORKLOADS[name]
            self.model = marks.loaded(Path(left), partial(LOADERS[name], Path(model)))

        @daft.method.batch(return_dtype=returned, batch_size=task.task.batch_rows)
        def predict(self, *columns: daft.Series) -> Any:
            import pyarrow as pa

            outputs = self.model(*(cells_of(column.to_arrow()) for column in columns))
            made = [column_of(outputs[name]) for name in self.workload.outputs]
            return pa.StructArray.from_arrays(made, list(self.workload.outputs))

    return Scorer


if __name__ == "__main__":
    main()
