"""The refused rows of a run, repaired or under a corrected contract, scored as a run of its own.

`replay_source` has where the rows come from, `replay_selection` which of them are scored. The run itself is
`runner.run`, as any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job.prepared_job import PreparedJob, ReplayedRun, prepare
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.run_lock import LEASE, LeaseTimes, claimed
from millrace.pipelines.lake.runs import Clock
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.run_lookup import find
from millrace.pipelines.run import runner
from millrace.pipelines.run.replay_source import (
    by_declared_names,
    check_same_input,
    of_rows_alone,
    repaired_source,
    source_as_of,
)
from millrace.schemas import ids
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError
from millrace.schemas.summary import RunSummary
from millrace.schemas.tables import QUARANTINE


@dataclass(frozen=True)
class ReplayRequest:
    """What is to be replayed: a run by its last event, and where the repaired rows are, if they are."""

    event: Mapping[str, Any]
    repaired: str | None = None  # FORMAT:PATH, or a path in the format of the job's source
    failed_too: bool = False

    @property
    def run_id(self) -> str:
        """The run whose refused rows are scored."""
        return str(self.event["run_id"])


def request(
    job: Job, run: str, repaired: str | None = None, *, failed_too: bool = False
) -> ReplayRequest:
    """The request, checked as far as it can be without Spark.

    Raises UsageError for a run that is not the job's, has not ended well, or refused no row.
    """
    lake = LakeLocation.of(job)
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
    refused = delta.count(lake, QUARANTINE.name, run_id=run_id)
    _check_key(job, lake, run_id)
    if not refused and not (failed_too and event["failed"]):
        raise UsageError(
            f"run {run_id} refused no row",
            got=f"{event['failed']} rows failed at the model",
            allowed="a run with rows in the table quarantine",
            next="--failed takes up those too" if event["failed"] else "there is nothing to do",
        )
    return ReplayRequest(event, repaired, failed_too)


def _check_key(job: Job, lake: LakeLocation, run_id: str) -> None:
    """Raise UsageError where the run's rows have another key than the job gives them now."""
    for row in query(lake, _A_KEY.format(run=run_id)).to_pylist():
        if (names := tuple(json.loads(row["key"]))) != job.key:
            raise UsageError(
                f"run {run_id} has another key than the job file",
                got=f"key: [{', '.join(job.key)}]",
                allowed=f"key: [{', '.join(names)}], by which its quarantined rows are found",
                next="set key as it was, or run the job anew",
            )


def replay(
    spark: SparkSession,
    job: Job,
    target: ReplayRequest,
    progress: Progress,
    *,
    now: Clock = runner.utc_now,
    lease: LeaseTimes = LEASE,
) -> RunSummary:
    """Score what can be scored of the run's refused rows; the totals are those of the increment.

    Raises MillraceError, as `runner.run` does. One replay of a run at a time: two with different
    contracts would both score a row.
    """
    lake, name = LakeLocation.of(job), ids.digest({"replays of": target.run_id})
    with claimed(lake, name, job.name, watch=progress.say, lease=lease, forget=True):
        summary = runner.run(
            spark,
            job,
            progress,
            now=now,
            lease=lease,
            prepare=partial(prepare_replay, target=target),
        )
    notes = (*summary.warnings, *_notes(lake, summary.run_id, target, summary))
    return replace(summary, warnings=notes)


def prepare_replay(spark: SparkSession, job: Job, *, target: ReplayRequest) -> PreparedJob:
    """The job of a replay: over the run's own input as it was then, or over the repaired source.

    Raises UsageError where the input is not what it was.
    """
    then = json.loads(target.event["pinned_input"])
    source = (
        repaired_source(job.source, target.repaired)
        if target.repaired
        else source_as_of(job.source, then)
    )
    if not target.repaired:
        check_same_input(source, then, target.run_id)
    contract = of_rows_alone(job.contract)
    if target.repaired:
        contract = by_declared_names(contract)
    of_rows = job.model_copy(update={"source": source, "contract": contract})
    prepared = prepare(spark, of_rows)
    about = ReplayedRun(
        target.run_id,
        target.event["number"],
        target.failed_too,
        is_repaired=bool(target.repaired),
    )
    parts = {
        "work": prepared.fingerprint,
        "replays": target.run_id,
        "failed_too": target.failed_too,
    }
    return replace(prepared, replays=about, fingerprint=ids.digest(parts))


def _notes(
    lake: LakeLocation, run_id: str, target: ReplayRequest, summary: RunSummary
) -> Iterator[str]:
    """What a user should know of the rows that were not scored, and of the model."""
    found = query(lake, _OUTCOMES.format(run=run_id)).to_pylist()
    counts = {row["outcome"]: row["rows"] for row in found}
    yield from (f"{text}: {counts[name]:,}" for name, text in _LEFT_OUT.items() if counts.get(name))
    if summary.quarantined:
        yield f"rows that break the contract still, quarantined under {run_id}: {summary.quarantined:,}"
    if runs.events(lake, run_id)[-1]["model_digest"] != target.event["model_digest"]:
        yield f"the model is not the one that scored the other rows, which is {target.event['model']}"


_LEFT_OUT = {
    "scored": "quarantined rows left out, whose keys a later run has scored",
    "no key": "quarantined rows left out, which have no key to be found by",
    "stranger": "rows of the repaired source left out, whose keys the run did not refuse",
    "absent": "keys that are not in the source, whose rows stay quarantined",
}
_A_KEY = "SELECT key FROM quarantine WHERE run_id = '{run}' LIMIT 1"
_OUTCOMES = """
SELECT left_out AS outcome, CAST(SUM(CAST(rows_before AS DECIMAL(19, 0))) AS BIGINT) AS rows
FROM replays
WHERE run_id = '{run}' AND left_out IS NOT NULL GROUP BY left_out
UNION ALL
SELECT 'absent' AS outcome, COUNT(*) AS rows FROM replays
WHERE run_id = '{run}' AND state = 'done' AND left_out IS NULL
  AND scored = 0 AND failed = 0 AND refused = 0
"""
