"""A contract that a source keeps, found from what its values are like: ``millrace validate --suggest``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.sources import format_detection, reader, schema_check, snapshot
from millrace.pipelines.validation import contract_check, rule_analysis
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.rule_inference import SuggestedColumn, key_of, suggest_columns
from millrace.pipelines.validation.suggested_names import declared_names, origin_of, unresolved
from millrace.pipelines.validation.violations import breaking_values
from millrace.schemas.column_path import FieldPath
from millrace.schemas.contract import Contract
from millrace.schemas.errors import UsageError
from millrace.schemas.pinned import Pinned
from millrace.schemas.rule import MALFORMED, WELL_FORMED
from millrace.schemas.sources import CsvSource, JsonSource, Source
from millrace.udfs.readers.column_profile import ColumnProfile, merged

SAMPLE_ROWS = 100_000
MAX_QUARANTINED = 0.01
_SEED = 7
_MOST_PARTS = 64  # of a sample, each of which brings one profile a column to the driver


@dataclass(frozen=True)
class Declarations:
    """Names and types that the contract must have, in place of inferred ones.

    ``names``: the declared name, by the source's. ``type_of``: the type of a column by its declared name
    and inferred type; it applies to text, whose values have no type of their own.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    type_of: Callable[[str, str], str] = lambda _name, inferred: inferred

    def named(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return the source's name by declared name. Raises UsageError where that is not possible."""
        if unknown := sorted(set(self.names) - set(names.values())):
            raise UsageError(
                "the source has no such column",
                got=", ".join(unknown),
                allowed=", ".join(names.values()),
            )
        found: dict[str, str] = {}
        for name, origin in names.items():
            declared = self.names.get(origin, name)
            if declared in found:
                raise UsageError(
                    f"two columns would be declared as {declared}",
                    got=f"{found[declared]}, {origin}",
                    next="give the other column another name in the source",
                )
            found[declared] = origin
        return found


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
            | ({} if one.origin is None else {"from": one.origin})
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
    spark: SparkSession,
    path: str,
    form: str | None,
    sample_rows: int,
    progress: Progress,
    settings: Mapping[str, Any] | None = None,
    declarations: Declarations = Declarations(),
) -> Suggestion:
    """What the source at ``path`` seems to promise, checked against all of its rows.

    ``form``: its format, where the name does not say; ``settings``: what else is known of it. About
    ``sample_rows`` rows are profiled. ``declarations``: names and types that the contract must have.
    Raises UsageError for a source that cannot be read, or has no row.
    """
    source = format_detection.source_of(path, form, settings)
    pinned = snapshot.pin(source)
    if isinstance(source, CsvSource):
        source = format_detection.as_written(source, pinned)
    found = format_detection.types_of(spark, source, pinned)
    left_out = _unfit(found)
    kinds = {path: kind for path, kind in found.items() if path not in left_out}
    if not kinds:
        raise UsageError("no column is one that a contract can have", got=str(left_out))
    names = declarations.named(declared_names(kinds))
    types = dict(zip(names, kinds.values(), strict=True))
    if isinstance(source, CsvSource | JsonSource):
        types = {name: declarations.type_of(name, kind) for name, kind in types.items()}
    read = _read(spark, source, (types, names), pinned)
    with progress.waiting("counting the rows"):
        rows = read.count()
    if not rows:
        raise UsageError("the source has no rows", got=path, next="name a source that has some")
    with progress.waiting(f"profiling about {min(rows, sample_rows):,} of {rows:,} rows"):
        profiles = _profiles(_sampled(read, rows, sample_rows), list(types))
    columns = [
        replace(one, origin=origin_of(one.name, names)) for one in suggest_columns(types, profiles)
    ]
    unread = tuple((".".join(path), why) for path, why in left_out.items())
    draft = _draft(source, columns, profiles, unread, rows)
    with progress.waiting(f"validating all {rows:,} rows against what it promises"):
        return _confirmed(spark, draft, pinned)


def _draft(
    source: Source,
    columns: list[SuggestedColumn],
    profiles: Mapping[str, ColumnProfile],
    left_out: tuple[tuple[str, str], ...],
    rows: int,
) -> Suggestion:
    """Return a suggestion from profiles, which is not validated yet."""
    key = key_of(columns, {name: profile.repeated for name, profile in profiles.items()})
    source, columns, key = _with_line(source, columns, key)
    unique = [replace(one, unique=True) if one.name == key else one for one in columns]
    sampled = max((one.rows for one in profiles.values()), default=0)
    return Suggestion(source, key, tuple(unique), left_out, (), rows, sampled, malformed=0)


def _read(
    spark: SparkSession,
    source: Source,
    columns: tuple[Mapping[str, str], Mapping[str, str]],
    pinned: Pinned,
) -> DataFrame:
    """The columns, given by their types and by the names that the source has for them."""
    types, names = columns
    specs = {
        name: {"type": kind} | ({"from": origin} if (origin := origin_of(name, names)) else {})
        for name, kind in types.items()
    }
    bare = Contract.model_validate({"columns": specs})
    schema_check.check_schema(spark, source, bare, pinned)
    return reader.read(spark, source, bare, pinned)


def _unfit(kinds: Mapping[FieldPath, str]) -> dict[FieldPath, str]:
    """The columns that no contract can declare, and why."""
    found: dict[FieldPath, str] = {}
    lost = unresolved(kinds)
    for path, kind in kinds.items():
        name = ".".join(path)
        alike = [".".join(p) for p in kinds if p != path and ".".join(p).lower() == name.lower()]
        if not name:
            found[path] = f"{kind}: it has no name"
        elif alike:
            found[path] = f"{kind}: only the case differs from {', '.join(alike)}"
        elif path in lost:
            found[path] = f"{kind}: another column has this name, or the dots in it lead elsewhere"
        elif not format_detection.is_known(kind):
            found[path] = f"{kind}: no type of a contract"
    return found


def _sampled(read: DataFrame, rows: int, wanted: int) -> DataFrame:
    whole = read.where(F.col(MALFORMED).isNull()) if MALFORMED in read.columns else read
    few = whole if rows <= wanted else whole.sample(fraction=wanted / rows, seed=_SEED)
    return few.drop(MALFORMED)


def _profiles(sample: DataFrame, names: Sequence[str]) -> dict[str, ColumnProfile]:
    """A profile a column: computed where the rows are, and added up here."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from millrace.udfs.readers.profiling import rows_of

        return rows_of(batches)

    parts = sample.coalesce(_MOST_PARTS).mapInArrow(run, "name string, profile string")
    found = dict.fromkeys(names, ColumnProfile())
    for row in parts.toLocalIterator():
        found[row["name"]] = merged(found[row["name"]], ColumnProfile.of_json(row["profile"]))
    return found


def _with_line(
    source: Source, columns: Sequence[SuggestedColumn], key: str | None
) -> tuple[Source, list[SuggestedColumn], str | None]:
    """Text without a key of its own gets its records' line numbers as one."""
    if key is not None or not isinstance(source, CsvSource | JsonSource):
        return source, list(columns), key
    taken = {one.name.lower() for one in columns}
    name = next(n for n in (format_detection.LINE, "line_number", "source_line") if n not in taken)
    line = SuggestedColumn(
        name,
        "bigint",
        nullable=False,
        unique=True,
        why="the record's line in its file: no column is a key",
    )
    return source.model_copy(update={"line": name}), [line, *columns], name


def _confirmed(spark: SparkSession, draft: Suggestion, pinned: Pinned) -> Suggestion:
    """The draft without what some row of the source does not keep."""
    contract = draft.contract()
    key = (draft.key,) if draft.key else ()
    rules = contract.row_rules(key, malformed=reader.has_malformed(draft.source))
    rule_analysis.check_rules(spark, rules, reader.delivered(draft.source, contract))
    rows = reader.read(spark, draft.source, contract, pinned)
    expectations = Expectations(rows, contract)
    _, verdict = contract_check.examine(
        rows,
        (contract, rules),
        breaking_values(rows, rules, {}),
        (expectations, expectations.validate_with_spark),
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
