"""A run as OpenLineage's events: pure functions from what a run is about, and came to, to JSON objects.

No event has a value of a row: of rules it has names and outcomes, of errors what Millrace says.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines import report
from pipelines.asked import Row
from pipelines.facts import Facts
from pipelines.runs import Run
from pipelines.work import Work
from schemas.tables import QUARANTINE, Column

Json = dict[str, Any]
PRODUCER = "urn:millrace"
SPEC = "https://openlineage.io/spec"
TYPES = {"done": "COMPLETE", "stopped": "ABORT"}  # every other end is a FAIL
_RUNS = uuid.UUID("6d696c6c-7261-4365-8000-000000000001")  # runs' own namespace of name-based UUIDs


@dataclass(frozen=True)
class Around:
    """What the process that runs the job says of itself, by OpenLineage's own environment variables."""

    namespace: str = "millrace"
    parent: tuple[str, str, str] | None = None  # namespace, job and run of what started this one

    @staticmethod
    def of(environment: Mapping[str, str]) -> Around:
        """What OPENLINEAGE_NAMESPACE and OPENLINEAGE_PARENT_ID (namespace/job/run) say."""
        parts = environment.get("OPENLINEAGE_PARENT_ID", "").rsplit("/", 2)
        parent = (parts[0], parts[1], parts[2]) if len(parts) == 3 and _is_uuid(parts[2]) else None  # noqa: PLR2004
        return Around(environment.get("OPENLINEAGE_NAMESPACE") or "millrace", parent)


@dataclass(frozen=True)
class Attempt:
    """An attempt of a run, and where it was started."""

    work: Work
    run: Run
    around: Around = Around()


def began(attempt: Attempt, at: datetime) -> Json:
    """The START of an attempt: what it reads and writes, by name and schema."""
    facets = {"millrace_run": _own("run", _about(attempt))}
    return _event("START", attempt, at, facets, None)


def ended(attempt: Attempt, facts: Facts, at: datetime) -> Json:
    """The COMPLETE, FAIL or ABORT of an attempt: with rows, rules, cost, and why it failed."""
    last = facts.run
    facets = {
        "millrace_run": _own("run", _about(attempt) | _came_to(facts)),
        "millrace_cost": _own("cost", _cost(facts)),
    }
    if last["state"] != "done":
        why = report.reason(last)
        told = " ".join(filter(None, (f"{why['kind']}: {why['what']}", why["next"])))
        error = {"message": told, "programmingLanguage": "PYTHON"}
        facets["errorMessage"] = _facet("1-0-1/ErrorMessageRunFacet", error)
    return _event(TYPES.get(last["state"], "FAIL"), attempt, at, facets, facts)


def _event(kind: str, attempt: Attempt, at: datetime, facets: Json, facts: Facts | None) -> Json:
    engine = {"version": version("pyspark"), "name": "spark"}
    facets["processing_engine"] = _facet("1-1-1/ProcessingEngineRunFacet", engine)
    if attempt.around.parent is not None:
        namespace, job, parent = attempt.around.parent
        of = {"run": {"runId": parent}, "job": {"namespace": namespace, "name": job}}
        facets["parent"] = _facet("1-2-0/ParentRunFacet", of)
    sort = {"processingType": "BATCH", "integration": "MILLRACE", "jobType": "JOB"}
    return {
        "eventType": kind,
        "eventTime": at.isoformat(),
        "run": {"runId": attempt_id(attempt.run), "facets": facets},
        "job": {
            "namespace": attempt.around.namespace,
            "name": attempt.work.job.name,
            "facets": {"jobType": _facet("2-0-4/JobTypeJobFacet", sort)},
        },
        "inputs": [_input(attempt.work, facts)],
        "outputs": _outputs(attempt.work, facts),
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def attempt_id(run: Run) -> str:
    """An attempt's UUID: the same whenever it is told of, and another one for each attempt of a run."""
    return str(uuid.uuid5(_RUNS, f"{run.run_id}:{run.application}"))


def dataset(path: str) -> tuple[str, str]:
    """Namespace and name of what is at a path or URI, without a password that may be in it."""
    found = urlsplit(path)
    if not found.netloc or found.scheme == "file":
        return "file", str(Path(found.path if found.scheme == "file" else path).absolute())
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}", found.path.strip("/") or "/"


def _input(work: Work, facts: Facts | None) -> Json:
    namespace, name = dataset(work.pinned.root)
    fields = [
        (column, spec.type, spec.comment or "") for column, spec in work.contract.columns.items()
    ]
    facets = {"schema": _schema(fields)}
    if work.pinned.version is not None:
        told = {"datasetVersion": str(work.pinned.version)}
        facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet", told)
    found = {"namespace": namespace, "name": name, "facets": facets}
    return found if facts is None else found | {"inputFacets": _quality(work, facts)}


def _quality(work: Work, facts: Facts) -> Json:
    """How good the input was: rows, nulls of the columns that must have none, and every rule."""
    nulls = {
        rule["columns"][0]: {"nullCount": rule["failed"]}
        for rule in facts.rules
        if rule["rule"].endswith(".not_null") and len(rule["columns"] or ()) == 1
    }
    metrics = {
        "rowCount": report.rows_flow(facts)[0],
        "bytes": work.pinned.size_bytes,
        "fileCount": len(work.pinned.files),
        "columnMetrics": nulls,
    }
    metrics = {name: value for name, value in metrics.items() if value is not None}
    rules = {"assertions": [_assertion(rule) for rule in facts.rules]}
    return {
        "dataQualityMetrics": _facet("1-0-3/DataQualityMetricsInputDatasetFacet", metrics),
        "dataQualityAssertions": _facet("1-1-0/DataQualityAssertionsDatasetFacet", rules),
    }


def _assertion(rule: Row) -> Json:
    """A rule's outcome. It did not hold where rows broke it, whether or not the gate let that pass."""
    columns: list[str] = rule["columns"] or []
    found = {"assertion": rule["kind"], "name": rule["rule"], "severity": rule["severity"]}
    found |= {"column": columns[0]} if len(columns) == 1 else {}
    found |= {} if rule["failed"] is None else {"actual": f"{rule['failed']} rows"}
    return {**found, "success": bool(rule["passed"]) and not rule["failed"]}


def _outputs(work: Work, facts: Facts | None) -> list[Json]:
    counted = {} if facts is None else facts.counted
    scored, failed = counted.get("scored"), counted.get("failed")
    made = None if scored is None else scored + (failed or 0)
    predictions = _table(work, work.predictions.name, work.predictions.columns, made)
    predictions["facets"]["columnLineage"] = _lineage(work)
    refused = _table(work, QUARANTINE.name, QUARANTINE.columns, counted.get("quarantined"))
    return [predictions, refused]


def _table(work: Work, name: str, columns: Sequence[Column], rows: int | None) -> Json:
    namespace, place = dataset(str(work.lake / name))
    fields = [(column.name, column.type, column.comment) for column in columns]
    found = {"namespace": namespace, "name": place, "facets": {"schema": _schema(fields)}}
    if rows is None:
        return found
    told = _facet("1-0-2/OutputStatisticsOutputDatasetFacet", {"rowCount": rows})
    return found | {"outputFacets": {"outputStatistics": told}}


def _lineage(work: Work) -> Json:
    """From which columns each one of the predictions comes, and which decide whether a row is there."""
    namespace, name = dataset(work.pinned.root)

    def of(column: str, kind: str, subtype: str, why: str = "") -> Json:
        told = {"type": kind, "subtype": subtype, "description": why, "masking": False}
        return {"namespace": namespace, "name": name, "field": column, "transformations": [told]}

    signature = work.model.card.signature
    computed = [
        of(one, "DIRECT", "TRANSFORMATION", work.model.card.title) for one in signature.inputs
    ]
    passed = (*work.job.key, *work.job.keep)
    fields = {one: {"inputFields": [of(one, "DIRECT", "IDENTITY")]} for one in passed}
    fields |= {one: {"inputFields": computed} for one in signature.outputs}
    refusing = [rule for rule in reversed(work.rules) if rule.severity == "error"]
    read = {one: rule.name for rule in refusing for one in rule.columns}
    filters = [of(one, "INDIRECT", "FILTER", rule) for one, rule in read.items()]
    return _facet("1-2-0/ColumnLineageDatasetFacet", {"fields": fields, "dataset": filters})


def _about(attempt: Attempt) -> Json:
    work, run = attempt.work, attempt.run
    return {
        "runId": run.run_id,
        "fingerprint": run.fingerprint,
        "application": run.application,
        "model": work.model.card.title,
        "modelDigest": work.model.digest,
        "replays": work.replays.run_id if work.replays else None,
    }


def _came_to(facts: Facts) -> Json:
    total, outcomes = report.rows_flow(facts)
    rows = {part.label.replace(" ", "_"): int(part.value) for part in outcomes}
    return {"state": facts.run["state"], "rows": {"read": total, **rows}}


def _cost(facts: Facts) -> Json:
    """What the run came to so far, all attempts: sums as texts, so that no digit is lost."""
    run, spent = facts.run, facts.spent
    return {
        "cost": _exact(spent["cost"]),
        "currency": spent["currency"],
        "slotSeconds": spent["slot_s"],
        "byKind": [
            {"kind": kind["kind"], "slotSeconds": kind["slot_s"], "cost": _exact(kind["cost"])}
            for kind in facts.kinds
        ],
        "energyWh": run["energy_wh"],
        "carbonG": run["carbon_g"],
        "booksClosed": run["books_closed"],
    }


def _exact(cost: Any) -> str | None:
    return None if cost is None else f"{cost:f}"


def _schema(fields: Iterable[tuple[str, str, str]]) -> Json:
    told = [{"name": name, "type": kind, "description": text} for name, kind, text in fields]
    return _facet("1-2-0/SchemaDatasetFacet", {"fields": told})


def _facet(of: str, told: Json) -> Json:
    name = of.rpartition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/facets/{of}.json#/$defs/{name}", **told}


def _own(name: str, told: Json) -> Json:
    """A facet that no specification has: docs/OBSERVABILITY.md tells its fields."""
    return {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}:facet:{name}:1", **told}


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
