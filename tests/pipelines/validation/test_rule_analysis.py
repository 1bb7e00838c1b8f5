"""Spark's own word on every rule, before a row is read: what the first wall takes must hold here too."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.job.prepared_job import prepare
from millrace.pipelines.validation.rule_analysis import check_rules
from millrace.schemas.contract import Contract
from millrace.schemas.errors import UsageError
from millrace.schemas.predicates import checked
from millrace.schemas.rule import Rule
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

pytestmark = pytest.mark.spark
SCHEMA = "text string, a int, tags array<int>, s struct<n:int>, current_user string"

# What gets to Spark as it stands here, as if the first wall had let it through.
REFUSED = [
    "a + 1", "text", "NULL", "tags", "a > rand()", "uuid() = text", "input_file_name() = ''",
    "reflect('java.lang.System', 'exit', 0) = ''", "monotonically_increasing_id() > a", "shuffle(tags)[0] = 1",
    "max(a) > 1", "count_if(a > 1) > 0", "sum(a) OVER () > 1", "explode(tags) > 1", "posexplode(tags) IS NULL",
    "nope > 1", "a = ?", "a = :p", "*", "a >", "a > 1; b", "my_udf(a) > 1", "text > tags", "length(a, a) > 1",
    "a > 1) OR (1 = 1", "s.nope = 1",
]  # fmt: skip


def rule(predicate: str, name: str = "bad") -> Rule:
    return Rule(name=name, kind="row", columns=("a",), predicate=predicate, severity="error")


def test_what_is_no_predicate_of_one_row_is_refused_by_its_name(spark: SparkSession) -> None:
    schema = spark.createDataFrame([], SCHEMA).schema
    fine = [rule("a > 1", "first"), rule("text RLIKE '^a' AND current_user <> ''", "last")]
    check_rules(spark, fine, schema)
    for predicate in REFUSED:
        with pytest.raises(UsageError, match="'bad'") as refused:
            check_rules(spark, [fine[0], rule(predicate), fine[1]], schema)
        assert refused.value.got == predicate
        assert len(str(refused.value)) < 700


def test_a_job_whose_rule_does_not_fit_its_columns_ends_before_anything_is_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(3)))
    model = pixel_mlp(tmp_path / "model")
    job = job_of(tmp_path, model)
    rules = [{"name": "odd", "holds": "length(id, 2) > pixels"}]
    wrong = job.contract.model_dump(exclude={"expectations"}) | {"rules": rules}

    with pytest.raises(UsageError, match="'odd'") as refused:
        prepare(spark, job_of(tmp_path, model, contract=wrong))

    assert refused.value.exit_code == 2
    assert not (tmp_path / "lake").exists()
    assert prepare(spark, job).rules


def test_nothing_of_the_machine_gets_into_a_rule(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = os.environ["HOME"]
    assert spark.range(1).select(F.expr("'${env:HOME}'").alias("x")).head() == (home,), (
        "Spark's own way"
    )

    text, _ = checked("text = '${env:HOME}'", ["text"])

    rows = spark.createDataFrame([(home,), ("${env:HOME}",)], "text string")
    assert [row.holds for row in rows.select(F.expr(text).alias("holds")).collect()] == [
        False,
        True,
    ]


def test_a_function_that_the_session_has_under_an_allowed_name_is_not_called(
    spark: SparkSession,
) -> None:
    spark.udf.register("length", lambda _text: 7, "int")
    text, _ = checked("length(text) = 1", ["text"])
    rows = spark.createDataFrame([("x",)], "text string")
    assert rows.select(F.expr(text).alias("holds")).head() == (True,)
    spark.sql("DROP TEMPORARY FUNCTION length")


def test_a_session_that_reads_texts_otherwise_is_refused(spark: SparkSession) -> None:
    spark.conf.set("spark.sql.parser.escapedStringLiterals", "true")
    try:
        with pytest.raises(UsageError, match=r"Spark 1\.6"):
            check_rules(spark, [], spark.createDataFrame([], SCHEMA).schema)
    finally:
        spark.conf.unset("spark.sql.parser.escapedStringLiterals")


def test_thirty_rules_cost_about_as_much_as_one(spark: SparkSession) -> None:
    holds = [{"name": f"r{n}", "holds": f"a > {n} AND length(text) < {n + 9}"} for n in range(30)]
    columns = {"text": {"type": "string"}, "a": {"type": "int"}}
    rules = Contract.model_validate({"columns": columns, "rules": holds}).row_rules(())
    schema = spark.createDataFrame([], SCHEMA).schema
    check_rules(spark, rules, schema)  # the JVM is warm then

    def seconds(some: int) -> float:
        began = time.perf_counter()
        check_rules(spark, rules[:some], schema)
        return time.perf_counter() - began

    one, thirty = min(seconds(1) for _ in range(3)), min(seconds(30) for _ in range(3))
    print(f"one rule {one:.3f} s, thirty {thirty:.3f} s")
    assert thirty < 5 * one + 0.5
