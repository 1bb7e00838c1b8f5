"""Queries of a lake about its jobs: rows, each job's newest run, and its last run that ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.views import literal, tables
from millrace.schemas.figures import BEGINS
from millrace.schemas.tables import RUNS

Row = dict[str, Any]
_NO_RUN: Row = {column.name: None for column in RUNS.columns}


@dataclass(frozen=True)
class LakeReader:
    """Queries over a lake's tables; a table that does not exist gives no row."""

    lake: LakeLocation

    @cached_property
    def there(self) -> set[str]:
        """The tables of the lake."""
        return set(tables(self.lake))

    def runs(self, sql: str) -> list[Row]:
        """The rows of a query for runs; columns that came after the lake was made are None."""
        return [{**_NO_RUN, **row} for row in self.rows(sql, RUNS.name)]

    def rows(self, sql: str, *needed: str) -> list[Row]:
        """The rows of a query that needs these tables."""
        found: list[Row] = query(self.lake, sql).to_pylist() if self.there >= {*needed} else []
        return found

    @cached_property
    def newest(self) -> dict[str, Row]:
        """By job, its newest run as its last event left it."""
        return {run["job"]: run for run in self._runs}

    @cached_property
    def last(self) -> dict[str, Row]:
        """By job, its newest run that has ended."""
        return {run["job"]: run for run in self._runs if run["state"] not in BEGINS}

    @cached_property
    def jobs(self) -> dict[str, str]:
        """By the id of each last run, its job."""
        return {run["run_id"]: job for job, run in self.last.items()}

    @cached_property
    def chosen(self) -> str:
        """The ids of the last runs, as SQL's list."""
        return ", ".join(map(literal, self.jobs)) or "''"

    @cached_property
    def _runs(self) -> list[Row]:
        return self.runs("SELECT * FROM runs_current ORDER BY number, at, run_id")
