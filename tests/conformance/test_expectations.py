"""Every expectation that a contract can name: our results, from one scan, against Great Expectations' own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.validation import violations
from millrace.pipelines.validation.contract_check import examine
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.gx_adapter import build_suite, validate_with_spark
from millrace.pipelines.validation.violations import Mark
from millrace.schemas.contract import Contract
from millrace.schemas.expectation import Expectation
from millrace.schemas.expectations import EVALUATIONS, REFUSED

NOW = datetime(2026, 1, 2, tzinfo=UTC)
COLUMNS = {
    "id": "bigint", "n": "int", "m": "int", "k": "int", "x": "double", "text": "string",
    "js": "string", "day": "string", "at": "timestamp", "raw": "binary",
}  # fmt: skip
NAN = float("nan")
ROWS: list[tuple[Any, ...]] = [
    (1, 5, 5, 10, 0.5, "abc", '{"a": 1}', "2026-01-01", NOW, b"x"),
    (2, 7, 3, 10, 1.5, "abd", "[1, 2]", "2026-02-01", NOW, b"xy"),
    (2, None, 3, 4, None, None, None, None, None, None),
    (3, 9, None, -9, NAN, "", '{"a": 2.5}', "01.02.2026", NOW, b""),
    (4, 9, 9, 9, 2.5, "ABC", '{"a": "x"}', "2026-13-01", NOW, b"x"),
    (5, None, None, None, -1.0, "too long a text", '{"b": 2}', "", None, b"z"),
    (None, 100, 1, 0, 99.0, "äöü", '"a"', "2026-01-01 ", NOW, None),
    (6, 7, 3, 11, 1.5, "abd", "null", "2026-01-01", NOW, b"xy"),
]
SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
# What each class is called with, on these columns; where one is met and one not, both.
CALLS: list[tuple[str, dict[str, Any]]] = [
    # Of a null beside a value both answers differ, ours on purpose: test_expectation_meaning.py.
    ("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": "n", "column_B": "m", "ignore_row_if": "either_value_is_missing"}),
    ("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": "n", "column_B": "m", "or_equal": True, "mostly": 0.5, "ignore_row_if": "either_value_is_missing"}),
    ("ExpectColumnPairValuesToBeEqual", {"column_A": "n", "column_B": "m"}),
    ("ExpectColumnPairValuesToBeEqual", {"column_A": "n", "column_B": "m", "ignore_row_if": "either_value_is_missing"}),
    ("ExpectColumnPairValuesToBeInSet", {"column_A": "n", "column_B": "m", "value_pairs_set": [[5, 5], [7, 3]]}),
    ("ExpectColumnValueLengthsToBeBetween", {"column": "text", "min_value": 1, "max_value": 3}),
    ("ExpectColumnValueLengthsToBeBetween", {"column": "text", "max_value": 3, "strict_max": True, "mostly": 0.2}),
    ("ExpectColumnValueLengthsToEqual", {"column": "text", "value": 3}),
    ("ExpectColumnValuesToBeBetween", {"column": "n", "min_value": 5, "max_value": 9}),
    ("ExpectColumnValuesToBeBetween", {"column": "n", "min_value": 5, "strict_min": True, "mostly": 0.7}),
    ("ExpectColumnValuesToBeBetween", {"column": "x", "min_value": 0, "max_value": 10}),
    ("ExpectColumnValuesToBeBetween", {"column": "at", "min_value": "2026-01-01"}),
    ("ExpectColumnValuesToBeInSet", {"column": "text", "value_set": ["abc", "abd"]}),
    ("ExpectColumnValuesToBeInSet", {"column": "n", "value_set": [5, 7, 9, 100]}),
    ("ExpectColumnValuesToBeJsonParseable", {"column": "text"}),
    ("ExpectColumnValuesToBeNull", {"column": "n", "mostly": 0.2}),
    ("ExpectColumnValuesToBeNull", {"column": "text"}),
    ("ExpectColumnValuesToMatchJsonSchema", {"column": "js", "json_schema": SCHEMA}),
    ("ExpectColumnValuesToMatchRegex", {"column": "text", "regex": "^[a-z]+$"}),
    ("ExpectColumnValuesToMatchRegexList", {"column": "text", "regex_list": ["^a", "c$"], "match_on": "all"}),
    ("ExpectColumnValuesToMatchRegexList", {"column": "text", "regex_list": ["^a", "c$"], "match_on": "any"}),
    ("ExpectColumnValuesToMatchStrftimeFormat", {"column": "day", "strftime_format": "%Y-%m-%d"}),
    ("ExpectColumnValuesToNotBeInSet", {"column": "text", "value_set": ["", "ABC"]}),
    ("ExpectColumnValuesToNotBeNull", {"column": "id"}),
    ("ExpectColumnValuesToNotBeNull", {"column": "x", "mostly": 0.5}),
    ("ExpectColumnValuesToNotBeNull", {"column": "raw"}),
    ("ExpectColumnValuesToNotMatchRegex", {"column": "text", "regex": "long"}),
    ("ExpectColumnValuesToNotMatchRegexList", {"column": "text", "regex_list": ["long", "^A"]}),
    ("ExpectMulticolumnSumToEqual", {"column_list": ["n", "m"], "sum_total": 10}),
    ("ExpectMulticolumnSumToEqual", {"column_list": ["n", "m", "k"], "sum_total": 20, "ignore_row_if": "any_value_is_missing"}),
    ("ExpectMulticolumnValuesToBeEqual", {"column_list": ["n", "m", "k"]}),
    ("ExpectSelectColumnValuesToBeUniqueWithinRecord", {"column_list": ["n", "m", "k"]}),
    ("ExpectSelectColumnValuesToBeUniqueWithinRecord", {"column_list": ["n", "m"], "ignore_row_if": "never"}),
    ("ExpectColumnValuesToBeUnique", {"column": "id"}),
    ("ExpectColumnValuesToBeUnique", {"column": "x", "mostly": 0.3}),
    ("ExpectCompoundColumnsToBeUnique", {"column_list": ["n", "m"]}),
    ("ExpectCompoundColumnsToBeUnique", {"column_list": ["n", "k"], "ignore_row_if": "never"}),
    ("ExpectColumnValueZScoresToBeLessThan", {"column": "n", "threshold": 1.5, "double_sided": True}),
    ("ExpectColumnValueZScoresToBeLessThan", {"column": "m", "threshold": -2, "double_sided": False}),
    ("ExpectColumnValuesToNotBeOutliers", {"column": "n"}),
    ("ExpectColumnMaxToBeBetween", {"column": "n", "max_value": 99}),
    ("ExpectColumnMaxToBeBetween", {"column": "at", "max_value": "2026-12-31T00:00:00"}),
    ("ExpectColumnMeanToBeBetween", {"column": "n", "min_value": 1, "max_value": 50}),
    ("ExpectColumnMeanToBeBetween", {"column": "text", "min_value": 1}),
    ("ExpectColumnMinToBeBetween", {"column": "n", "min_value": 5, "strict_min": True}),
    ("ExpectColumnProportionOfNonNullValuesToBeBetween", {"column": "n", "min_value": 0.8}),
    ("ExpectColumnStdevToBeBetween", {"column": "n", "max_value": 40}),
    ("ExpectColumnSumToBeBetween", {"column": "n", "min_value": 137, "max_value": 137}),
    ("ExpectTableRowCountToBeBetween", {"min_value": 8, "max_value": 8}),
    ("ExpectTableRowCountToEqual", {"value": 9}),
    ("ExpectColumnDistinctValuesToBeInSet", {"column": "text", "value_set": ["abc"]}),
    ("ExpectColumnDistinctValuesToContainSet", {"column": "text", "value_set": ["abc"]}),
    ("ExpectColumnDistinctValuesToEqualSet", {"column": "text", "value_set": ["abc"]}),
    ("ExpectColumnKLDivergenceToBeLessThan", {"column": "text", "threshold": 9.0, "partition_object": {"values": ["abc", "abd"], "weights": [0.5, 0.5]}}),
    ("ExpectColumnMedianToBeBetween", {"column": "n", "min_value": 1, "max_value": 9}),
    ("ExpectColumnMostCommonValueToBeInSet", {"column": "text", "value_set": ["abd"]}),
    ("ExpectColumnProportionOfUniqueValuesToBeBetween", {"column": "n", "min_value": 0.9}),
    ("ExpectColumnQuantileValuesToBeBetween", {"column": "n", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[1, 9]]}}),
    ("ExpectColumnToExist", {"column": "n"}),
    ("ExpectColumnTypeToBe", {"column": "n", "type_": "IntegerType"}),
    ("ExpectColumnUniqueValueCountToBeBetween", {"column": "n", "min_value": 4, "max_value": 4}),
    ("ExpectColumnValuesToBeInTypeList", {"column": "n", "type_list": ["IntegerType"]}),
    ("ExpectColumnValuesToBeOfType", {"column": "n", "type_": "StringType"}),
    ("ExpectTableColumnCountToBeBetween", {"min_value": 1, "max_value": 10}),
    ("ExpectTableColumnCountToEqual", {"value": 9}),
    ("ExpectTableColumnsToMatchOrderedList", {"column_list": list(COLUMNS)}),
    ("ExpectTableColumnsToMatchSet", {"column_set": list(COLUMNS)}),
]  # fmt: skip
COMPARED = ("element_count", "unexpected_count", "unexpected_percent", "unexpected_percent_total", "missing_count", "observed_value")  # fmt: skip


def contract_of(calls: Sequence[tuple[str, dict[str, Any]]]) -> Contract:
    expectations = [{"expect": name, **arguments} for name, arguments in calls]
    columns = {name: {"type": kind} for name, kind in COLUMNS.items()}
    return Contract.model_validate({"columns": columns, "expectations": expectations})


def frame(spark: SparkSession, rows: Sequence[tuple[Any, ...]]) -> DataFrame:
    schema = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    return spark.createDataFrame(list(rows), schema).coalesce(1)


def from_one_scan(rows: DataFrame, contract: Contract) -> list[Any]:
    """The results as a run has them."""
    expectations, rules = Expectations(rows, contract), contract.row_rules(())
    values: dict[str, Mark] = dict(violations.breaking_values(rows, rules, {}))
    asked = (expectations, expectations.validate_with_spark)
    _, verdict = examine(rows, (contract, rules), values, asked, NOW)
    return [json.loads(one.result or "") for one in verdict.results]


def told(result: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a result."""
    raised = "'raised_exception': True" in str(result["exception_info"])
    found = result["result"]
    return {"success": result["success"], "raised": raised} | {
        name: _rounded(found[name]) for name in COMPARED if name in found
    }


def _rounded(value: Any) -> Any:
    """Sums of floats depend on their order; of no rows, 0 and none are one."""
    return float(f"{value:.12g}") if isinstance(value, float) else value or None


def differences(rows: DataFrame, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
    contract = contract_of(calls)
    ours = from_one_scan(rows, contract)
    theirs = validate_with_spark(rows, build_suite(contract.expectations), "BASIC")
    return [
        (call, told(mine), told(other.to_json_dict()))
        for call, mine, other in zip(calls, ours, theirs, strict=True)
        if told(mine) != told(other.to_json_dict())
    ]


def test_every_supported_class_is_compared() -> None:
    assert {name for name, _ in CALLS} == set(EVALUATIONS)


def test_every_class_of_the_release_is_supported_or_refused_with_a_reason() -> None:
    from great_expectations import expectations as known

    classes = {name for name in dir(known) if name.startswith("Expect")} - {"Expectation"}
    assert classes - set(EVALUATIONS) - set(REFUSED) == set(), "new in this release"
    assert (set(EVALUATIONS) | set(REFUSED)) - classes == set(), "gone from this release"


@pytest.mark.slow
@pytest.mark.spark
def test_results_from_one_scan_are_those_of_great_expectations(spark: SparkSession) -> None:
    assert differences(frame(spark, ROWS), CALLS) == []


COUNTED = [call for call in CALLS if EVALUATIONS[call[0]] != "delegated" and call[0] != "ExpectColumnValuesToMatchJsonSchema"]  # fmt: skip
TEXTS = st.sampled_from(
    ["abc", "abd", "", "ABC", "a\nb", "'", "{}", "1", "2026-01-01", "\u0000", "😀"]
)
INTEGERS = st.sampled_from([-9, 0, 3, 5, 7, 9, 10, 100])
DRAWN = st.tuples(
    st.none() | st.integers(0, 3),
    *[st.none() | INTEGERS] * 3,
    st.none() | st.sampled_from([0.5, 1.5, -0.0, 0.0, NAN, float("inf"), 99.0]),
    *[st.none() | TEXTS] * 3,
    st.none() | st.just(NOW),
    st.none() | st.binary(max_size=2),
)


@pytest.mark.slow
@pytest.mark.spark
@settings(max_examples=2, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(DRAWN, min_size=1, max_size=12))
def test_results_agree_whatever_the_rows(spark: SparkSession, rows: list[Any]) -> None:
    assert differences(frame(spark, rows), COUNTED) == []


@pytest.mark.spark
def test_no_rows_meet_what_they_meet_in_great_expectations(spark: SparkSession) -> None:
    few = [
        ("ExpectColumnValuesToBeBetween", {"column": "n", "min_value": 5}),
        ("ExpectColumnPairValuesToBeEqual", {"column_A": "n", "column_B": "m"}),
        ("ExpectColumnMaxToBeBetween", {"column": "n", "max_value": 99}),
        ("ExpectColumnProportionOfNonNullValuesToBeBetween", {"column": "n", "min_value": 0.8}),
        ("ExpectTableRowCountToBeBetween", {"min_value": 1}),
    ]
    assert differences(frame(spark, []), few) == []


# What pipelines/validation/expectations.py calls of Great Expectations, and the arguments that it passes.
CALLED = {
    "expectations.registry.get_metric_provider": ["metric_name", "execution_engine"],
    "expectations.registry.get_metric_kwargs": ["metric_name", "configuration", "runtime_configuration"],
    "validator.metric_configuration.MetricConfiguration.__init__": ["self", "metric_name", "metric_domain_kwargs", "metric_value_kwargs"],
    "validator.metrics_calculator.MetricsCalculator.compute_metrics": ["self", "metric_configurations"],
    "expectations.metrics.metric_provider.MetricProvider.get_evaluation_dependencies": ["metric", "execution_engine", "runtime_configuration"],
    "expectations.expectation.ColumnMapExpectation._validate": ["self", "metrics", "runtime_configuration", "execution_engine"],
    "expectations.expectation.ColumnPairMapExpectation._validate": ["self", "metrics", "runtime_configuration", "execution_engine"],
    "expectations.expectation.MulticolumnMapExpectation._validate": ["self", "metrics", "runtime_configuration", "execution_engine"],
    "expectations.expectation.Expectation._build_evr": ["self", "raw_response"],
    "expectations.expectation.Expectation.get_validation_dependencies": ["self", "execution_engine", "runtime_configuration"],
    "execution_engine.SparkDFExecutionEngine.__init__": ["self", "spark", "persist"],
    "execution_engine.SparkDFExecutionEngine.load_batch_data": ["self", "batch_id", "batch_data"],
    "core.expectation_validation_result.ExpectationValidationResult.__init__": ["self", "success", "expectation_config", "exception_info"],
    "core.expectation_validation_result.ExpectationSuiteValidationResult.__init__": ["self", "success", "results", "suite_name", "statistics", "meta"],
    "core.expectation_validation_result.expectationValidationResultSchema.load": ["data"],
    "core.run_identifier.RunIdentifier.__init__": ["self", "run_name", "run_time"],
    "data_context.types.resource_identifiers.ValidationResultIdentifier.__init__": ["self", "expectation_suite_identifier", "run_id", "batch_identifier"],
    "data_context.EphemeralDataContext.add_data_docs_site": ["self", "site_name", "site_config"],
    "data_context.EphemeralDataContext.build_data_docs": ["self", "site_names"],
    "data_context.EphemeralDataContext.validation_results_store": [],
    "util.convert_to_json_serializable": ["data"],
}  # fmt: skip


def test_great_expectations_has_what_is_called_of_it() -> None:
    import great_expectations as gx
    from great_expectations import execution_engine, expectations, validator  # noqa: F401
    from great_expectations.validator import metrics_calculator  # noqa: F401

    assert version("great_expectations") == "1.24.1", "read CALLED and WAYS again, then pin it here"
    changed = {}
    for path, arguments in CALLED.items():
        found: Any = gx
        for part in path.split("."):
            found = getattr(found, part, None)
        has = list(inspect.signature(found).parameters) if callable(found) else []
        missing = [name for name in arguments if name not in has]
        if missing or found is None:
            changed[path] = missing
    assert changed == {}, "gone from Great Expectations"


def test_what_a_result_needs_is_as_it_was() -> None:
    """By kind of expectation, the figures that Great Expectations asks for."""
    one = {"ExpectColumnValuesToBeInSet": {"column": "n", "value_set": [1]}, "ExpectColumnPairValuesToBeEqual": {"column_A": "n", "column_B": "m"}, "ExpectMulticolumnSumToEqual": {"column_list": ["n", "m"], "sum_total": 1}, "ExpectColumnValuesToBeNull": {"column": "n"}, "ExpectColumnMaxToBeBetween": {"column": "n", "max_value": 1}}  # fmt: skip
    suite = build_suite([Expectation(expect=name, **arguments) for name, arguments in one.items()])
    metrics = {
        type(each).__name__: {
            name.replace(str(getattr(each, "map_metric", None)), "MAP")
            for name in each.get_validation_dependencies(None, {"result_format": "BASIC"}).metric_configurations
        }
        for each in suite.expectations
    }  # fmt: skip
    figures = {"MAP.unexpected_count", "MAP.unexpected_values", "table.row_count"}
    assert metrics == {
        "ExpectColumnValuesToBeInSet": figures | {"column_values.nonnull.unexpected_count"},
        "ExpectColumnPairValuesToBeEqual": figures | {"MAP.filtered_row_count"},
        "ExpectMulticolumnSumToEqual": figures | {"MAP.filtered_row_count"},
        "ExpectColumnValuesToBeNull": figures,
        "ExpectColumnMaxToBeBetween": {"column.max"},
    }
