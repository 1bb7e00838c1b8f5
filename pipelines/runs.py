"""The life of a run: found by its fingerprint, told as events in the runs table."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from pipelines import sink
from schemas.summary import Summary
from schemas.tables import RUNS

DONE = "done"
_TOTALS = (
    "rows_read", "scored", "quarantined", "failed", "units_done", "units_total", "wall_s", "infer_s",
    "model_load_s", "cost", "currency", "ledger_coverage", "books_closed",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run: what it is called, what it is about, and how many events it has had."""

    run_id: str
    fingerprint: str
    job: str
    facts: dict[str, Any]  # pinned_input, model, model_digest, settings: the same on each event
    events: int = 0


def last_event(lake: Path, fingerprint: str) -> dict[str, Any] | None:
    """The latest event of the run with this fingerprint; None where there was none."""
    try:
        table = DeltaTable(str(lake / RUNS.name))
    except TableNotFoundError:
        return None
    found = table.to_pyarrow_table(filters=[("fingerprint", "=", fingerprint)]).to_pylist()
    return max(found, key=lambda event: event["event"], default=None)


def tell(lake: Path, run: Run, state: str, at: datetime, **more: Any) -> Run:
    """Append an event to the run; the run with one event more."""
    event = {
        "run_id": run.run_id,
        "event": run.events,
        "job": run.job,
        "fingerprint": run.fingerprint,
        "state": state,
        "at": at,
        **run.facts,
        **more,
    }
    sink.append_values([event], lake, RUNS, f"millrace:{run.run_id}:event:{run.events}")
    return replace(run, events=run.events + 1)


def totals(summary: Summary) -> dict[str, Any]:
    """The summary's numbers as columns of the runs table."""
    return {name: getattr(summary, name) for name in _TOTALS}


def summary_of(event: dict[str, Any], lake: Path, report: Path) -> Summary:
    """The summary of a run that is done, read back from its last event."""
    known = {name: event[name] for name in _TOTALS}
    cost = event["cost"]
    return Summary(
        run_id=event["run_id"],
        state=event["state"],
        fingerprint=event["fingerprint"],
        lake=str(lake),
        report=str(report) if report.is_file() else None,
        warnings=("already done: nothing was scored again",),
        **known | {"cost": None if cost is None else Decimal(cost)},
    )


def facts(
    pinned: dict[str, Any], model: str, digest: str, settings: dict[str, Any]
) -> dict[str, str]:
    """What every event of a run repeats."""
    return {
        "pinned_input": json.dumps(pinned, sort_keys=True),
        "model": model,
        "model_digest": digest,
        "settings": json.dumps(settings, sort_keys=True),
    }
