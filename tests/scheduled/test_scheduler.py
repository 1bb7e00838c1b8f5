"""A scheduler that dies in a backfill of three days: no day is lost, and no row is computed twice."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.driven import scored_rows, table
from tests.docs.test_snippets import ROOT, blocks, commands
from tests.helpers import torch_loop
from tests.scheduled.home import Airflow, airflow, kill, seconds
from tests.scheduled.jobs import DAYS, FILES, ROWS, daily_job, pixels

pytestmark = [pytest.mark.spark, pytest.mark.long]
PAGE = {b.title: b for b in blocks(ROOT / "docs" / "AIRFLOW.md") if b.title}


@pytest.mark.timeout(1500)
def test_a_backfill_whose_scheduler_is_killed_computes_each_row_of_each_day_once(
    tmp_path: Path,
) -> None:
    calls, script = tmp_path / "calls", tmp_path / "failpoints.json"
    slow = [{"action": "sleep", "seconds": 2.0}]
    script.write_text(json.dumps({"predict": {"calls": str(calls), "rules": slow}}))
    job, lake = daily_job(tmp_path), tmp_path / "lake"
    with airflow(tmp_path, MILLRACE_FAILPOINTS=str(script)) as home:
        home.write(
            job=str(job), start=DAYS[0], end=DAYS[-1], folder=str(tmp_path), validate=False,
            set={"source.path": "input/{{ ds }}"}, pool="millrace_gpu", max_active_runs=3,
            retry_delay_s=5, claim_delay_s=5,
        )  # fmt: skip
        for words in commands(PAGE["pool"]):
            done = home.command(*words[1:])
            assert done.returncode == 0, done.stdout
        home.start("dag-processor")
        home.wait_for("DAG", lambda: home.rows("SELECT dag_id FROM serialized_dag"), 240)
        for words in commands(PAGE["backfill"]):
            done = home.command(*words[1:])
            assert done.returncode == 0, done.stdout
        home.start("api-server")
        home.wait_for("API server", home.answers, 240)
        home.start("scheduler")

        _wait_for_a_commit(home, lake, DAYS[1])
        before, (airflows, sparks) = scored_rows(calls), home.tree("scheduler")
        assert sparks
        kill(airflows)  # the driver lives on, and nobody listens to it
        home.processes["scheduler"].wait(20)
        home.start("scheduler")
        home.wait_for("end of the backfill", lambda: _all_done(home), 600)

        tries = home.rows("SELECT try_number FROM task_instance WHERE task_id = 'run'")
        print(f"killed after {before} rows; {scored_rows(calls)} computed in all; tries: {tries}")
        assert max(row["try_number"] for row in tries) > 1
        assert ROWS < before < 2 * ROWS
        assert scored_rows(calls) == len(DAYS) * ROWS
        assert _committed_twice(lake) == []
        _has_every_day(lake, tmp_path / "model")
        _tells_the_asset(home)
        assert _overlaps(home) == []


def _wait_for_a_commit(home: Airflow, lake: Path, day: str) -> None:
    """Until a unit of the day is there, and not all of them."""

    def is_at_work() -> bool:
        run = _run_of(lake, day)
        units = [u for u in table(lake, "units") if u["run_id"] == run]
        return 0 < len({u["unit"] for u in units if u["state"] == "done"}) < FILES

    home.wait_for(f"commit of {day}", is_at_work, 600)


def _run_of(lake: Path, day: str) -> str | None:
    """The run over that day's input."""
    for event in table(lake, "runs"):
        if json.loads(event["pinned_input"])["root"].endswith(day):
            found: str = event["run_id"]
            return found
    return None


def _all_done(home: Airflow) -> bool:
    states = [row["state"] for row in home.rows("SELECT state FROM dag_run")]
    assert "failed" not in states, home.logs()[-6000:]
    return states == ["success"] * len(DAYS)


def _committed_twice(lake: Path) -> list[Any]:
    """Keys that one run has more than once, or runs of an input beyond the first."""
    rows = [(row["run_id"], row["id"]) for row in table(lake, "predictions_digits")]
    runs = {row["run_id"] for row in table(lake, "runs")}
    return [row for row in set(rows) if rows.count(row) > 1] + sorted(runs)[len(DAYS) :]


def _has_every_day(lake: Path, model: Path) -> None:
    predictions = table(lake, "predictions_digits")
    for day in DAYS:
        labels, _ = torch_loop(model, pixels(day))
        run = _run_of(lake, day)
        mine = [row for row in predictions if row["run_id"] == run]
        assert {row["id"]: row["label"] for row in mine} == dict(enumerate(labels))


def _tells_the_asset(home: Airflow) -> None:
    """One event a day, with the run's totals."""
    events = home.rows("SELECT extra FROM asset_event")
    told = [json.loads(row["extra"]) for row in events]
    assert sorted(one["input"][-len(DAYS[0]) :] for one in told) == list(DAYS)
    assert {(one["state"], one["rows_read"], one["scored"]) for one in told} == {
        ("done", ROWS, ROWS)
    }
    assert all(float(one["cost"]) > 0 and one["currency"] == "USD" for one in told)


def _overlaps(home: Airflow) -> list[Any]:
    """Pairs of tasks that held the pool's one slot at a time, as far as their last tries tell."""
    rows = home.rows(
        "SELECT run_id, start_date, end_date FROM task_instance WHERE task_id = 'run' ORDER BY start_date"
    )
    spans = [(seconds(row["start_date"]), seconds(row["end_date"])) for row in rows]
    return [(one, two) for one, two in pairwise(spans) if two[0] < one[1]]
