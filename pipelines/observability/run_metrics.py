"""Metrics of runs: their states and times, their rows, what was foretold of them and what adds up."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipelines.asked import Lake
from pipelines.exposition import Family
from pipelines.views import literal
from schemas.tables import QUARANTINE, RUNS, UNITS, VALIDATIONS

STATES = ("started", "resumed", "done", "refused", "stopped", "failed")
_TOTALS = (
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
        "Metered seconds over Spark's own of the stage, 0 to 1",
    ),
    ("millrace_last_run_books_closed", "books_closed", "1 where rows and seconds add up, 0 if not"),
)


def ends(lake: Lake) -> Iterator[Family]:
    """In which state the newest run is, how many are in which, and when one last told of itself."""
    states = Family("millrace_run_state", "gauge", "1 for the state that the newest run is in")
    count = Family("millrace_runs", "gauge", "Runs by the state that they are in")
    for job, run in lake.newest.items():
        for state in STATES:
            states.add(run["state"] == state, job=job, state=state)
    for row in lake.rows(
        "SELECT job, state, COUNT(*) AS n FROM runs_current GROUP BY job, state ORDER BY job, state",
        RUNS.name,
    ):
        count.add(row["n"], job=row["job"], state=row["state"])
    yield from (states, count, _active(lake), _good(lake))


def _active(lake: Lake) -> Family:
    """When the newest run last told an event or a unit: a run that is at work tells one now and then."""
    active = Family(
        "millrace_run_active_timestamp_seconds",
        "gauge",
        "When the newest run last told of itself, by an event or a committed unit, Unix time",
    )
    newest = {run["run_id"]: run for run in lake.newest.values()}
    ids = ", ".join(map(literal, newest)) or "''"
    told = lake.rows(
        f"SELECT run_id, MAX(at) AS at FROM units WHERE run_id IN ({ids}) GROUP BY run_id",  # noqa: S608
        UNITS.name,
    )
    units = {row["run_id"]: row["at"] for row in told}
    for run_id, run in newest.items():
        active.add(max(run["at"], units.get(run_id, run["at"])).timestamp(), job=run["job"])
    return active


def _good(lake: Lake) -> Family:
    good = Family(
        "millrace_success_timestamp_seconds", "gauge", "When a run was last done, Unix time"
    )
    for row in lake.rows(
        "SELECT job, MAX(at) AS at FROM runs_current WHERE state = 'done' GROUP BY job ORDER BY job",
        RUNS.name,
    ):
        good.add(row["at"].timestamp(), job=row["job"])
    return good


def last_runs(lake: Lake) -> Iterator[Family]:
    """How long the last run took, what was foretold of it, and whether its books close."""
    for name, column, told in _TOTALS:
        family = Family(name, "gauge", told)
        for job, run in lake.last.items():
            family.add(run[column], job=job)
        yield family
    waited = Family(
        "millrace_last_run_queue_seconds",
        "gauge",
        "Seconds that machines were held before the run began: the session's start, and its checks",
    )
    foretold = Family(
        "millrace_last_run_forecast_cost", "gauge", "Cost that was foretold, currency; by bound"
    )
    gates = Family(
        "millrace_last_run_gate_passed", "gauge", "1 where what must add up did, 0 if not"
    )
    for run in lake.rows(_BEGUN.format(runs=lake.chosen), RUNS.name):
        if run["held_since"] is not None:
            held_s = (run["at"] - run["held_since"]).total_seconds()
            waited.add(max(0.0, held_s), job=run["job"])
    for job, run in lake.last.items():
        told = json.loads(run["forecast"] or "{}")
        for bound, cost in told.get("cost", {}).items():
            foretold.add(float(cost), job=job, bound=bound, currency=told.get("currency"))
        for gate in json.loads(run["gates"] or "[]"):
            gates.add(gate["passed"], job=job, gate=gate["name"])
    yield from (waited, foretold, gates)


def rows(lake: Lake) -> Iterator[Family]:
    """What became of rows: of runs that failed, as far as they came."""
    total = Family("millrace_rows_total", "counter", "Rows by what became of them")
    last = Family("millrace_last_run_rows", "gauge", "Rows by what became of them")
    read = Family("millrace_last_run_rows_read", "gauge", "Rows of the input")
    ended = lake.rows(_ENDED.format(runs=lake.chosen), UNITS.name, RUNS.name)
    refused = lake.rows(_REFUSED.format(runs=lake.chosen), QUARANTINE.name, RUNS.name)
    for row in [*ended, *refused]:
        total.add(row["n"], job=row["job"], outcome=row["outcome"])
        last.add(row["last_n"], job=row["job"], outcome=row["outcome"])
    checked = lake.rows(_CHECKED.format(runs=lake.chosen), VALIDATIONS.name)
    by_run = {row["run_id"]: row["n"] for row in checked}
    for job, run in lake.last.items():
        known = run["rows_read"]
        read.add(by_run.get(run["run_id"]) if known is None else known, job=job)
    yield from (total, last, read)


_BEGUN = "SELECT job, at, held_since FROM runs WHERE event = 0 AND run_id IN ({runs})"
# Of a unit that was scored anew, its table having been restored, the last telling counts.
_ENDED = """
SELECT job, outcome, SUM(n) AS n, SUM(CASE WHEN run_id IN ({runs}) THEN n ELSE 0 END) AS last_n
FROM (
  SELECT job, run_id, 'scored' AS outcome, MAX(scored) AS n FROM units
  WHERE state = 'done' GROUP BY job, run_id, unit
  UNION ALL
  SELECT job, run_id, 'failed' AS outcome, MAX(failed) AS n FROM units
  WHERE state = 'done' GROUP BY job, run_id, unit
) AS told GROUP BY job, outcome ORDER BY job, outcome
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
