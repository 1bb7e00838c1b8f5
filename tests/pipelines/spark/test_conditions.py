from __future__ import annotations

import pytest
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.spark.conditions import rows_where, whole


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_it_counts_as_spark_does_with_nulls_and_without_rows(
    spark: SparkSession, rows: int
) -> None:
    table = spark.range(rows).selectExpr("id", "IF(id % 3 = 0, NULL, id) AS some")
    for condition in (
        F.col("id") > 10,
        F.col("some") > 10,
        F.lit(True),
        F.lit(None).cast("boolean"),
    ):
        (found,) = table.agg(rows_where(condition).alias("ours"), F.count_if(condition)).collect()
        assert whole(found[0]) == found[1]


def code(spark: SparkSession, *counts: Column) -> str:
    """What Spark compiles for an aggregate."""
    spark.conf.set("spark.sql.adaptive.enabled", "false")  # it has no code before it runs
    try:
        plan = spark.range(9).agg(*counts)._jdf.queryExecution()
        return str(plan.debug().codegenToSeq().toString())
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")


def test_no_sum_is_checked_for_overflow(spark: SparkSession) -> None:
    assert "addExact(" in code(spark, F.count_if(F.col("id") > 1))
    ours = code(spark, rows_where(F.col("id") > 1))
    assert "doAggregate_sum" in ours
    assert "addExact(" not in ours


def test_hundreds_of_counts_are_compiled(spark: SparkSession) -> None:
    counts = [rows_where(F.col("id") > limit).alias(f"n{limit}") for limit in range(300)]
    assert "doAggregate_sum_299" in code(spark, *counts)
