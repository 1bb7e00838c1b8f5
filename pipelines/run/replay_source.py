"""Where the rows of a replay come from: the run's own input, unchanged, or a source of repaired rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from millrace.pipelines.sources import format_detection, snapshot
from millrace.schemas.contract import Contract
from millrace.schemas.errors import UsageError
from millrace.schemas.sources import Source

# What a repaired row is found by stands in the rows of these; an idx file's rows have but a place.
FORMATS = tuple(one for one in format_detection.FORMATS if one != "idx")
_PER_SOURCE = (
    "path",
    "version",
    "labels",
    "line",
)  # keys of a job's source that are about one input


def of_rows_alone(contract: Contract) -> Contract:
    """The contract without what it promises of a whole input, which a few refused rows are not."""
    about_rows = tuple(one for one in contract.expectations if one.splits)
    columns = {
        name: spec.model_copy(update={"fresh_within_h": None})
        for name, spec in contract.columns.items()
    }
    return contract.model_copy(
        update={"columns": columns, "expectations": about_rows, "max_quarantined": 1.0}
    )


def by_declared_names(contract: Contract) -> Contract:
    """The contract of repaired rows, which have the columns' declared names, as quarantine shows them."""
    columns = {
        name: spec.model_copy(update={"origin": None}) for name, spec in contract.columns.items()
    }
    return contract.model_copy(update={"columns": columns})


def source_as_of(source: Source, then: Mapping[str, Any]) -> Source:
    """The job's source; of a Delta table, the version that the run read."""
    if source.format != "delta":
        return source
    return source.model_copy(update={"version": then["version"]})


def check_same_input(source: Source, then: Mapping[str, Any], run_id: str) -> None:
    """Raise UsageError where the source does not hold what the run read."""
    next_ = "give the rows with --repaired, or run the job anew: changed input is a new run"
    try:
        pinned = snapshot.pin(source)
    except UsageError as error:
        raise UsageError(
            f"the input of run {run_id} cannot be read again", got=str(error), next=next_
        ) from None
    if pinned.digest != then["sha256"]:
        raise UsageError(
            f"the input is not what run {run_id} read",
            got=_description(pinned.summary()),
            allowed=_description(then),
            next=next_,
        )


def _description(pinned: Mapping[str, Any]) -> str:
    """A pinned input in a line; files that changed in place differ in the digest alone."""
    version = "" if pinned["version"] is None else f", version {pinned['version']}"
    return (
        f"{pinned['format']} {pinned['root']}{version}: {pinned['files']} files, "
        f"{pinned['bytes']:,} bytes, digest {str(pinned['sha256'])[:12]}"
    )


def repaired_source(source: Source, given: str) -> Source:
    """The repaired rows as a source: read as the job's own where it has the same format.

    Raises UsageError for a format whose rows do not carry their key.
    """
    named, _, rest = given.partition(":")
    format_, path = (named, rest) if named in format_detection.FORMATS else (source.format, given)
    if format_ not in FORMATS:
        raise UsageError(
            f"repaired rows cannot be given as {format_}",
            got=given,
            allowed=", ".join(f"{one}:PATH" for one in FORMATS),
            next="write the repaired rows to such a source, with the columns of the contract",
        )
    same = source.format == format_
    read_as = source.model_dump(exclude=set(_PER_SOURCE)) if same else {"format": format_}
    try:
        found: Source = TypeAdapter(Source).validate_python({**read_as, "path": path})
    except ValidationError as error:
        raise UsageError(
            "--repaired names no source",
            got=given,
            allowed="a path, or FORMAT:PATH",
            next=str(error.errors()[0]["msg"]),
        ) from None
    return found
