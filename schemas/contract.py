"""The input contract: columns, row rules, expectations and thresholds; one source for all three.

The contract gives the Arrow schema the readers must deliver, the predicates that split rows, and the
list from which the Great Expectations suite is built.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    field_validator,
    model_validator,
)

from schemas import predicates
from schemas.expectations import SPLITTING, WAYS, Way, columns_of, why_refused
from schemas.types import arrow_type

Severity = Literal["error", "warn"]
MALFORMED = "_malformed"  # a reader's own column: why a record could not be parsed, else null
WELL_FORMED = "record.well_formed"  # the rule that a reader could parse the record
MARK = "_broken_"  # what begins the names of the columns that `Rule.mark` names

# What each of Great Expectations' severities does with the rows that an expectation is not true of.
_SPLIT: dict[str, Literal["error", "warn", "info"]] = {
    "critical": "error",
    "warning": "warn",
    "info": "info",
}
_OF_ANY_COLUMN = ("ExpectColumnToExist", "ExpectTableColumnsToMatchOrderedList")


class Frozen(BaseModel):
    """A value: it cannot change, and it refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _known_type(sql: str) -> str:
    arrow_type(sql)
    return sql.strip()


TypeName = Annotated[str, AfterValidator(_known_type)]


class Reference(Frozen):
    """A column of another table, in which every value of the referring column must be."""

    path: str
    column: str
    format: Literal["parquet", "delta"] = "parquet"


class ColumnSpec(Frozen):
    """One declared input column."""

    type: TypeName
    nullable: bool = True
    unique: bool = False
    references: Reference | None = None  # NULL refers to nothing, and passes
    fresh_within_h: Annotated[float, Field(gt=0)] | None = None  # the newest value's age, hours
    comment: str = ""

    @model_validator(mode="after")
    def _only_times_are_fresh(self) -> ColumnSpec:
        if self.fresh_within_h is not None and self.type.lower() not in ("timestamp", "date"):
            raise ValueError(f"fresh_within_h with type {self.type}; allowed: timestamp, date")
        return self


class RowRule(Frozen):
    """A SQL predicate that good rows satisfy. ``on_null`` says what an unknown (NULL) result means.

    With ``mostly``, a share of rows from 0 to 1, the rule shuts the gate where fewer satisfy it. The
    others are refused, or tagged, in any case.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
    holds: str
    severity: Severity = "error"
    on_null: Literal["pass", "fail"] = "fail"
    mostly: Annotated[float, Field(gt=0, le=1)] | None = None


class Expectation(BaseModel):
    """A Great Expectations class by name; every other key is an argument of that class."""

    model_config = ConfigDict(frozen=True, extra="allow")

    expect: Annotated[str, Field(pattern=r"^Expect[A-Za-z]+$")]
    severity: Literal["critical", "warning", "info"] = "critical"

    @model_validator(mode="after")
    def _can_be_answered(self) -> Expectation:
        if why := why_refused(self.expect, self.arguments):
            raise ValueError(why)
        if dotted := [name for name in self.columns if set(name) & set(".`")]:
            raise ValueError(
                f"{self.expect}: Great Expectations cannot read columns with . or ` in their names: "
                f"{', '.join(dotted)}; write a rule"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names."""
        return columns_of(self.arguments)

    @property
    def name(self) -> str:
        """Its class, after the columns that it is about."""
        return ".".join((*self.columns, self.expect))

    @property
    def way(self) -> Way:
        """How it is answered."""
        return WAYS[self.expect]

    @property
    def splits(self) -> bool:
        """Whether it is said of each row: those that it is not true of are refused, or tagged."""
        return self.way in SPLITTING

    @property
    def fingerprint(self) -> str:
        """sha256 (hex, 16 characters) of the class, its arguments and its severity."""
        return _digest(self.model_dump(mode="json"))

    @property
    def arguments(self) -> dict[str, Any]:
        """What the expectation's class is called with, besides severity."""
        return dict(self.model_extra or {})


class Rule(Frozen):
    """A check of each row, as it is run.

    A row rule is a predicate. Of the other kinds a mark is made before the scan: a column of that
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
        """sha256 (hex, 16 characters) of everything that decides what the rule means."""
        if self.expectation is not None:
            return self.expectation.fingerprint
        return _digest(self.model_dump(mode="json", exclude={"name"}, exclude_none=True))

    @property
    def mark(self) -> str | None:
        """The column that is true where the rule is broken; None where the predicate says it."""
        return None if self.kind == "row" else MARK + self.name


class Contract(Frozen):
    """What the input must be for a run to score it."""

    columns: dict[str, ColumnSpec] = Field(min_length=1)
    rules: tuple[RowRule, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    max_quarantined: StrictInt | StrictFloat = 0.05  # rows, or a share of them
    redact: tuple[str, ...] = ()  # columns of which quarantine has hashes instead of values

    @field_validator("max_quarantined")
    @classmethod
    def _a_number_or_a_share(cls, value: float) -> float:
        if value < 0 or (isinstance(value, float) and not value <= 1):
            raise ValueError("allowed: a number of rows, from 0, or a share of them, 0.0 to 1.0")
        return value

    @model_validator(mode="after")
    def _rules_are_sound(self) -> Contract:
        names = [rule.name.lower() for rule in self.rules]
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
        if unknown := sorted(set(self.redact) - set(self.columns)):
            raise ValueError(
                f"redact names columns that are not declared: {', '.join(unknown)}; "
                f"declared: {', '.join(self.columns)}"
            )
        for rule in self.rules:
            try:
                predicates.checked(rule.holds, list(self.columns))
            except ValueError as error:
                raise ValueError(f"rule {rule.name!r}: {error}") from None
        if taken := sorted(set(names) & self._own_names()):
            raise ValueError(f"rules have names of the contract's own checks: {', '.join(taken)}")
        return self

    def _own_names(self) -> set[str]:
        """What checks are called that no rule of `rules` is; in small letters, as columns are told apart."""
        checks = self.model_copy(update={"rules": ()}).row_rules(
            tuple(self.columns), malformed=True
        )
        ages = [f"{name}.fresh" for name in self.columns]
        return {
            name.lower() for name in (*(c.name for c in checks), *self.expectation_names, *ages)
        }

    @model_validator(mode="after")
    def _expectations_are_of_its_columns(self) -> Contract:
        for one in self.expectations:
            unknown = [name for name in one.columns if name not in self.columns]
            if unknown and one.expect not in _OF_ANY_COLUMN:
                raise ValueError(
                    f"{one.expect} names columns that are not declared: {', '.join(unknown)}; "
                    f"declared: {', '.join(self.columns)}"
                )
        return self

    @property
    def fresh(self) -> dict[str, float]:
        """By column, how old its newest value may be, hours."""
        return {
            name: spec.fresh_within_h
            for name, spec in self.columns.items()
            if spec.fresh_within_h is not None
        }

    @property
    def expectation_names(self) -> tuple[str, ...]:
        """A name an expectation, all different: of several with one name, the others are numbered."""
        names = [one.name for one in self.expectations]
        before = [names[:place].count(name) for place, name in enumerate(names)]
        return tuple(
            f"{name}.{n + 1}" if n else name for name, n in zip(names, before, strict=True)
        )

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
            if spec.references is not None:
                rules.append(_refers(name, spec.references))
        expected = zip(self.expectation_names, self.expectations, strict=True)
        return (
            *rules,
            *(self._checked(rule) for rule in self.rules),
            *(_expected(name, one) for name, one in expected if one.splits),
        )

    def _checked(self, rule: RowRule) -> Rule:
        predicate, columns = predicates.checked(rule.holds, list(self.columns))
        return Rule(
            name=rule.name,
            kind="row",
            columns=columns,
            predicate=predicate,
            severity=rule.severity,
            null_passes=rule.on_null == "pass",
            mostly=rule.mostly,
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
        name=f"{name}.unique", kind="unique", columns=(name,), predicate="unique", severity="error"
    )


def _refers(name: str, to: Reference) -> Rule:
    return Rule(
        name=f"{name}.references",
        kind="reference",
        columns=(name,),
        predicate=f"in {to.column} of {to.path}",
        severity="error",
        reference=to,
    )


def _expected(name: str, expectation: Expectation) -> Rule:
    return Rule(
        name=name,
        kind="expectation",
        columns=expectation.columns,
        predicate=json.dumps(expectation.arguments, sort_keys=True, default=str),
        severity=_SPLIT[expectation.severity],
        expectation=expectation,
    )


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _well_formed() -> Rule:
    return Rule(
        name=WELL_FORMED,
        kind="row",
        columns=(MALFORMED,),
        predicate=f"{quoted(MALFORMED)} IS NULL",
        severity="error",
    )
