"""The input contract: columns, row rules, expectations and thresholds; one source for all three.

The contract gives the Arrow schema the readers must deliver, the predicates that split rows, and the
list from which the Great Expectations suite is built.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas import predicates
from schemas.types import arrow_type

Severity = Literal["error", "warn"]
MALFORMED = "_malformed"  # a reader's own column: why a record could not be parsed, else null


class Frozen(BaseModel):
    """A value: it cannot change, and it refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _known_type(sql: str) -> str:
    arrow_type(sql)
    return sql.strip()


TypeName = Annotated[str, AfterValidator(_known_type)]


class ColumnSpec(Frozen):
    """One declared input column."""

    type: TypeName
    nullable: bool = True
    unique: bool = False
    comment: str = ""


class RowRule(Frozen):
    """A SQL predicate that good rows satisfy. ``on_null`` says what an unknown (NULL) result means."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
    holds: str
    severity: Severity = "error"
    on_null: Literal["pass", "fail"] = "fail"


class Expectation(BaseModel):
    """A Great Expectations class by name; every other key is an argument of that class."""

    model_config = ConfigDict(frozen=True, extra="allow")

    expect: Annotated[str, Field(pattern=r"^Expect[A-Za-z]+$")]
    severity: Literal["critical", "warning", "info"] = "critical"

    @model_validator(mode="after")
    def _brings_no_sql(self) -> Expectation:
        """Row rules are the way to write SQL: they are checked, word by word."""
        if "Query" in self.expect or {"row_condition", "condition_parser"} & set(self.arguments):
            raise ValueError(
                f"{self.expect}: an expectation brings no SQL of its own; write a rule"
            )
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """What the expectation's class is called with, besides severity."""
        return dict(self.model_extra or {})


class Rule(Frozen):
    """A check as it is run: one predicate, or uniqueness, over named columns."""

    name: str
    kind: Literal["row", "unique"]
    columns: tuple[str, ...]
    predicate: str  # Spark SQL, true for good rows; empty for kind "unique"
    severity: Severity
    null_passes: bool = False

    @property
    def fingerprint(self) -> str:
        """sha256 (hex, 16 characters) of everything that decides what the rule means."""
        text = json.dumps(self.model_dump(exclude={"name"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Contract(Frozen):
    """What the input must be for a run to score it."""

    columns: dict[str, ColumnSpec] = Field(min_length=1)
    rules: tuple[RowRule, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    max_quarantined: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _rules_are_sound(self) -> Contract:
        names = [rule.name for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rule names must differ; twice: {', '.join(twice)}")
        folded = [name.lower() for name in self.columns]
        if twice := sorted({name for name in folded if folded.count(name) > 1}):
            raise ValueError(
                f"column names must differ by more than case; twice: {', '.join(twice)}"
            )
        for name in self.columns:
            if name.startswith("_"):
                raise ValueError(f"column {name!r}: names that begin with _ are Millrace's own")
        for rule in self.rules:
            try:
                predicates.checked(rule.holds, list(self.columns))
            except ValueError as error:
                raise ValueError(f"rule {rule.name!r}: {error}") from None
        return self

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns as an Arrow schema, in the order they are declared."""
        return pa.schema(
            [
                pa.field(name, arrow_type(spec.type), spec.nullable)
                for name, spec in self.columns.items()
            ]
        )

    def row_rules(self, key: tuple[str, ...], *, malformed: bool = False) -> tuple[Rule, ...]:
        """Every check of the contract, key columns' presence included, in the order of reasons.

        ``malformed`` adds the check that the reader could parse the record at all.
        """
        rules = [_well_formed()] if malformed else []
        for name, spec in self.columns.items():
            if not spec.nullable or name in key:
                rules.append(_not_null(name))
            if spec.unique:
                rules.append(_unique(name))
        return (*rules, *(self._checked(rule) for rule in self.rules))

    def _checked(self, rule: RowRule) -> Rule:
        predicate, columns = predicates.checked(rule.holds, list(self.columns))
        return Rule(
            name=rule.name,
            kind="row",
            columns=columns,
            predicate=predicate,
            severity=rule.severity,
            null_passes=rule.on_null == "pass",
        )


def quoted(name: str) -> str:
    """A column name as Spark SQL quotes it."""
    return "`" + name.replace("`", "``") + "`"


def _not_null(name: str) -> Rule:
    return Rule(
        name=f"{name}.not_null",
        kind="row",
        columns=(name,),
        predicate=f"{quoted(name)} IS NOT NULL",
        severity="error",
    )


def _unique(name: str) -> Rule:
    return Rule(
        name=f"{name}.unique", kind="unique", columns=(name,), predicate="", severity="error"
    )


def _well_formed() -> Rule:
    return Rule(
        name="record.well_formed",
        kind="row",
        columns=(MALFORMED,),
        predicate=f"{quoted(MALFORMED)} IS NULL",
        severity="error",
    )
