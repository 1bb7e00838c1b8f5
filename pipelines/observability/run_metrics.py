"""Metrics of runs: their states and times, their rows, their forecasts and their gates."""

from __future__ import annotations

import json
from collections.abc import Iterator

from millrace.pipelines.observability.metric_families import MetricFamily, add, counter, gauge
from millrace.pipelines.query.lake_reader import LakeReader
from millrace.pipelines.query.views import literal
from millrace.schemas.tables import QUARANTINE, RUNS, UNITS, VALIDATIONS

STATES = ("started", "resumed", "done", "refused", "stopped", "failed")
_TOTALS = (  # a gauge, the column of the table runs that it shows, and its help
    (
        "millrace_last_run_duration_seconds",
        "wall_s",
        "Seconds on the driver's clock, of its last attempt",
    ),
    (
        "millrace_last_run_infer_seconds",
        "infer_s",
        "Seconds of scoring and its commits, of its last attempt",
    ),
    (
        "millrace_last_run_model_load_seconds",
        "model_load_s",
        "Seconds of loading the model, all workers together",
    ),
    (
        "millrace_last_run_ledger_coverage",
        "ledger_coverage",
        "Share of Spark's task time whose kind is known, 0 to 1",
    ),
    ("millrace_last_run_books_closed", "books_closed", "1 where rows and seconds add up, 0 if not"),
)


def states(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield the state of each job's newest run, the runs by state, and the times of activity."""
    text = "1 for the state that the newest run is in"
    newest = gauge("millrace_run_state", text, "job", "state")
    text = "Runs by the state that they are in"
    count = gauge("millrace_runs", text, "job", "state")
    for job, run in lake.newest.items():
        for state in STATES:
            add(newest, run["state"] == state, job, state)
    for row in lake.rows(
        "SELECT job, state, COUNT(*) AS n FROM runs_current GROUP BY job, state ORDER BY job, state",
        RUNS.name,
    ):
        add(count, row["n"], row["job"], row["state"])
    yield from (newest, count, _active(lake), _success(lake))


def _active(lake: LakeReader) -> MetricFamily:
    """The time of the newest run's last event or committed unit; a live run writes one regularly."""
    text = "When the newest run last wrote an event or committed a unit, Unix time"
    active = gauge("millrace_run_active_timestamp_seconds", text, "job")
    newest = {run["run_id"]: run for run in lake.newest.values()}
    ids = ", ".join(map(literal, newest)) or "''"
    commits = lake.rows(
        f"SELECT run_id, MAX(at) AS at FROM units WHERE run_id IN ({ids}) GROUP BY run_id",  # noqa: S608
        UNITS.name,
    )
    units = {row["run_id"]: row["at"] for row in commits}
    for run_id, run in newest.items():
        add(active, max(run["at"], units.get(run_id, run["at"])).timestamp(), run["job"])
    return active


def _success(lake: LakeReader) -> MetricFamily:
    text = "When a run was last done, Unix time"
    success = gauge("millrace_success_timestamp_seconds", text, "job")
    for row in lake.rows(
        "SELECT job, MAX(at) AS at FROM runs_current WHERE state = 'done' GROUP BY job ORDER BY job",
        RUNS.name,
    ):
        add(success, row["at"].timestamp(), row["job"])
    return success


def last_runs(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield the last run's times, its forecast, and whether its rows and seconds add up."""
    for name, column, text in _TOTALS:
        total = gauge(name, text, "job")
        for job, run in lake.last.items():
            add(total, run[column], job)
        yield total
    yield _queue(lake)
    text = "Cost by the forecast, currency; by bound"
    forecast = gauge("millrace_last_run_forecast_cost", text, "job", "bound", "currency")
    text = "1 where what must add up did, 0 if not"
    gates = gauge("millrace_last_run_gate_passed", text, "job", "gate")
    for job, run in lake.last.items():
        stored = json.loads(run["forecast"] or "{}")
        for bound, cost in stored.get("cost", {}).items():
            add(forecast, float(cost), job, bound, stored.get("currency"))
        for gate in json.loads(run["gates"] or "[]"):
            add(gates, gate["passed"], job, gate["name"])
    yield from (forecast, gates)


def _queue(lake: LakeReader) -> MetricFamily:
    text = (
        "Seconds that machines were held before the run began: the session's start, and its checks"
    )
    queue = gauge("millrace_last_run_queue_seconds", text, "job")
    for run in lake.rows(_BEGUN.format(runs=lake.chosen), RUNS.name):
        if run["held_since"] is not None:
            queue_s = (run["at"] - run["held_since"]).total_seconds()
            add(queue, max(0.0, queue_s), run["job"])
    return queue


def rows(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield rows by outcome; a failed run counts those of its committed units."""
    text = "Rows by what became of them"
    total = counter("millrace_rows_total", text, "job", "outcome")
    last = gauge("millrace_last_run_rows", text, "job", "outcome")
    read = gauge("millrace_last_run_rows_read", "Rows of the input", "job")
    ended = lake.rows(_ENDED.format(runs=lake.chosen), UNITS.name, RUNS.name)
    refused = lake.rows(_REFUSED.format(runs=lake.chosen), QUARANTINE.name, RUNS.name)
    for row in [*ended, *refused]:
        add(total, row["n"], row["job"], row["outcome"])
        add(last, row["last_n"], row["job"], row["outcome"])
    checked = lake.rows(_CHECKED.format(runs=lake.chosen), VALIDATIONS.name)
    by_run = {row["run_id"]: row["n"] for row in checked}
    for job, run in lake.last.items():
        known = run["rows_read"]
        add(read, by_run.get(run["run_id"]) if known is None else known, job)
    yield from (total, last, read)


_BEGUN = "SELECT job, at, held_since FROM runs WHERE event = 0 AND run_id IN ({runs})"
# A unit that was scored again after its table was restored counts once.
_ENDED = """
SELECT job, outcome, SUM(n) AS n, SUM(CASE WHEN run_id IN ({runs}) THEN n ELSE 0 END) AS last_n
FROM (
  SELECT job, run_id, 'scored' AS outcome, MAX(scored) AS n FROM units
  WHERE state = 'done' GROUP BY job, run_id, unit
  UNION ALL
  SELECT job, run_id, 'failed' AS outcome, MAX(failed) AS n FROM units
  WHERE state = 'done' GROUP BY job, run_id, unit
) AS counted GROUP BY job, outcome ORDER BY job, outcome
"""
_REFUSED = """
SELECT job, 'quarantined' AS outcome, COUNT(*) AS n,
  SUM(CASE WHEN run_id IN ({runs}) THEN 1 ELSE 0 END) AS last_n
FROM quarantine WHERE run_id IN (SELECT run_id FROM runs) GROUP BY job ORDER BY job
"""
_CHECKED = """
SELECT run_id, MAX(checked) AS n FROM validations
WHERE kind <> 'expectation' AND run_id IN ({runs}) GROUP BY run_id
"""
