"""Rules whose meaning a second parser could change: quotes, escapes, dates; asked of Spark itself."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from millrace.schemas.predicates import checked

VALUES = [
    "it's", "its", 'a"b', 'a""b', "a\\b", "a\\", "\\d", "7", "a_b", "axb", "50%", "a\nb", "", "''", "2024-02-29",
]  # fmt: skip
RULES = [
    "text = 'it''s'",
    "text = 'it\\'s'",
    'text = "it\'s"',
    'text = "a""b"',
    "text = 'a\"b'",
    "text = ''''''",
    "text = ''",
    "text = 'a\\\\b'",
    "text = 'a\\\\'",
    "text = 'a\\nb'",
    "text = 'a' '_b'",
    "text LIKE 'a\\\\_b'",
    "text LIKE 'a\\_b'",
    "text LIKE 'a_b'",
    "text LIKE 'a/_b' ESCAPE '/'",
    "text LIKE '%\\%'",
    "text NOT LIKE '%''%'",
    "text ILIKE 'IT%'",
    "text RLIKE '\\\\d'",
    "text RLIKE '\\\\\\\\'",
    "text RLIKE '^[a-z]+''[a-z]$'",
    "regexp_extract(text, '(\\\\d+)-(\\\\d+)') = '2024'",
    "regexp_extract(text, '(\\\\d+)-(\\\\d+)', 2) = '02'",
    "regexp_replace(text, '\\\\d', '') = '--'",
    "split(text, '-')[0] = '2024'",
    "contains(text, '''')",
    "trim(BOTH 'a' FROM text) = '\\\\'",
    "text IN ('it''s', '50%')",
    "substring(text, -2) = '29'",
    "length(text) BETWEEN 1 AND 3",
    "year(day) = 2024 AND month(day) = 2 AND day(day) = 29",
    "date_diff(day, DATE '2024-01-31') = 29",
    "to_date(day) > DATE '2024-03-01' - INTERVAL 1 DAY",
    "year(at) = 2024",
    "day <=> NULL",
    "bit_count(7) = 3 AND crc32(text) > 0",
]


@pytest.mark.spark
def test_every_rule_keeps_or_refuses_the_same_rows_as_when_spark_reads_it_itself(
    spark: SparkSession,
) -> None:
    frame = spark.createDataFrame([(value,) for value in VALUES], "text string").select(
        "text", F.expr("DATE '2024-02-29' AS day"), F.expr("TIMESTAMP '2024-02-29 23:59:59' AS at")
    )
    ours = [F.expr(checked(rule, ["text", "day", "at"])[0]) for rule in RULES]
    theirs = [F.expr(rule) for rule in RULES]

    rows = frame.select(F.array(*ours).alias("ours"), F.array(*theirs).alias("theirs")).collect()

    differ = {
        (rule, value)
        for row, value in zip(rows, VALUES, strict=True)
        for rule, our, their in zip(RULES, row.ours, row.theirs, strict=True)
        if our is not their
    }
    assert differ == set()
    constant = [r for i, r in enumerate(RULES) if len({row.theirs[i] for row in rows}) == 1]
    assert [rule for rule in constant if "text" in rule and "crc32" not in rule] == []


def test_everything_that_a_refusal_says_is_allowed_is_allowed() -> None:
    calls = [
        "abs(a)", "array_contains(t, 1)", "bit_count(a)", "cast(a AS INT)", "ceil(a)", "ceiling(a)",
        "char_length(s)", "coalesce(a, 1)", "concat(s, s)", "contains(s, s)", "crc32(s)", "date_diff(d, d)",
        "datediff(d, d)", "day(d)", "endswith(s, s)", "exists(t, x -> x > 1)", "floor(a)",
        "forall(t, x -> x > 1)", "greatest(a, 1)", "hex(s)", "if(a > 1, a, a)", "ifnull(a, 1)",
        "is_valid_utf8(s)", "isnan(a)", "isnotnull(a)", "isnull(a)", "lcase(s)", "least(a, 1)", "len(s)",
        "length(s)", "lower(s)", "ltrim(s)", "mod(a, 2)", "month(d)", "nullif(a, 1)", "nvl(a, 1)",
        "octet_length(s)", "regexp_extract(s, 'x')", "regexp_like(s, 'x')", "regexp_replace(s, 'x', 'y')",
        "repeat(s, 2)", "replace(s, 'x', 'y')", "rlike(s, 'x')", "round(a)", "rtrim(s)", "size(t)",
        "split(s, 'x')", "startswith(s, s)", "substr(s, 1)", "substring(s, 1)", "to_date(s)", "trim(s)",
        "try_cast(s AS INT)", "ucase(s)", "unhex(s)", "upper(s)", "year(d)",
    ]  # fmt: skip
    for call in calls:
        assert checked(f"{call} IS NULL", ["a", "t", "s", "d"])
    with pytest.raises(ValueError, match="allowed: operators, CASE, and ") as refused:
        checked("rand() > 1", ["a"])
    allowed = str(refused.value).splitlines()[0].split("CASE, and ")[1].split(", ")
    assert set(allowed) == {call.split("(")[0] for call in calls}
