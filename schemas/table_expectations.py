"""The arguments of expectations about a whole column, or the table."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, model_validator

from millrace.schemas.expectation_arguments import (
    Arguments,
    AtLeastZero,
    Between,
    BetweenCounts,
    BetweenNumbers,
    BetweenPositive,
    BetweenShares,
    Bounds,
    ColumnArguments,
    Count,
    Number,
    Share,
    Text,
    Values,
)


class ColumnBetween(ColumnArguments, Between):
    """Arguments of an expectation of a column's least or largest value."""


class ColumnBetweenNumbers(ColumnArguments, BetweenNumbers):
    """Arguments of an expectation of a column's mean, sum or median."""


class ColumnBetweenPositive(ColumnArguments, BetweenPositive):
    """Arguments of ExpectColumnStdevToBeBetween."""


class ColumnBetweenCounts(ColumnArguments, BetweenCounts):
    """Arguments of ExpectColumnUniqueValueCountToBeBetween."""


class ColumnBetweenShares(ColumnArguments, BetweenShares):
    """Arguments of an expectation of a share of a column's values."""


class TableCount(Arguments):
    """Arguments of an expectation of one number of rows or columns."""

    value: Count


class ColumnCountBetween(Bounds):
    """Arguments of ExpectTableColumnCountToBeBetween, which has no strict bounds."""

    min_value: Count | None = None
    max_value: Count | None = None


class ColumnSet(ColumnArguments):
    """Arguments of an expectation of a column's values and a set."""

    value_set: Values


class MostCommon(ColumnSet):
    """Arguments of ExpectColumnMostCommonValueToBeInSet."""

    ties_okay: StrictBool = False


class Divergence(ColumnArguments):
    """Arguments of ExpectColumnKLDivergenceToBeLessThan."""

    partition_object: dict[str, list[Any]]
    threshold: AtLeastZero
    internal_weight_holdout: Share = 0.0
    tail_weight_holdout: Share = 0.0
    bucketize_data: StrictBool = True

    @model_validator(mode="after")
    def _partition_is_whole(self) -> Divergence:
        parts = self.partition_object
        over = [name for name in ("values", "bins") if name in parts]
        allowed = {"values", "weights"}, {"bins", "weights"}, {"bins", "weights", "tail_weights"}
        if set(parts) not in allowed:
            raise ValueError("partition_object: allowed: weights, and values or bins")
        weights = [*parts["weights"], *parts.get("tail_weights", ())]
        if not all(isinstance(one, int | float) and one >= 0 for one in weights):
            raise ValueError("partition_object.weights: allowed: numbers from 0")
        if abs(sum(weights) - 1) > 1e-6:  # noqa: PLR2004 - what Great Expectations allows
            raise ValueError(f"partition_object.weights: their sum is {sum(weights)}; allowed: 1")
        (name,) = over
        if any(one is None or one != one for one in parts[name]):  # noqa: PLR0124 - NaN
            raise ValueError(f"partition_object.{name}: null and NaN are no values; leave them out")
        if len(parts[name]) - (name == "bins") != len(parts["weights"]):
            raise ValueError(f"partition_object: {name} and weights do not fit together")
        return self


class QuantileRanges(BaseModel):
    """Quantiles, and the range of each; null: no bound."""

    model_config = {"extra": "forbid", "allow_inf_nan": False}

    quantiles: Annotated[list[Share], Field(min_length=1)]
    value_ranges: list[tuple[Number | None, Number | None]]

    @model_validator(mode="after")
    def _a_range_a_quantile(self) -> QuantileRanges:
        if len(self.quantiles) != len(self.value_ranges):
            raise ValueError(
                f"{len(self.quantiles)} quantiles and {len(self.value_ranges)} value_ranges"
            )
        for low, high in self.value_ranges:
            if (low is None and high is None) or (
                low is not None and high is not None and low > high
            ):
                raise ValueError(f"value_ranges: {low} to {high} excludes no value, or every value")
        return self


class Quantiles(ColumnArguments):
    """Arguments of ExpectColumnQuantileValuesToBeBetween."""

    quantile_ranges: QuantileRanges
    allow_relative_error: Literal[False] = False  # the release reads no number there on Spark


class ColumnExists(ColumnArguments):
    """Arguments of ExpectColumnToExist."""

    column_index: Count | None = None


class TypeArguments(ColumnArguments):
    """Arguments of an expectation of a column's type."""

    type_: Text


class TypeListArguments(ColumnArguments):
    """Arguments of ExpectColumnValuesToBeInTypeList."""

    type_list: Annotated[list[Text], Field(min_length=1)]


class TableColumns(Arguments):
    """Arguments of ExpectTableColumnsToMatchOrderedList."""

    column_list: Annotated[list[Text], Field(min_length=1)]


class TableColumnSet(Arguments):
    """Arguments of ExpectTableColumnsToMatchSet."""

    column_set: Annotated[list[Text], Field(min_length=1)]
    exact_match: StrictBool = True
