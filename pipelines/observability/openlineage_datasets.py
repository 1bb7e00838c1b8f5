"""Datasets of a run in OpenLineage: its input with its quality, its outputs with their column lineage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.query.lake_reader import Row
from millrace.pipelines.query.run_details import RunDetails, row_outcomes
from millrace.schemas.tables import QUARANTINE, Column

Json = dict[str, Any]
PRODUCER = "urn:millrace"
SPEC = "https://openlineage.io/spec"


def dataset(path: str) -> tuple[str, str]:
    """Namespace and name of what is at a path or URI, without a password that may be in it."""
    found = urlsplit(path)
    if not found.netloc or found.scheme == "file":
        return "file", str(Path(found.path if found.scheme == "file" else path).absolute())
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}", found.path.strip("/") or "/"


def input_dataset(prepared: PreparedJob, details: RunDetails | None) -> Json:
    """Return the input, with the outcome of every rule once the run has ended."""
    namespace, name = dataset(prepared.pinned.root)
    fields = [
        (spec.origin or column, spec.type, spec.comment or "")
        for column, spec in prepared.contract.columns.items()
    ]
    facets = {"schema": _schema(fields)}
    if prepared.pinned.version is not None:
        dataset_version = {"datasetVersion": str(prepared.pinned.version)}
        facets["version"] = facet("1-0-1/DatasetVersionDatasetFacet", dataset_version)
    found = {"namespace": namespace, "name": name, "facets": facets}
    return found if details is None else found | {"inputFacets": _quality(prepared, details)}


def _quality(prepared: PreparedJob, details: RunDetails) -> Json:
    """How good the input was: rows, nulls of the columns that must have none, and every rule."""
    nulls = {
        rule["columns"][0]: {"nullCount": rule["failed"]}
        for rule in details.rules
        if rule["rule"].endswith(".not_null") and len(rule["columns"] or ()) == 1
    }
    metrics = {
        "rowCount": row_outcomes(details)[0],
        "bytes": prepared.pinned.size_bytes,
        "fileCount": len(prepared.pinned.files),
        "columnMetrics": nulls,
    }
    metrics = {name: value for name, value in metrics.items() if value is not None}
    rules = {"assertions": [_assertion(rule) for rule in details.rules]}
    return {
        "dataQualityMetrics": facet("1-0-3/DataQualityMetricsInputDatasetFacet", metrics),
        "dataQualityAssertions": facet("1-1-0/DataQualityAssertionsDatasetFacet", rules),
    }


def _assertion(rule: Row) -> Json:
    """A rule's outcome. It did not hold where rows broke it, whether or not the gate let that pass."""
    columns: list[str] = rule["columns"] or []
    found = {"assertion": rule["kind"], "name": rule["rule"], "severity": rule["severity"]}
    found |= {"column": columns[0]} if len(columns) == 1 else {}
    found |= {} if rule["failed"] is None else {"actual": f"{rule['failed']} rows"}
    return {**found, "success": bool(rule["passed"]) and not rule["failed"]}


def output_datasets(prepared: PreparedJob, details: RunDetails | None) -> list[Json]:
    """Return predictions and quarantine, with their row counts once the run has ended."""
    counted = {} if details is None else details.counted
    scored, failed = counted.get("scored"), counted.get("failed")
    made = None if scored is None else scored + (failed or 0)
    predictions = _table(prepared, prepared.predictions.name, prepared.predictions.columns, made)
    predictions["facets"]["columnLineage"] = _lineage(prepared)
    refused = _table(prepared, QUARANTINE.name, QUARANTINE.columns, counted.get("quarantined"))
    return [predictions, refused]


def _table(prepared: PreparedJob, name: str, columns: Sequence[Column], rows: int | None) -> Json:
    namespace, place = dataset(prepared.lake.uri(name))
    fields = [(column.name, column.type, column.comment) for column in columns]
    found = {"namespace": namespace, "name": place, "facets": {"schema": _schema(fields)}}
    if rows is None:
        return found
    statistics = facet("1-0-2/OutputStatisticsOutputDatasetFacet", {"rowCount": rows})
    return found | {"outputFacets": {"outputStatistics": statistics}}


def _lineage(prepared: PreparedJob) -> Json:
    """From which columns each one of the predictions comes, and which decide whether a row is there."""
    namespace, name = dataset(prepared.pinned.root)

    origins = prepared.contract.origins

    def of(column: str, kind: str, subtype: str, why: str = "") -> Json:
        transformation = {"type": kind, "subtype": subtype, "description": why, "masking": False}
        field = origins[column].name if column in origins else column
        return {
            "namespace": namespace,
            "name": name,
            "field": field,
            "transformations": [transformation],
        }

    signature = prepared.model.card.signature
    computed = [
        of(one, "DIRECT", "TRANSFORMATION", prepared.model.card.title) for one in signature.inputs
    ]
    passed = (*prepared.job.key, *prepared.job.keep)
    fields = {one: {"inputFields": [of(one, "DIRECT", "IDENTITY")]} for one in passed}
    fields |= {one: {"inputFields": computed} for one in signature.outputs}
    refusing = [rule for rule in reversed(prepared.rules) if rule.severity == "error"]
    read = {one: rule.name for rule in refusing for one in rule.columns}
    filters = [of(one, "INDIRECT", "FILTER", rule) for one, rule in read.items()]
    return facet("1-2-0/ColumnLineageDatasetFacet", {"fields": fields, "dataset": filters})


def _schema(fields: Iterable[tuple[str, str, str]]) -> Json:
    columns = [{"name": name, "type": kind, "description": text} for name, kind, text in fields]
    return facet("1-2-0/SchemaDatasetFacet", {"fields": columns})


def facet(of: str, content: Json) -> Json:
    """Return a facet of the specification; ``of`` is its version and name."""
    name = of.rpartition("/")[2]
    return {
        "_producer": PRODUCER,
        "_schemaURL": f"{SPEC}/facets/{of}.json#/$defs/{name}",
        **content,
    }
