"""The base classes of the expectations' arguments, typed and closed.

Great Expectations silently accepts arguments that disable or change an expectation: a null in a set, a
bound of NaN, no bound at all, ``2.5`` for a length, which it truncates to 2. All of these are refused
when the job file is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    model_validator,
)

from millrace.schemas import column_literals

_NULL = (
    "null is no value to compare with: leave it out; a missing value is never considered, and "
    "ExpectColumnValuesToNotBeNull refuses it"
)


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("allowed: a number")  # noqa: TRY004 - pydantic wants it
    return value


def _literal(value: Any) -> Any:
    if value is None:
        raise ValueError(_NULL)
    if not isinstance(value, bool | int | float | str | date):
        what = "allowed: a text, a number, true, false, a date or a time"
        raise ValueError(what)  # noqa: TRY004 - pydantic wants it
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no value to compare with; write a rule with isnan()")
    return value


def _literal_or_null(value: Any) -> Any:
    return None if value is None else _literal(value)


def _bound(value: Any) -> Any:
    """Return the number, date or time in UTC that the bound is."""
    for read in (column_literals.number, column_literals.moment):
        found = read(value)
        if found is not None and (not isinstance(found, float) or math.isfinite(found)):
            return found
    raise ValueError(
        "allowed: a finite number, a date, or a date and time, as in 2026-01-31T12:00:00"
    )


Text = Annotated[StrictStr, Field(min_length=1)]
Number = Annotated[int | float, BeforeValidator(_no_bool)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]
Share = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=1)]
AtLeastZero = Annotated[float, BeforeValidator(_no_bool), Field(ge=0)]
Value = Annotated[Any, AfterValidator(_literal)]
Bound = Annotated[Any, AfterValidator(_bound)]
Values = Annotated[list[Value], Field(min_length=1)]
PairValue = Annotated[Any, AfterValidator(_literal_or_null)]  # of pairs, a null is met by a null
Columns = Annotated[list[Text], Field(min_length=2)]


class Arguments(BaseModel):
    """The arguments of every expectation: texts for its reader."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    description: StrictStr | None = None
    notes: StrictStr | list[StrictStr] | None = None
    meta: dict[str, Any] | None = None


class ColumnArguments(Arguments):
    """About one column."""

    column: Text


class RowArguments(ColumnArguments):
    """About each row's value of one column."""

    mostly: Share = 1.0


class PairArguments(Arguments):
    """About each row's values of two columns."""

    column_A: Text  # noqa: N815 - Great Expectations' name
    column_B: Text  # noqa: N815
    mostly: Share = 1.0
    ignore_row_if: Literal["both_values_are_missing", "either_value_is_missing", "neither"] = (
        "both_values_are_missing"
    )

    @model_validator(mode="after")
    def _two_columns(self) -> PairArguments:
        if self.column_A == self.column_B:
            raise ValueError(f"column_A and column_B are both {self.column_A}")
        return self


class MulticolumnArguments(Arguments):
    """About each row's values of several columns."""

    column_list: Columns
    mostly: Share = 1.0
    ignore_row_if: Literal["all_values_are_missing", "any_value_is_missing", "never"] = (
        "all_values_are_missing"
    )

    @model_validator(mode="after")
    def _different_columns(self) -> MulticolumnArguments:
        if len(set(self.column_list)) < len(self.column_list):
            raise ValueError(f"column_list names a column twice: {', '.join(self.column_list)}")
        return self


class Bounds(Arguments):
    """Two bounds, at least one of them; values equal to a bound are allowed."""

    min_value: Bound | None = None
    max_value: Bound | None = None

    @model_validator(mode="after")
    def _bounds_bound(self) -> Bounds:
        low, high = self.min_value, self.max_value
        if low is None and high is None:
            raise ValueError("without min_value and max_value it says nothing; set one of them")
        if low is None or high is None:
            return self
        if type(low) is not type(high) and not {type(low), type(high)} <= {int, float}:
            raise ValueError(f"min_value {low} and max_value {high} are of two kinds")
        if low > high:
            raise ValueError(f"nothing is between min_value {low} and max_value {high}")
        return self


class Between(Bounds):
    """Two bounds; values equal to a strict one are not allowed."""

    strict_min: StrictBool = False
    strict_max: StrictBool = False

    @model_validator(mode="after")
    def _strict_bounds_are_there(self) -> Between:
        for end in ("min", "max"):
            if getattr(self, f"strict_{end}") and getattr(self, f"{end}_value") is None:
                raise ValueError(f"strict_{end} without {end}_value; set {end}_value")
        if self.min_value == self.max_value and (self.strict_min or self.strict_max):
            raise ValueError(f"nothing is between {self.min_value} and itself")
        return self


class BetweenNumbers(Between):
    """Two bounds that are numbers."""

    min_value: Number | None = None
    max_value: Number | None = None


class BetweenPositive(Between):
    """Two bounds that are numbers from zero."""

    min_value: AtLeastZero | None = None
    max_value: AtLeastZero | None = None


class BetweenCounts(Between):
    """Two bounds that are whole numbers from zero."""

    min_value: Count | None = None
    max_value: Count | None = None


class BetweenShares(Between):
    """Two bounds that are shares, 0 to 1."""

    min_value: Share | None = None
    max_value: Share | None = None


def why_refused(name: str, arguments: dict[str, Any], kind: type[BaseModel]) -> str | None:
    """Return why the expectation does not accept the arguments; None if it does."""
    try:
        kind.model_validate(arguments)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{name}: {_explanation(first, kind)}"
    return None


def _explanation(problem: Any, kind: type[BaseModel]) -> str:
    where = _place(problem["loc"])
    takes = ", ".join(kind.model_fields)
    if problem["type"] == "missing":
        return f"{where} is missing; it takes: {takes}"
    if problem["type"] == "extra_forbidden":
        close = get_close_matches(where, kind.model_fields, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"it has no argument {where}{hint}; it takes: {takes}"
    text = str(problem["msg"]).removeprefix("Value error, ")
    got = problem["input"]
    shown = f" (got {got!r})" if where and isinstance(got, str | int | float | list | None) else ""
    return f"{where}: {text}{shown}" if where else text


def _place(parts: Sequence[str | int]) -> str:
    """A place in the arguments, as in value_set[1]; names of a union's members are left out."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not path:
            path = part
    return path
