"""The refused rows of a run, repaired or under a corrected contract, scored as a run of its own.

Which rows those are is for `candidates`; the run itself is `score.run`, as any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pyspark.sql import SparkSession

from pipelines import guess, ingest, runs, score, sink
from pipelines.claim import LEASE, Lease, claimed
from pipelines.command_session import process_began, session_for
from pipelines.console import print_summary
from pipelines.progress import Progress
from pipelines.query import query
from pipelines.runs import Clock
from pipelines.show import find
from pipelines.signals import stop_at_signals
from pipelines.work import Replayed, Work, prepare
from schemas import ids
from schemas.config import Job, Source
from schemas.contract import Contract
from schemas.errors import UsageError
from schemas.summary import Summary
from schemas.tables import QUARANTINE

# What a repaired row is found by stands in the rows of these; an idx file's rows have but a place.
FORMATS = tuple(one for one in guess.FORMATS if one != "idx")
_PER_SOURCE = (
    "path",
    "version",
    "labels",
    "line",
)  # keys of a job's source that are about one input


@dataclass(frozen=True)
class Request:
    """What is to be replayed: a run by its last event, and where the repaired rows are, if they are."""

    event: Mapping[str, Any]
    repaired: str | None = None  # FORMAT:PATH, or a path in the format of the job's source
    failed_too: bool = False

    @property
    def run_id(self) -> str:
        """The run whose refused rows are taken up."""
        return str(self.event["run_id"])


def command(run: str, job: Job, repaired: str | None, *, failed_too: bool, as_json: bool) -> None:
    """Replay a run, whose id may be cut short, and print the totals of the increment."""
    stop_at_signals()
    asked = request(job, run, repaired, failed_too=failed_too)
    with session_for(job, held_since=process_began()) as spark:
        summary = replay(spark, job, asked, Progress.of_command(quiet=as_json))
    print_summary(summary, as_json=as_json, more={"replays": asked.run_id})


def request(
    job: Job, run: str, repaired: str | None = None, *, failed_too: bool = False
) -> Request:
    """The request, checked as far as it can be without Spark.

    Raises UsageError for a run that is not the job's, has not ended well, or refused no row.
    """
    lake = Path(job.output.path)
    event = runs.events(lake, find(lake, run))[-1]
    run_id = event["run_id"]
    if event["job"] != job.name:
        raise UsageError(
            f"run {run_id} is not of this job",
            got=f"it is of job {event['job']}, and the job file says {job.name}",
            next=f"name the job file of {event['job']}, or a run of {job.name}",
        )
    if event["state"] != runs.DONE:
        raise UsageError(
            f"run {run_id} cannot be replayed",
            got=f"it is {event['state']}",
            allowed="a run that is done: its accepted rows are scored, its refused ones are known",
            next="run the job again: it goes on, or, with a corrected contract, scores all of the input",
        )
    refused = sink.count(lake, QUARANTINE.name, run_id=run_id)
    _check_key(job, lake, run_id)
    if not refused and not (failed_too and event["failed"]):
        raise UsageError(
            f"run {run_id} refused no row",
            got=f"{event['failed']} rows failed at the model",
            allowed="a run with rows in the table quarantine",
            next="--failed takes up those too" if event["failed"] else "there is nothing to do",
        )
    return Request(event, repaired, failed_too)


def _check_key(job: Job, lake: Path, run_id: str) -> None:
    """Raise UsageError where the run's rows have another key than the job gives them now."""
    for row in query(lake, _A_KEY.format(run=run_id)).to_pylist():
        if (names := tuple(json.loads(row["key"]))) != job.key:
            raise UsageError(
                f"run {run_id} has another key than the job file",
                got=f"key: [{', '.join(job.key)}]",
                allowed=f"key: [{', '.join(names)}], by which its refused rows are found",
                next="set key as it was, or run the job anew",
            )


def replay(
    spark: SparkSession,
    job: Job,
    asked: Request,
    progress: Progress,
    *,
    now: Clock = score.utc_now,
    lease: Lease = LEASE,
) -> Summary:
    """Score what can be scored of the run's refused rows; the totals are those of the increment.

    Raises MillraceError, as `score.run` does. One replay of a run at a time: two with different
    contracts would both score a row.
    """
    lake, name = Path(job.output.path).absolute(), ids.digest({"replays of": asked.run_id})
    with claimed(lake, name, job.name, watch=progress.say, lease=lease, forget=True):
        summary = score.run(
            spark, job, progress, now=now, lease=lease, prepare=partial(prepared, asked=asked)
        )
    notes = (*summary.warnings, *_notes(lake, summary.run_id, asked, summary))
    return replace(summary, warnings=notes)


def prepared(spark: SparkSession, job: Job, *, asked: Request) -> Work:
    """The work of a replay: the run's own input as it was then, or the repaired source.

    Raises UsageError where the input is not what it was.
    """
    then = json.loads(asked.event["pinned_input"])
    source = (
        repaired_source(job.source, asked.repaired) if asked.repaired else _as_of(job.source, then)
    )
    if not asked.repaired:
        _check_unchanged(source, then, asked.run_id)
    of_rows = job.model_copy(update={"source": source, "contract": of_rows_alone(job.contract)})
    work = prepare(spark, of_rows)
    about = Replayed(
        asked.run_id, asked.event["number"], asked.failed_too, is_repaired=bool(asked.repaired)
    )
    told = {"work": work.fingerprint, "replays": asked.run_id, "failed_too": asked.failed_too}
    return replace(work, replays=about, fingerprint=ids.digest(told))


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


def _as_of(source: Source, then: Mapping[str, Any]) -> Source:
    """The job's source; of a Delta table, the version that the run read."""
    if source.format != "delta":
        return source
    return source.model_copy(update={"version": then["version"]})


def _check_unchanged(source: Source, then: Mapping[str, Any], run_id: str) -> None:
    """Raise UsageError where the source does not hold what the run read."""
    next_ = "give the rows with --repaired, or run the job anew: changed input is a new run"
    try:
        pinned = ingest.pin(source)
    except UsageError as error:
        raise UsageError(
            f"the input of run {run_id} cannot be read again", got=str(error), next=next_
        ) from None
    if pinned.digest != then["sha256"]:
        raise UsageError(
            f"the input is not what run {run_id} read",
            got=_told(pinned.summary()),
            allowed=_told(then),
            next=next_,
        )


def _told(pinned: Mapping[str, Any]) -> str:
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
    format_, path = (named, rest) if named in guess.FORMATS else (source.format, given)
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


def _notes(lake: Path, run_id: str, asked: Request, summary: Summary) -> Iterator[str]:
    """What a user should know of the rows that were not scored, and of the model."""
    found = query(lake, _OUTCOMES.format(run=run_id)).to_pylist()
    counts = {row["outcome"]: row["rows"] for row in found}
    yield from (f"{text}: {counts[name]:,}" for name, text in _LEFT_OUT.items() if counts.get(name))
    if summary.quarantined:
        yield f"rows that break the contract still, quarantined under {run_id}: {summary.quarantined:,}"
    if runs.events(lake, run_id)[-1]["model_digest"] != asked.event["model_digest"]:
        yield f"the model is not the one that scored the other rows, which is {asked.event['model']}"


_LEFT_OUT = {
    "scored": "refused rows left out, whose keys a later run has scored",
    "no key": "refused rows left out, which have no key to be found by",
    "stranger": "rows of the repaired source left out, whose keys the run did not refuse",
    "absent": "keys that are not in the source, whose rows stay refused",
}
_A_KEY = "SELECT key FROM quarantine WHERE run_id = '{run}' LIMIT 1"
_OUTCOMES = """
SELECT left_out AS outcome, SUM(rows_before) AS rows FROM replays
WHERE run_id = '{run}' AND left_out IS NOT NULL GROUP BY left_out
UNION ALL
SELECT 'absent' AS outcome, COUNT(*) AS rows FROM replays
WHERE run_id = '{run}' AND state = 'done' AND left_out IS NULL AND scored + failed + refused = 0
"""
