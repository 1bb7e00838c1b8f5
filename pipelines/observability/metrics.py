"""A lake's tables as Prometheus metrics: sums over all runs, and figures of each job's last run.

A label is a job, a kind or a column, never a run: a lake has as many series after a year as after a day.
The last run is the job's newest that has ended, whatever its final state.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from millrace.pipelines.lake.atomic_file import whole
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.observability import cost_metrics, run_metrics
from millrace.pipelines.observability.metric_families import MetricFamily
from millrace.pipelines.query.lake_reader import LakeReader
from millrace.schemas.errors import QueryError
from millrace.schemas.tables import RUNS

_SOURCES = (
    run_metrics.states,
    run_metrics.last_runs,
    run_metrics.rows,
    cost_metrics.ledger,
    cost_metrics.waste,
    cost_metrics.energy,
    cost_metrics.batches,
    cost_metrics.drift,
)


class LakeCollector(Collector):
    """Reads a lake's tables each time that its metrics are collected."""

    def __init__(self, lake: LakeLocation) -> None:
        self._lake = lake

    def collect(self) -> Iterator[MetricFamily]:
        """Yield every family that has a sample. Raises QueryError where the lake has no run."""
        reader = LakeReader(self._lake)
        if RUNS.name not in reader.there:
            raise QueryError(f"no runs in {self._lake}", next="run a job that writes there first")
        for source in _SOURCES:
            yield from (family for family in source(reader) if family.samples)


def exposition(lake: LakeLocation) -> str:
    """Return all metrics of a lake in Prometheus' text format. Raises QueryError if it has no run."""
    return generate_latest(registry(LakeCollector(lake))).decode()


def registry(collector: Collector) -> CollectorRegistry:
    """Return a registry of this collector alone, without metrics of this process."""
    found = CollectorRegistry()
    found.register(collector)
    return found


def write(lake: LakeLocation, path: Path) -> Path:
    """Write all metrics of a lake to a file, atomically."""
    text = exposition(lake)
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path
