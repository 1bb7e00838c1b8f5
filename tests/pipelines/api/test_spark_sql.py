"""``millrace sql --spark``: the text that is asked is the one that was written."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.api.spark_sql import INPUT, SUBSTITUTE, fetch, with_model
from millrace.pipelines.job.prepared_job import prepare
from millrace.pipelines.lake.location import LakeLocation
from tests.helpers import columns_mlp, job_of, write_parquet

pytestmark = [pytest.mark.spark]
TEXTS = ["${env:PATH}", "${spark.app.name}", "${system:user.home}", "${hivevar:nothing}"]


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_is_filled_in_where_a_text_looks_like_a_variable(
    spark: SparkSession, tmp_path: Path, text: str
) -> None:
    before = spark.conf.get(SUBSTITUTE)

    found = fetch(spark, LakeLocation(tmp_path / "no lake"), f"SELECT '{text}' AS \"is {text}\"")

    assert found.to_pylist() == [{f"is {text}": text}]
    assert spark.conf.get(SUBSTITUTE) == before


def test_the_model_takes_the_types_of_the_contract_where_they_are_not_its_own(
    spark: SparkSession, tmp_path: Path
) -> None:
    model = columns_mlp(tmp_path / "model", price="double", count="double")
    prices = pa.array([Decimal("1.25"), None, Decimal("3.50")], pa.decimal128(9, 2))
    table = pa.table(
        {"id": [1, 2, 3], "price": prices, "count": pa.array([7, 8, None], pa.int32())}
    )
    write_parquet(tmp_path / "input", table)
    types = {"id": "bigint", "price": "decimal(9,2)", "count": "int"}
    contract = {"columns": {name: {"type": kind} for name, kind in types.items()}}

    with_model(spark, prepare(spark, job_of(tmp_path, model, contract=contract)))
    asked = f'SELECT id, classify(price, "count") AS found FROM {INPUT} ORDER BY id'
    found = [
        row["found"] for row in fetch(spark, LakeLocation(tmp_path / "no lake"), asked).to_pylist()
    ]

    assert [one["error"] is None for one in found] == [True, False, False]
    assert found[0]["value"] is not None
    spark.catalog.dropTempView(INPUT)
