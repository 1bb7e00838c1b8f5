"""The ledger: what a run's committed rows say they took, and Spark's account of it, as priced rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder

from millrace.pipelines.accounting.attempt_usage import Closing
from millrace.pipelines.accounting.charges import KINDS, Row, charged, metered_alone
from millrace.pipelines.accounting.energy import shared
from millrace.pipelines.accounting.pricing import priced
from millrace.pipelines.accounting.rates import Rate
from millrace.pipelines.lake import delta, live_rows
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.table_features import check_readable
from millrace.pipelines.query.views import literal
from millrace.schemas.tables import LEDGER, TRUNCATED

SAVED = "saved"  # the kind of what was not spent: in no sum
_TASK = ["unit", "application", "stage_id", "partition", "attempt_number", "task_id", "executor"]
_SUMMED = (
    "rows",
    "failed",
    "tokens",
    "bytes",
    "wall_s",
    "cpu_s",
    *(lap for laps in KINDS.values() for lap in laps),
    "cpu_joules",
    "gpu_joules",
    "gpu_busy_s",
)
_FIRSTS = (
    ("started_at", "min"), ("peak_rss_bytes", "max"), ("gpu_memory_bytes", "max"), ("device", "max"),
)  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """What a run's committed predictions say of themselves."""

    scored: int
    failed: int
    meters: tuple[dict[str, Any], ...]  # one a task attempt, summed over its batches
    truncated: int = 0  # scored rows whose text is longer than the model reads


@dataclass(frozen=True)
class UnitCount:
    """Rows of a committed unit, and the least cost of a call that ran out of memory, if one did."""

    scored: int
    failed: int
    too_large: int | None


def counted(lake: LakeLocation, table: str, run_id: str) -> Counted:
    """What the run has committed to its predictions table, read a batch at a time, without Spark."""
    scored = failed = truncated = 0
    found = []
    there = DeltaTable(lake.uri(table))
    mine = [("run_id", "=", run_id)]
    for batch in live_rows.batches(there, ["error", "unit", "warnings", "_meter"], mine):
        scored += batch.column("error").null_count
        failed += batch.num_rows - batch.column("error").null_count
        warnings = batch.filter(batch.column("error").is_null()).column("warnings").flatten()
        truncated += pc.sum(pc.equal(warnings, TRUNCATED)).as_py() or 0
        meters = pa.RecordBatch.from_struct_array(batch.column("_meter"))
        metered = meters.append_column("unit", batch.column("unit"))
        found.append(metered.filter(batch.column("_meter").is_valid()))
    return Counted(scored, failed, _by_task(found), truncated)


def unit_counted(lake: LakeLocation, table: str, run_id: str, unit: int) -> UnitCount:
    """Return the counts of a committed unit, from its rows.

    DataFusion opens its files alone; a dataset of Arrow's is made of all files that the table has.
    """
    there = DeltaTable(lake.uri(table))
    check_readable(there)
    session = QueryBuilder().register("predictions", there)
    mine = f"run_id = {literal(run_id)} AND unit = {unit}"
    counts = "count(*) AS rows, count(error) AS failed, min(_meter['too_large']) AS too_large"
    result = session.execute(f"SELECT {counts} FROM predictions WHERE {mine}")  # noqa: S608 - ours
    (row,) = pa.RecordBatchReader.from_stream(result).read_all().to_pylist()
    return UnitCount(row["rows"] - row["failed"], row["failed"], row["too_large"])


def _by_task(meters: Sequence[pa.RecordBatch]) -> tuple[dict[str, Any], ...]:
    """The meters summed by task attempt; as many as there were tasks."""
    if not any(map(len, meters)):
        return ()
    table = pa.Table.from_batches(meters)
    wanted = [*_FIRSTS, *((name, "sum") for name in _SUMMED)]
    summed = table.group_by(_TASK).aggregate(wanted)
    return tuple(summed.rename_columns([*_TASK, *(name for name, _ in wanted)]).to_pylist())


def rows_of(
    meters: Sequence[Row],
    closings: Sequence[Closing],
    rate: Rate | None,
    run_id: str,
    job: str,
    tags: Mapping[str, str],
) -> list[Row]:
    """Return priced rows for the run's attempts, each with the job's tags.

    Without task times the meters alone are priced, and each row says so in x_Quality.
    """
    meters = shared(meters)
    by_task = {(meter["application"], meter["task_id"]): meter for meter in meters}
    committed_by: dict[int | None, set[str]] = {}  # by unit, the applications that committed it
    for meter in meters:
        committed_by.setdefault(meter["unit"], set()).add(meter["application"])
    stored_tags = [{"key": key, "value": value} for key, value in sorted(tags.items())]
    about = {"x_RunId": run_id, "x_Job": job, "Tags": stored_tags}
    rows: list[Row] = []
    for closing in closings:
        rows += priced([about | row for row in charged(closing, by_task, committed_by)], rate)
    charged_for = {(row["x_AppId"], row.get("x_TaskId")) for row in rows}
    alone = metered_alone([by_task[at] for at in sorted(by_task) if at not in charged_for])
    rows += priced([about | row for row in alone], rate)
    return [{column.name: row.get(column.name) for column in LEDGER.columns} for row in rows]


def not_in_ledger(rows: Sequence[Row], before: Sequence[Row]) -> list[Row]:
    """Those of ``rows`` that the run's rows in the ledger do not have: no task is charged twice."""
    tasks = {(row["x_AppId"], row["x_TaskId"]) for row in before if row["x_TaskId"] is not None}
    records = {row["x_RecordId"] for row in before}
    return [
        row
        for row in rows
        if (row["x_AppId"], row["x_TaskId"]) not in tasks and row["x_RecordId"] not in records
    ]


def of_run(lake: LakeLocation, run_id: str) -> list[Row]:
    """The run's rows in the ledger; not what it saved, which is in no sum."""
    rows = delta.values(lake, LEDGER, [("x_RunId", "=", run_id)])
    return [row for row in rows if row["x_CostKind"] != SAVED]


def charged_until(rows: Sequence[Row]) -> dict[int, datetime]:
    """By attempt, until when cores that ran no task are charged for."""
    found: dict[int, datetime] = {}
    for row in rows:
        if row["x_TaskId"] is None and row["ChargePeriodEnd"] is not None:
            attempt, end = row["x_RunAttempt"], row["ChargePeriodEnd"]
            found[attempt] = max(end, found.get(attempt, end))
    return found


@dataclass(frozen=True)
class Drawn:
    """Energy from the wall, watt-hours, with its bounds, and grams of CO2 equivalent."""

    wh: float | None = None
    wh_low: float | None = None
    wh_high: float | None = None
    carbon_g: float | None = None


def drawn_of(rows: Sequence[Row]) -> Drawn:
    """Return the sum of energy and emissions; None unless every row with time has them."""
    core_rows = [row for row in rows if row["SkuMeter"] == "Core" and row["x_SlotMs"]]

    def total(name: str) -> float | None:
        every = [row[name] for row in core_rows]
        return None if not every or None in every else round(sum(every), 9)

    return Drawn(
        total("x_EnergyWh"), total("x_EnergyWhLow"), total("x_EnergyWhHigh"), total("x_CarbonG")
    )


def cost_of(rows: Sequence[Row]) -> Decimal | None:
    """What rows come to; None where none of them has a price."""
    costs = [row["EffectiveCost"] for row in rows if row.get("EffectiveCost") is not None]
    return sum(costs, Decimal(0)) if costs else None
