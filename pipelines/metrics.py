"""What the tables of a lake say of its jobs, as Prometheus' metrics: sums over all runs, and the last run.

A label is a job, a kind or a column, never a run: a lake has as many series after a year as after a day.
The last run is the job's newest that has ended, however it did.
"""

from __future__ import annotations

from pathlib import Path

from pipelines import run_metrics, spent_metrics
from pipelines.asked import Lake
from pipelines.exposition import text
from pipelines.whole_file import whole
from schemas.errors import QueryError
from schemas.tables import RUNS

_PARTS = (
    run_metrics.ends,
    run_metrics.last_runs,
    run_metrics.rows,
    spent_metrics.ledger,
    spent_metrics.waste,
    spent_metrics.energy,
    spent_metrics.batches,
    spent_metrics.drift,
)


def exposed(lake: Path) -> str:
    """All metrics of a lake in Prometheus' text format. Raises QueryError where there is no run."""
    asked = Lake(lake)
    if RUNS.name not in asked.there:
        raise QueryError(f"no runs in {lake}", next="run a job that writes there first")
    return text(family for part in _PARTS for family in part(asked))


def write(lake: Path, path: Path) -> Path:
    """Write all metrics of a lake to a file, which appears whole or not at all."""
    told = exposed(lake)
    with whole(path) as draft:
        draft.write_text(told, encoding="utf-8")
    return path
