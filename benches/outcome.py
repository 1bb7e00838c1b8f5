"""What a contestant left behind: its predictions, its meters, and Spark's own task times."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from numpy.typing import NDArray

from benches.contestants import Promise
from benches.workloads import Workload
from millrace.pipelines.lake import live_rows
from millrace.pipelines.spark.event_log import EventLog
from millrace.schemas.model import Tolerance
from millrace.udfs.engine.metering import LAPS


@dataclass(frozen=True)
class Answers:
    """Predictions in the order of their keys."""

    keys: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    numbers: NDArray[np.float32]  # [rows, width]: probabilities, embeddings or values

    @property
    def checksum(self) -> str:
        """sha256 of keys and labels, or of keys and numbers rounded to 1/100; its first 16 digits.

        Where there are labels it is equal for equal answers. Numbers that lie at a rounding's edge may
        change it; what decides there is `difference`.
        """
        told = self.labels if self.labels is not None else np.round(self.numbers, 2) + 0.0
        return hashlib.sha256(self.keys.tobytes() + told.tobytes()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Keep them for a later call to be compared with."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.labels is None:
            np.savez(path, keys=self.keys, numbers=self.numbers)
        else:
            np.savez(path, keys=self.keys, numbers=self.numbers, labels=self.labels)

    @classmethod
    def load(cls, path: Path) -> Answers:
        """What `save` kept."""
        with np.load(path) as kept:
            labels = kept.get("labels")
            return cls(kept["keys"], labels, kept["numbers"])


def answers(folder: Path, workload: Workload) -> Answers:
    """The predictions in ``folder``: a Delta table, or Parquet files."""
    label = ["label"] if "label" in workload.outputs else []
    columns = [workload.key, *label, workload.compared]
    if DeltaTable.is_deltatable(str(folder)):
        table = live_rows.rows(DeltaTable(str(folder)), columns)
    else:
        table = pq.read_table(folder, columns=columns)
    return answers_of(table.sort_by(workload.key), workload.key, workload.compared)


def answers_of(table: pa.Table, key: str, numbers: str) -> Answers:
    """A table's columns as arrays."""
    column = table.column(numbers).combine_chunks()
    flat = column if pa.types.is_floating(column.type) else pc.list_flatten(column)
    labels = "label" in table.column_names
    return Answers(
        table.column(key).to_numpy(),
        table.column("label").to_numpy().astype(np.int64) if labels else None,
        flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(table.num_rows, -1),
    )


def difference(mine: Answers, plain: Answers, promise: Promise) -> dict[str, Any]:
    """How far all rows are from the plain loop's, and whether that keeps the promise (``equal``).

    A difference is relative to the plain number where that is above 1. ``min_cosine`` is of rows;
    ``max_relative_error`` is relative to the plain numbers' standard deviation.
    """
    if not np.array_equal(mine.keys, plain.keys) or mine.numbers.shape != plain.numbers.shape:
        return {"equal": False, "other_rows": True}
    apart = np.abs(mine.numbers - plain.numbers)
    relative = float((apart / np.maximum(1, np.abs(plain.numbers))).max(initial=0.0))
    equal_labels = None
    if mine.labels is not None and plain.labels is not None:
        equal_labels = float((mine.labels == plain.labels).mean())
    found = {
        "max_abs_difference": relative,
        "equal_labels": equal_labels,
        "min_cosine": _min_cosine(mine.numbers, plain.numbers),
        "max_relative_error": float(apart.max(initial=0.0) / max(plain.numbers.std(), 1e-12)),
    }
    return {"equal": _kept(found, promise), **found}


def _kept(found: Mapping[str, Any], promise: Promise) -> bool:
    """Whether the differences are within the promise; NaN is within none."""
    labels, cosine = found["equal_labels"], found["min_cosine"]
    if promise != "stated":
        return found["max_abs_difference"] <= float(promise) and labels in (None, 1.0)
    stated = Tolerance()
    if labels is not None:
        return bool(labels >= stated.min_equal_labels)
    if cosine is not None:
        return bool(cosine >= stated.min_cosine)
    return bool(found["max_relative_error"] <= stated.max_relative_error)


def _min_cosine(mine: NDArray[np.float32], plain: NDArray[np.float32]) -> float | None:
    """The smallest cosine of two rows; None where a row is a single number."""
    if plain.shape[1] == 1:
        return None
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(plain, axis=1)
    cosines = np.einsum("rw,rw->r", mine, plain) / np.maximum(lengths, 1e-12)
    return float(cosines.min(initial=1.0))


def executor_s(logs: Path) -> dict[str, float]:
    """Spark's executor run time, in seconds, by what it was for; from the only event log there."""
    (path,) = [p for p in logs.iterdir() if p.name.startswith(("local-", "app-", "embedded-"))]
    spent: dict[str, float] = {}
    for task in EventLog(path).tasks():
        spent[task.step or "other"] = spent.get(task.step or "other", 0.0) + task.run_ms / 1000
    return {step: round(seconds, 3) for step, seconds in sorted(spent.items())}


def meters(predictions: Path) -> list[dict[str, Any]]:
    """Millrace's meter rows, in the order in which they began."""
    column = live_rows.rows(DeltaTable(str(predictions)), ["_meter"]).column("_meter")
    rows: list[dict[str, Any]] = column.drop_null().to_pylist()
    return sorted(rows, key=lambda row: row["started_at"])


def runtimes(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the workers computed with, such as ``openvino bf16``; all there were, if several."""
    return ", ".join(sorted({f"{row['backend']} {row['precision']}" for row in rows}))


def laps(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Meters summed over all workers: seconds by what they went into."""
    names = ("wall_s", "cpu_s", *LAPS)
    return {name: round(sum(row[name] for row in rows), 3) for name in names}


def steady_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds from the first model that was ready to the last batch computed, of all workers."""
    began = [(row, float(row["started_at"].timestamp())) for row in rows]
    ready = min(at + row["startup_s"] + row["load_s"] for row, at in began)
    return float(max(at + row["wall_s"] for row, at in began) - ready)


def first_prediction_at(rows: Sequence[Mapping[str, Any]]) -> float:
    """When the first model batch of any worker was computed, in seconds since 1970.

    A meter row covers a window of several model batches: of its computing, the first batch's share.
    """
    before = ("startup_s", "load_s", "wait_s", "decode_s")

    def ended(row: Mapping[str, Any]) -> float:
        waited = sum(float(row[name]) for name in before)
        first = float(row["compute_s"]) / max(int(row["model_batches"]), 1)
        return float(row["started_at"].timestamp()) + waited + first

    return min(map(ended, rows))
