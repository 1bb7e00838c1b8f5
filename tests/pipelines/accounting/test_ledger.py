"""The ledger against Spark's event log, read here by code of its own; and money that neither grows nor shrinks."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from millrace.pipelines.accounting.charges import _fitted
from millrace.pipelines.accounting.ledger_rebuild import Rebuilt, rebuild
from millrace.pipelines.accounting.pricing import priced
from millrace.pipelines.accounting.rates import Rate
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.attempts import attempts
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.run.runner import run
from millrace.pipelines.spark.event_log import EventLog
from millrace.pipelines.spark.session import held_from
from millrace.schemas.config import Job
from millrace.schemas.errors import GateRefused
from millrace.schemas.prices import PLACES, Instance
from millrace.udfs.engine.fault_script import VARIABLE
from tests import bill
from tests.bill import Bill, table
from tests.helpers import image_table, images, job_of, write_parquet

QUIET = Progress(quiet=True)
ROWS, FILES = 60, 3


def job_in(tmp: Path, model: Path, **parts: Any) -> Job:
    write_parquet(tmp / "input", image_table(images(ROWS)), files=FILES)
    return job_of(tmp, model, engine={"backend": "torch", "precision": "fp32"}, **parts)


def bill_of(spark: SparkSession, lake: Path, run_id: str) -> Bill:
    """The run's bill; all of it is in the event log, and all slots were held all the time."""
    found = bill.checked_in(spark, lake, run_id, sku="laptop")
    (ended,) = (e["books_closed_at"] for e in table(lake, "runs") if e["books_closed_at"])
    (began,) = (e["held_since"] for e in table(lake, "runs") if e["held_since"])
    lasted_ms = (ended - began) / timedelta(milliseconds=1)
    slots = spark.sparkContext.defaultParallelism
    assert found.held_ms == pytest.approx(slots * lasted_ms, abs=slots)
    return found


@pytest.mark.spark
def test_every_task_and_every_idle_second_of_a_run_is_in_its_ledger(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    summary = run(spark, job_in(tmp_path, model), QUIET)

    found = bill_of(spark, tmp_path / "lake", summary.run_id)
    assert {"useful", "validation", "idle", "startup"} <= {row["x_CostKind"] for row in found.rows}
    assert not found.wasted_ms
    assert [gate.passed for gate in summary.gates] == [True] * 6
    assert summary.books_closed is True


@pytest.mark.slow
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

    found = bill_of(spark, tmp_path / "lake", summary.run_id)
    assert found.wasted_ms.keys() == {"failed"}
    wasted = [row for row in found.rows if row["x_CostKind"] == "failed"]
    assert sum(row["x_SlotMs"] for row in wasted) == found.wasted_ms["failed"] > 0
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

    lake = tmp_path / "lake"
    (run_id,) = {event["run_id"] for event in table(lake, "runs")}
    kinds = {row["x_CostKind"] for row in bill_of(spark, lake, run_id).rows}
    assert {"validation", "idle"} <= kinds
    assert "useful" not in kinds


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["x_RecordId"]))


@pytest.mark.spark
def test_a_ledger_that_was_lost_is_made_again_row_by_row_as_it_was(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    lake, summary = tmp_path / "lake", run(spark, job_in(tmp_path, model), QUIET)
    logs = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    before = in_order(table(lake, "ledger"))
    assert rebuild(LakeLocation(lake), summary.run_id, logs) == Rebuilt(
        summary.run_id, len(before), 0, ()
    )
    shutil.rmtree(lake / "ledger")

    found = rebuild(LakeLocation(lake), summary.run_id, logs)

    assert found == Rebuilt(summary.run_id, 0, len(before), ())
    assert in_order(table(lake, "ledger")) == before
    assert rebuild(LakeLocation(lake), summary.run_id, logs).written == 0


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


# Of a tie, either neighbour is right: a price per second has 28 digits of what may not end.
HALF_A_PLACE = Fraction(1, 2 * 10**12) + Fraction(1, 10**20)


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
        exact = Fraction(sum(spent_ms), 1000) * Fraction(a_core_second)
        assert spent == spent.quantize(PLACES)
        assert abs(Fraction(spent) - exact) <= HALF_A_PLACE
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


@pytest.mark.slow
@pytest.mark.spark
def test_what_a_session_did_before_its_first_run_is_on_that_runs_bill_once(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    held_from(spark, datetime.now(UTC))
    spark.range(0, 2, 1, 2).write.format("noop").mode(
        "overwrite"
    ).save()  # no run's, as the first job is
    log = EventLog.of(spark)
    assert log is not None
    log.tasks([-1], timeout_s=2.0)  # Spark has written of it before the run begins

    done = run(spark, job_in(tmp_path, model), QUIET)

    lake, logs = tmp_path / "lake", Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    written = len(table(lake, "ledger"))
    assert done.books_closed is True
    assert rebuild(LakeLocation(lake), done.run_id, logs) == Rebuilt(done.run_id, written, 0, ())
