"""Everything that a run decides before it reads a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from pyspark.sql import DataFrame, SparkSession

from pipelines import ingest, place, preflight, rule_check, store, volume
from pipelines.expectations import import_expectations
from pipelines.faults import translated
from pipelines.kept import with_kept
from pipelines.preflight import VerifiedModel
from pipelines.rate import Rate
from pipelines.reference import pinned_references
from pipelines.row_key import row_key
from pipelines.session import held_from, open_session
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

    def staging(self, run_id: str) -> Path:
        """A folder for what a run needs for a while."""
        return self.lake / "_staging" / run_id


def logs(lake: Path) -> Path:
    """Where the runs of a lake leave Spark's log and event logs."""
    return lake / "_logs"


def spark_log(job: Job) -> str:
    """Where the whole story of a failure is told."""
    return str(logs(Path(job.output.path)) / "spark.log")


def process_began() -> datetime:
    """When this process began: a command holds its machine since then."""
    return datetime.fromtimestamp(psutil.Process().create_time(), UTC)


@contextmanager
def session_for(
    job: Job,
    settings: Mapping[str, str] | None = None,
    *,
    master: str | None = None,
    held_since: datetime | None = None,
) -> Iterator[SparkSession]:
    """A session that logs into the job's lake, stopped at the end; ``settings`` go over the defaults.

    Its first run is charged for machines from ``held_since`` on, or from now: a JVM starts. Raises
    UsageError, before anything is started, for a lake on a store that is not safe.
    """
    since = held_since or datetime.now(UTC)
    store.refuse_unsafe(job.output.path, single_writer=job.run.single_writer)
    spark = open_session(
        f"millrace {job.name}",
        logs(Path(job.output.path)),
        settings,
        master=master,
        preload=preload(job),
        meanwhile=partial(import_expectations, job.contract),
    )
    held_from(spark, since)
    try:
        yield spark
    finally:
        spark.stop()


@contextmanager
def passing_session(name: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A session of no job, whose logs go when it ends; what fails inside is told as of a run."""
    with TemporaryDirectory() as folder, translated(str(Path(folder) / "spark.log")):
        spark = open_session(f"millrace {name}", Path(folder), settings)
        try:
            yield spark
        finally:
            spark.stop()


def preload(job: Job) -> list[str]:
    """What the workers' fork server imports beside what every worker needs.

    torch where the job's words leave nothing else: it takes seconds and hundreds of megabytes, which
    a run that calibration gives to OpenVINO would have paid for nothing.
    """
    return ["torch"] if job.engine.backend in ("torch", "torch_compile") else []


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
