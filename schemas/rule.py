"""A check of each row, as a run evaluates it."""

from __future__ import annotations

import json
from typing import Literal

from millrace.schemas.column_spec import Reference
from millrace.schemas.expectation import Expectation
from millrace.schemas.frozen import Frozen
from millrace.schemas.ids import short_digest

MALFORMED = "_malformed"  # a reader's own column: why a record could not be parsed, else null
WELL_FORMED = "record.well_formed"  # the rule that a reader could parse the record
MARK = "_broken_"  # what begins the names of the columns that `Rule.mark` names

# What each of Great Expectations' severities does with the rows that an expectation is not true of.
_SPLIT: dict[str, Literal["error", "warn", "info"]] = {
    "critical": "error",
    "warning": "warn",
    "info": "info",
}


class Rule(Frozen):
    """A check of each row.

    A row rule is a predicate. For the other kinds, a mark is computed before the scan: a column of that
    name, true in the rows that break the rule.
    """

    name: str
    kind: Literal["row", "unique", "reference", "expectation"]
    columns: tuple[str, ...]
    predicate: str  # Spark SQL, true for good rows; of other kinds, what good rows are
    severity: Literal["error", "warn", "info"]  # info: counted, neither refused nor tagged
    null_passes: bool = False
    mostly: float | None = None
    reference: Reference | None = None
    expectation: Expectation | None = None

    @property
    def fingerprint(self) -> str:
        """Return the sha256 (hex, 16 characters) of what decides the rule's meaning."""
        if self.expectation is not None:
            return self.expectation.fingerprint
        content = self.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        if self.reference is not None:  # the place of the other table is no part of what it means
            content["predicate"] = f"in {self.reference.column}"
            del content["reference"]["path"]
        return short_digest(content)

    @property
    def mark(self) -> str | None:
        """Return the column that is true where the rule is broken; None if the predicate decides."""
        return None if self.kind == "row" else MARK + self.name


def quoted(name: str) -> str:
    """Quote a column name for Spark SQL."""
    return "`" + name.replace("`", "``") + "`"


def not_null(name: str) -> Rule:
    """The check that a column has no NULL."""
    return Rule(
        name=f"{name}.not_null",
        kind="row",
        columns=(name,),
        predicate=f"{quoted(name)} IS NOT NULL",
        severity="error",
    )


def unique(name: str) -> Rule:
    """The check that no value of a column repeats."""
    return Rule(
        name=f"{name}.unique", kind="unique", columns=(name,), predicate="unique", severity="error"
    )


def refers_to(name: str, to: Reference) -> Rule:
    """The check that another table has each value of a column."""
    return Rule(
        name=f"{name}.references",
        kind="reference",
        columns=(name,),
        predicate=f"in {to.column} of {to.path}",
        severity="error",
        reference=to,
    )


def expected(name: str, expectation: Expectation) -> Rule:
    """The check of an expectation that is about each row."""
    return Rule(
        name=name,
        kind="expectation",
        columns=expectation.columns,
        predicate=json.dumps(expectation.arguments, sort_keys=True, default=str),
        severity=_SPLIT[expectation.severity],
        expectation=expectation,
    )


def well_formed() -> Rule:
    """The check that a reader could parse the record."""
    return Rule(
        name=WELL_FORMED,
        kind="row",
        columns=(MALFORMED,),
        predicate=f"{quoted(MALFORMED)} IS NULL",
        severity="error",
    )
