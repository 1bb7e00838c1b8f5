"""Everything that a run decides before it reads a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.accounting.rates import Rate
from millrace.pipelines.job import size_estimate
from millrace.pipelines.job.instance_price import rate
from millrace.pipelines.job.model_check import VerifiedModel, checked_model
from millrace.pipelines.job.passthrough_columns import checked_contract
from millrace.pipelines.lake import own_tables, runs, store_guarantees
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.sources import partition_columns, reader, snapshot
from millrace.pipelines.sources.reference_tables import pinned_references
from millrace.pipelines.sources.row_key import row_key
from millrace.pipelines.spark import cluster
from millrace.pipelines.validation import rule_analysis
from millrace.schemas import ids, tables
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.pinned import Pinned
from millrace.schemas.rule import Rule

_AS_BEFORE = [
    ("header", True), ("decimal", "."), ("thousands", ""), ("date_format", None),
    ("timestamp_format", None),
]  # fmt: skip
SELECTED_KEY = "_taken"  # no column of a contract begins with _


@dataclass(frozen=True)
class ReplayedRun:
    """The run whose refused rows another run takes up, instead of all rows of its input."""

    run_id: str
    number: int  # of the job's runs
    failed_too: bool = False  # rows that the model could not score, besides those refused
    is_repaired: bool = False  # the rows come from another source than the run's own input


@dataclass(frozen=True)
class RowSelection:
    """The rows that a replay takes up: a frame with the column TAKEN, of `row_key`; and how many."""

    keys: DataFrame
    rows: int


@dataclass(frozen=True)
class PreparedJob:
    """A job whose model, prices and input have been found to be what it says."""

    job: Job
    contract: Contract  # the job's, with the types of undeclared columns that it keeps
    rules: tuple[Rule, ...]
    model: VerifiedModel
    rate: Rate | None
    pinned: Pinned
    references: dict[str, Pinned]  # by rule, the table that it refers to
    settings: dict[str, Any]
    lake: LakeLocation
    fingerprint: str
    notes: tuple[str, ...] = ()  # what a user should know before the run starts
    replays: ReplayedRun | None = None
    selection: RowSelection | None = None  # once a replay knows it; None: every row of the input

    def rows(
        self,
        spark: SparkSession,
        part: Pinned | None = None,
        how: reader.ReadOptions = reader.AS_DECLARED,
    ) -> DataFrame:
        """The rows that the run is about, in the pinned input or in a part of it."""
        rows = reader.read(spark, self.job.source, self.contract, part or self.pinned, how)
        if self.selection is None:
            return rows
        keys = self.selection.keys
        return rows.join(keys, row_key(self.job.key) == keys[SELECTED_KEY], "left_semi")

    @property
    def expected_rows(self) -> int:
        """How many rows the run is about, about; from metadata."""
        return (
            size_estimate.expected_rows(self.pinned)
            if self.selection is None
            else self.selection.rows
        )

    @property
    def facts(self) -> dict[str, str | None]:
        """What every event of a run of this job repeats."""
        return runs.facts(
            self.pinned.summary(),
            self.model.card.title,
            self.model.digest,
            self.settings,
            self.rate.as_json() if self.rate else None,
            self.replays.run_id if self.replays else None,
        )

    @property
    def predictions(self) -> tables.Table:
        """This job's predictions table."""
        job, outputs = self.job, self.model.card.signature
        return tables.predictions(job.table, job.key, job.keep, self.contract, outputs)


def read_as(job: Job) -> dict[str, object]:
    """How the source's bytes become values, delimiters and encodings; which bytes those are is pinned."""
    settings = job.source.model_dump(mode="json", exclude={"path", "version", "labels"})
    # Settings that came later, where they change nothing: a finished run stays the same run.
    return {name: value for name, value in settings.items() if (name, value) not in _AS_BEFORE}


def prepare(spark: SparkSession, job: Job) -> PreparedJob:
    """Check the model and the prices, pin the input and compare its schema; nothing is written.

    Raises UsageError, SchemaMismatch or InputCorrupt.
    """
    model = checked_model(job, on_this_machine=cluster.shares_this_machine(spark))
    price = rate(job.cost, datetime.now(UTC))
    pinned = snapshot.pin(job.source)
    contract = checked_contract(spark, job, pinned)
    rules = contract.row_rules(job.key, malformed=reader.has_malformed(job.source))
    columns = reader.delivered(job.source, contract)
    rule_analysis.check_rules(spark, rules, columns)
    references = pinned_references(spark, contract, rules)
    prepared = PreparedJob(
        job,
        contract,
        rules,
        model,
        price,
        pinned,
        references,
        _settings(job, cluster.slots(spark)),
        lake=LakeLocation.of(job),
        fingerprint=_fingerprint(job, contract, model, [pinned, *references.values()]),
        notes=tuple(_notes(job, contract, pinned)),
    )
    own_tables.check_job(job, prepared.predictions)
    return prepared


def _settings(job: Job, slots: int) -> dict[str, Any]:
    """The engine's settings as the job asks for them, and where it runs; each event of the run has them.

    What ``auto`` came to is in the last one.
    """
    found: dict[str, Any] = job.engine.model_dump(mode="json") | {"slots": slots}
    if job.cost:
        found |= {"instance": job.cost.instance}
        found |= {"tags": job.cost.tags} if job.cost.tags else {}
    return found


def _fingerprint(
    job: Job, contract: Contract, model: VerifiedModel, inputs: Sequence[Pinned]
) -> str:
    """What two runs have in common that compute the same rows; ``inputs``: source, then references."""
    settings = job.engine.model_dump(mode="json")
    return ids.fingerprint(
        job=job.name,
        pinned=":".join(one.digest for one in inputs),
        contract=contract.facts
        | {"key": job.key, "keep": job.keep, "read_as": read_as(job)}
        | ({"decoded_as": model.computed_as} if model.computed_as else {}),
        model_digest=model.digest,
        # As asked: what `auto` comes to is the run's own affair, and no reason to score twice.
        settings={name: settings[name] for name in ("backend", "precision")},
    )


def _notes(job: Job, contract: Contract, pinned: Pinned) -> Iterator[str]:
    """What a user should know of the lake and the input before the run starts."""
    yield f"lake: {store_guarantees.guarantee(job.output.path)}"
    if unread := partition_columns.undeclared(pinned, contract):
        yield f"folders name columns that are not declared, and not read: {', '.join(unread)}"
