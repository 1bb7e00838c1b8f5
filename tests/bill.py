"""A run's ledger against Spark's event log, as `tests.event_log` reads it: time, waste and money."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from millrace.pipelines.lake import live_rows
from tests import event_log

PRICES = Path(__file__).resolve().parents[1] / "conf" / "prices" / "example.yaml"
WASTE_DIFFERS = 0.05  # of what the event log says, at most
PLACE = Decimal("1e-12")  # of a unit price


@dataclass(frozen=True)
class Bill:
    """What a run's ledger says, once it agrees with the event log."""

    rows: list[dict[str, Any]]  # of cores
    wasted_ms: Counter[str]  # by kind, as the event log has it
    coverage: float  # the ledger's time of tasks ÷ Spark's executor run time
    held_ms: int  # core-milliseconds
    cost: Decimal


def checked(lake: Path, log: Path, run_id: str, *, shares_log: bool = False, sku: str) -> Bill:
    """The bill of a run of one attempt, every part of it compared with what Spark logged.

    ``shares_log``: other runs are in the same application, and tags tell whose a task is.
    """
    every = [row for row in table(lake, "ledger") if row["x_RunId"] == run_id]
    rows = [row for row in every if row["x_CostKind"] != "saved"]
    cores = [row for row in rows if row["SkuMeter"] == "Core"]
    since_ms, until_ms = _span(lake, run_id)
    ended = [
        one
        for one in event_log.ended(log, run_id if shares_log else None)
        if one.launched_ms <= until_ms
    ]
    coverage = _tasks(cores, ended, event_log.began(log, run_id), is_whole=not shares_log)
    wasted_ms = event_log.wasted_ms(ended)
    charged_ms = Counter[str]()
    for row in cores:
        if not row["x_Committed"]:
            charged_ms[row["x_CostKind"]] += row["x_SlotMs"]
    assert charged_ms == {
        kind: pytest.approx(ms, rel=WASTE_DIFFERS) for kind, ms in wasted_ms.items()
    }
    held_ms = event_log.core_ms_held(log, since_ms, until_ms)
    assert sum(row["x_SlotMs"] for row in cores) == held_ms
    cost = sum((row["EffectiveCost"] for row in rows), Decimal(0))
    price = event_log.price_of(held_ms, PRICES, sku)
    kinds = {row["SkuMeter"]: row["ListUnitPrice"] for row in rows}
    units = 1 + Decimal(100) * ("Memory" in kinds)  # no machine has more GB a core
    assert abs(cost - price) <= PLACE * (1 + units * held_ms / 1000)
    return Bill(cores, wasted_ms, coverage, held_ms, cost)


def checked_in(spark: SparkSession, lake: Path, run_id: str, *, sku: str) -> Bill:
    """`checked` for a run in this session, which other runs were in too."""
    folder = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    log = event_log.log_of(folder, spark.sparkContext.applicationId)
    return checked(lake, log, run_id, shares_log=True, sku=sku)


def table(lake: Path, name: str) -> list[dict[str, Any]]:
    """A table's rows, read by delta-rs."""
    found: list[dict[str, Any]] = live_rows.rows(DeltaTable(lake / name)).to_pylist()
    return found


def _span(lake: Path, run_id: str) -> tuple[int, int]:
    told = [event for event in table(lake, "runs") if event["run_id"] == run_id]
    since = [event["held_since"] for event in told if event["held_since"]]
    until = [event["books_closed_at"] for event in told if event["books_closed_at"]]
    assert (len(since), len(until)) == (1, 1), "the run had several attempts"
    return round(since[0].timestamp() * 1000), round(until[0].timestamp() * 1000)


def _tasks(
    cores: list[dict[str, Any]], ended: list[event_log.Ended], began: set[int], *, is_whole: bool
) -> float:
    """Each task has Spark's own time, whichever kinds that was for; ledger ÷ Spark."""
    of_tasks = Counter[int]()
    for row in cores:
        if row["x_TaskId"] is not None:
            of_tasks[row["x_TaskId"]] += row["x_SlotMs"]
    assert began <= of_tasks.keys()
    spark_ms = {one.task: one.ms for one in ended}
    assert {task: of_tasks[task] for task in spark_ms} == spark_ms
    assert not is_whole or of_tasks.keys() == spark_ms.keys()
    return sum(of_tasks[task] for task in spark_ms) / max(1, sum(spark_ms.values()))
