"""A budget: what counts as spent, what may start, and runs that stop between units and go on later."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from millrace.pipelines.accounting.rates import Rate, second
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference.time_model import Estimate
from millrace.pipelines.job import instance_price, work_units
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.attempt_costs import SlotTime, cost, own_pace, slot_times
from millrace.pipelines.run.budget import BudgetTracker
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Cost, Job
from millrace.schemas.errors import BudgetExceeded
from millrace.schemas.prices import Instance
from millrace.udfs.engine.fault_script import VARIABLE
from tests.helpers import image_table, images, job_of, write_parquet

QUIET = Progress(quiet=True)
UNITS, ROWS_A_UNIT, SLEEP_S = 6, 16, 2.0
TWENTY = tuple(10 + 80 * part / 19 for part in range(20))  # from 10 to 90 %
START = datetime(2026, 11, 24, tzinfo=UTC)


def rate() -> Rate:
    """Primes: a core second is 2, a GB second 3, and 5 GB are held with a core."""
    machine = Instance(
        sku="x", region="r", vcpus=7, memory_gb=35, source="s", valid_from=START.date(),
        price_per_hour=3600 * (7 * 2 + 35 * 3), core_weight=2, gb_weight=3,
    )  # fmt: skip
    assert (machine.core_second, machine.gb_second, machine.gb_per_core) == (2, 3, 5)
    return Rate(machine, "EUR", "v")


def event(
    state: str, at_s: float, application: str = "a", slots: int | None = 11
) -> dict[str, Any]:
    told = {} if slots is None else {"slots": slots}
    at = START + timedelta(seconds=at_s)
    settings = json.dumps(told)
    return {
        "state": state, "event": at_s, "at": at, "application": application, "settings": settings
    }  # fmt: skip


def tracker(limit: str | None, held: list[float], **more: Any) -> BudgetTracker:
    return BudgetTracker(
        None if limit is None else Decimal(limit), Decimal(2), elapsed_s=lambda: held[0], **more
    )


def test_a_second_costs_all_cores_and_the_memory_held_with_them() -> None:
    assert second(rate().instance, 11) == 11 * (2 + 3 * 5)
    assert cost(rate(), [SlotTime(13, 11), SlotTime(17, 19)]) == (2 + 3 * 5) * (13 * 11 + 17 * 19)


def test_every_attempt_holds_from_its_start_to_its_end_and_a_killed_one_to_its_last_sign() -> None:
    events = [
        event("started", 2, "a"), event("stopped", 5, "a"),
        event("resumed", 11, "b", slots=None),  # killed
        event("resumed", 31, "c", slots=3), event("failed", 48, "c", slots=3),
        event("resumed", 59, "c"),  # killed at once
    ]  # fmt: skip
    signs = [("b", START + timedelta(seconds=18)), ("b", START + timedelta(seconds=24)),
             ("c", START + timedelta(seconds=40)), ("b", START + timedelta(seconds=900))]  # fmt: skip
    assert slot_times(events, signs, slots=7) == [
        SlotTime(3, 11),
        SlotTime(13, 7),
        SlotTime(17, 3),
        SlotTime(0, 11),
    ]


def test_a_clock_that_went_back_makes_nothing_cheaper() -> None:
    assert slot_times([event("started", 5), event("failed", 2) | {"event": 6}], [], 7) == [
        SlotTime(0, 11)
    ]
    assert slot_times([], [], 7) == []


def test_the_pace_of_earlier_attempts_counts_no_second_twice() -> None:
    def done(application: str, rows: int, seconds: float, at_s: float) -> dict[str, Any]:
        at = START + timedelta(seconds=at_s)
        return {"application": application, "expected_rows": rows, "seconds": seconds, "at": at}

    beside = [
        done("a", 7, 11, 20),
        done("a", 13, 16, 25),
        done("b", 17, 19, 900),
        done("a", 3, 2, 99),
    ]
    told_later = done("b", 1000, 0.0, 950)  # by an attempt that only found its commit
    assert own_pace([*beside, told_later]) == (11 + 5 + 2 + 19) / (7 + 13 + 3 + 17)
    assert own_pace([told_later]) is None
    assert own_pace([]) is None


def test_without_a_budget_all_units_start() -> None:
    assert tracker(None, [1e9]).admits(7, [5])
    assert tracker(None, [1e9]).begin(7) == ""
    assert BudgetTracker().admits(7, [5])
    assert BudgetTracker().end(7) is None


def test_the_first_unit_runs_alone_and_only_while_something_is_left() -> None:
    held = [3.0]
    one = tracker("13", held, before=Decimal(5))
    assert one.spent == 5 + 2 * 3
    assert one.admits(7)
    assert not one.admits(7, [7])
    held[0] = 4.0  # spent: 13
    assert not one.admits(7)


def test_a_unit_starts_where_what_is_spent_and_what_runs_and_its_own_cost_are_paid_for() -> None:
    held = [0.0]
    one = tracker("1000", held)
    held[0] = 30.0
    one.finished(10, started_s=0.0)  # 3 s a row
    held[0] = 50.0
    one.finished(20, started_s=10.0)  # began beside the first: 1 s a row
    spent, mean, slowest = 100, 50 / 30, 3
    for rows in (100, 200, 269, 271, 400):
        assert one.admits(rows) == (spent + 2 * mean * rows < 1000)
        assert one.admits(rows, [17]) == (spent + 2 * slowest * (rows + 17) < 1000)


@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=25),
    st.floats(0.05, 1.5),
    st.floats(0.0, 20.0),
)
def test_units_of_one_pace_never_cost_more_than_the_budget_and_one_unit(
    sizes: list[int], share: float, before_s: float
) -> None:
    """Two at a time, the machine shared first in, first out: as `loop._each` does it."""
    limit = share * (before_s + sum(sizes)) * 2
    held, rest, running = [before_s], list(sizes), list[int]()
    one = tracker(str(Decimal(limit)), held)
    while rest or running:
        while rest and len(running) < 2 and one.admits(rest[0], running):
            running.append(rest.pop(0))
        if not running:
            break
        began = held[0]
        held[0] += running[0]
        one.finished(running.pop(0), began)
    assert not rest or held[0] * 2 + 2 * max(sizes) > limit or len(rest) == len(sizes)
    assert held[0] * 2 <= max(limit, before_s * 2) + 2 * max(sizes)


def test_a_run_that_certainly_costs_too_much_is_refused_with_forecast_interval_and_budget() -> None:
    def expect(rows: float) -> Estimate:
        return Estimate(rows, 2 * rows, 4 * rows)

    one = tracker("20", [1.0], expect=expect, basis="3 past runs", currency="EUR")
    assert "8.00 to 26.00" in one.begin(3)  # 2 + 2 x 3, 2 + 2 x 12
    with pytest.raises(BudgetExceeded) as refused:
        one.begin(11)
    text = str(refused.value)
    assert refused.value.exit_code == 4
    for told in ("46.00 EUR (24.00 to 90.00", "3 past runs", "20.00 EUR", "raise cost.budget"):
        assert told in text


def test_without_anything_that_tells_a_run_starts_and_says_so() -> None:
    assert "nothing tells yet" in tracker("20", [1.0]).begin(10**9)


def test_the_progress_says_what_was_spent_and_what_it_will_come_to() -> None:
    held = [0.0]
    one = tracker("100", held, currency="EUR")
    held[0] = 7.0
    one.finished(7, 0.0)
    assert (one.spent, one.end(11)) == (14, 36)


@pytest.fixture
def slow(
    spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, float]]:
    """Every call of the model sleeps: a unit's cost is well above the noise. The file that counts calls, and for how long each sleeps."""
    sleep_s: float = getattr(request, "param", SLEEP_S)
    script, calls = tmp_path / "script.json", tmp_path / "calls"
    rule = {"action": "sleep", "seconds": sleep_s}
    script.write_text(json.dumps({"predict": {"rules": [rule], "calls": str(calls)}}), "utf-8")
    environment = spark.sparkContext.environment
    environment[VARIABLE] = str(script)
    yield calls, sleep_s
    del environment[VARIABLE]


@pytest.fixture
def job(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Units of two files, each a task with one call of the model: a unit fills both slots."""
    table = image_table(images(UNITS * ROWS_A_UNIT))
    folder = write_parquet(tmp_path / "input", table, files=2 * UNITS)
    size = min(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", 2 * size)
    return job_of(tmp_path, model, engine={"batch": ROWS_A_UNIT})


def changed(job: Job, lake: Path, limit: Decimal | None) -> Job:
    price = Cost(prices="conf/prices/example.yaml", instance="c7i.xlarge", budget=limit)
    output = job.output.model_copy(update={"path": str(lake)})
    return job.model_copy(update={"cost": price, "output": output})


def asked(lake: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(LakeLocation(lake), sql).to_pylist()
    return found


def spent_in(job: Job, lake: Path, slots: int) -> Decimal:
    """By all attempts, as their events tell."""
    found = instance_price.rate(job.cost, datetime.now(UTC))
    assert found is not None
    return cost(found, slot_times(asked(lake, "SELECT * FROM runs ORDER BY event"), [], slots))


def before_inference(job: Job, lake: Path, slots: int) -> Decimal:
    """What the first attempt spent until its units were planned: validation comes before any forecast."""
    (planned,) = asked(lake, "SELECT min(at) AS at FROM units WHERE state = 'planned'")
    (first,) = asked(lake, "SELECT at FROM runs WHERE event = 0")
    found = instance_price.rate(job.cost, datetime.now(UTC))
    assert found is not None
    return cost(found, [SlotTime((planned["at"] - first["at"]).total_seconds(), slots)])


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("slow", "percents"),
    [
        (1.0, (50,)),
        *(pytest.param(0.4, TWENTY[at::4], marks=pytest.mark.long) for at in range(4)),
    ],
    indirect=["slow"],
    ids=["half", *(f"from {TWENTY[at]:.0f} %" for at in range(4))],
)
def test_a_budget_stops_a_run_within_one_unit_and_a_larger_one_lets_it_go_on(
    spark: SparkSession,
    slow: tuple[Path, float],
    percents: tuple[float, ...],
    job: Job,
    tmp_path: Path,
) -> None:
    calls, sleep_s = slow
    slots = spark.sparkContext.defaultParallelism
    run(spark, changed(job, tmp_path / "cold", None), QUIET)  # JVM and workers are slow at first
    calls.unlink()
    whole = changed(job, tmp_path / "whole", None)
    assert run(spark, whole, QUIET).units_total == UNITS
    truth = spent_in(whole, tmp_path / "whole", slots)
    price = second(instance_price.rate(whole.cost, datetime.now(UTC)).instance, slots)
    # No run can cost less than its sleeps, however quiet the machine is then.
    least = price * Decimal(len(calls.read_text().splitlines()) * sleep_s / slots)
    assert least < truth

    stops = 0
    for percent in percents:
        limit, lake = truth * Decimal(percent) / 100, tmp_path / f"lake-{percent}"
        try:
            state = run(spark, changed(job, lake, limit), QUIET).state
        except BudgetExceeded as error:
            state = "stopped" if "raise cost.budget" in str(error) else "without a next step"
        assert state == "stopped" or limit > least  # what is paid for may be done
        (event,) = asked(lake, "SELECT state FROM runs ORDER BY event DESC LIMIT 1")
        assert event["state"] == state
        committed = "SELECT count(*) AS n, max(seconds) AS longest FROM units WHERE state = 'done'"
        (seen,) = asked(lake, committed)
        unit = price * Decimal(seen["longest"] or 0)
        spent = spent_in(whole, lake, slots)
        allowed = max(limit, before_inference(whole, lake, slots))
        print(f"{percent:.0f} %: {state} after {seen['n']} units, {(spent - allowed) / unit if unit else 0:.2f}"
              " units above what it may spend")  # fmt: skip
        assert spent <= allowed + max(unit, price)  # a second, in which the stop is written
        if state == "stopped":
            stops += 1
            assert seen["n"] < UNITS
            if (
                seen["n"] and percent == percents[0]
            ):  # what was spent counts: the same budget stays spent
                with pytest.raises(BudgetExceeded):
                    run(spark, changed(job, lake, limit), QUIET)
            done = run(spark, changed(job, lake, truth * 9), QUIET)
            assert (done.state, done.scored, done.units_done) == (
                "done",
                UNITS * ROWS_A_UNIT,
                UNITS,
            )
        ids = Counter(row["id"] for row in asked(lake, "SELECT id FROM predictions_tiny"))
        assert ids == Counter(range(UNITS * ROWS_A_UNIT))
        assert len(asked(lake, "SELECT DISTINCT run_id FROM runs")) == 1
    assert stops


@pytest.mark.slow
@pytest.mark.spark
def test_a_job_that_ran_before_is_refused_before_inference_where_its_budget_cannot_suffice(
    spark: SparkSession, slow: tuple[Path, float], job: Job, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    run(spark, changed(job, lake, None), QUIET)
    slots = spark.sparkContext.defaultParallelism
    truth = spent_in(changed(job, lake, None), lake, slots)
    scored = len(asked(lake, "SELECT id FROM predictions_tiny"))

    # Far below: what the first run paid for a cold start, the forecast of the next one does not.
    with pytest.raises(BudgetExceeded, match="forecast .* by 1 past run, exceeds the budget"):
        run(spark, changed(job, lake, truth / 8), QUIET, fresh=True)

    assert len(asked(lake, "SELECT id FROM predictions_tiny")) == scored
    last = asked(lake, "SELECT state, detail FROM runs ORDER BY number DESC, event DESC LIMIT 1")
    assert last[0]["state"] == "stopped"
