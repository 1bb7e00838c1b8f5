"""What a contestant left behind: its predictions, its meters, and Spark's own task times."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from numpy.typing import NDArray

from benches.workloads import Workload
from pipelines.task_times import EventLog

TOLERANCE = 1e-4  # of an embedding's or a probability's numbers, against the plain loop


@dataclass(frozen=True)
class Answers:
    """Predictions in the order of their keys."""

    keys: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    numbers: NDArray[np.float32]  # [rows, width]: probabilities or embeddings

    @property
    def checksum(self) -> str:
        """sha256 of keys and labels, or of keys and numbers rounded to 1/100; its first 16 digits.

        Where there are labels it is equal for equal answers. Numbers that lie at a rounding's edge may
        change it; what decides there is `difference`.
        """
        told = self.labels if self.labels is not None else np.round(self.numbers, 2) + 0.0
        return hashlib.sha256(self.keys.tobytes() + told.tobytes()).hexdigest()[:16]


def answers(folder: Path, workload: Workload) -> Answers:
    """The predictions in ``folder``: a Delta table, or Parquet files."""
    numbers = workload.outputs[-1]
    columns = [workload.key, *(["label"] if "label" in workload.outputs else []), numbers]
    if DeltaTable.is_deltatable(str(folder)):
        table = DeltaTable(str(folder)).to_pyarrow_table(columns=columns)
    else:
        table = pq.read_table(folder, columns=columns)
    return answers_of(table.sort_by(workload.key), workload.key, numbers)


def answers_of(table: pa.Table, key: str, numbers: str) -> Answers:
    """A table's columns as arrays."""
    flat = pc.list_flatten(table.column(numbers)).to_numpy().astype(np.float32)
    labels = "label" in table.column_names
    return Answers(
        table.column(key).to_numpy(),
        table.column("label").to_numpy().astype(np.int64) if labels else None,
        flat.reshape(table.num_rows, -1),
    )


def difference(mine: Answers, plain: Answers) -> dict[str, Any]:
    """How far two answers are apart, and whether that counts as equal."""
    if not np.array_equal(mine.keys, plain.keys) or mine.numbers.shape != plain.numbers.shape:
        return {"equal": False, "other_labels": None, "max_abs_difference": None}
    labelled = mine.labels is not None and plain.labels is not None
    other = int(np.count_nonzero(mine.labels != plain.labels)) if labelled else 0
    apart = float(np.abs(mine.numbers - plain.numbers).max(initial=0.0))
    equal = other == 0 and apart <= TOLERANCE
    return {"equal": equal, "other_labels": other, "max_abs_difference": apart}


def executor_s(logs: Path) -> dict[str, float]:
    """Spark's executor run time, in seconds, by what it was for; from the only event log there."""
    (path,) = [p for p in logs.iterdir() if p.name.startswith(("local-", "app-"))]
    spent: dict[str, float] = {}
    for task in EventLog(path, 0).tasks():
        spent[task.step or "other"] = spent.get(task.step or "other", 0.0) + task.run_ms / 1000
    return {step: round(seconds, 3) for step, seconds in sorted(spent.items())}


def laps(predictions: Path) -> dict[str, float]:
    """Millrace's meters, summed over all workers: seconds by what they went into."""
    meters = DeltaTable(str(predictions)).to_pyarrow_table(columns=["_meter"]).column("_meter")
    rows: Sequence[dict[str, Any]] = meters.drop_null().to_pylist()
    names = [name for name in rows[0] if name.endswith("_s")]
    return {name: round(sum(row[name] for row in rows), 3) for name in names}
