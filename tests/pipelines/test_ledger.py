"""The ledger against Spark's event log, read here by code of its own; and money that neither grows nor shrinks."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import deltalake
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines.attempts import attempts
from pipelines.charges import _fitted
from pipelines.pricing import priced
from pipelines.progress import Progress
from pipelines.rate import Rate
from pipelines.rebuild import Rebuilt, rebuild
from pipelines.score import run
from schemas.config import Job
from schemas.errors import GateRefused
from schemas.prices import PLACES, Instance
from schemas.summary import Summary
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet
from udfs.failpoint import VARIABLE

QUIET = Progress(quiet=True)
ROWS, FILES = 60, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_mlp(tmp_path_factory.mktemp("model"))


def job_in(tmp: Path, model: Path, **parts: Any) -> Job:
    write_parquet(tmp / "input", image_table(images(ROWS)), files=FILES)
    return job_of(tmp, model, engine={"backend": "torch", "precision": "fp32"}, **parts)


def table(lake: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deltalake.DeltaTable(lake / name).to_pyarrow_table().to_pylist()
    return found


def log_of(spark: SparkSession) -> Iterator[dict[str, Any]]:
    """The application's events, as Spark documents them."""
    folder = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    (log,) = folder.glob(f"{spark.sparkContext.applicationId}*")
    for line in log.read_text("utf-8").splitlines():
        yield json.loads(line)


def spark_says(spark: SparkSession, run_id: str) -> tuple[dict[int, tuple[str, int]], set[int]]:
    """Of the run's tasks: outcome and milliseconds of those that ended, and the ids of all that began."""
    stages, began, ended = set[int](), set[int](), {}
    for event in log_of(spark):
        kind = event["Event"].removeprefix("SparkListener")
        if kind == "JobStart" and run_id in event["Properties"].get("spark.job.tags", ""):
            stages.update(event["Stage IDs"])
        elif kind == "TaskStart" and event["Stage ID"] in stages:
            began.add(event["Task Info"]["Task ID"])
        elif kind == "TaskEnd" and event["Stage ID"] in stages:
            info = event["Task Info"]
            ms = (event.get("Task Metrics") or {}).get("Executor Run Time", 0)
            held = info["Finish Time"] - info["Launch Time"]
            ended[info["Task ID"]] = event["Task End Reason"]["Reason"], ms or held
    return ended, began


def core(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["SkuMeter"] == "Core"]


def check_against_spark(spark: SparkSession, lake: Path, summary: Summary) -> list[dict[str, Any]]:
    """The run's tasks are in the ledger, each with Spark's own time; the Core rows."""
    rows = core([row for row in table(lake, "ledger") if row["x_RunId"] == summary.run_id])
    ended, began = spark_says(spark, summary.run_id)
    of_tasks = Counter[int]()
    for row in rows:
        if row["x_TaskId"] is not None:
            of_tasks[row["x_TaskId"]] += row["x_SlotMs"]
    assert began <= of_tasks.keys()
    assert {task: of_tasks[task] for task in ended} == {t: ms for t, (_, ms) in ended.items()}
    return rows


def check_time_held(spark: SparkSession, lake: Path, rows: list[dict[str, Any]]) -> None:
    """Tasks, start-up and idle cores are all of the slots, from where the run began to its closed books."""
    events = table(lake, "runs")
    held = max(e["books_closed_at"] for e in events if e["books_closed_at"]) - min(
        e["held_since"] for e in events if e["held_since"]
    )
    slots = spark.sparkContext.defaultParallelism
    held_ms = slots * held / timedelta(milliseconds=1)
    assert sum(row["x_SlotMs"] for row in rows) == pytest.approx(held_ms, abs=2 * slots)


@pytest.mark.spark
def test_every_task_and_every_idle_second_of_a_run_is_in_its_ledger(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    summary = run(spark, job_in(tmp_path, model), QUIET)

    lake = tmp_path / "lake"
    rows = check_against_spark(spark, lake, summary)
    check_time_held(spark, lake, rows)
    assert {"useful", "validation", "idle", "startup"} <= {row["x_CostKind"] for row in rows}
    assert [gate.passed for gate in summary.gates] == [True] * 6
    assert summary.books_closed is True


@pytest.mark.spark
def test_what_an_attempt_wasted_is_a_row_with_sparks_own_time(
    spark: SparkSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"action": "sleep", "seconds": 0.5, "once": str(tmp_path / "slept")}
    then = {"action": "kill", "once": str(tmp_path / "fired")}
    script = tmp_path / "script"
    script.write_text(json.dumps({"predict": {"rules": [rule, then]}}), "utf-8")
    monkeypatch.setitem(spark.sparkContext.environment, VARIABLE, str(script))

    summary = run(spark, job_in(tmp_path, model), QUIET)

    rows = check_against_spark(spark, tmp_path / "lake", summary)
    check_time_held(spark, tmp_path / "lake", rows)
    ended, _ = spark_says(spark, summary.run_id)
    lost_ms = sum(ms for outcome, ms in ended.values() if outcome != "Success")
    wasted = [row for row in rows if row["x_CostKind"] == "failed"]
    assert lost_ms > 0
    assert sum(row["x_SlotMs"] for row in wasted) == lost_ms
    assert not any(row["x_Committed"] for row in wasted)
    assert summary.books_closed is True


@pytest.mark.spark
def test_a_run_that_the_gate_refused_has_its_bill_too(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    columns = {"id": {"type": "bigint"}, "pixels": {"type": "binary"}}
    rule = {"name": "never", "holds": "id < 0"}
    contract = {"columns": columns, "rules": [rule], "max_quarantined": 0.5}

    with pytest.raises(GateRefused):
        run(spark, job_in(tmp_path, model, contract=contract), QUIET)

    rows = core(table(tmp_path / "lake", "ledger"))
    assert {"validation", "idle"} <= {row["x_CostKind"] for row in rows}
    assert "useful" not in {row["x_CostKind"] for row in rows}
    check_time_held(spark, tmp_path / "lake", rows)


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["x_RecordId"]))


@pytest.mark.spark
def test_a_ledger_that_was_lost_is_made_again_row_by_row_as_it_was(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    lake, summary = tmp_path / "lake", run(spark, job_in(tmp_path, model), QUIET)
    logs = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    before = in_order(table(lake, "ledger"))
    assert rebuild(lake, summary.run_id, logs) == Rebuilt(summary.run_id, len(before), 0, ())
    shutil.rmtree(lake / "ledger")

    found = rebuild(lake, summary.run_id, logs)

    assert found == Rebuilt(summary.run_id, 0, len(before), ())
    assert in_order(table(lake, "ledger")) == before
    assert rebuild(lake, summary.run_id, logs).written == 0


def event(number: int, state: str, minute: int, application: str = "a") -> dict[str, Any]:
    at = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    is_start = state in ("started", "resumed")
    return {
        "event": number, "state": state, "application": application,
        "held_since": at if is_start else None, "books_closed_at": None if is_start else at,
    }  # fmt: skip


def test_a_run_s_events_tell_its_attempts_and_which_of_them_died() -> None:
    told = [event(0, "started", 0), event(1, "resumed", 5, "b"), event(2, "failed", 7, "b"),
            event(3, "resumed", 8, "b"), event(4, "done", 9, "b")]  # fmt: skip

    found = list(attempts(told[::-1]))

    assert [(one.application, one.number) for one in found] == [("a", 0), ("b", 1), ("b", 3)]
    assert [one.closed and one.closed.minute for one in found] == [None, 7, 9]


AMOUNTS = st.decimals(0, 100, places=6)
WEIGHTS = st.sampled_from([Decimal(0), Decimal("0.0042"), Decimal("0.031"), Decimal(1)])


@given(st.lists(st.integers(0, 10**7), max_size=30), AMOUNTS, WEIGHTS, WEIGHTS, st.integers(1, 96))
def test_parts_sum_to_price_times_time_to_the_last_decimal_and_no_cost_vanishes(
    spent_ms: list[int], price: Decimal, core_weight: Decimal, gb_weight: Decimal, vcpus: int
) -> None:
    instance = Instance(
        sku="x", region="r", vcpus=vcpus, memory_gb=Decimal("3.7"), price_per_hour=price,
        valid_from=date(2020, 1, 1), source="drawn", core_weight=core_weight, gb_weight=gb_weight,
    )  # fmt: skip
    rows = [
        {"x_RunId": "r", "x_TaskId": at, "x_CostKind": "useful", "x_SlotMs": ms, "cores": 1,
         "ChargePeriodStart": datetime(2026, 1, 1, tzinfo=UTC), "ChargePeriodEnd": None}
        for at, ms in enumerate(spent_ms)
    ]  # fmt: skip

    found = priced(rows, Rate(instance, "USD", "book"))

    held_s = Decimal(sum(spent_ms)) / 1000
    prices = {"Core": instance.core_second, "Memory": instance.gb_per_core * instance.gb_second}
    for meter, a_core_second in prices.items():
        spent = sum((r["EffectiveCost"] for r in found if r["SkuMeter"] == meter), Decimal(0))
        assert spent == (held_s * a_core_second).quantize(PLACES)
    assert len({row["x_RecordId"] for row in found}) == len(found) == 2 * len(rows)
    whole = sum((row["EffectiveCost"] for row in found), Decimal(0))
    node = held_s / vcpus * price / 3600
    rounded = held_s * (1 + instance.gb_per_core) * Decimal("5e-13")  # unit prices have 12 places
    assert abs(whole - node) <= rounded + Decimal("1e-12")


@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=5), st.integers(0, 10**6))
def test_kinds_sum_to_the_time_that_was_held_whatever_the_worker_s_clock_says(
    laps: list[float], held_ms: int
) -> None:
    found = _fitted(dict(zip("abcde", laps, strict=True)), held_ms)

    assert sum(found.values()) == held_ms
    assert min(found.values()) >= -1 if held_ms else True
