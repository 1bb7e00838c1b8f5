"""Where a job runs: the embedded engine, a Spark on this machine, or what the environment names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from millrace.pipelines.spark import connect, embedded, embedded_equality
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError

# Of these, files are read by Python in both places, or by engines that were compared.
_FORMATS = frozenset({"csv", "idx", "json", "parquet"})
# By these, each row is compared with constants, or rows are counted; a job of tests has all of them.
EXPECTATIONS = frozenset(
    {
        "ExpectColumnValueLengthsToBeBetween",
        "ExpectColumnValueLengthsToEqual",
        "ExpectColumnValuesToBeBetween",
        "ExpectColumnValuesToBeInSet",
        "ExpectColumnValuesToBeNull",
        "ExpectColumnValuesToBeUnique",
        "ExpectColumnValuesToNotBeInSet",
        "ExpectColumnValuesToNotBeNull",
        "ExpectTableRowCountToBeBetween",
        "ExpectTableRowCountToEqual",
    }
)


class Place(NamedTuple):
    """Where a job runs."""

    is_embedded: bool
    why: str | None = (
        None  # why `auto` takes Spark on this machine, where it could have been the engine
    )


def of(job: Job, master: str | None = None) -> Place:
    """Where a job runs. Raises UsageError for a place that it cannot have."""
    place, named = job.run.place, _named(master)
    if place == "connect" and not connect.remote():
        raise UsageError(
            "run.place is connect, and no server is named",
            got=f"{connect.REMOTE} is not set",
            next=f"set {connect.REMOTE} to sc://HOST:PORT, or run.place to auto",
        )
    if place in ("local", "embedded") and named:
        raise UsageError(
            f"run.place is {place}, and the environment names another Spark",
            got=named,
            next="unset it, or set run.place to auto",
        )
    if place in ("local", "connect") or named:
        return Place(is_embedded=False)
    reasons = list(why_not(job))
    if reasons and place == "embedded":
        raise UsageError(
            "the embedded engine is not known to give this job what Spark gives",
            got="; ".join(reasons),
            allowed="what docs/EMBEDDED.md lists",
            next="set run.place to local or auto",
        )
    if place == "auto":
        reasons += [why for why in [embedded.why_unavailable()] if why]
    return Place(is_embedded=not reasons, why=reasons[0] if reasons else None)


def in_spark(job: Job) -> Job:
    """The job, which runs in Spark where it would have run in the embedded engine."""
    if not of(job).is_embedded:
        return job
    return job.model_copy(update={"run": job.run.model_copy(update={"place": "local"})})


def why_not(job: Job) -> Iterator[str]:
    """What of a job the embedded engine cannot do, or is not known to do as Spark does."""
    engine = job.engine
    if job.source.format not in _FORMATS:
        yield f"source.format {job.source.format}"
    yield from _why_not_contract(job)
    if engine.surface != "arrow":
        yield f"engine.surface {engine.surface}"
    if (engine.dedupe, engine.cache) != ("off", "off"):
        yield "engine.dedupe or engine.cache"
    if engine.host == "on" or engine.device.startswith("cuda"):
        yield f"engine.host {engine.host}, engine.device {engine.device}"
    if job.run.batch_timeout_s is not None:
        yield "run.batch_timeout_s: nothing ends a call there"
    if job.monitor is not None:
        yield "monitor"


def _why_not_contract(job: Job) -> Iterator[str]:
    contract, kinds = job.contract, embedded_equality.KINDS
    for name, column in contract.columns.items():
        if column.type.lower() not in kinds:
            yield f"column {name} of type {column.type}"
        if column.origin is not None:
            yield f"column {name} read from another name or out of a struct"
        if column.references is not None:
            yield f"column {name} refers to another table"
        if column.type.lower() == "double" and (
            column.unique or name in (*job.key, *contract.redact)
        ):
            yield f"column {name} of type double that is unique, a key or redacted"
    types = {name: column.type.lower() for name, column in contract.columns.items()}
    for rule in contract.rules:
        if (what := embedded_equality.different(rule.holds, types)) is not None:
            yield f"rule {rule.name} uses {what}"
    # Of which values its arguments are, the contract has checked against the columns' types.
    yield from sorted({one.expect for one in contract.expectations} - EXPECTATIONS)


def _named(master: str | None) -> str | None:
    """Another Spark that this process is to use, by what names it."""
    if master is not None:
        return f"master {master}"
    names = (connect.REMOTE, "MASTER", "PYSPARK_GATEWAY_PORT")
    return next((f"{name} {os.environ[name]}" for name in names if os.environ.get(name)), None)
