"""How far a run's input and outputs are from a baseline's: as the run found it, or compared now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.monitoring import baseline, drift
from millrace.pipelines.monitoring.baseline import Baseline
from millrace.pipelines.monitoring.drift import Finding
from millrace.pipelines.profiling import profiles
from millrace.pipelines.profiling.profiles import INPUT, OUTPUT, Profiles
from millrace.schemas.errors import UsageError
from millrace.schemas.html import table as html_table
from millrace.schemas.monitor import Drift
from millrace.schemas.tables import DRIFT

SHOWN = ("side", "unit", "column", "measure", "psi", "ks", "js", "missing", "drifted", "why")


@dataclass(frozen=True)
class DriftReport:
    """The measures of a run, each compared with the baseline's; ``baseline`` is a run's id."""

    run_id: str
    baseline: str | None  # None: nothing was compared
    measures: tuple[Mapping[str, Any], ...]  # keys: SHOWN, before, now, limits

    @property
    def drifted(self) -> tuple[Mapping[str, Any], ...]:
        """The measures beyond their limits."""
        return tuple(one for one in self.measures if one["drifted"])

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run_id": self.run_id,
            "baseline": self.baseline,
            "drifted": bool(self.drifted),
            "columns": [dict(one) for one in self.measures],
        }

    def _repr_html_(self) -> str:
        rows = [[one[name] for name in SHOWN] for one in self.measures]
        return html_table(f"{self.run_id} compared with {self.baseline}", SHOWN, rows)


def drift_report(
    lake: LakeLocation, run_id: str, against: str | None = None, *, units: bool = False
) -> DriftReport:
    """Compare a run with its baseline, or with another run.

    Args:
        against: another run; None: as the run itself was compared, by its job's limits. Where no baseline
            was set when it ran, it is compared now, by the limits that a job has by default.
        units: the outputs of each unit, too.

    Raises:
        UsageError: no baseline is set, or a run has no profiles.
    """
    rows = [] if against else _as_it_ran(lake, run_id)
    if not rows:
        rows = list(_now(lake, run_id, _baseline(lake, run_id, against)))
    measures = tuple(_plain(row) for row in rows if units or row["unit"] is None)
    return DriftReport(run_id, rows[0]["baseline"] if rows else against, measures)


def _as_it_ran(lake: LakeLocation, run_id: str) -> list[dict[str, Any]]:
    """What the run found itself: of its attempts that compared a side, the last."""
    rows = delta.values(lake, DRIFT, [("run_id", "=", run_id)])
    last: dict[str, int] = {}
    for row in rows:
        last[row["side"]] = max(row["event"], last.get(row["side"], 0))
    mine = [row for row in rows if row["event"] == last[row["side"]]]
    return sorted(mine, key=lambda row: (row["side"], row["unit"] is not None, row["unit"] or 0))


def _baseline(lake: LakeLocation, run_id: str, against: str | None) -> Baseline:
    if against is not None:
        return baseline.of_run(lake, against)
    job = runs.events(lake, run_id)[-1]["job"]
    found = baseline.of_job(lake, job)
    if found is None:
        raise UsageError(
            f"job {job} has no baseline",
            next="millrace baseline set RUN, or millrace drift RUN --baseline OTHER",
        )
    return found


def _now(lake: LakeLocation, run_id: str, against: Baseline) -> Iterator[dict[str, Any]]:
    """The comparison by the default limits, as the drift table would have it."""
    mine = baseline.of_run(lake, run_id)
    sides: list[tuple[str, int | None, Profiles]] = [
        (INPUT, None, mine.input),
        (OUTPUT, None, mine.outputs),
        *((OUTPUT, number, unit) for number, unit in profiles.of_units(lake, run_id).items()),
    ]
    for side, unit, now in sides:
        for one in drift.findings(against.side(side), now, Drift()):
            yield _row(one, against.run_id, side, unit)


def _row(one: Finding, against: str, side: str, unit: int | None) -> dict[str, Any]:
    return {"baseline": against, "side": side, "unit": unit, **vars(one)}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    names = (*SHOWN, "before", "now")
    return {name: row[name] for name in names} | {"limits": json.loads(row["limits"])}
