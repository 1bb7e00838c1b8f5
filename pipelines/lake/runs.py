"""A run and its events in the table `runs`, found by its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.run_lock import Claim
from millrace.schemas import figures, ids
from millrace.schemas.summary import TOTALS, RunSummary
from millrace.schemas.tables import RUNS, UNITS

Clock = Callable[[], datetime]
DONE = "done"
DONE_ALREADY = "already done: nothing was scored again"


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

    def claimed_by(self, lake: LakeLocation, claim: Claim) -> Run:
        """The same run, in the hands of the driver that made the claim."""
        driver = Driver.at(lake, self.run_id, claim.holder.token, claim.check)
        return replace(self, driver=driver)

    def transaction(self, unit: int | None = None) -> str:
        """The Delta transaction of a unit of this run; without one, of the run."""
        return ids.transaction(self.fingerprint, self.series, unit)


def new_run(
    lake: LakeLocation,
    job: str,
    fingerprint: str,
    facts: dict[str, str | None],
    nonce: str,
    series: int = 0,
) -> Run:
    """A run without events, which no other driver can take over."""
    run_id = ids.run_id(job, fingerprint, nonce)
    return Run(run_id, fingerprint, job, facts, Driver.at(lake, run_id), series=series)


def run_of(lake: LakeLocation, event: Mapping[str, Any], facts: dict[str, Any]) -> Run:
    """The run of its last event, which no driver has claimed yet."""
    return Run(
        event["run_id"],
        event["fingerprint"],
        event["job"],
        facts,
        Driver.at(lake, event["run_id"]),
        events=event["event"] + 1,
        series=event["series"],
        number=event["number"],
    )


def last_event(lake: LakeLocation, fingerprint: str) -> dict[str, Any] | None:
    """The last event of the latest run with this fingerprint; None where there was none."""
    found = delta.values(lake, RUNS, [("fingerprint", "=", fingerprint)])
    return max(found, key=lambda event: (event["series"], event["event"]), default=None)


def next_number(lake: LakeLocation, job: str) -> int:
    """The number of the job's next run."""
    begun = delta.values(lake, RUNS, [("job", "=", job), ("event", "=", 0)])
    return max((event["number"] for event in begun), default=0) + 1


def events(lake: LakeLocation, run_id: str) -> list[dict[str, Any]]:
    """The run's events, in their order."""
    found = delta.values(lake, RUNS, [("run_id", "=", run_id)])
    return sorted(found, key=lambda event: event["event"])


def closed_at(history: Sequence[dict[str, Any]], closed: datetime) -> list[dict[str, Any]]:
    """The events as they will be once the last attempt records that its books were closed."""
    last = history[-1]
    if last["books_closed_at"] is not None:
        return list(history)
    return [*history, {**last, "event": last["event"] + 1, "state": "", "books_closed_at": closed}]


def rows_per_s(lake: LakeLocation, job: str, model_digest: str) -> float | None:
    """How fast the job's last run with this model scored, all workers together; None: there was none.

    Of a run of several attempts, the last one.
    """
    done = [
        event
        for event in delta.values(lake, RUNS, [("job", "=", job)])
        if event["state"] == DONE and event["model_digest"] == model_digest and event["infer_s"]
        if has_typical_speed(event)
    ]
    last = max(done, key=lambda event: event["number"], default=None)
    if last is None:
        return None
    return figures.rows_per_s(scored_now(lake, last["run_id"], last["scored"]), last["infer_s"])


def scored_now(lake: LakeLocation, run_id: str, scored: int) -> int:
    """Of the run's scored rows, those that its last attempt committed."""
    began = [one["at"] for one in events(lake, run_id) if one["state"] in figures.BEGINS]
    return figures.scored_now(scored, began, delta.values(lake, UNITS, [("run_id", "=", run_id)]))


def has_typical_speed(event: Mapping[str, Any]) -> bool:
    """Whether an event is of a run whose time says much of the next one's.

    A run with a cache may have found most of its rows there, and a replay looks for few rows in a whole
    input.
    """
    cache = json.loads(event["settings"] or "{}").get("cache", "off")
    return cache == "off" and not event.get("replays")


def append_event(lake: LakeLocation, run: Run, state: str, at: datetime, **more: Any) -> Run:
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
    delta.append_values([event], lake, RUNS, f"millrace:{run.run_id}:event:{run.events}")
    return replace(run, events=run.events + 1)


def summary_of(event: dict[str, Any], lake: LakeLocation) -> RunSummary:
    """The summary of a command that found its run done: the run's totals, and no seconds of its own."""
    known = {name: event[name] for name in TOTALS}
    cost, report = event["cost"], lake.report_page(event["run_id"])
    nothing = {"wall_s": 0.0, "infer_s": 0.0, "model_load_s": 0.0}
    return RunSummary(
        run_id=event["run_id"],
        state=event["state"],
        fingerprint=event["fingerprint"],
        lake=str(lake),
        input=json.loads(event["pinned_input"]),
        gates=tuple(json.loads(event["gates"] or "[]")),
        report=str(report) if report.is_file() else None,
        done_before=event["at"].isoformat(timespec="seconds"),
        warnings=(DONE_ALREADY,),
        **known | nothing | {"cost": None if cost is None else Decimal(cost)},
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
