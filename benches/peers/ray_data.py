"""Contestant: Ray Data, a class that `map_batches` keeps in actors of one CPU each.

Variant ``default`` reads as Ray decides: a small input becomes few blocks, and few blocks occupy few
actors. Variant ``blocked`` asks for blocks by hand, so that both actors work. Runs in its own environment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data

from benches import marks
from benches.contestant import tell, told
from benches.loops import cells_of, column_of
from benches.predictors import LOADERS
from benches.workloads import WORKLOADS

BLOCKS_A_SLOT = 8


class Scorer:
    """A batch of rows in, the carried columns and the model's outputs out."""

    def __init__(self, name: str, model: str, left: str) -> None:
        self.workload = WORKLOADS[name]
        self.predict = marks.loaded(Path(left), partial(LOADERS[name], Path(model)))

    def __call__(self, batch: pa.Table) -> pa.Table:
        cells = [cells_of(batch.column(name).combine_chunks()) for name in self.workload.columns]
        outputs: dict[str, Any] = self.predict(*cells)
        kept = {name: batch.column(name) for name in self.workload.carried}
        made = {name: column_of(outputs[name]) for name in self.workload.outputs}
        return pa.table({**kept, **made})


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input."""
    task = told(__doc__, arguments)
    folder, began = task.marks, time.time()
    # One CPU more than actors, or reading would wait for them and they for it.
    ray.init(num_cpus=task.slots + 1, include_dashboard=False, log_to_driver=False)
    started = time.time()
    columns = list(dict.fromkeys([*task.task.carried, *task.task.columns]))
    rows = ray.data.read_parquet(str(task.input), columns=columns)
    if task.variant == "blocked":
        # Not `override_num_blocks`: the reader joins small files into one block all the same.
        rows = rows.repartition(BLOCKS_A_SLOT * task.slots)
    scored = rows.map_batches(
        Scorer,
        fn_constructor_args=(task.task.name, str(task.model), str(folder)),
        batch_size=task.task.batch_rows,
        batch_format="pyarrow",
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=task.slots),
    )
    scored.write_parquet(str(task.predictions))
    ended = time.time()
    ray.shutdown()
    told_by_marks = marks.summary(folder, started, task.slots, ended - started)
    tell(task.report, session_s=started - began, **told_by_marks)


if __name__ == "__main__":
    main()
