from __future__ import annotations

import pytest
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from pipelines.counting import rows_where, whole


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


def test_no_sum_is_checked_for_overflow(spark: SparkSession) -> None:
    def code(count: Column) -> str:
        plan = spark.range(9).agg(count)._jdf.queryExecution()
        return str(plan.debug().codegenToSeq().toString())

    spark.conf.set("spark.sql.adaptive.enabled", "false")  # it has no code before it runs
    try:
        assert "addExact(" in code(F.count_if(F.col("id") > 1))
        ours = code(rows_where(F.col("id") > 1))
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")
    assert "doAggregate_sum" in ours
    assert "addExact(" not in ours
