"""Rows and units that a run has committed, counted in the tables, for a run that did not finish."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.views import literal, tables
from millrace.schemas.tables import QUARANTINE, UNITS


@dataclass(frozen=True)
class Committed:
    """Rows and units in the tables of a lake; units_total is None before units are planned."""

    scored: int
    quarantined: int
    failed: int
    units_done: int
    units_total: int | None

    @property
    def columns(self) -> dict[str, int | None]:
        """As columns of the table runs."""
        return asdict(self)

    def __str__(self) -> str:
        if not self.units_done:
            quarantined = (
                f"; {self.quarantined:,} quarantined rows are kept" if self.quarantined else ""
            )
            return f"no unit is committed{quarantined}; the next run scores all rows"
        units = f"{self.units_done:,} of {self.units_total or self.units_done:,} units"
        rows = f"{self.scored:,} scored, {self.quarantined:,} quarantined and {self.failed:,} failed rows"
        return f"{units} committed, with {rows}"


def of_run(lake: LakeLocation, predictions: str, run_id: str) -> Committed:
    """What the tables hold of the run."""
    there, mine = set(tables(lake)), f"WHERE run_id = {literal(run_id)}"

    def counts(table: str, columns: str) -> dict[str, Any]:
        if table not in there:
            return {}
        (found,) = query(lake, f"SELECT {columns} FROM {table} {mine}").to_pylist()  # noqa: S608 - ours
        return dict(found)

    rows = counts(predictions, "count(*) AS n, count(error) AS failed")
    broken = counts(QUARANTINE.name, "count(*) AS n")
    done = "count(DISTINCT CASE WHEN state = 'done' THEN unit END) AS done"
    units = counts(UNITS.name, f"{done}, count(DISTINCT unit) AS n")
    failed = rows.get("failed", 0)
    return Committed(
        rows.get("n", 0) - failed,
        broken.get("n", 0),
        failed,
        units.get("done", 0),
        units.get("n") or None,
    )
