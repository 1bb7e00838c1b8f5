"""Each expectation of single rows against a plain reading of it in Python, on rows with nulls and NaN."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import combinations
from statistics import mean, stdev
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.validation import violations
from millrace.pipelines.validation.contract_check import examine
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.violations import Mark
from millrace.schemas.contract import Contract
from millrace.schemas.expectations import EVALUATIONS, SPLITTING
from millrace.schemas.rule import MARK, quoted

COLUMNS = {
    "place": "int", "n": "int", "m": "int", "k": "bigint", "x": "double", "y": "double", "t": "string",
    "js": "string", "d": "decimal(6,2)", "day": "date", "at": "timestamp", "yes": "boolean",
}  # fmt: skip
NAN, INFINITE = float("nan"), float("inf")
VALUES: dict[str, list[Any]] = {
    "n": [None, 0, 1, 3, 5, 7],
    "m": [None, 0, 1, 3, 5, 7],
    "k": [None, 0, 1, 3, 2**53 + 1, -(2**62)],
    "x": [None, NAN, 0.0, -0.0, 1.5, 3.0, INFINITE, -INFINITE],
    "y": [None, NAN, 0.0, 1.5, 3.0, INFINITE],
    "t": [None, "", "q", "Q", "qq", "äöü", "2026-01-01", "a\nq", "😀", "7"],
    "js": [None, "1", "{}", '{"a": 1}', '{"a": "x"}', '"q"'],
    "d": [None, Decimal("0.10"), Decimal("9.99"), Decimal("-1.00")],
    "day": [None, date(2026, 1, 1), date(1500, 3, 1), date(2026, 6, 30)],
    "at": [None, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 9, 59, tzinfo=UTC),
           datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)],
    "yes": [None, True, False],
}  # fmt: skip
TEN = datetime(2026, 1, 1, 10)  # noqa: DTZ001 - as YAML gives a time without a zone
NOW = datetime(2026, 1, 3, tzinfo=UTC)
Row = dict[str, Any]
ReadOptions = Callable[[Any], bool]

# A call, and what it says of the value that it is about. A null is never considered.
BETWEEN, IN, NOT_IN = (
    "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet", "ExpectColumnValuesToNotBeInSet",
)  # fmt: skip
OF_COLUMN: list[tuple[str, dict[str, Any], ReadOptions]] = [
    (BETWEEN, {"column": "x", "min_value": 0}, lambda v: v >= 0),
    (BETWEEN, {"column": "x", "min_value": 0, "strict_min": True}, lambda v: v > 0),
    (BETWEEN, {"column": "x", "max_value": 1.5}, lambda v: v <= 1.5),
    (BETWEEN, {"column": "x", "min_value": -1, "max_value": 3, "strict_max": True}, lambda v: -1 <= v < 3),
    (BETWEEN, {"column": "k", "min_value": 1}, lambda v: v >= 1),
    (BETWEEN, {"column": "d", "min_value": 0.1, "max_value": 9.99}, lambda v: Decimal("0.1") <= v <= Decimal("9.99")),
    (BETWEEN, {"column": "day", "min_value": "2026-01-01"}, lambda v: v >= date(2026, 1, 1)),
    (BETWEEN, {"column": "at", "min_value": "2026-01-01T10:00:00"}, lambda v: v >= datetime(2026, 1, 1, 10, tzinfo=UTC)),
    (BETWEEN, {"column": "at", "max_value": TEN, "strict_max": True}, lambda v: v < datetime(2026, 1, 1, 10, tzinfo=UTC)),
    (BETWEEN, {"column": "at", "min_value": "2026-01-01T11:00:00+01:00"}, lambda v: v >= datetime(2026, 1, 1, 10, tzinfo=UTC)),
    (BETWEEN, {"column": "at", "min_value": "2026-01-01"}, lambda v: v >= datetime(2026, 1, 1, tzinfo=UTC)),
    (IN, {"column": "t", "value_set": ["q", "äöü", ""]}, lambda v: v in ("q", "äöü", "")),
    (IN, {"column": "n", "value_set": [1, 3]}, lambda v: v in (1, 3)),
    (IN, {"column": "k", "value_set": [2**53 + 1]}, lambda v: v == 2**53 + 1),
    (IN, {"column": "x", "value_set": [0, 1.5]}, lambda v: v in (0, 1.5)),
    (IN, {"column": "d", "value_set": [0.1, 9.99]}, lambda v: v in (Decimal("0.1"), Decimal("9.99"))),
    (IN, {"column": "day", "value_set": ["2026-01-01", date(1500, 3, 1)]}, lambda v: v in (date(2026, 1, 1), date(1500, 3, 1))),
    (IN, {"column": "at", "value_set": [TEN]}, lambda v: v == datetime(2026, 1, 1, 10, tzinfo=UTC)),
    (IN, {"column": "yes", "value_set": [True]}, lambda v: v is True),
    (NOT_IN, {"column": "t", "value_set": ["q", ""]}, lambda v: v not in ("q", "")),
    (NOT_IN, {"column": "x", "value_set": [0, 3.0]}, lambda v: v not in (0, 3.0)),
    ("ExpectColumnValueLengthsToBeBetween", {"column": "t", "min_value": 1, "max_value": 2}, lambda v: 1 <= len(v) <= 2),
    ("ExpectColumnValueLengthsToEqual", {"column": "t", "value": 3}, lambda v: len(v) == 3),
    ("ExpectColumnValuesToMatchRegex", {"column": "t", "regex": "^q$"}, lambda v: re.search(r"^q\Z", v) is not None),
    ("ExpectColumnValuesToNotMatchRegex", {"column": "t", "regex": "q"}, lambda v: "q" not in v),
    ("ExpectColumnValuesToMatchRegexList", {"column": "t", "regex_list": ["(?i:^q)", "^ä|1$"]}, lambda v: v[:1] in ("q", "Q", "ä") or v.endswith("1")),
    ("ExpectColumnValuesToMatchRegexList", {"column": "t", "regex_list": ["q", "^q"], "match_on": "all"}, lambda v: v.startswith("q")),
    ("ExpectColumnValuesToNotMatchRegexList", {"column": "t", "regex_list": ["q", "^Q"]}, lambda v: "q" not in v and not v.startswith("Q")),
    ("ExpectColumnValuesToMatchStrftimeFormat", {"column": "t", "strftime_format": "%Y-%m-%d"}, lambda v: v == "2026-01-01"),
    ("ExpectColumnValuesToBeJsonParseable", {"column": "t"}, lambda v: v == "7"),
]  # fmt: skip


def missing(row: Row, names: list[str]) -> list[bool]:
    return [row[name] is None for name in names]


PAIR = {"column_A": "x", "column_B": "y"}
SEVERAL = ["n", "m", "k"]


def greater(a: Any, b: Any) -> bool:
    return a is not None and b is not None and a > b


def same(a: Any, b: Any) -> bool:
    """As Spark groups: null is null, and NaN is NaN."""
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return a == b or both_nan


# A call, and what it says of a row that it considers.
OF_ROW: list[tuple[str, dict[str, Any], Callable[[Row], bool]]] = [
    ("ExpectColumnPairValuesAToBeGreaterThanB", PAIR, lambda r: greater(r["x"], r["y"])),
    ("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": "n", "column_B": "m"}, lambda r: greater(r["n"], r["m"])),
    ("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": "n", "column_B": "m", "ignore_row_if": "neither"}, lambda r: greater(r["n"], r["m"])),
    ("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": "n", "column_B": "m", "or_equal": True, "ignore_row_if": "either_value_is_missing"}, lambda r: r["n"] >= r["m"]),
    ("ExpectColumnPairValuesAToBeGreaterThanB", {**PAIR, "or_equal": True}, lambda r: greater(r["x"], r["y"]) or (r["x"] is not None and r["x"] == r["y"])),
    ("ExpectColumnPairValuesToBeEqual", PAIR, lambda r: same(r["x"], r["y"])),
    ("ExpectColumnPairValuesToBeEqual", {"column_A": "n", "column_B": "m", "ignore_row_if": "neither"}, lambda r: r["n"] == r["m"]),
    ("ExpectColumnPairValuesToBeInSet", {"column_A": "n", "column_B": "t", "value_pairs_set": [[1, "q"], [3, None], [5, ""]]}, lambda r: (r["n"], r["t"]) in ((1, "q"), (3, None), (5, ""))),
    ("ExpectMulticolumnSumToEqual", {"column_list": ["n", "m"], "sum_total": 8}, lambda r: (r["n"] or 0) + (r["m"] or 0) == 8),
    ("ExpectMulticolumnSumToEqual", {"column_list": ["x", "y"], "sum_total": 1.5, "ignore_row_if": "never"}, lambda r: (r["x"] or 0) + (r["y"] or 0) == 1.5),
    ("ExpectMulticolumnValuesToBeEqual", {"column_list": SEVERAL}, lambda r: r["n"] == r["m"] == r["k"]),
    ("ExpectSelectColumnValuesToBeUniqueWithinRecord", {"column_list": SEVERAL}, lambda r: not any(a == b for a, b in combinations([r[c] for c in SEVERAL], 2))),
]  # fmt: skip


def considered(arguments: dict[str, Any], row: Row) -> bool:
    """Whether `ignore_row_if`, or its default, lets the row be looked at."""
    if "column" in arguments:
        return row[arguments["column"]] is not None
    names = arguments.get("column_list") or [arguments["column_A"], arguments["column_B"]]
    how, gone = arguments.get("ignore_row_if", "both_values_are_missing"), missing(row, names)
    if how in ("neither", "never"):
        return True
    return not (
        any(gone) if how in ("either_value_is_missing", "any_value_is_missing") else all(gone)
    )


def readings(rows: list[Row]) -> Iterator[tuple[str, dict[str, Any], set[int]]]:
    """Every call, and the places of the rows that break it as a person reads it."""
    for name, arguments, holds in OF_COLUMN:
        about = [row for row in rows if considered(arguments, row)]
        column = arguments["column"]
        yield name, arguments, {row["place"] for row in about if not holds(row[column])}
    for name, arguments, meets in OF_ROW:
        about = [row for row in rows if considered(arguments, row)]
        yield name, arguments, {row["place"] for row in about if not meets(row)}
    js = [row for row in rows if row["js"] is not None]
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    bad = {row["place"] for row in js if json.loads(row["js"]) != {"a": 1}}
    yield (
        "ExpectColumnValuesToMatchJsonSchema",
        {"column": "js", "json_schema": schema},
        bad,
    )
    yield (
        "ExpectColumnValuesToBeNull",
        {"column": "n"},
        {r["place"] for r in rows if r["n"] is not None},
    )
    yield (
        "ExpectColumnValuesToNotBeNull",
        {"column": "x"},
        {r["place"] for r in rows if r["x"] is None},
    )
    seen = [row["t"] for row in rows]
    yield (
        "ExpectColumnValuesToBeUnique",
        {"column": "t"},
        {r["place"] for r in rows if r["t"] is not None and seen.count(r["t"]) > 1},
    )
    keys = [(row["n"], row["m"], row["k"]) for row in rows]
    three = {
        r["place"]
        for r, key in zip(rows, keys, strict=True)
        if any(v is not None for v in key) and keys.count(key) > 1
    }
    yield "ExpectCompoundColumnsToBeUnique", {"column_list": SEVERAL}, three
    numbers = [row["n"] for row in rows if row["n"] is not None]
    at, spread = mean(numbers), stdev(numbers) if len(numbers) > 1 else 0
    far = {
        r["place"]
        for r in rows
        if r["n"] is not None and spread and abs(r["n"] - at) / spread >= 1.1
    }
    yield (
        "ExpectColumnValueZScoresToBeLessThan",
        {"column": "n", "threshold": 1.1, "double_sided": True},
        far,
    )
    out = {r["place"] for r in rows if r["n"] is not None and abs(r["n"] - at) >= 1.1 * spread}
    yield (
        "ExpectColumnValuesToNotBeOutliers",
        {"column": "n", "method": "std", "multiplier": 1.1},
        out,
    )


def drawn(seed: int, count: int) -> list[Row]:
    draw = random.Random(seed)
    rows = [{name: draw.choice(values) for name, values in VALUES.items()} for _ in range(count)]
    return [{"place": place, **row} for place, row in enumerate(rows)]


def frame(spark: SparkSession, rows: list[Row]) -> DataFrame:
    schema = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    return spark.createDataFrame([tuple(row.values()) for row in rows], schema).coalesce(1)


def contract_of(calls: list[tuple[str, dict[str, Any]]]) -> Contract:
    columns = {name: {"type": kind} for name, kind in COLUMNS.items()}
    expectations = [{"expect": name, **arguments} for name, arguments in calls]
    return Contract.model_validate({"columns": columns, "expectations": expectations})


def broken(rows: DataFrame, contract: Contract) -> list[set[int]]:
    """By expectation, the places of the rows that a run refuses for it."""
    expectations, rules = Expectations(rows, contract), contract.row_rules(())
    found, failed = violations.predicates(rules, expectations)
    assert failed == {}
    every: dict[str, Mark] = {**found, **violations.breaking_values(rows, rules, {})}
    marked = violations.marked(rows, every)
    names = [MARK + rule.name for rule in rules]
    told = marked.select("place", *[F.col(quoted(name)) for name in names]).collect()
    return [{row.place for row in told if row[name]} for name in names]


def test_every_class_of_single_rows_has_a_reading() -> None:
    read = {name for name, _, _ in readings(drawn(1, 5))}
    assert read == {name for name, way in EVALUATIONS.items() if way in SPLITTING}


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The driver's machine is in a time zone that is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.usefixtures("far_away")
def test_rows_break_what_a_person_says_they_break(spark: SparkSession) -> None:
    rows = drawn(7, 150)
    expected = list(readings(rows))

    found = broken(frame(spark, rows), contract_of([(name, given) for name, given, _ in expected]))

    different = [
        (name, given, [rows[place] for place in sorted(mine ^ theirs)][:3])
        for (name, given, mine), theirs in zip(expected, found, strict=True)
        if mine != theirs
    ]
    assert different == []


def of_table(rows: list[Row]) -> list[tuple[str, dict[str, Any], bool]]:
    """Every call about the table, and whether a person says that it is met."""
    of = {name: [row[name] for row in rows if row[name] is not None] for name in VALUES}
    n, texts = of["n"], set(of["t"])
    middle, total, spread = mean(n), sum(n), stdev(n)
    share = len(of["x"]) / len(rows)
    return [
        ("ExpectColumnMaxToBeBetween", {"column": "at", "max_value": "2026-01-02T00:00:00"}, True),
        ("ExpectColumnMaxToBeBetween", {"column": "at", "max_value": "2026-01-01T23:00:00Z"}, False),
        ("ExpectColumnMinToBeBetween", {"column": "at", "min_value": "2026-01-01T00:00:00"}, True),
        ("ExpectColumnMinToBeBetween", {"column": "at", "max_value": "2025-12-31T20:00:00"}, False),
        ("ExpectColumnMaxToBeBetween", {"column": "day", "max_value": "2026-06-30"}, True),
        ("ExpectColumnMaxToBeBetween", {"column": "day", "max_value": "2026-06-29"}, False),
        ("ExpectColumnMaxToBeBetween", {"column": "x", "min_value": 0}, False),  # it is NaN
        ("ExpectColumnMinToBeBetween", {"column": "x", "min_value": -5}, False),  # -Infinity
        ("ExpectColumnMinToBeBetween", {"column": "d", "min_value": -1, "max_value": -1}, True),
        ("ExpectColumnMeanToBeBetween", {"column": "x", "min_value": -9}, False),
        ("ExpectColumnMeanToBeBetween", {"column": "n", "min_value": middle - 0.001, "max_value": middle + 0.001}, True),
        ("ExpectColumnMeanToBeBetween", {"column": "n", "min_value": middle + 0.001}, False),
        ("ExpectColumnSumToBeBetween", {"column": "n", "min_value": total, "max_value": total}, True),
        ("ExpectColumnSumToBeBetween", {"column": "n", "min_value": total, "strict_min": True}, False),
        ("ExpectColumnSumToBeBetween", {"column": "x", "max_value": 9}, False),
        ("ExpectColumnStdevToBeBetween", {"column": "n", "min_value": spread - 0.001, "max_value": spread + 0.001}, True),
        ("ExpectColumnStdevToBeBetween", {"column": "x", "min_value": 0}, False),
        ("ExpectColumnProportionOfNonNullValuesToBeBetween", {"column": "x", "min_value": share - 0.001}, True),
        ("ExpectColumnProportionOfNonNullValuesToBeBetween", {"column": "x", "min_value": share + 0.001}, False),
        ("ExpectTableRowCountToBeBetween", {"min_value": len(rows), "max_value": len(rows)}, True),
        ("ExpectTableRowCountToEqual", {"value": len(rows) + 1}, False),
        ("ExpectColumnDistinctValuesToBeInSet", {"column": "t", "value_set": [*texts, "more"]}, True),
        ("ExpectColumnDistinctValuesToBeInSet", {"column": "t", "value_set": [*texts - {"q"}]}, False),
        ("ExpectColumnDistinctValuesToContainSet", {"column": "t", "value_set": ["q", "more"]}, False),
        ("ExpectColumnDistinctValuesToContainSet", {"column": "n", "value_set": [1, 3]}, True),
        ("ExpectColumnDistinctValuesToEqualSet", {"column": "t", "value_set": [*texts]}, True),
        ("ExpectColumnDistinctValuesToEqualSet", {"column": "n", "value_set": [0, 1]}, False),
        ("ExpectColumnUniqueValueCountToBeBetween", {"column": "n", "min_value": 5, "max_value": 5}, True),
        ("ExpectColumnMedianToBeBetween", {"column": "n", "min_value": 7, "strict_min": True}, False),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.usefixtures("far_away")
def test_a_table_meets_what_a_person_says_it_meets(spark: SparkSession) -> None:
    rows = drawn(3, 150)
    expected, table = of_table(rows), frame(spark, rows)
    contract = contract_of([(name, given) for name, given, _ in expected])
    expectations = Expectations(table, contract)

    _, verdict = examine(
        table, (contract, ()), {}, (expectations, expectations.validate_with_spark), NOW
    )

    different = [
        (call, met, result.observed)
        for (*call, met), result in zip(expected, verdict.results, strict=True)
        if result.passed != met
    ]
    assert different == []


@pytest.mark.spark
def test_a_row_that_is_not_known_to_meet_an_expectation_breaks_it(spark: SparkSession) -> None:
    """Of a null beside a value, Spark says neither that it is smaller nor that it is not."""
    pair = {"column_A": "n", "column_B": "m"}
    calls = [
        ("ExpectColumnPairValuesAToBeGreaterThanB", pair),
        (BETWEEN, {"column": "x", "min_value": 0}),
    ]
    rows = [dict.fromkeys(COLUMNS) | {"place": place} for place in range(3)]
    rows[0] |= {"n": 5, "x": NAN}
    rows[1] |= {"n": 5, "m": 3, "x": 1.0}

    assert broken(frame(spark, rows), contract_of(calls)) == [{0}, {0}]
