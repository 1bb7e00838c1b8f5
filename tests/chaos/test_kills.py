"""Drivers that die at every place where it matters, and signals: the next one resumes where they stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.accounting.ledger_rebuild import rebuild
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.config import Job
from tests.chaos.driven import (
    INT,
    KILL,
    TERM,
    Driven,
    scored_rows,
    send,
    start,
    start_together,
    table,
    violations,
    wait_for_calls,
)
from tests.helpers import image_table, images, job_of, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.faults]
ROWS, FILES = 60, 6
SMALL_UNITS, ROWS_A_UNIT = 40, 4  # two units are in flight: a twentieth


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Job:
    write_parquet(tmp_path / "input", image_table(images(ROWS)), files=FILES)
    engine = {"backend": "torch", "precision": "fp32"}
    return job_of(tmp_path, model, engine=engine)


def killing(at: str, nth: int, calls: Path) -> dict[str, Any]:
    """Calls take a moment, so that a unit is under way when another one's driver dies."""
    rules = [
        {"at": at, "action": "sleep", "nth": nth, "seconds": 2.0},
        {"at": at, "action": "kill", "nth": nth},
    ]
    slow = [{"action": "sleep", "seconds": 3.0}]
    return {"driver": rules, "predict": {"calls": str(calls), "rules": slow}}


@pytest.mark.timeout(500)
def test_a_driver_killed_at_any_place_costs_what_was_not_committed_and_no_more(
    job: Job, model: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    places = [("before_commit", 3), ("after_commit", 2), ("before_ledger", 1), ("before_done", 1)]
    for at, nth in places:
        driver = start(job, tmp_path / "drivers", script=killing(at, nth, calls))
        assert driver.wait() == -KILL, driver.log.read_text("utf-8")
        assert not driver.orphans()
    last = start(job, tmp_path / "drivers", script={"predict": {"calls": str(calls)}})

    assert last.wait() == 0
    assert last.told()["scored"] == ROWS
    assert not violations(job, model, images(ROWS), set(), set())
    assert not last.orphans()
    ledger = table(Path(job.output.path), "ledger")
    assert len({row["x_AppId"] for row in ledger}) == len(places) + 1  # each attempt is priced
    wasted = [row for row in ledger if row["x_CostKind"] == "failed"]
    assert wasted
    assert not any(row["x_Committed"] for row in wasted)
    assert not last.open_books()
    again = rebuild(LakeLocation(Path(job.output.path)), last.told()["run_id"])
    assert (again.same, again.written, again.different) == (len(ledger), 0, ())
    # Two units were under way at the first death, one at the second, and none afterwards.
    assert ROWS <= scored_rows(calls) <= ROWS + 3 * ROWS // FILES


@pytest.mark.timeout(600)
def test_killed_at_half_and_resumed_a_run_calls_the_model_at_most_a_twentieth_more_than_once(
    model: Path, tmp_path: Path
) -> None:
    rows, calls = SMALL_UNITS * ROWS_A_UNIT, tmp_path / "calls"
    write_parquet(tmp_path / "input", image_table(images(rows)), files=SMALL_UNITS)
    engine = {"backend": "torch", "precision": "fp32", "batch": ROWS_A_UNIT}
    job = job_of(tmp_path, model, engine=engine)
    script = {"predict": {"calls": str(calls)}}

    killed = start(job, tmp_path / "drivers", script=script)
    wait_for_calls(killed, calls, SMALL_UNITS // 2)
    send(killed.process, KILL)
    assert killed.wait() == -KILL
    assert not killed.orphans()
    before = scored_rows(calls)
    committed = len(table(Path(job.output.path), job.table))
    last = start(job, tmp_path / "drivers", script=script)

    assert last.wait(400.0) == 0, last.log.read_text("utf-8")
    assert 0.4 * rows < committed <= before < 0.7 * rows
    assert (last.told()["units_total"], last.told()["scored"]) == (SMALL_UNITS, rows)
    assert not violations(job, model, images(rows), set(), set())
    made = len(calls.read_text("ascii").split())
    print(f"{made} calls for {SMALL_UNITS} units, killed after {before // ROWS_A_UNIT}")
    assert SMALL_UNITS <= made <= 1.05 * SMALL_UNITS
    assert rows <= scored_rows(calls) <= 1.05 * rows
    assert not last.open_books()
    assert not last.orphans()


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_signal_stops_within_ten_seconds_leaves_nobody_behind_and_says_how_to_go_on(
    job: Job, model: Path, tmp_path: Path, number: int
) -> None:
    slow = {"predict": {"rules": [{"action": "sleep", "seconds": 3.0}]}}
    driver = start(job, tmp_path / "drivers", script=slow)
    _wait_for_a_commit(driver, Path(job.output.path))
    driver.process.send_signal(number)
    began = time.monotonic()

    assert driver.wait() == (130 if number == signal.SIGINT else 5)
    assert time.monotonic() - began < 10
    assert "resume" in driver.told()["next"]
    assert not driver.orphans(within_s=2.0)
    assert not (Path(job.output.path) / "_staging").exists()
    committed = len(table(Path(job.output.path), job.table))
    assert 0 < committed < ROWS
    events = sorted(table(Path(job.output.path), "runs"), key=lambda row: row["event"])
    assert events[-1]["state"] == "stopped"
    assert events[-1]["scored"] + events[-1]["failed"] == committed
    assert 0 < events[-1]["units_done"] < events[-1]["units_total"]
    assert (
        f"{events[-1]['units_done']} of {events[-1]['units_total']} units" in driver.told()["got"]
    )

    again = start(job, tmp_path / "drivers")
    assert again.wait() == 0
    assert not violations(job, model, images(ROWS), set(), set())
    assert not again.open_books()  # what the first had killed is in the bill, and idle nowhere


def _wait_for_a_commit(driver: Driven, lake: Path) -> None:
    _wait_until(driver, lambda: any(row["state"] == "done" for row in table(lake, "units")))


def test_of_two_drivers_one_runs_and_the_other_says_who_does(
    job: Job, model: Path, tmp_path: Path
) -> None:
    one = partial(start, job, tmp_path / "drivers")
    drivers = start_together([one, one], tmp_path / "together")

    codes = [driver.wait() for driver in drivers]

    assert sorted(codes) == [0, 6]
    assert not violations(job, model, images(ROWS), set(), set())
    held = drivers[codes.index(6)].told()
    assert str(drivers[codes.index(0)].process.pid) in held["got"]


def test_a_driver_that_stood_still_commits_nothing_of_what_its_successor_has_removed(
    job: Job, model: Path, tmp_path: Path
) -> None:
    lake, calls = Path(job.output.path), tmp_path / "calls"
    slow = {"rules": [{"action": "sleep", "seconds": 3.0}]}
    still = {"driver": [{"at": "computed", "action": "stop"}], "predict": {"calls": str(calls)}}
    first = start(job, tmp_path / "first", script=still)
    _wait_until(first, lambda: _is_stopped(first.process.pid))
    second = start(job, tmp_path / "second", script={"predict": slow})
    _wait_until(second, lambda: not list((lake / "_staging").rglob("*.parquet")))

    send(first.process, signal.SIGCONT)

    assert second.wait() == 0, second.log.read_text("utf-8")
    assert not violations(job, model, images(ROWS), set(), set())
    assert first.wait() == 6, first.log.read_text("utf-8")
    assert not second.open_books()
    events = sorted(table(lake, "runs"), key=lambda row: row["event"])
    assert [event["state"] for event in events] == ["started", "resumed", "done"]
    assert not (lake / "_staging").exists()


def _wait_until(driver: Driven, is_so: Callable[[], bool]) -> None:
    while not is_so():
        assert driver.process.poll() is None, driver.log.read_text("utf-8")
        time.sleep(0.1)


def _is_stopped(pid: int) -> bool:
    return "State:\tT" in Path(f"/proc/{pid}/status").read_text("ascii")
