"""Everything that a run decides before it reads a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import ingest, place, preflight, rule_check, volume
from pipelines.kept import with_kept
from pipelines.preflight import VerifiedModel
from pipelines.rate import Rate
from pipelines.reference import pinned_references
from pipelines.row_key import row_key
from schemas import ids, tables
from schemas.config import Job
from schemas.contract import Contract, Rule
from schemas.pinned import Pinned

TAKEN = "_taken"  # no column of a contract begins with _


@dataclass(frozen=True)
class Replayed:
    """The run whose refused rows another run takes up, instead of all rows of its input."""

    run_id: str
    number: int  # of the job's runs
    failed_too: bool = False  # rows that the model could not score, beside those refused
    is_repaired: bool = False  # the rows come from another source than the run's own input


@dataclass(frozen=True)
class Taken:
    """The rows that a replay takes up: a frame with the column TAKEN, of `row_key`; and how many."""

    keys: DataFrame
    rows: int


@dataclass(frozen=True)
class Work:
    """A job whose model, prices and input have been found to be what it says."""

    job: Job
    contract: Contract  # the job's, with the types of undeclared columns that it keeps
    rules: tuple[Rule, ...]
    model: VerifiedModel
    rate: Rate | None
    pinned: Pinned
    references: dict[str, Pinned]  # by rule, the table that it refers to
    settings: dict[str, Any]
    lake: Path
    fingerprint: str
    replays: Replayed | None = None
    taken: Taken | None = None  # once a replay knows them; None: every row of the input

    def rows(self, spark: SparkSession, part: Pinned | None = None) -> DataFrame:
        """The rows that the run is about, in the pinned input or in a part of it."""
        rows = ingest.read(spark, self.job.source, self.contract, part or self.pinned)
        if self.taken is None:
            return rows
        keys = self.taken.keys
        return rows.join(keys, row_key(self.job.key) == keys[TAKEN], "left_semi")

    @property
    def expected_rows(self) -> int:
        """How many rows the run is about, about; from metadata."""
        return volume.expected_rows(self.pinned) if self.taken is None else self.taken.rows

    @property
    def predictions(self) -> tables.Table:
        """This job's predictions table."""
        job, outputs = self.job, self.model.card.signature
        return tables.predictions(job.table, job.key, job.keep, self.contract, outputs)


def _read_as(job: Job) -> dict[str, object]:
    """How the source's bytes become values, delimiters and encodings; which bytes those are is pinned."""
    return job.source.model_dump(mode="json", exclude={"path", "version", "labels"})


def prepare(spark: SparkSession, job: Job) -> Work:
    """Check the model and the prices, pin the input and compare its schema; nothing is written.

    Raises UsageError, SchemaMismatch or InputCorrupt.
    """
    model = preflight.verified_model(job)
    rate = preflight.rate(job.cost, datetime.now(UTC))
    pinned = ingest.pin(job.source)
    contract = with_kept(spark, job.source, job.contract, job.keep, pinned)
    ingest.check_schema(spark, job.source, contract, pinned)
    settings = preflight.settings(job.engine)
    where: dict[str, Any] = {"slots": place.slots(spark)}
    where |= {"instance": job.cost.instance} if job.cost else {}
    where |= {"tags": job.cost.tags} if job.cost and job.cost.tags else {}
    rules = contract.row_rules(job.key, malformed=ingest.has_malformed(job.source))
    rule_check.check_rules(spark, rules, ingest.delivered(job.source, contract))
    references = pinned_references(spark, contract, rules)
    digests = [pinned.digest, *(table.digest for table in references.values())]
    fingerprint = ids.fingerprint(
        job=job.name,
        pinned=":".join(digests),
        contract=contract.model_dump(mode="json")
        | {"key": job.key, "keep": job.keep, "read_as": _read_as(job)},
        model_digest=model.digest,
        # As asked: what `auto` comes to is the run's own affair, and no reason to score twice.
        settings={name: settings[name] for name in ("backend", "precision")},
    )
    lake = Path(job.output.path).absolute()
    return Work(
        job, contract, rules, model, rate, pinned, references, settings | where, lake, fingerprint
    )
