"""Great Expectations' classes that a contract can name, and how each is evaluated.

The list has names only: checking a job file must not import Great Expectations, which takes seconds.
`tests/conformance/test_expectations.py` compares it with the installed release.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

from millrace.schemas import column_literals, expectation_arguments
from millrace.schemas.expectation_kinds import KINDS

Evaluation = Literal["row", "unique", "measured", "counted", "delegated"]

# About each row, by a predicate of Great Expectations: they split rows.
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
# About each row and other rows: repeated values are found first.
_UNIQUE = ("ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique")
# About each row, by a predicate that needs statistics of the whole column first.
_MEASURED = ("ExpectColumnValueZScoresToBeLessThan", "ExpectColumnValuesToNotBeOutliers")
# About the table, from aggregates of the one scan.
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
# About the table, evaluated by Great Expectations itself: from names and types of columns, which needs
# no Spark job, or from values that no aggregate has.
_DELEGATED = (
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
EVALUATIONS: dict[str, Evaluation] = {
    **dict.fromkeys(_ROW, "row"),
    **dict.fromkeys(_UNIQUE, "unique"),
    **dict.fromkeys(_MEASURED, "measured"),
    **dict.fromkeys(_COUNTED, "counted"),
    **dict.fromkeys(_DELEGATED, "delegated"),
}
SPLITTING: tuple[Evaluation, ...] = ("row", "unique", "measured")

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
    """Return why a contract cannot have an expectation; None if it can."""
    if "Query" in name or {"row_condition", "condition_parser"} & set(arguments):
        return f"{name}: {_OWN_SQL}"
    if name in EVALUATIONS:
        return expectation_arguments.why_refused(name, arguments, KINDS[name])
    alike = ", ".join(get_close_matches(name, EVALUATIONS, n=3))
    why = REFUSED.get(name) or "there is no such expectation" + (
        f"; near it: {alike}" * bool(alike)
    )
    return f"{name}: {why}; supported: {', '.join(sorted(EVALUATIONS))}"


COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")


def columns_of(arguments: dict[str, Any]) -> tuple[str, ...]:
    """Return the columns that an expectation's arguments name, in the order of reading."""
    single = [arguments.get(key) for key in COLUMN_KEYS[:-1]]
    several = arguments.get(COLUMN_KEYS[-1]) or ()
    names = [*single, *(several if isinstance(several, list | tuple) else ())]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


# Those that compare what their arguments hold with a column's own values: all of a row's, by Spark;
_BY_ROW = (
    "ExpectColumnPairValuesToBeInSet",
    "ExpectColumnValuesToBeBetween",
    "ExpectColumnValuesToBeInSet",
    "ExpectColumnValuesToNotBeInSet",
)
# or of the table, by Great Expectations in Python, which has a time in the zone of the machine.
_OF_EXTREMES = ("ExpectColumnMaxToBeBetween", "ExpectColumnMinToBeBetween")
_OF_VALUES = (
    "ExpectColumnDistinctValuesToBeInSet",
    "ExpectColumnDistinctValuesToContainSet",
    "ExpectColumnDistinctValuesToEqualSet",
    "ExpectColumnMostCommonValueToBeInSet",
)


def why_unfit(name: str, arguments: dict[str, Any], types: Mapping[str, str]) -> str | None:
    """Return why an argument cannot be compared with its column; ``types`` are the columns' SQL types."""
    if name not in (*_BY_ROW, *_OF_EXTREMES, *_OF_VALUES):
        return None
    for key, column, value in _literals(arguments):
        kind = types[column]
        if key == "value_set" and name in _OF_VALUES and kind.lower().startswith("timestamp"):
            why: str | None = "times are compared in the zone of the machine there; write a rule"
        elif key in ("min_value", "max_value"):
            why = column_literals.why_unfit_bound(value, kind, needs_time=name in _OF_EXTREMES)
        else:
            why = column_literals.why_unfit(value, kind)
        if why is not None:
            return f"{name}: {key} {value!r} and column {column}, which is {kind}: {why}"
    return None


def _literals(arguments: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """What is compared with a column's own values: the argument, the column, the value."""
    column = arguments.get("column", "")
    bounds = [(key, column, arguments.get(key)) for key in ("min_value", "max_value")]
    members = [("value_set", column, value) for value in arguments.get("value_set") or ()]
    sides = [
        ("value_pairs_set", arguments[side], value)
        for pair in arguments.get("value_pairs_set") or ()
        for side, value in zip(("column_A", "column_B"), pair, strict=True)
    ]
    return [one for one in (*bounds, *members, *sides) if one[2] is not None]
