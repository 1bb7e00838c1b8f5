"""A rule means in Spark what its author's text means there: each is computed both ways, NULLs included."""

from __future__ import annotations

import random

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.schemas.predicates import checked

SCHEMA = """n int, m bigint, x double, f float, d decimal(6,2), t string, u string, yes boolean, day date,
    at timestamp, local timestamp_ntz, raw binary, tags array<int>, words array<string>,
    s struct<n:int,t:string>, `b c` int, `current_user` string, `a.b` int"""
ROWS = """
    (7, 7000000000L, 2.5D, 1.5F, 9.99, 'it''s', 'IT', true, DATE'2024-02-29',
     TIMESTAMP'2024-02-29 23:59:59.5', TIMESTAMP_NTZ'2024-02-29 23:59:59', X'00FF', array(1, 2, 3),
     array('a', null), named_struct('n', 1, 't', 'x'), 1, 'me', 5),
    (-3, 0L, double('NaN'), float('-0.0'), -0.01, '', ' a ', false, DATE'1970-01-01',
     TIMESTAMP'1969-12-31 00:00:00', TIMESTAMP_NTZ'1970-01-01 00:00:00', X'', array(), array(),
     named_struct('n', null, 't', ''), 2, '', 4),
    (0, -1L, double('-Infinity'), 3.25F, 100.00, '50%_\\\\', 'ä😀', null, DATE'2100-12-31',
     TIMESTAMP'2024-12-31 12:00:00', TIMESTAMP_NTZ'2024-12-31 12:00:00', X'41', array(null), array('b'),
     null, null, null, null),
    (null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null)
"""
TABLE = [
    # texts, escapes and quotes
    r"t = '\u0069t\'s'", r"t = '\151t\047s'", 't = "it\'s" OR u = "IT"', r"t = '50%_\\'", r"t = '50\%\_\\'",
    r"t <> '\q\n\t\Z\0'", "t = 'i' 't''s'", r"u LIKE '%\u00e4%'", r"u = '\U000000e4\U0001F600'",
    r"t LIKE '50\%\_%'", r"t LIKE '50\\%%'", r"t LIKE '50!%!_%' ESCAPE '!'", "t LIKE ''", "u ILIKE 'it'",
    "t NOT LIKE '%s'", "NOT t LIKE '%s'", r"t RLIKE '^\\d+'", r"t NOT RLIKE '\\\\$'", "t REGEXP '^i'",
    r"regexp_like(t, '\\W')", "rlike(t, 's$')", r"regexp_extract(t, '(\\d)(\\d)', 2) = '0'",
    r"regexp_extract(t, '(\\d)(\\d)', 0) = '50'", r"regexp_extract(t, '(\\d)(\\d)') = '5'",
    r"regexp_replace(t, '(\\d)', '<$1>') = '<5><0>%_\\'", "regexp_replace(t, 'i', 'x', 2) = t",
    "split(t, '')[0] = 'i'", "size(split(u, ' ', 2)) = 2", "replace(t, 'it') = '''s'", "replace(t, 'i', 'I') = t",
    "t LIKE '%${env:HOME}%'", "t = '-- no' OR t = '/* no */'",
    # functions of texts
    "trim(u) = 'a'", "ltrim(u) = 'a '", "rtrim(u) = ' a'", "trim(BOTH ' a' FROM u) = ''", "ltrim('I', u) = 'T'",
    "trim('I', u) = 'T'", "trim(LEADING FROM u) = 'a '", "trim(TRAILING 'T' FROM u) = 'I'",
    "length(u) = 2 AND char_length(u) = 2 AND len(u) = 2", "octet_length(u) = 6", "length(raw) = 2",
    "octet_length(raw) = 2", "lower(u) = 'it' AND lcase(u) = 'it'", "upper(t) = 'IT''S' AND ucase(t) = 'IT''S'",
    "substring(t, 2) = 't''s'", "substr(t, -2, 1) = ''''", "substring(t FROM 2 FOR 1) = 't'", "substring(t, 0, 1) = 'i'",
    "substring(raw, 2, 1) = unhex('FF')", "startswith(t, 'i') OR endswith(t, '_')", "contains(t, '')",
    "concat(t, u) = 'it''sIT'", "t || u = 'it''sIT'", "n || t = '7it''s'", "repeat(u, 2) = 'ITIT'",
    "hex(raw) = '00FF'", "hex(n) = '7'", "crc32(t) > 1000", "is_valid_utf8(t)", "bit_count(n) = 3",
    "t < u", "t > 'a'", "t <= 'it'",
    # NULL and three values of truth
    "t IS NULL", "t IS NOT NULL", "NOT t IS NULL", "isnull(t)", "isnotnull(t)", "yes", "NOT yes", "! yes",
    "yes IS TRUE", "yes IS NOT TRUE", "yes IS FALSE", "yes IS UNKNOWN", "yes IS NOT UNKNOWN",
    "t <=> NULL", "NOT n <=> 7", "n IS NOT DISTINCT FROM 7",
    "n IN (7, 8)", "n NOT IN (7, 8)", "NOT n IN (7)", "n NOT IN (m, 7)", "coalesce(n, 1) = 1", "nvl(n, 1) = 1",
    "ifnull(n, 1) = 1", "nullif(n, 7) IS NULL", "(n, m) IN ((7, 7000000000))", "(n, t) = (7, 'it''s')",
    "yes = (n > 0)", "n > 0 = yes", "n = 7 IS NULL", "yes OR n > 1 AND FALSE",
    # numbers
    "n = 7L AND n = 7S AND n = 7Y", "x = 2.5D", "f = 1.5F", "d = 9.99BD", "d = 9.99", "x = 25e-1", "x > .5", "x > 1.",
    "x = 'NaN'", "isnan(x)", "x > 1e300", "f = 0", "-n = -7", "- n * 2 = -14", "-(-n) = 7", "- -n = 7", "n - -1 = 8",
    "n -1 = 6", "10 - n - 1 = 2", "10 - (n - 1) = 4", "110 / (n + 4) / 2 = 5", "110 / ((n + 4) / 2) = 20", "n / 2 = 3.5",
    "n % 4 = 3", "-n % 4 = -3", "mod(n, 4) = 3", "n * 2 + 1 = 15", "n + 2 * 3 = 13", "(n + 2) * 3 = 27",
    "n + 1 || 'a' = '8a'", "2 * 3 || 1 = '61'", "n % 4 * 2 = 6", "abs(n) = 3", "ceil(x) = 3", "ceiling(x) = 3",
    "floor(x) = 2", "ceil(d, 1) = 10.0", "floor(d, 1) = 9.9", "round(x) = 3", "round(d, 1) = 10.0", "round(n, -1) = 10",
    "greatest(n, m) = m", "least(n, 3) = 3", "n BETWEEN -3 AND 3", "n NOT BETWEEN -3 AND 3", "NOT n BETWEEN 1 AND 9",
    "n BETWEEN 1 AND 9 AND yes", "n BETWEEN 1 + 1 AND 2 * 4", "n <> 7 AND n != 7", "n == 7", "n >= 7 OR n <= -3",
    "NOT n = 7 AND yes IS NULL", "NOT (n = 7 OR yes)", "n = 7 OR n = 0 AND yes", "(n = 7 OR n = 0) AND yes",
    # casts and types
    "CAST(n AS STRING) = '7'", "n::string = '7'", "(-n)::string = '-7'",
    "CAST(d AS INT) = 9", "CAST(n AS DECIMAL) = 7", "n::decimal(4,1) = 7.0",
    "try_cast(t AS INT) IS NULL", "try_cast(u AS DATE) = day", "CAST(yes AS INT) = 1", "CAST(day AS TIMESTAMP) < at",
    "CAST(at AS DATE) = day", "CAST(t AS BINARY) = raw", "CAST(n AS BIGINT) = 7", "CAST(n AS FLOAT) = 7",
    # times
    "day = '2024-02-29'", "day = DATE '2024-02-29'", "day > DATE'1999-1-1'", "at > TIMESTAMP '2024-02-29 23:59:59'",
    "at < TIMESTAMP '2024-02-29 23:59:59+14:00'", "local = TIMESTAMP_NTZ '2024-02-29 23:59:59'",
    "year(day) = 2024 AND month(day) = 2 AND day(day) = 29", "year(at) = 1969", "month(at) = 12", "day(local) = 1",
    "to_date(at) = day", "date_diff(day, DATE'2024-01-31') = 29", "datediff(day, '2024-01-31') = 29",
    "date_diff(MONTH, DATE'2024-01-31', day) = 0", "datediff(hour, day, at) = 23", "day + INTERVAL 1 MONTH > DATE'2024-03-28'",
    "day - INTERVAL '1' YEAR < DATE'2023-03-01'", "day + 1 = DATE'2024-03-01'", "at + INTERVAL 2 HOURS > at",
    "at - INTERVAL 1 DAY < at", "day - DATE'2024-01-01' = INTERVAL 59 DAYS",
    # choice
    "CASE WHEN n > 5 THEN x > 2 ELSE FALSE END", "CASE WHEN n > 5 THEN TRUE END", "CASE n WHEN 7 THEN TRUE WHEN 0 THEN FALSE END",
    "IF(n > 5, x > 2, FALSE)", "if(yes, 1, 2) = 1", "CASE WHEN yes THEN 1 ELSE NULL END = 1",
    # arrays, structs and names
    "size(tags) = 3", "IF(size(tags) > 0, tags[0] = 1, n > 0)", "size(words) > 1", "array_contains(tags, 2)",
    "array_contains(words, 'a')", "exists(tags, e -> e > 2)",
    "exists(tags, e -> e > n)", "forall(tags, e -> e > 0)", "forall(words, w -> w IS NOT NULL)",
    "exists(tags, e -> exists(words, w -> w = 'a' AND e = 1))", "exists(words, w -> length(w) = size(tags))",
    "s['n'] = 1", "s['t'] = 'x'", "s IS NULL", "`b c` = 1", "`a.b` = 5", "current_user = 'me'", "`current_user` <> ''",
]  # fmt: skip


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    rows = spark.sql(f"SELECT * FROM VALUES {ROWS}")
    schema = spark.createDataFrame([], SCHEMA).schema
    return rows.toDF(*schema.names).select(
        *[F.col(f"`{field.name}`").cast(field.dataType).alias(field.name) for field in schema]
    ).localCheckpoint()  # fmt: skip


def differing(frame: DataFrame, rules: list[str]) -> list[tuple[str, str]]:
    """The rules that Spark answers otherwise when it reads the author's text itself, with what we wrote."""
    written = [checked(rule, frame.columns)[0] for rule in rules]
    frame.sparkSession.conf.set("spark.sql.variable.substitute", "false")
    theirs = [F.expr(rule).alias(f"their_{i}") for i, rule in enumerate(rules)]
    frame.sparkSession.conf.unset("spark.sql.variable.substitute")
    ours = [F.expr(text).alias(f"our_{i}") for i, text in enumerate(written)]
    rows = frame.select(F.array(*ours).alias("ours"), F.array(*theirs).alias("theirs")).collect()
    return [
        (rule, text)
        for i, (rule, text) in enumerate(zip(rules, written, strict=True))
        if any(row.ours[i] is not row.theirs[i] for row in rows)
    ]


@pytest.mark.spark
def test_what_is_written_means_what_the_author_wrote(frame: DataFrame) -> None:
    assert differing(frame, TABLE) == []


def made(draw: random.Random, depth: int, kind: str) -> str:
    """A random expression of a kind, with few parentheses, so that precedence is tried."""
    inner = {kind: lambda k=kind: made(draw, depth - 1, k) for kind in ("bool", "number", "text")}
    number, text, truth = inner["number"], inner["text"], inner["bool"]
    if depth == 0:
        return draw.choice({
            "bool": ["yes", "TRUE", "n > 1", "t = ''", "x IS NULL", "NOT yes", "NULL IS NULL"],
            "number": ["n", "m", "x", "2", "-3", "0.5", "1e1", "`b c`", "7L", "length(t)"],
            "text": ["t", "u", "''", "'it''s'", "'5\\\\%'", '"a\'b"', "upper(u)", "'a' 'b'"],
        }[kind])  # fmt: skip
    shapes = {
        "bool": [
            lambda: f"{truth()} AND {truth()}", lambda: f"{truth()} OR {truth()}", lambda: f"NOT ({truth()})",
            lambda: f"({truth()})", lambda: f"{number()} {draw.choice(['<', '>=', '=', '<>', '<=>'])} {number()}",
            lambda: f"{text()} {draw.choice(['<', '=', '!='])} {text()}", lambda: f"({truth()}) IS NOT TRUE",
            lambda: f"{number()} BETWEEN {number()} AND {number()} + n", lambda: f"{number()} IN ({number()}, {number()})",
            lambda: f"{text()} NOT IN ({text()})", lambda: f"({text()}) LIKE '%t_s%'", lambda: f"({number()}) IS NULL",
            lambda: f"CASE WHEN {truth()} THEN {truth()} ELSE {truth()} END", lambda: f"if({truth()}, {truth()}, {truth()})",
        ],
        "number": [
            lambda: f"{number()} {draw.choice(['+', '-', '*'])} {number()}", lambda: f"({number()})", lambda: f"-({number()})",
            lambda: f"- {number()}", lambda: f"({number()}) % 7", lambda: f"{number()} / 4", lambda: f"abs({number()})",
            lambda: f"coalesce({number()}, {number()})", lambda: f"length({text()})", lambda: f"CAST({number()} AS DOUBLE)",
        ],
        "text": [
            lambda: f"{text()} || {text()}", lambda: f"concat({text()}, {text()})", lambda: f"trim({text()})",
            lambda: f"substring({text()}, 2)", lambda: f"CASE WHEN {truth()} THEN {text()} END", lambda: f"({text()})",
        ],
    }  # fmt: skip
    return draw.choice(shapes[kind])()


@pytest.mark.spark
def test_so_does_any_rule_that_is_made_of_them(frame: DataFrame) -> None:
    draw = random.Random(11)
    rules = [made(draw, draw.choice([1, 2, 3]), "bool") for _ in range(200)]
    assert len(set(rules)) > 150
    assert differing(frame, rules) == []
