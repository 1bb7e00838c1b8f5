"""Rules in the embedded engine and in Spark, over the same rows: what is allowed there is the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.spark import embedded_equality
from millrace.pipelines.spark.embedded_equality import CALLS, different
from tests.conformance import rule_expressions
from tests.conformance.embedded_answers import answers

pytestmark = pytest.mark.spark
ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "i": "int", "j": "int", "l": "bigint", "m": "bigint", "d": "double", "e": "double", "s": "string",
    "t": "string", "b": "binary", "o": "boolean",
}  # fmt: skip
ROWS, RANDOM_RULES = 400, 150
# One that differs, for each row of the table in docs/EMBEDDED.md.
SEEN = {
    "+, -, *": "i + 1",
    "a decimal number such as 0.1": "d = 0.1",
    "regular expressions": r"s RLIKE '\\w+'",
    "isnan": "isnan(d)",
    "round": "round(d)",
    "substr, substring": "substr(s, -2, 1)",
    "nullif, greatest": "nullif(d, e)",
    "is_valid_utf8": "is_valid_utf8(s)",
    "cast": "cast(d AS string)",
}
WHERE = {"IS TRUE, IS FALSE"}  # seen in a job, and not in one query of one table


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Every expression that is compared: the allowed ones, random rules of them, and those that differ."""
    known = [
        *rule_expressions.operators(), *rule_expressions.functions(), *rule_expressions.casts(),
    ]  # fmt: skip
    allowed = [text for _, text in known if is_allowed(text)]
    draw = random.Random(20)
    return [
        *dict.fromkeys([*allowed, *(rule(draw, 3) for _ in range(RANDOM_RULES)), *SEEN.values()])
    ]


@pytest.fixture(scope="module")
def both(
    spark: SparkSession, asked: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Spark and the embedded engine answer."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "input").mkdir()
    for seed in range(2):
        table = rule_expressions.rows(ROWS, seed)
        table = table.set_column(0, "n", [[seed * ROWS + n for n in range(ROWS)]])
        pq.write_table(table, folder / "input" / f"{seed}.parquet")
    content = {"input": str(folder / "input"), "expressions": asked}
    (folder / "asked.json").write_text(json.dumps(content), "utf-8")
    command = [sys.executable, "-m", "tests.conformance.embedded_answers"]
    subprocess.run(
        [*command, str(folder / "asked.json"), str(folder / "answers.json")],
        check=True, cwd=ROOT, timeout=240,
    )  # fmt: skip
    found = json.loads((folder / "answers.json").read_text("utf-8"))
    return json.loads(json.dumps(answers(spark, content["input"], asked))), found


def is_allowed(text: str) -> bool:
    """Whether a rule may have it: whatever its kind, a rule may ask whether it is there."""
    return different(text, TYPES) is None or different(f"({text}) IS NULL", TYPES) is None


_WHOLE = ["i", "j", "l", "m", "d", "e", "length(s)", "coalesce(i, 0)", "7", "-1"]
_TEXT = ["s", "t", "trim(s)", "concat(s, t)", "'abc'", "''", "nvl(t, 'x')"]


def rule(draw: random.Random, depth: int) -> str:
    """A random rule of what is allowed."""
    whole, other = draw.choice(_WHOLE), draw.choice(_WHOLE)
    text, second = draw.choice(_TEXT), draw.choice(_TEXT)
    simple = [
        f"{whole} {draw.choice(['=', '<>', '<', '>=', '<=>'])} {other}",
        f"{text} {draw.choice(['=', '<>', '<', '>', '<=>'])} {second}",
        f"{whole} BETWEEN {other} AND {draw.choice(_WHOLE)}",
        f"{whole} {draw.choice(['IN', 'NOT IN'])} (0, 1, 7)",
        f"{text} IN ('ham', 'spam', '')",
        f"{draw.choice('ildsbo')} IS {draw.choice(['NULL', 'NOT NULL'])}",
        f"{text} LIKE '{draw.choice(['a%', '%b%', '_', ''])}'",
        f"startswith({text}, {second})",
        "o",
    ]
    if depth == 0:
        return draw.choice(simple)
    one, two, three = (rule(draw, depth - 1) for _ in range(3))
    return draw.choice(
        [
            draw.choice(simple),
            f"({one}) AND ({two})",
            f"({one}) OR ({two})",
            f"NOT ({one})",
            f"CASE WHEN {one} THEN {two} ELSE {three} END",
            f"if({one}, {two}, o)",
            f"coalesce({one}, false)",
        ]
    )


def test_every_expression_that_is_allowed_has_the_type_and_the_values_that_spark_gives(
    asked: list[str], both: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    sparks, embeddeds = both
    compared = [one for one in asked if one not in SEEN.values()]
    wrong = {one: _first_difference(sparks[one], embeddeds[one]) for one in compared}
    assert not {one: what for one, what in wrong.items() if what}
    assert not [
        one for one in compared if sparks[one][0] == "error"
    ]  # a rule that raises shows nothing
    assert len(compared) > 250


def test_every_function_that_is_allowed_is_among_the_expressions(asked: list[str]) -> None:
    named = {name for name, text in rule_expressions.functions() if text in asked}
    assert CALLS.keys() <= named


@pytest.mark.parametrize("what", sorted(SEEN))
def test_what_is_said_to_differ_differs_and_is_in_no_rule(
    what: str, both: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    sparks, embeddeds = both
    text = SEEN[what]
    assert _first_difference(sparks[text], embeddeds[text])
    assert not is_allowed(text)


def test_the_table_on_the_page_has_those_differences_alone_that_a_test_shows() -> None:
    page = (ROOT / "docs" / "EMBEDDED.md").read_text("utf-8")
    _, table = page.split("| part of a rule | in Sail 0.7.2 |\n|---|---|\n")
    rows = table.split("\n\n")[0].splitlines()
    assert {row.split(" | ")[0].strip("| ").replace("`", "") for row in rows} == SEEN.keys() | WHERE
    assert different("o IS TRUE", TYPES) == "IS TRUE, IS FALSE"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("amount > 1.5", "the decimal number 1.5"),
        ("amount + 1 > 2", "amount + 1"),
        ("name = 1", "number and text in name = 1"),
        ("name RLIKE 'a'", "name RLIKE 'a'"),
        ("lower(name) = 'a'", "lower()"),
        ("made > DATE'2024-01-01'", "column made"),
        ("name LIKE 'a\\\\_'", "name LIKE 'a\\\\_'"),
        ("9223372036854775808 > amount", "the decimal number 9223372036854775808"),
        ("CASE WHEN amount THEN true END", "boolean and number in CASE WHEN amount THEN TRUE END"),
        ("amount > 0 AND name <> '' OR amount IS NULL", None),
    ],
)
def test_a_rule_with_another_part_names_it(rule: str, why: str | None) -> None:
    types = {"amount": "double", "name": "string", "made": "date"}
    assert embedded_equality.different(rule, types) == why


def _first_difference(spark: list[Any], embedded: list[Any]) -> str | None:
    if spark[0] != embedded[0]:
        return f"Spark: {spark[0]}, embedded: {embedded[0]}"
    for one, other in zip(spark[1] or (), embedded[1] or (), strict=True):
        if one != other:
            return f"Spark: {one}, embedded: {other}"
    return None
