"""The first ledger: committed meters and Spark's task times, as priced rows that add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines import sink
from pipelines.rate import Rate
from pipelines.task_times import TaskTime
from schemas.ids import digest
from schemas.prices import PLACES
from schemas.tables import LEDGER

# Which lap of the meter is which kind of cost; the rest of a task's time is `unattributed`.
KINDS = {
    "startup": ("startup_s",),
    "model_load": ("load_s",),
    "read": ("wait_s",),
    "useful": ("decode_s", "compute_s"),
    "write": ("convert_s", "emit_s"),
}
# What the driver asks Spark for while it accounts is not among them: a ledger cannot hold its own writing.
STEP_KINDS = {
    "calibrate": "calibration",
    "warm": "startup",
    "validate": "validation",
    "infer": "write",
    "write": "write",
}
_TASK = ["unit", "application", "stage_id", "partition", "attempt_number", "task_id", "executor"]
_SUMMED = (
    "rows",
    "failed",
    "tokens",
    "bytes",
    "wall_s",
    "cpu_s",
    *(lap for laps in KINDS.values() for lap in laps),
)


@dataclass(frozen=True)
class Counted:
    """What a run's committed predictions say of themselves."""

    scored: int
    failed: int
    meters: tuple[dict[str, Any], ...]  # one a task attempt, summed over its batches


@dataclass(frozen=True)
class UnitCount:
    """Rows of a committed unit, and the least cost of a call that ran out of memory, if one did."""

    scored: int
    failed: int
    too_large: int | None


@dataclass(frozen=True)
class Books:
    """A run's ledger rows and what they come to."""

    rows: tuple[dict[str, Any], ...]
    cost: Decimal | None
    model_load_s: float
    coverage: float | None  # metered seconds / Spark's executor run time, inference stage
    adds_up: bool | None  # whether metered tasks' rows sum to Spark's time; None where unknown


def counted(lake: Path, table: str, run_id: str) -> Counted:
    """What the run has committed to its predictions table, read a batch at a time, without Spark."""
    scored = failed = 0
    found = []
    for batch in _committed(lake, table, pc.field("run_id") == run_id, "unit", "_meter"):
        scored += batch.column("error").null_count
        failed += batch.num_rows - batch.column("error").null_count
        meters = pa.RecordBatch.from_struct_array(batch.column("_meter"))
        metered = meters.append_column("unit", batch.column("unit"))
        found.append(metered.filter(batch.column("_meter").is_valid()))
    return Counted(scored, failed, _by_task(found))


def tasks_of(lake: Path, run_id: str) -> set[tuple[str, int]]:
    """Application and id of the run's tasks that are in the ledger: no task is charged twice."""
    mine = [("x_RunId", "=", run_id)]
    rows = sink.values(lake, LEDGER, mine, ("x_AppId", "x_TaskId"))
    return {(row["x_AppId"], row["x_TaskId"]) for row in rows}


def unit_counted(lake: Path, table: str, run_id: str, unit: int) -> UnitCount:
    """What a committed unit says of itself."""
    mine = (pc.field("run_id") == run_id) & (pc.field("unit") == unit)
    scored, failed, too_large = 0, 0, []
    for batch in _committed(lake, table, mine, "_meter"):
        scored += batch.column("error").null_count
        failed += batch.num_rows - batch.column("error").null_count
        too_large.append(pc.min(pc.struct_field(batch.column("_meter"), "too_large")).as_py())
    return UnitCount(scored, failed, min(filter(None, too_large), default=None))


def _committed(
    lake: Path, table: str, mine: pc.Expression, *columns: str
) -> Iterator[pa.RecordBatch]:
    """Batches of the rows that are ``mine``: the column ``error``, and those asked for."""
    rows = DeltaTable(str(lake / table)).to_pyarrow_dataset()
    yield from rows.to_batches(columns=["error", *columns], filter=mine)


def _by_task(meters: Sequence[pa.RecordBatch]) -> tuple[dict[str, Any], ...]:
    """The meters summed by task attempt; as many as there were tasks."""
    if not any(map(len, meters)):
        return ()
    table = pa.Table.from_batches(meters)
    wanted = [("started_at", "min"), *((name, "sum") for name in _SUMMED)]
    summed = table.group_by(_TASK).aggregate(wanted)
    return tuple(summed.rename_columns([*_TASK, *(name for name, _ in wanted)]).to_pylist())


def books(
    metered: Sequence[dict[str, Any]],
    tasks: Sequence[TaskTime],
    rate: Rate | None,
    run_id: str,
    job: str,
) -> Books:
    """Ledger rows for every task of the run, of all its attempts.

    Without task times the meters alone are priced, and each row says so in x_Quality.
    """
    times = {(task.application, task.task_id): task for task in tasks}
    by_task = {(meter["application"], meter["task_id"]): meter for meter in metered}
    spent = [row for at, meter in by_task.items() for row in _of_meter(meter, times.get(at))]
    committed: dict[int | None, set[str]] = {}  # by unit, the applications that did
    for application, unit in {(meter["application"], meter["unit"]) for meter in metered}:
        committed.setdefault(unit, set()).add(application)
    spent += [
        _of_task(task, is_kept=task.application in committed.get(task.unit, {task.application}))
        for at, task in times.items()
        if at not in by_task and task.step in STEP_KINDS
    ]
    about = {"x_RunId": run_id, "x_Job": job}
    rows = tuple(
        _priced({**about, **row}, meter, rate) for row in spent for meter in ("Core", "Memory")
    )
    is_complete = bool(by_task) and by_task.keys() <= times.keys()
    run_ms = sum(times[at].run_ms for at in by_task if at in times)
    wall_s = sum(meter["wall_s"] for meter in metered)
    in_rows_ms = sum(
        row["x_SlotMs"] for row in spent if (row["x_AppId"], row["x_TaskId"]) in by_task
    )
    return Books(
        rows=rows,
        cost=None if rate is None else sum((row["EffectiveCost"] for row in rows), Decimal(0)),
        model_load_s=sum((meter["load_s"] for meter in metered), 0.0),
        coverage=round(1000 * wall_s / run_ms, 4) if is_complete and run_ms else None,
        adds_up=in_rows_ms == run_ms if is_complete else None,
    )


def _of_meter(meter: dict[str, Any], task: TaskTime | None) -> Iterator[dict[str, Any]]:
    """A metered task's time by kind; with Spark's own time, the kinds sum to exactly that."""
    ms = {kind: round(1000 * sum(meter[lap] for lap in laps)) for kind, laps in KINDS.items()}
    held_ms = task.run_ms if task else round(1000 * meter["wall_s"])
    ms["unattributed"] = max(0, held_ms - sum(ms.values()))
    began = meter["started_at"].replace(tzinfo=UTC)
    common = {
        "x_Unit": meter["unit"],
        "x_AppId": meter["application"],
        "x_StageId": meter["stage_id"],
        "x_StageAttempt": task.stage_attempt if task else None,
        "x_PartitionId": meter["partition"],
        "x_TaskAttempt": meter["attempt_number"],
        "x_TaskId": meter["task_id"],
        "x_ExecutorId": task.executor if task else meter["executor"],
        "x_Outcome": task.outcome if task else None,
        "x_Committed": True,
        "ChargePeriodStart": _utc(task.launched_ms) if task else began,
        "ChargePeriodEnd": _utc(task.finished_ms) if task else None,
        "x_Quality": "measured" if task else "no task times from Spark",
    }
    for kind, spent_ms in ms.items():
        work = _work(meter) if kind == "useful" else {}
        yield {**common, "x_CostKind": kind, "x_SlotMs": spent_ms, **work}


def _work(meter: dict[str, Any]) -> dict[str, Any]:
    return {
        "x_PyCpuNs": round(meter["cpu_s"] * 1e9),
        "x_RowsIn": meter["rows"],
        "x_RowsOut": meter["rows"] - meter["failed"],
        "x_Tokens": meter["tokens"],
        "x_Bytes": meter["bytes"],
    }


def _of_task(task: TaskTime, *, is_kept: bool) -> dict[str, Any]:
    """A task without a meter: another step's, one without rows, or one that was lost, or its unit."""
    lost = {"TaskKilled": "killed"}.get(task.outcome, "failed")
    succeeded = task.outcome == "Success" and is_kept
    return {
        "x_Unit": task.unit,
        "x_AppId": task.application,
        "x_StageId": task.stage_id,
        "x_StageAttempt": task.stage_attempt,
        "x_PartitionId": task.partition,
        "x_TaskAttempt": task.attempt,
        "x_TaskId": task.task_id,
        "x_ExecutorId": task.executor,
        "x_CostKind": STEP_KINDS[task.step] if succeeded else lost,
        "x_Outcome": task.outcome,
        "x_Committed": succeeded,
        "ChargePeriodStart": _utc(task.launched_ms),
        "ChargePeriodEnd": _utc(task.finished_ms),
        "x_SlotMs": task.run_ms,
        "x_Quality": "measured" if succeeded else "no meter: the attempt did not commit",
    }


def _priced(row: dict[str, Any], meter: str, rate: Rate | None) -> dict[str, Any]:
    """The row for one meter: cores, or the memory that is held with them. One core a task."""
    held_s = Decimal(row["x_SlotMs"]) / 1000
    about = [
        row.get(k) for k in ("x_AppId", "x_StageId", "x_StageAttempt", "x_TaskId", "x_CostKind")
    ]
    unit = {
        "x_RecordId": digest([row["x_RunId"], *about, meter]),
        "x_RecordType": "ORIGINAL",
        "SkuMeter": meter,
        "ConsumedUnit": "Core-Seconds" if meter == "Core" else "GB-Seconds",
        "x_CostBasis": "estimated",
    }
    if rate is None:
        return {**row, **unit, "ConsumedQuantity": held_s if meter == "Core" else None}
    machine = rate.instance
    quantity = held_s if meter == "Core" else held_s * machine.gb_per_core
    price = machine.core_second if meter == "Core" else machine.gb_second
    return {
        **row,
        **unit,
        "SkuId": machine.sku,
        "SkuPriceId": f"{machine.sku}/{machine.region}/{meter}",
        "ConsumedQuantity": quantity.quantize(PLACES),
        "ListUnitPrice": price,
        "EffectiveCost": (quantity * price).quantize(PLACES),
        "BillingCurrency": rate.currency,
        "PricingCategory": machine.category,
        "x_PriceBookVersion": rate.book_version,
    }


def _utc(since_1970_ms: int) -> datetime:
    return datetime.fromtimestamp(since_1970_ms / 1000, UTC)
