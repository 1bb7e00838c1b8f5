"""The arguments of expectations about each row, or each value of a column."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from millrace.schemas.expectation_arguments import (
    AtLeastZero,
    Between,
    BetweenCounts,
    Count,
    MulticolumnArguments,
    Number,
    PairArguments,
    PairValue,
    RowArguments,
    Text,
    Values,
)

# What changes how the patterns after it are read, once they are joined to one: flags, back references.
_REACHES_OUT = re.compile(r"\(\?[a-zA-Z-]+\)|\\[1-9]|\\k<|\\Q")


def _a_format(value: str) -> str:
    if "%" not in value:
        raise ValueError("allowed: a format of strptime, as in %Y-%m-%d")
    return value


class PairGreater(PairArguments):
    """Arguments of ExpectColumnPairValuesAToBeGreaterThanB."""

    or_equal: StrictBool = False


class PairInSet(PairArguments):
    """Arguments of ExpectColumnPairValuesToBeInSet."""

    value_pairs_set: Annotated[list[tuple[PairValue, PairValue]], Field(min_length=1)]


class RowsBetween(RowArguments, Between):
    """Arguments of ExpectColumnValuesToBeBetween."""


class LengthsBetween(RowArguments, BetweenCounts):
    """Arguments of ExpectColumnValueLengthsToBeBetween."""


class LengthsEqual(RowArguments):
    """Arguments of ExpectColumnValueLengthsToEqual."""

    value: Count


class InSet(RowArguments):
    """Arguments of an expectation of each value and a set."""

    value_set: Values


class JsonSchema(RowArguments):
    """Arguments of ExpectColumnValuesToMatchJsonSchema."""

    json_schema: Annotated[dict[str, Any], Field(min_length=1)]


class PatternArguments(RowArguments):
    """Arguments of an expectation of each text and a pattern."""

    regex: Text


class PatternListArguments(RowArguments):
    """Arguments of an expectation of each text and patterns, none of which may match."""

    regex_list: Annotated[list[Text], Field(min_length=1)]


class SomePatterns(PatternListArguments):
    """Arguments of ExpectColumnValuesToMatchRegexList."""

    match_on: Literal["any", "all"] = "any"

    @model_validator(mode="after")
    def _patterns_can_be_joined(self) -> SomePatterns:
        odd = [one for one in self.regex_list if _REACHES_OUT.search(one)]
        if self.match_on == "any" and len(self.regex_list) > 1 and odd:
            raise ValueError(
                f"regex_list: Great Expectations joins the patterns with |, and flags, back references "
                f"and quotes of one change the others: {odd[0]}; write (?i:...), or a rule with RLIKE"
            )
        return self


class FormatArguments(RowArguments):
    """Arguments of ExpectColumnValuesToMatchStrftimeFormat."""

    strftime_format: Annotated[Text, AfterValidator(_a_format)]


class SumEqual(MulticolumnArguments):
    """Arguments of ExpectMulticolumnSumToEqual."""

    sum_total: Number


class ZScores(RowArguments):
    """Arguments of ExpectColumnValueZScoresToBeLessThan."""

    threshold: Number
    double_sided: StrictBool

    @model_validator(mode="after")
    def _both_sides_are_positive(self) -> ZScores:
        if self.double_sided and self.threshold <= 0:
            raise ValueError(f"threshold {self.threshold} on both sides; allowed: more than 0")
        return self


class Outliers(RowArguments):
    """Arguments of ExpectColumnValuesToNotBeOutliers."""

    method: Literal["iqr", "std"] = "iqr"
    multiplier: AtLeastZero = 1.5
