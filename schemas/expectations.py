"""Which of Great Expectations' classes a contract can name, and how each is answered.

Kept as names, so that a job file is checked without importing Great Expectations, which takes seconds.
`tests/conformance/test_expectations.py` holds the list against the release that is installed.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

Way = Literal["row", "unique", "measured", "counted", "asked"]

# Said of each row by a predicate of Great Expectations' own: they split rows.
_ROW = (
    "ExpectColumnPairValuesAToBeGreaterThanB",
    "ExpectColumnPairValuesToBeEqual",
    "ExpectColumnPairValuesToBeInSet",
    "ExpectColumnValueLengthsToBeBetween",
    "ExpectColumnValueLengthsToEqual",
    "ExpectColumnValuesToBeBetween",
    "ExpectColumnValuesToBeInSet",
    "ExpectColumnValuesToBeJsonParseable",
    "ExpectColumnValuesToBeNull",
    "ExpectColumnValuesToMatchJsonSchema",
    "ExpectColumnValuesToMatchRegex",
    "ExpectColumnValuesToMatchRegexList",
    "ExpectColumnValuesToMatchStrftimeFormat",
    "ExpectColumnValuesToNotBeInSet",
    "ExpectColumnValuesToNotBeNull",
    "ExpectColumnValuesToNotMatchRegex",
    "ExpectColumnValuesToNotMatchRegexList",
    "ExpectMulticolumnSumToEqual",
    "ExpectMulticolumnValuesToBeEqual",
    "ExpectSelectColumnValuesToBeUniqueWithinRecord",
)
# Said of each row, by what other rows have: the values that repeat are found first.
_UNIQUE = ("ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique")
# Said of each row, by a predicate that needs figures of the whole column first.
_MEASURED = ("ExpectColumnValueZScoresToBeLessThan", "ExpectColumnValuesToNotBeOutliers")
# Said of the table, from aggregates that the one scan makes.
_COUNTED = (
    "ExpectColumnMaxToBeBetween",
    "ExpectColumnMeanToBeBetween",
    "ExpectColumnMinToBeBetween",
    "ExpectColumnProportionOfNonNullValuesToBeBetween",
    "ExpectColumnStdevToBeBetween",
    "ExpectColumnSumToBeBetween",
    "ExpectTableRowCountToBeBetween",
    "ExpectTableRowCountToEqual",
)
# Said of the table, by Great Expectations itself: of its columns' names and types, which costs no
# job, or from what no aggregate gives.
_ASKED = (
    "ExpectColumnDistinctValuesToBeInSet",
    "ExpectColumnDistinctValuesToContainSet",
    "ExpectColumnDistinctValuesToEqualSet",
    "ExpectColumnKLDivergenceToBeLessThan",
    "ExpectColumnMedianToBeBetween",
    "ExpectColumnMostCommonValueToBeInSet",
    "ExpectColumnProportionOfUniqueValuesToBeBetween",
    "ExpectColumnQuantileValuesToBeBetween",
    "ExpectColumnToExist",
    "ExpectColumnTypeToBe",
    "ExpectColumnUniqueValueCountToBeBetween",
    "ExpectColumnValuesToBeInTypeList",
    "ExpectColumnValuesToBeOfType",
    "ExpectTableColumnCountToBeBetween",
    "ExpectTableColumnCountToEqual",
    "ExpectTableColumnsToMatchOrderedList",
    "ExpectTableColumnsToMatchSet",
)
WAYS: dict[str, Way] = {
    **dict.fromkeys(_ROW, "row"),
    **dict.fromkeys(_UNIQUE, "unique"),
    **dict.fromkeys(_MEASURED, "measured"),
    **dict.fromkeys(_COUNTED, "counted"),
    **dict.fromkeys(_ASKED, "asked"),
}
SPLITTING: tuple[Way, ...] = ("row", "unique", "measured")

_NO_SPARK = "Great Expectations does not have it on Spark; write a rule"
_NO_ORDER = "the rows of a Spark table have no order"
_OWN_SQL = "an expectation brings no SQL of its own; write a rule"
REFUSED = {
    "ExpectColumnValuesToBeDateutilParseable": _NO_SPARK,
    "ExpectColumnValuesToBeDecreasing": _NO_ORDER,
    "ExpectColumnValuesToBeIncreasing": _NO_ORDER,
    "ExpectColumnValuesToMatchLikePattern": _NO_SPARK,
    "ExpectColumnValuesToMatchLikePatternList": _NO_SPARK,
    "ExpectColumnValuesToNotMatchLikePattern": _NO_SPARK,
    "ExpectColumnValuesToNotMatchLikePatternList": _NO_SPARK,
    "ExpectMulticolumnValuesToBeUnique": "it is ExpectSelectColumnValuesToBeUniqueWithinRecord now",
    "ExpectQueryResultsToMatchComparison": _OWN_SQL,
    "ExpectTableRowCountToEqualOtherTable": "Great Expectations does not have it on Spark",
}


def why_refused(name: str, arguments: dict[str, Any]) -> str | None:
    """Why a contract cannot have an expectation; None where it can."""
    if "Query" in name or {"row_condition", "condition_parser"} & set(arguments):
        return f"{name}: {_OWN_SQL}"
    if name in WAYS:
        return None
    alike = ", ".join(get_close_matches(name, WAYS, n=3))
    why = REFUSED.get(name) or "there is no such expectation" + (
        f"; near it: {alike}" * bool(alike)
    )
    return f"{name}: {why}; supported: {', '.join(sorted(WAYS))}"


COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")


def columns_of(arguments: dict[str, Any]) -> tuple[str, ...]:
    """The columns that an expectation's arguments name, in the order in which they are read."""
    single = [arguments.get(key) for key in COLUMN_KEYS[:-1]]
    several = arguments.get(COLUMN_KEYS[-1]) or ()
    named = [*single, *(several if isinstance(several, list | tuple) else ())]
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))
