"""A row's key as a text: two keys that differ are two texts."""

from __future__ import annotations

import json

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.sources.row_key import has_null, row_key
from millrace.pipelines.validation.quarantine import payload

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("kind", ["timestamp", "timestamp_ntz"])
def test_times_within_a_millisecond_are_two_keys_and_a_payload_has_them_whole(
    spark: SparkSession, kind: str
) -> None:
    times = ("2026-01-01 10:00:00.123456", "2026-01-01 10:00:00.123789")
    rows = spark.createDataFrame([("s", time) for time in times], "sensor string, at string")
    rows = rows.withColumn("at", F.col("at").cast(kind))

    found = rows.select(
        row_key(["sensor", "at"]).alias("key"), payload(rows.schema, ["at"], ()).alias("payload")
    ).collect()

    ends = [json.loads(row["key"])["at"][10:26] for row in found]
    assert ends == ["T10:00:00.123456", "T10:00:00.123789"]
    assert [json.loads(row["payload"])["at"][10:26] for row in found] == ends


def test_a_key_with_a_part_that_is_null_says_so(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("s", None), ("s", 1)], "sensor string, number int")
    keys = rows.select(row_key(["sensor", "number"]).alias("key"))

    assert [row[0] for row in keys.select(has_null(F.col("key"))).collect()] == [True, False]
