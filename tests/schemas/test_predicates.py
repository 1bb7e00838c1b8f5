from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.validation.contract_check import refused
from millrace.schemas.contract import Contract
from millrace.schemas.predicates import checked

COLUMNS = ["text", "a", "b c", "pixels", "tags"]


def test_a_refusal_says_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"rand.*allowed: operators, CASE, and abs"):
        checked("a > rand()", COLUMNS)
    with pytest.raises(ValueError, match="columns: text, a, b c, pixels, tags"):
        checked("nope = 1", COLUMNS)


def test_comments_do_not_reach_spark() -> None:
    assert checked("a > 1 -- */ injected", COLUMNS)[0] == "a > 1"
    assert checked("/*+ BROADCAST(x) */ a > 1", COLUMNS)[0] == "a > 1"


def test_the_columns_that_a_rule_reads_are_known() -> None:
    assert checked("length(text) > `b c` AND exists(tags, x -> x > a)", COLUMNS)[1] == (
        "text",
        "a",
        "b c",
        "tags",
    )


ROW: dict[str, Any] = {
    "text": 'it\'s "1\\2" 50% 😀',
    "n": 7,
    "x": 2.5,
    "none": None,
    "tags": [1, 2, 3],
    "raw": bytearray(b"\x00\xff"),
    "day": dt.date(2024, 2, 29),
    "price": Decimal("9.99"),
    "b c": True,
}
HONEST: list[tuple[str, bool | None]] = [
    ("length(trim(text)) > 0", True),
    ("text LIKE 'it%'", True),
    (r"text LIKE '%\\%%'", True),
    (r"text RLIKE '\\d+'", True),
    (r"text RLIKE '^\\d+$'", False),
    (r"regexp_like(text, '[0-9]\\\\[0-9]')", True),
    ("text = 'it\\'s \"1\\\\2\" 50% 😀'", True),
    ("contains(text, '😀')", True),
    ("lower(text) = upper(text)", False),
    ("substring(text, 1, 2) = 'it'", True),
    ("startswith(text, 'it') AND NOT endswith(text, 'it')", True),
    ("replace(text, '1', '') <> text", True),
    ("n BETWEEN 1 AND 7", True),
    ("n IN (1, 2, 3)", False),
    ("n NOT IN (1, 2, 3)", True),
    ("n % 2 = 1", True),
    ("-n < 0 OR n / 0 > 1", True),
    ("CASE WHEN n > 5 THEN x > 2 ELSE FALSE END", True),
    ("IF(n > 5, x > 2, FALSE)", True),
    ("coalesce(none, 'z') = 'z'", True),
    ("none <=> NULL", True),
    ("none IS NULL AND n IS NOT NULL", True),
    ("none = 'x'", None),
    ("CAST(x AS INT) = 2", True),
    ("n::string = '7'", True),
    ("round(x) = 3 AND floor(x) = 2 AND ceil(x) = 3 AND abs(-n) = 7", True),
    ("exists(tags, t -> t > 2)", True),
    ("forall(tags, t -> t > 2)", False),
    ("size(tags) = 3 AND array_contains(tags, 2) AND tags[0] = 1", True),
    ("hex(raw) = '00FF' AND octet_length(raw) = 2", True),
    ("raw <> unhex(repeat('00', 2))", True),
    ("day > DATE '2024-01-01'", True),
    ("day = '2024-02-29' AND year(day) = 2024 AND month(day) = 2 AND day(day) = 29", True),
    ("price < 10.00", True),
    ("isnan(x)", False),
    ("`b c`", True),
    ("NOT `b c` OR n > 1 AND n < 3", False),
]


@pytest.mark.spark
@pytest.mark.parametrize(("rule", "holds"), HONEST)
def test_an_honest_rule_means_the_same_after_it_was_checked(
    spark: SparkSession, rule: str, holds: bool | None
) -> None:
    schema = (
        "text string, n int, x double, none string, tags array<int>, raw binary, day date, "
        "price decimal(4,2), `b c` boolean"
    )
    frame = spark.createDataFrame([tuple(ROW.values())], schema)

    written, _ = checked(rule, list(ROW))
    found = frame.select(F.expr(written).alias("ours"), F.expr(rule).alias("theirs")).collect()[0]

    assert found.theirs is holds, "the test's own expectation"
    assert found.ours is holds, written


@pytest.mark.spark
@pytest.mark.parametrize(("on_null", "passing"), [("pass", [1, None]), ("fail", [1])])
def test_a_rule_says_what_an_unknown_result_means(
    spark: SparkSession, on_null: str, passing: list[int | None]
) -> None:
    rule = {"name": "positive", "holds": "n > 0", "on_null": on_null}
    contract = Contract.model_validate({"columns": {"n": {"type": "int"}}, "rules": [rule]})
    frame = spark.createDataFrame([(1,), (0,), (None,)], "n int")

    good = frame.where(~refused(contract.row_rules(()), frame.columns))

    assert [row.n for row in good.collect()] == passing
