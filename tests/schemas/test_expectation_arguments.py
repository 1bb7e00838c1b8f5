"""What turns an expectation off, or changes it without a word, is refused when the job file is read."""

from __future__ import annotations

import datetime as dt
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.expectation_kinds import KINDS
from millrace.schemas.expectations import EVALUATIONS
from tests.conformance.test_expectations import CALLS

COLUMNS = {
    "id": "bigint", "n": "int", "m": "int", "x": "double", "f": "float", "d": "decimal(6,2)", "t": "string",
    "yes": "boolean", "day": "date", "at": "timestamp", "raw": "binary", "tags": "array<int>",
}  # fmt: skip
NAN, INFINITE = float("nan"), float("inf")
IN_SET, BETWEEN = "ExpectColumnValuesToBeInSet", "ExpectColumnValuesToBeBetween"
NOT_IN, PAIRS = "ExpectColumnValuesToNotBeInSet", "ExpectColumnPairValuesToBeInSet"
LARGEST, DISTINCT = "ExpectColumnMaxToBeBetween", "ExpectColumnDistinctValuesToBeInSet"


def contract(expect: str, **arguments: Any) -> Contract:
    columns = {name: {"type": kind} for name, kind in COLUMNS.items()}
    return Contract.model_validate(
        {"columns": columns, "expectations": [{"expect": expect, **arguments}]}
    )


def why(expect: str, **arguments: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        contract(expect, **arguments)
    return str(refused.value)


def test_every_supported_class_has_its_arguments() -> None:
    assert set(KINDS) == set(EVALUATIONS)


def test_arguments_are_those_of_the_release() -> None:
    from great_expectations import expectations as known

    for name, kind in KINDS.items():
        assert set(kind.model_fields) - set(getattr(known, name).__fields__) == set(), name


@pytest.mark.parametrize("name", [IN_SET, NOT_IN, DISTINCT, "ExpectColumnMostCommonValueToBeInSet"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["q", None], "value_set[1]: null is no value to compare with: leave it out"),
        ([None], "ExpectColumnValuesToNotBeNull refuses it"),
        ([], "at least 1 item"),
        (None, "value_set: Input should be a valid list (got None)"),
        ("q", "value_set: Input should be a valid list"),
        ([["q"]], "value_set[0]: allowed: a text, a number"),
        ([NAN], "nan is no value to compare with"),
        ([1], "column t, which is string: allowed: a text; put it in quotes"),
        ([True], "column t, which is string: allowed: a text"),
        ([dt.date(2026, 1, 1)], "column t, which is string: allowed: a text"),
    ],
)
def test_a_set_holds_values_of_its_column(name: str, values: Any, message: str) -> None:
    assert message in why(name, column="t", value_set=values)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("n", "five", "allowed: a number"),
        ("n", 1.5, "allowed: a whole number"),
        ("n", True, "allowed: a number"),
        ("id", 2**63, "64 bits"),
        ("x", 2**53 + 1, "a double holds no exact 9007199254740993"),
        ("f", 0.1, "write a rule with CAST(0.1 AS FLOAT)"),
        ("d", 0.125, "allowed: 2 decimal places at most"),
        ("yes", "yes", "allowed: true or false"),
        ("day", "soon", "allowed: a date"),
        ("day", dt.datetime(2026, 1, 1, 5, tzinfo=dt.UTC), "a date has no time of day"),
        ("raw", "x", "write a rule"),
        ("tags", 1, "write a rule"),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_refused(
    column: str, value: Any, message: str
) -> None:
    assert message in why(NOT_IN, column=column, value_set=[value])


@pytest.mark.parametrize("name", [BETWEEN, LARGEST])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "without min_value and max_value it says nothing"),
        ({"min_value": None, "max_value": None}, "says nothing"),
        ({"min_value": NAN}, "min_value: allowed: a finite number"),
        ({"max_value": INFINITE}, "max_value: allowed: a finite number"),
        ({"max_value": "nan"}, "max_value: allowed: a finite number"),
        ({"max_value": "soon"}, "max_value: allowed: a finite number"),
        ({"max_value": True}, "max_value: allowed: a finite number"),
        ({"max_value": [9]}, "max_value: allowed: a finite number"),
        ({"min_value": 9, "max_value": 1}, "nothing is between min_value 9 and max_value 1"),
        ({"min_value": 1, "max_value": 1, "strict_max": True}, "nothing is between"),
        ({"min_value": 1, "max_value": "2026-01-01"}, "of two kinds"),
        ({"min_value": 1, "strict_max": True}, "strict_max without max_value"),
        ({"min_value": 1, "strict_min": "no"}, "strict_min: Input should be a valid boolean"),
        ({"min_value": 1, "min_valeu": 2}, "no argument min_valeu; did you mean min_value?"),
        ({"min_value": 2**53}, "a bound is compared as a double"),
        ({"min_value": "2026-01-01"}, "column n, which is int: allowed: a number"),
        ({"column": "t", "min_value": 5}, "no bounds for a string; write a rule"),
        ({"column": "yes", "min_value": 0}, "no bounds for a boolean"),
        ({"column": "day", "min_value": 5}, "allowed: a date"),
        ({"column": "day", "min_value": "2026-01-01T05:00:00"}, "no time of day"),
    ],
)
def test_a_bound_bounds(name: str, arguments: dict[str, Any], message: str) -> None:
    assert message in why(name, **{"column": "n", **arguments})


def test_the_extreme_of_a_timestamp_is_compared_with_a_time() -> None:
    assert "write the time of day, too" in why(LARGEST, column="at", max_value="2026-01-01")
    contract(BETWEEN, column="at", max_value="2026-01-01")  # each row's: the day's first moment


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (PAIRS, {"column_A": "n", "column_B": "m", "value_pairs_set": []}, "at least 1 item"),
        (PAIRS, {"column_A": "n", "column_B": "m", "value_pairs_set": [[1]]}, "value_pairs_set[0][1]"),
        (PAIRS, {"column_A": "n", "column_B": "m", "value_pairs_set": [[1, NAN]]}, "nan is no value"),
        (PAIRS, {"column_A": "n", "column_B": "t", "value_pairs_set": [[1, 1]]}, "column t, which is string"),
        ("ExpectColumnPairValuesToBeEqual", {"column_A": "n", "column_B": "n"}, "are both n"),
        ("ExpectColumnPairValuesToBeEqual", {"column_A": "n", "column_B": "m", "ignore_row_if": "never"}, "'neither'"),
        ("ExpectColumnValueLengthsToBeBetween", {"column": "t", "min_value": 2.5}, "min_value: Input should be a valid integer"),
        ("ExpectColumnValueLengthsToBeBetween", {"column": "t", "min_value": -1}, "greater than or equal to 0"),
        ("ExpectColumnValueLengthsToBeBetween", {"column": "t", "max_value": True}, "allowed: a number"),
        ("ExpectColumnValueLengthsToEqual", {"column": "t", "value": 2.5}, "valid integer"),
        ("ExpectColumnValuesToMatchRegex", {"column": "t"}, "regex is missing"),
        ("ExpectColumnValuesToMatchRegex", {"column": "t", "regex": ""}, "at least 1 character"),
        ("ExpectColumnValuesToMatchRegex", {"column": "t", "regex": 5}, "valid string"),
        ("ExpectColumnValuesToMatchRegexList", {"column": "t", "regex_list": []}, "at least 1 item"),
        ("ExpectColumnValuesToMatchRegexList", {"column": "t", "regex_list": ["a", None]}, "regex_list[1]"),
        ("ExpectColumnValuesToMatchRegexList", {"column": "t", "regex_list": ["(?i)a", "b"]}, "write (?i:...)"),
        ("ExpectColumnValuesToMatchRegexList", {"column": "t", "regex_list": ["(a)\\1", "(b)\\1"]}, "back references"),
        ("ExpectColumnValuesToNotMatchRegexList", {"column": "t", "regex_list": []}, "at least 1 item"),
        ("ExpectColumnValuesToMatchStrftimeFormat", {"column": "t", "strftime_format": "x"}, "as in %Y-%m-%d"),
        ("ExpectColumnValuesToMatchJsonSchema", {"column": "t", "json_schema": {}}, "at least 1 item"),
        ("ExpectColumnValuesToBeNull", {"column": "n", "mostly": NAN}, "mostly"),
        ("ExpectColumnValuesToBeNull", {"column": "n", "mostly": 95}, "less than or equal to 1"),
        ("ExpectColumnValuesToBeNull", {"column": "n", "mostly": True}, "allowed: a number"),
        ("ExpectMulticolumnSumToEqual", {"column_list": ["n", "m"], "sum_total": NAN}, "finite"),
        ("ExpectMulticolumnSumToEqual", {"column_list": ["n"], "sum_total": 1}, "at least 2 items"),
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["n", "n"]}, "names a column twice"),
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["n", "m"], "ignore_row_if": "any"}, "any_value_is_missing"),
        ("ExpectColumnValueZScoresToBeLessThan", {"column": "n", "threshold": INFINITE, "double_sided": True}, "finite"),
        ("ExpectColumnValueZScoresToBeLessThan", {"column": "n", "threshold": 0, "double_sided": True}, "more than 0"),
        ("ExpectColumnValuesToNotBeOutliers", {"column": "n", "multiplier": INFINITE}, "finite"),
        ("ExpectColumnMeanToBeBetween", {"column": "n"}, "says nothing"),
        ("ExpectColumnMeanToBeBetween", {"column": "n", "max_value": INFINITE}, "finite"),
        ("ExpectColumnStdevToBeBetween", {"column": "n", "max_value": -1}, "greater than or equal to 0"),
        ("ExpectColumnProportionOfNonNullValuesToBeBetween", {"column": "n", "min_value": 95}, "less than or equal to 1"),
        ("ExpectTableRowCountToBeBetween", {}, "says nothing"),
        ("ExpectTableRowCountToBeBetween", {"min_value": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "min_value"),
        ("ExpectTableRowCountToEqual", {"value": 2.5}, "valid integer"),
        ("ExpectTableColumnCountToBeBetween", {"min_value": 1, "strict_min": True}, "strict_min"),
        ("ExpectTableColumnsToMatchSet", {}, "column_set is missing"),
        ("ExpectTableColumnsToMatchOrderedList", {"column_list": []}, "at least 1 item"),
        ("ExpectColumnValuesToBeInTypeList", {"column": "n"}, "type_list is missing"),
        ("ExpectColumnValuesToBeOfType", {"column": "n", "type_": "IntegerType", "mostly": 0.5}, "no argument mostly"),
        ("ExpectColumnKLDivergenceToBeLessThan", {"column": "n"}, "partition_object is missing"),
        ("ExpectColumnKLDivergenceToBeLessThan", {"column": "n", "threshold": 1, "partition_object": {"values": [1, None], "weights": [0.5, 0.5]}}, "null and NaN"),
        ("ExpectColumnKLDivergenceToBeLessThan", {"column": "n", "threshold": 1, "partition_object": {"values": [1], "weights": [0.5]}}, "their sum is 0.5"),
        ("ExpectColumnQuantileValuesToBeBetween", {"column": "n", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[None, None]]}}, "excludes no value, or every value"),
        ("ExpectColumnQuantileValuesToBeBetween", {"column": "n", "quantile_ranges": {"quantiles": [0.5], "value_ranges": []}}, "1 quantiles and 0"),
        ("ExpectColumnDistinctValuesToBeInSet", {"column": "at", "value_set": ["2026-01-01T00:00:00"]}, "write a rule"),
        (IN_SET, {"column": "n", "value_set": [1], "result_format": "BASIC"}, "no argument result_format"),
        (IN_SET, {"column": "n", "value_set": {"$PARAMETER": "x"}}, "valid list"),
    ],
)  # fmt: skip
def test_an_argument_says_something(name: str, arguments: dict[str, Any], message: str) -> None:
    assert message in why(name, **arguments)


def test_what_says_something_is_taken() -> None:
    for name, arguments in CALLS:
        contract_columns = {**arguments}
        columns = {name: {"type": kind} for name, kind in {**COLUMNS, "k": "int", "text": "string", "js": "string", "day": "string"}.items()}  # fmt: skip
        Contract.model_validate(
            {"columns": columns, "expectations": [{"expect": name, **contract_columns}]}
        )
    contract(PAIRS, column_A="n", column_B="m", value_pairs_set=[[1, None]])
    contract(BETWEEN, column="n", min_value="5")  # as ${MIN} gives it
    contract(IN_SET, column="day", value_set=["2026-01-01", dt.date(2026, 1, 2)])
    contract(BETWEEN, column="at", min_value="2026-01-01T10:00:00+02:00", notes="since the move")


def numbers(kind: type[BaseModel], seen: set[type[BaseModel]]) -> list[tuple[str, str]]:
    """Every option of a job file that is a number with a fraction, wherever it stands."""
    if kind in seen:
        return []
    seen.add(kind)
    found = []
    for name, field in kind.model_fields.items():
        todo = [field.annotation]
        while todo:
            one = todo.pop()
            if one is float:
                found.append((kind.__name__, name))
            elif isinstance(one, type) and issubclass(one, BaseModel):
                found += numbers(one, seen)
            else:
                todo += get_args(one)
    return found


def test_no_option_of_a_job_file_is_nan_or_infinite() -> None:
    seen: set[type[BaseModel]] = set()
    found = numbers(Job, seen)
    assert {name for _, name in found} >= {"fresh_within_h", "mostly", "max_quarantined", "psi"}
    kinds = {kind.__name__: kind for kind in seen}
    for kind, name in found:
        # A range of the monitor may have no bound on a side: infinity says that.
        given = [{"score": (NAN, 1.0)}] if name == "ranges" else [NAN, INFINITE, -INFINITE]
        for value in given:
            with pytest.raises(ValidationError) as refused:
                kinds[kind].model_validate({name: value})
            places = [error["loc"] and error["loc"][0] for error in refused.value.errors()]
            assert name in places or name == "ranges", (kind, name, value)
