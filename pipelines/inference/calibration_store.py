"""Measurements that runs made, in the table `calibrations`: written once a run, and found for later ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.calibration import CalibrationRequest, Measurement, chosen
from millrace.schemas.tables import CALIBRATIONS

_OUTGROWN = (
    10  # times the rows for which an earlier run measured: then what it left out is made up for
)
_NOT_MEASURED = "not measured"


def calibration_rows(
    lake: LakeLocation, filters: list[tuple[str, str, Any]]
) -> list[dict[str, Any]]:
    """Return rows of the table, in the order in which they were written."""
    found = delta.values(lake, CALIBRATIONS, filters)
    return sorted(found, key=lambda row: (row["at"], row["run_id"], row["place"]))


def known_measurements(prepared: PreparedJob, request: CalibrationRequest) -> dict[str, str]:
    """By machine, the latest measurements of this model, unless they were made for a far smaller run."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in calibration_rows(
        prepared.lake,
        [("model_digest", "=", request.digest), ("asked", "=", _request_key(request))],
    ):
        group = found.setdefault(row["machine"], [])
        if group and group[-1]["run_id"] != row["run_id"]:
            group.clear()
        group.append(row)
    return {
        machine: json.dumps([one.model_dump() for one in measurements_of(rows)])
        for machine, rows in found.items()
        if is_usable(rows, request)
    }


def is_usable(rows: Sequence[dict[str, Any]], request: CalibrationRequest) -> bool:
    """Whether what an earlier run measured is good for this request: whole, and of no far smaller run."""
    is_measured = any(row["rows_per_s"] for row in rows)
    is_whole = not any((row["why"] or "").startswith(_NOT_MEASURED) for row in rows)
    is_large = request.expected_rows <= _OUTGROWN * max(row["expected_rows"] for row in rows)
    there = all(_is_readable(row, request) for row in rows if row["chosen"])
    return there and is_measured and (is_whole or is_large)


def _is_readable(row: Mapping[str, Any], request: CalibrationRequest) -> bool:
    """Whether the measured model can be read: its own folder, or a conversion of this version."""
    folder = Path(row["folder"])
    is_own = row["digest"] == request.digest or folder.is_relative_to(request.converted)
    return is_own and folder.is_dir()


def _request_key(request: CalibrationRequest) -> str:
    return json.dumps(request.model_dump(include={"device", "backend", "precision", "threads"}))


def measurements_of(rows: Sequence[dict[str, Any]]) -> list[Measurement]:
    """Return the measurements that rows hold."""
    names = set(Measurement.model_fields)
    return [
        Measurement.model_validate(
            {k: v for k, v in row.items() if k in names} | {"errors": json.loads(row["errors"])}
        )
        for row in rows
    ]


def store_measurements(
    prepared: PreparedJob,
    run_id: str,
    request: CalibrationRequest,
    machine: str,
    seen: Sequence[Measurement],
    at: datetime,
) -> None:
    """Write what a run measured, once, with the choice that follows from it."""
    best = chosen(seen, request.backend, request.precision)
    about = {
        "run_id": run_id,
        "job": prepared.job.name,
        "at": at,
        "model": prepared.model.card.title,
        "model_digest": request.digest,
        "asked": _request_key(request),
        "machine": machine,
        "expected_rows": request.expected_rows,
    }
    results = [json.loads(one.model_dump_json()) for one in seen]
    rows = [
        {
            **about,
            **one,
            "errors": json.dumps(one["errors"]),
            "place": place,
            "chosen": place == best,
        }
        for place, one in enumerate(results)
    ]
    delta.append_values(rows, prepared.lake, CALIBRATIONS, f"millrace:{run_id}:calibration")
