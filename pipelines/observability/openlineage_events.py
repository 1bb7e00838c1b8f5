"""A run as OpenLineage's events: pure functions from what a run is about, and came to, to JSON objects.

No event has a value of a row: of rules it has names and outcomes, of errors what Millrace says.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake.runs import Run
from millrace.pipelines.observability.openlineage_datasets import (
    PRODUCER,
    SPEC,
    Json,
    facet,
    input_dataset,
    output_datasets,
)
from millrace.pipelines.query.run_details import RunDetails, reason, row_outcomes

TYPES = {"done": "COMPLETE", "stopped": "ABORT"}  # every other end is a FAIL
_RUNS = uuid.UUID("6d696c6c-7261-4365-8000-000000000001")  # runs' own namespace of name-based UUIDs


@dataclass(frozen=True)
class LineageContext:
    """What the process that runs the job says of itself, by OpenLineage's own environment variables."""

    namespace: str = "millrace"
    parent: tuple[str, str, str] | None = None  # namespace, job and run of what started this one

    @staticmethod
    def of(environment: Mapping[str, str]) -> LineageContext:
        """What OPENLINEAGE_NAMESPACE and OPENLINEAGE_PARENT_ID (namespace/job/run) say."""
        parts = environment.get("OPENLINEAGE_PARENT_ID", "").rsplit("/", 2)
        parent = (parts[0], parts[1], parts[2]) if len(parts) == 3 and _is_uuid(parts[2]) else None  # noqa: PLR2004
        return LineageContext(environment.get("OPENLINEAGE_NAMESPACE") or "millrace", parent)


@dataclass(frozen=True)
class LineageAttempt:
    """An attempt of a run, and where it was started."""

    prepared: PreparedJob
    run: Run
    context: LineageContext = LineageContext()


def began(attempt: LineageAttempt, at: datetime) -> Json:
    """The START of an attempt: what it reads and writes, by name and schema."""
    facets = {"millrace_run": _own("run", _about(attempt))}
    return _event("START", attempt, at, facets, None)


def ended(attempt: LineageAttempt, details: RunDetails, at: datetime) -> Json:
    """The COMPLETE, FAIL or ABORT of an attempt: with rows, rules, cost, and why it failed."""
    last = details.run
    facets = {
        "millrace_run": _own("run", _about(attempt) | _came_to(details)),
        "millrace_cost": _own("cost", _cost(details)),
    }
    if last["state"] != "done":
        why = reason(last)
        message = " ".join(filter(None, (f"{why['kind']}: {why['what']}", why["next"])))
        error = {"message": message, "programmingLanguage": "PYTHON"}
        facets["errorMessage"] = facet("1-0-1/ErrorMessageRunFacet", error)
    return _event(TYPES.get(last["state"], "FAIL"), attempt, at, facets, details)


def _event(
    kind: str, attempt: LineageAttempt, at: datetime, facets: Json, details: RunDetails | None
) -> Json:
    engine = {"version": version("pyspark"), "name": "spark"}
    facets["processing_engine"] = facet("1-1-1/ProcessingEngineRunFacet", engine)
    if attempt.context.parent is not None:
        namespace, job, parent = attempt.context.parent
        of = {"run": {"runId": parent}, "job": {"namespace": namespace, "name": job}}
        facets["parent"] = facet("1-2-0/ParentRunFacet", of)
    sort = {"processingType": "BATCH", "integration": "MILLRACE", "jobType": "JOB"}
    return {
        "eventType": kind,
        "eventTime": at.isoformat(),
        "run": {"runId": attempt_id(attempt.run), "facets": facets},
        "job": {
            "namespace": attempt.context.namespace,
            "name": attempt.prepared.job.name,
            "facets": {"jobType": facet("2-0-4/JobTypeJobFacet", sort)},
        },
        "inputs": [input_dataset(attempt.prepared, details)],
        "outputs": output_datasets(attempt.prepared, details),
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def attempt_id(run: Run) -> str:
    """Return an attempt's UUID: the same in all its events, and different for each attempt of a run."""
    return str(uuid.uuid5(_RUNS, f"{run.run_id}:{run.application}"))


def _about(attempt: LineageAttempt) -> Json:
    prepared, run = attempt.prepared, attempt.run
    return {
        "runId": run.run_id,
        "fingerprint": run.fingerprint,
        "application": run.application,
        "model": prepared.model.card.title,
        "modelDigest": prepared.model.digest,
        "replays": prepared.replays.run_id if prepared.replays else None,
    }


def _came_to(details: RunDetails) -> Json:
    total, outcomes = row_outcomes(details)
    rows = {name.replace(" ", "_"): count for name, count in outcomes.items()}
    return {"state": details.run["state"], "rows": {"read": total, **rows}}


def _cost(details: RunDetails) -> Json:
    """What the run came to so far, all attempts: sums as texts, so that no digit is lost."""
    run, spent = details.run, details.spent
    return {
        "cost": _exact(spent["cost"]),
        "currency": spent["currency"],
        "slotSeconds": spent["slot_s"],
        "byKind": [
            {"kind": kind["kind"], "slotSeconds": kind["slot_s"], "cost": _exact(kind["cost"])}
            for kind in details.kinds
        ],
        "energyWh": run["energy_wh"],
        "carbonG": run["carbon_g"],
        "booksClosed": run["books_closed"],
    }


def _exact(cost: Any) -> str | None:
    return None if cost is None else f"{cost:f}"


def _own(name: str, content: Json) -> Json:
    """A facet that no specification has: docs/OBSERVABILITY.md lists its fields."""
    return {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}:facet:{name}:1", **content}


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
