"""``millrace sql --spark``: the text that is asked is the one that was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.spark_sql import SUBSTITUTE, ask

pytestmark = [pytest.mark.spark]
TEXTS = ["${env:PATH}", "${spark.app.name}", "${system:user.home}", "${hivevar:nothing}"]


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_is_filled_in_where_a_text_looks_like_a_variable(
    spark: SparkSession, tmp_path: Path, text: str
) -> None:
    before = spark.conf.get(SUBSTITUTE)

    found = ask(spark, tmp_path / "no lake", f"SELECT '{text}' AS \"is {text}\"")

    assert found.to_pylist() == [{f"is {text}": text}]
    assert spark.conf.get(SUBSTITUTE) == before
