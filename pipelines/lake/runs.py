"""The life of a run: found by its fingerprint, told as events in the runs table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipelines import sink
from pipelines.driver import Driver
from schemas import ids
from schemas.summary import Summary
from schemas.tables import RUNS

Clock = Callable[[], datetime]
DONE = "done"
DONE_ALREADY = "already done: nothing was scored again"
_TOTALS = (
    "rows_read", "scored", "quarantined", "failed", "units_done", "units_total", "wall_s", "infer_s",
    "model_load_s", "cost", "currency", "energy_wh", "energy_wh_low", "energy_wh_high", "carbon_g",
    "ledger_coverage", "books_closed",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run: what it is called, what it is about, and how many events it has had."""

    run_id: str
    fingerprint: str
    job: str
    facts: dict[str, Any]  # pinned_input, model, model_digest, settings: the same on each event
    driver: Driver
    events: int = 0
    series: int = 0  # of the runs with this fingerprint
    number: int = 1  # of the job's runs
    application: str | None = None  # Spark's, of this attempt

    def transaction(self, unit: int | None = None) -> str:
        """The Delta transaction of a unit of this run; without one, of the run."""
        return ids.transaction(self.fingerprint, self.series, unit)


def last_event(lake: Path, fingerprint: str) -> dict[str, Any] | None:
    """The last event of the latest run with this fingerprint; None where there was none."""
    found = sink.values(lake, RUNS, [("fingerprint", "=", fingerprint)])
    return max(found, key=lambda event: (event["series"], event["event"]), default=None)


def next_number(lake: Path, job: str) -> int:
    """The number of the job's next run."""
    begun = sink.values(lake, RUNS, [("job", "=", job), ("event", "=", 0)])
    return max((event["number"] for event in begun), default=0) + 1


def events(lake: Path, run_id: str) -> list[dict[str, Any]]:
    """What the run's events tell, in their order."""
    found = sink.values(lake, RUNS, [("run_id", "=", run_id)])
    return sorted(found, key=lambda event: event["event"])


def closed_at(told: Sequence[dict[str, Any]], closed: datetime) -> list[dict[str, Any]]:
    """The events, as they will be once the last attempt has told that its books were closed then."""
    last = told[-1]
    if last["books_closed_at"] is not None:
        return list(told)
    return [*told, {**last, "event": last["event"] + 1, "state": "", "books_closed_at": closed}]


def rows_per_s(lake: Path, job: str, model_digest: str) -> float | None:
    """How fast the job's last run with this model scored, all workers together; None: there was none."""
    done = [
        event
        for event in sink.values(lake, RUNS, [("job", "=", job)])
        if event["state"] == DONE and event["model_digest"] == model_digest and event["infer_s"]
        if tells_speed(event)
    ]
    last = max(done, key=lambda event: event["number"], default=None)
    return None if last is None else float(last["scored"] / last["infer_s"])


def tells_speed(event: Mapping[str, Any]) -> bool:
    """Whether an event is of a run whose time says much of the next one's.

    A run with a cache may have found most of its rows there, and a replay looks for few rows in a whole
    input.
    """
    cache = json.loads(event["settings"] or "{}").get("cache", "off")
    return cache == "off" and not event.get("replays")


def tell(lake: Path, run: Run, state: str, at: datetime, **more: Any) -> Run:
    """Append an event to the run; the run with one event more."""
    event = {
        "run_id": run.run_id,
        "event": run.events,
        "job": run.job,
        "fingerprint": run.fingerprint,
        "number": run.number,
        "series": run.series,
        "application": run.application,
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
        warnings=(DONE_ALREADY,),
        **known | {"cost": None if cost is None else Decimal(cost)},
    )


def facts(
    pinned: dict[str, Any],
    model: str,
    digest: str,
    settings: dict[str, Any],
    price: str | None = None,
    replays: str | None = None,
) -> dict[str, str | None]:
    """What every event of a run repeats."""
    return {
        "pinned_input": json.dumps(pinned, sort_keys=True),
        "model": model,
        "model_digest": digest,
        "settings": json.dumps(settings, sort_keys=True),
        "price": price,
        "replays": replays,
    }
