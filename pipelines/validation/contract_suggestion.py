"""A contract that a source keeps, found from what its values are like: ``millrace validate --suggest``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import guess, ingest, rule_check, validate
from pipelines.expectations import Expectations
from pipelines.marks import breaking_values
from pipelines.progress import Progress
from pipelines.suggestion import SuggestedColumn, key_of, suggest_columns
from schemas.config import CsvSource, JsonSource, Source
from schemas.contract import MALFORMED, WELL_FORMED, Contract
from schemas.errors import UsageError
from schemas.pinned import Pinned
from udfs.profile import Profile, merged

SAMPLE_ROWS = 100_000
MAX_QUARANTINED = 0.01
_SEED = 7
_MOST_PARTS = 64  # of a sample, each of which brings one profile a column to the driver


@dataclass(frozen=True)
class Dropped:
    """What a sample promised and the whole source does not keep."""

    what: str
    failed: int
    rows: int


@dataclass(frozen=True)
class Suggestion:
    """A source, and what it seems to promise; all of its rows keep it."""

    source: Source
    key: str | None
    columns: tuple[SuggestedColumn, ...]
    left_out: tuple[tuple[str, str], ...]  # columns that no contract can declare, and why
    dropped: tuple[Dropped, ...]
    rows: int
    sampled: int
    malformed: int  # records that could not be parsed, among the rows

    def contract(self) -> Contract:
        """The columns and row rules, as the contract that validation runs."""
        columns = {
            one.name: {"type": one.type, "nullable": one.nullable, "unique": one.unique}
            for one in self.columns
        }
        rules = [
            {"name": rule.name, "holds": rule.holds, "on_null": "pass"}
            for one in self.columns
            for rule in one.rules
        ]
        return Contract.model_validate(
            {"columns": columns, "rules": rules, "max_quarantined": self.max_quarantined}
        )

    @property
    def max_quarantined(self) -> float:
        """A share that lets today's rows pass: records that cannot be parsed stay refused."""
        share = self.malformed / self.rows if self.rows else 0.0
        return round(min(1.0, max(MAX_QUARANTINED, 2 * share)), 4)


def suggest(
    spark: SparkSession, path: str, form: str | None, sample_rows: int, progress: Progress
) -> Suggestion:
    """What the source at ``path`` seems to promise, checked against all of its rows.

    ``form``: its format, where the name does not say. About ``sample_rows`` rows are profiled. Raises
    UsageError for a source that cannot be read, or has no row.
    """
    source = guess.source_of(path, form)
    pinned = ingest.pin(source)
    if isinstance(source, CsvSource):
        source = guess.delimited(source, pinned)
    types = guess.types_of(spark, source, pinned)
    left_out = _unfit(types)
    types = {name: kind for name, kind in types.items() if name not in left_out}
    if not types:
        raise UsageError("no column is one that a contract can have", got=str(left_out))
    read = _read(spark, source, types, pinned)
    with progress.waiting("counting the rows"):
        rows = read.count()
    if not rows:
        raise UsageError("the source has no rows", got=path, next="name a source that has some")
    with progress.waiting(f"profiling about {min(rows, sample_rows):,} of {rows:,} rows"):
        profiles = _profiles(_sampled(read, rows, sample_rows), list(types))
    sampled = max((one.rows for one in profiles.values()), default=0)
    columns = suggest_columns(types, profiles)
    key = key_of(columns, {name: profile.repeated for name, profile in profiles.items()})
    source, columns, key = _with_line(source, columns, key)
    columns = [replace(one, unique=True) if one.name == key else one for one in columns]
    draft = Suggestion(
        source, key, tuple(columns), tuple(left_out.items()), (), rows, sampled, malformed=0
    )
    with progress.waiting(f"validating all {rows:,} rows against what it promises"):
        return _kept(spark, draft, pinned)


def _read(spark: SparkSession, source: Source, types: dict[str, str], pinned: Pinned) -> DataFrame:
    bare = Contract.model_validate(
        {"columns": {name: {"type": kind} for name, kind in types.items()}}
    )
    ingest.check_schema(spark, source, bare, pinned)
    return ingest.read(spark, source, bare, pinned)


def _unfit(types: dict[str, str]) -> dict[str, str]:
    """The columns that no contract can declare, and why."""
    found: dict[str, str] = {}
    for name, kind in types.items():
        alike = [other for other in types if other.lower() == name.lower() and other != name]
        if not name or name.startswith("_"):
            found[name] = f"{kind}: names that begin with _ are Millrace's own"
        elif alike:
            found[name] = f"{kind}: only the case differs from {', '.join(alike)}"
        elif not guess.is_known(kind):
            found[name] = f"{kind}: no type of a contract"
    return found


def _sampled(read: DataFrame, rows: int, wanted: int) -> DataFrame:
    whole = read.where(F.col(MALFORMED).isNull()) if MALFORMED in read.columns else read
    few = whole if rows <= wanted else whole.sample(fraction=wanted / rows, seed=_SEED)
    return few.drop(MALFORMED)


def _profiles(sample: DataFrame, names: Sequence[str]) -> dict[str, Profile]:
    """A profile a column: computed where the rows are, and added up here."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from udfs.profile import rows_of

        return rows_of(batches)

    parts = sample.coalesce(_MOST_PARTS).mapInArrow(run, "name string, profile string")
    found = dict.fromkeys(names, Profile())
    for row in parts.toLocalIterator():
        found[row["name"]] = merged(found[row["name"]], Profile.of_json(row["profile"]))
    return found


def _with_line(
    source: Source, columns: Sequence[SuggestedColumn], key: str | None
) -> tuple[Source, list[SuggestedColumn], str | None]:
    """Text without a key of its own gets its records' line numbers as one."""
    if key is not None or not isinstance(source, CsvSource | JsonSource):
        return source, list(columns), key
    taken = {one.name.lower() for one in columns}
    name = next(n for n in (guess.LINE, "line_number", "source_line") if n not in taken)
    line = SuggestedColumn(
        name,
        "bigint",
        nullable=False,
        unique=True,
        why="the record's line in its file: no column is a key",
    )
    return source.model_copy(update={"line": name}), [line, *columns], name


def _kept(spark: SparkSession, draft: Suggestion, pinned: Pinned) -> Suggestion:
    """The draft without what some row of the source does not keep."""
    contract = draft.contract()
    key = (draft.key,) if draft.key else ()
    rules = contract.row_rules(key, malformed=ingest.has_malformed(draft.source))
    rule_check.check_rules(spark, rules, ingest.delivered(draft.source, contract))
    rows = ingest.read(spark, draft.source, contract, pinned)
    expectations = Expectations(rows, contract)
    _, verdict = validate.examine(
        rows,
        (contract, rules),
        breaking_values(rows, rules, {}),
        (expectations, expectations.ask),
        datetime.now(UTC),
    )
    failed = {result.rule: result.failed or 0 for result in verdict.results}
    columns = tuple(_without(one, failed) for one in draft.columns)
    dropped = tuple(
        Dropped(rule, count, verdict.rows)
        for rule, count in failed.items()
        if count and rule != WELL_FORMED
    )
    is_key = any(one.name == draft.key and one.unique and not one.nullable for one in columns)
    return replace(
        draft,
        columns=columns,
        dropped=dropped,
        key=draft.key if is_key else None,
        malformed=failed.get(WELL_FORMED, 0),
    )


def _without(column: SuggestedColumn, failed: dict[str, Any]) -> SuggestedColumn:
    return replace(
        column,
        nullable=column.nullable or bool(failed.get(f"{column.name}.not_null")),
        unique=column.unique and not failed.get(f"{column.name}.unique"),
        rules=tuple(rule for rule in column.rules if not failed.get(rule.name)),
    )
