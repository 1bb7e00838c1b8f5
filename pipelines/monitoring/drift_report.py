"""The commands ``millrace baseline`` and ``millrace drift``, from the tables alone, without Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millrace.pipelines.console import output
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.monitoring import baseline, drift
from millrace.pipelines.monitoring.baseline import Baseline
from millrace.pipelines.monitoring.drift import Finding
from millrace.pipelines.profiling import profiles
from millrace.pipelines.profiling.profiles import INPUT, OUTPUT, Profiles
from millrace.pipelines.query.run_lookup import find
from millrace.schemas.errors import UsageError
from millrace.schemas.monitor import Drift
from millrace.schemas.tables import DRIFT

_SHOWN = ("side", "unit", "column", "measure", "psi", "ks", "js", "missing", "drifted", "why")
_DECIMALS = 4


def set_command(lake: Path, run_id: str, *, as_json: bool) -> None:
    """Set a job's baseline, and say so."""
    found = find(lake, run_id)
    pin = baseline.set_(lake, found, datetime.now(UTC))
    if as_json:
        output.print_json(pin)
    else:
        output.echo(f"later runs of {pin['job']} are compared with {pin['run_id']}")


def show_command(lake: Path, *, as_json: bool) -> None:
    """List the baselines that were set, and which apply."""
    pins = baseline.pins(lake)
    last = {pin["job"]: pin["number"] for pin in pins}
    rows = [{**pin, "applies": last[pin["job"]] == pin["number"]} for pin in pins]
    if as_json:
        output.print_json(rows)
    elif rows:
        output.print_rows(list(rows[0]), rows)
    else:
        output.echo("no baseline is set: millrace baseline set RUN")


def drift_command(
    lake: Path, run_id: str, against: str | None, *, units: bool, as_json: bool
) -> None:
    """Print how far a run is from its baseline, or from another run. Raises UsageError."""
    found = find(lake, run_id)
    rows = [] if against else _as_it_ran(lake, found)
    if not rows:
        rows = list(_now(lake, found, _baseline(lake, found, against)))
    rows = [row for row in rows if units or row["unit"] is None]
    if as_json:
        output.print_json(
            {
                "run_id": found,
                "baseline": rows[0]["baseline"] if rows else None,
                "drifted": any(row["drifted"] for row in rows),
                "columns": [_plain(row) for row in rows],
            }
        )
        return
    output.print_rows(list(_SHOWN), [_short(row) for row in rows])
    moved = sum(row["drifted"] for row in rows)
    against = rows[0]["baseline"] if rows else against
    output.echo(f"{moved} of {len(rows)} measures have drifted from run {against}")


def _as_it_ran(lake: Path, run_id: str) -> list[dict[str, Any]]:
    """What the run found itself: of its attempts that compared a side, the last."""
    rows = delta.values(lake, DRIFT, [("run_id", "=", run_id)])
    last: dict[str, int] = {}
    for row in rows:
        last[row["side"]] = max(row["event"], last.get(row["side"], 0))
    mine = [row for row in rows if row["event"] == last[row["side"]]]
    return sorted(mine, key=lambda row: (row["side"], row["unit"] is not None, row["unit"] or 0))


def _baseline(lake: Path, run_id: str, against: str | None) -> Baseline:
    if against is not None:
        return baseline.of_run(lake, find(lake, against))
    job = runs.events(lake, run_id)[-1]["job"]
    found = baseline.of_job(lake, job)
    if found is None:
        raise UsageError(
            f"job {job} has no baseline",
            next="millrace baseline set RUN, or millrace drift RUN --baseline OTHER",
        )
    return found


def _now(lake: Path, run_id: str, against: Baseline) -> Iterator[dict[str, Any]]:
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
    names = (*_SHOWN, "before", "now")
    return {name: row[name] for name in names} | {"limits": json.loads(row["limits"])}


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, _DECIMALS) if isinstance(value, float) else value
        for name, value in ((name, row[name]) for name in _SHOWN)
    }
