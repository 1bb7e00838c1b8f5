"""What is wrong with a job before a JVM starts, and what the job is if nothing is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from deltalake import DeltaTable

from millrace.pipelines.job.instance_price import rate
from millrace.pipelines.job.model_check import checked_model
from millrace.pipelines.job.passthrough_columns import checked_contract, refuse_missing
from millrace.pipelines.lake import own_tables, store_guarantees, write_access
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.sources import snapshot
from millrace.pipelines.sources.schema_check import check_names
from millrace.pipelines.spark import machine_check, places
from millrace.schemas.config import Job
from millrace.schemas.pinned import Pinned


def checked(job: Job, now: datetime) -> dict[str, Any]:
    """What the job is, as plain values; money as a text.

    Raises UsageError for what a run would refuse before it reads a row.
    """
    safe = store_guarantees.refuse_unsafe(job.output.path, single_writer=job.run.single_writer)
    write_access.check_lake(LakeLocation.of(job))
    own_tables.check_job(job)
    model = checked_model(job, on_this_machine=machine_check.computes_here())
    price = rate(job.cost, now)
    pinned = snapshot.pin(job.source)
    _check_columns(job, pinned)
    place = places.of(job)
    if not place.is_embedded:
        machine_check.check_java()
    budget = job.cost.budget if job.cost else None
    return {
        "job": job.name,
        "table": job.table,
        "lake": str(LakeLocation.of(job)),
        "store": safe.name,
        "model": model.card.title,
        "model_format": model.card.format,
        "model_digest": model.digest,
        "decoded_as": model.decoded_as or None,
        "place": "embedded" if place.is_embedded else "spark",
        "place_why": place.why,
        "instance": price and price.instance.sku,
        "currency": price and price.currency,
        "budget": None if budget is None else f"{budget:f}",
        "input": pinned.summary(),
    }


def _check_columns(job: Job, pinned: Pinned) -> None:
    """Compare declared and kept columns with the input's own: headers and footers, no row.

    Raises UsageError for a kept column that is not there, SchemaMismatch for a declared one.
    """
    if job.source.format == "delta":  # the types are for Spark to say, when the run starts
        found = [field.name for field in DeltaTable(pinned.root, pinned.version).schema().fields]
        refuse_missing(pinned.root, found, [c for c in job.keep if c not in job.contract.columns])
        check_names(job.source, job.contract, pinned)
        return
    no_spark: Any = None  # files tell their columns without it
    checked_contract(no_spark, job, pinned)
