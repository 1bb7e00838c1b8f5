"""Features of Delta that an owner can switch on for a table, and which of them Millrace handles exactly.

A reader or writer that ignores a feature would give wrong rows, so a table with any other feature is
refused. The names are those of Delta's protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from deltalake import DeltaTable

from millrace.schemas.errors import UsageError

VECTORS = "deletionVectors"
READS = frozenset({"columnMapping", VECTORS, "timestampNtz", "v2Checkpoint"})
# Of constraints, generated columns and identities: the ability to have some, while none is there.
WRITES = READS | {
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "generatedColumns",
    "identityColumns",
    "invariants",
}
_CONSTRAINT = "delta.constraints."
_RULES = ("delta.invariants", "delta.generationExpression", "delta.identity.start")


def name_of(table: DeltaTable) -> str:
    """The name of the table's folder."""
    return Path(unquote(table.table_uri.rstrip("/"))).name


def has_vectors(table: DeltaTable) -> bool:
    """Whether rows of its files may be marked as deleted."""
    return VECTORS in (table.protocol().reader_features or ())


def unread(table: DeltaTable) -> list[str]:
    """The table's features that a reader must know, and Millrace does not."""
    return sorted(set(table.protocol().reader_features or ()) - READS)


def check_readable(table: DeltaTable, error: type[UsageError] = UsageError) -> None:
    """Raise UsageError, or the kind of it that is given, for a table whose rows could be read wrong."""
    if features := unread(table):
        raise _refused(table, "read", features, READS, error)


def check_writable(table: DeltaTable) -> None:
    """Raise UsageError for a table to which rows could be written that break its own rules."""
    check_readable(table)
    if features := sorted(set(table.protocol().writer_features or ()) - WRITES):
        raise _refused(table, "write", features, WRITES, UsageError)
    if rules := [*_rules(table)]:
        raise UsageError(
            f"table {name_of(table)} has constraints, which Millrace does not check",
            got="; ".join(rules),
            allowed="a table without constraints and generated columns",
            next=f"ALTER TABLE {name_of(table)} DROP CONSTRAINT, or write to another lake (output.path)",
        )


def _rules(table: DeltaTable) -> Iterator[str]:
    for name, value in table.metadata().configuration.items():
        if name.startswith(_CONSTRAINT):
            yield f"{name.removeprefix(_CONSTRAINT)}: {value}"
    for field in table.schema().fields:
        present = [field.metadata[rule] for rule in _RULES if rule in field.metadata]
        yield from (f"{field.name}: {rule}" for rule in present)
        if not field.nullable:
            yield f"{field.name}: NOT NULL"


def _refused(
    table: DeltaTable,
    verb: str,
    features: list[str],
    allowed: frozenset[str],
    error: type[UsageError],
) -> UsageError:
    name = name_of(table)
    return error(
        f"table {name} has features that Millrace does not {verb}",
        got=", ".join(features),
        allowed=", ".join(sorted(allowed)),
        next=f"ALTER TABLE {name} DROP FEATURE {features[0]}, or use another lake (output.path)",
    )
