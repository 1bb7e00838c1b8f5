"""The input contract: columns, row rules, expectations and thresholds.

It is the one source of the Arrow schema that readers deliver, of the predicates that split rows, and of
the Great Expectations suite.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, StrictFloat, StrictInt, field_validator, model_validator

from millrace.schemas import predicates
from millrace.schemas.column_path import Origin
from millrace.schemas.column_spec import ColumnSpec
from millrace.schemas.expectation import Expectation
from millrace.schemas.expectations import why_unfit
from millrace.schemas.frozen import Frozen
from millrace.schemas.rule import Rule, expected, not_null, refers_to, unique, well_formed
from millrace.schemas.types import arrow_type
from millrace.schemas.yaml_errors import placed

Severity = Literal["error", "warn"]
_OF_ANY_COLUMN = ("ExpectColumnToExist", "ExpectTableColumnsToMatchOrderedList")


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
            again = len(names) - 1 - names[::-1].index(twice[0])
            raise placed(f"rule names must differ; twice: {', '.join(twice)}", "rules", again)
        folded = [name.lower() for name in self.columns]
        if twice := sorted({name for name in folded if folded.count(name) > 1}):
            raise ValueError(
                f"column names must differ by more than case; twice: {', '.join(twice)}"
            )
        for name in self.columns:
            if name.startswith("_"):
                text = f"column {name!r}: names that begin with _ are Millrace's own"
                raise placed(text, "columns", name)
        if unknown := sorted(set(self.redact) - set(self.columns)):
            raise placed(
                f"redact names columns that are not declared: {', '.join(unknown)}; "
                f"declared: {', '.join(self.columns)}",
                "redact",
            )
        for at, rule in enumerate(self.rules):
            try:
                predicates.checked(rule.holds, list(self.columns))
            except ValueError as error:
                raise placed(f"rule {rule.name!r}: {error}", "rules", at, "holds") from None
        if conflicting := sorted(set(names) & self._own_names()):
            raise ValueError(
                f"rules have names of the contract's own checks: {', '.join(conflicting)}"
            )
        return self

    @model_validator(mode="after")
    def _one_origin_has_one_type(self) -> Contract:
        first: dict[str, str] = {}
        for name, origin in self.origins.items():
            other = first.setdefault(origin.name, name)
            if self.columns[other].type != self.columns[name].type:
                raise placed(
                    f"columns {other!r} and {name!r} read {origin.name!r} as different types: "
                    f"{self.columns[other].type} and {self.columns[name].type}; declare one type for both",
                    *("columns", name),
                )
        return self

    def _own_names(self) -> set[str]:
        """Return the names of checks that are not in `rules`, in lower case."""
        checks = self.model_copy(update={"rules": ()}).row_rules(
            tuple(self.columns), malformed=True
        )
        ages = [f"{name}.fresh" for name in self.columns]
        return {
            name.lower() for name in (*(c.name for c in checks), *self.expectation_names, *ages)
        }

    @model_validator(mode="after")
    def _expectations_are_of_its_columns(self) -> Contract:
        for at, one in enumerate(self.expectations):
            unknown = [name for name in one.columns if name not in self.columns]
            if unknown and one.expect not in _OF_ANY_COLUMN:
                raise placed(
                    f"{one.expect} names columns that are not declared: {', '.join(unknown)}; "
                    f"declared: {', '.join(self.columns)}",
                    *("expectations", at),
                )
            types = {name: spec.type for name, spec in self.columns.items()}
            if why := why_unfit(one.expect, one.arguments, types):
                raise ValueError(why)
        return self

    @property
    def fresh(self) -> dict[str, float]:
        """Return the largest age of the newest value, in hours, by column."""
        return {
            name: spec.fresh_within_h
            for name, spec in self.columns.items()
            if spec.fresh_within_h is not None
        }

    @property
    def expectation_names(self) -> tuple[str, ...]:
        """Return a unique name for each expectation; repeated names are numbered."""
        names = [one.name for one in self.expectations]
        before = [names[:place].count(name) for place, name in enumerate(names)]
        return tuple(
            f"{name}.{n + 1}" if n else name for name, n in zip(names, before, strict=True)
        )

    @property
    def origins(self) -> dict[str, Origin]:
        """Return the place of each declared column in the input."""
        return {
            name: Origin(name) if spec.origin is None else Origin(spec.origin, is_path=True)
            for name, spec in self.columns.items()
        }

    @property
    def arrow_schema(self) -> pa.Schema:
        """Return the columns as an Arrow schema, in the declared order."""
        return pa.schema(
            [
                pa.field(name, arrow_type(spec.type), spec.nullable)
                for name, spec in self.columns.items()
            ]
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Return the contract without the paths of other tables: it stays equal when a project moves."""
        content = self.model_dump(mode="json")
        for spec in content["columns"].values():
            if spec["references"] is not None:
                del spec["references"]["path"]
        return content

    def row_rules(self, key: tuple[str, ...], *, malformed: bool = False) -> tuple[Rule, ...]:
        """Return every check of the contract, in the order of reasons; key columns must not be null.

        ``malformed`` adds the check that the reader could parse the record.
        """
        rules = [well_formed()] if malformed else []
        for name, spec in self.columns.items():
            if not spec.nullable or name in key:
                rules.append(not_null(name))
            if spec.unique:
                rules.append(unique(name))
            if spec.references is not None:
                rules.append(refers_to(name, spec.references))
        named = zip(self.expectation_names, self.expectations, strict=True)
        return (
            *rules,
            *(self._checked(rule) for rule in self.rules),
            *(expected(name, one) for name, one in named if one.splits),
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
