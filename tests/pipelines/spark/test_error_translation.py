"""Spark's errors, made for real, as a user reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.spark.error_translation import translate, translated
from millrace.schemas.errors import InputCorrupt, ModelError, OutputMismatch, RunFailed
from tests.helpers import image_table, images, write_parquet

pytestmark = pytest.mark.spark


def failing(spark: SparkSession, error: Exception) -> None:
    """Raise ``error`` in a worker."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            raise error
        yield from ()

    spark.range(1).mapInArrow(run, "id long").collect()


def test_our_own_error_comes_back_from_a_worker_as_it_was(spark: SparkSession) -> None:
    error = OutputMismatch(
        "the model's output 'y' is odd", got="[3, 4]", allowed="[3]", next="mend it"
    )

    with pytest.raises(OutputMismatch) as back, translated(Path("spark.log")):
        failing(spark, error)

    assert back.value.as_json() == error.as_json()


def test_what_is_a_usage_error_on_the_driver_fails_the_run_in_a_worker(spark: SparkSession) -> None:
    with (
        pytest.raises(RunFailed, match="changed during the run") as back,
        translated(Path("spark.log")),
    ):
        failing(
            spark, ModelError("model m changed during the run", got="sha256 a", allowed="sha256 b")
        )

    assert back.value.exit_code == 5
    assert back.value.allowed == "sha256 b"


def test_any_other_error_of_a_worker_is_told_in_a_line(spark: SparkSession) -> None:
    with (
        pytest.raises(RunFailed, match="failed on all its attempts") as back,
        translated(Path("the-log")),
    ):
        failing(spark, ValueError("the weights are upside down"))

    assert back.value.got == "ValueError: the weights are upside down"
    assert "the-log" in str(back.value.next)
    assert len(str(back.value)) < 600


def test_a_full_disk_is_called_that_and_a_jvm_s_error_is_told_by_its_own_first_line() -> None:
    told = "An error occurred while calling o1.save.\n: java.io.IOException: No space left on device\n\tat x"
    full = translate(told, "the-log")
    assert "disk is full" in full.what
    assert full.got == ": java.io.IOException: No space left on device"

    other = translate(
        "An error occurred while calling o1.save.\n: java.lang.Odd: why\n\tat x", "log"
    )
    assert other.got == "java.lang.Odd: why"


def test_a_query_that_spark_cannot_analyse_is_told_in_a_line(spark: SparkSession) -> None:
    with pytest.raises(RunFailed, match="Spark failed") as back, translated(Path("the-log")):
        spark.range(1).select("nope").collect()

    assert "UNRESOLVED_COLUMN" in str(back.value.got)


def test_what_is_not_sparks_passes_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), translated(Path("the-log")):
        (tmp_path / "nope").read_text()


def test_a_damaged_page_is_told_with_the_name_of_its_file(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = write_parquet(tmp_path / "in put", image_table(images(300)))
    bad = folder / "part-0.parquet"
    content = bad.read_bytes()
    bad.write_bytes(content[:4] + b"\xff" * 56 + content[60:])

    with pytest.raises(InputCorrupt) as back, translated(Path("the-log")):
        spark.read.schema("id long, pixels binary").parquet(str(folder)).collect()

    assert back.value.what.startswith(f"{bad}: cannot be read")
    assert "run the job again" in str(back.value.next)


def test_a_table_that_delta_cannot_read_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()

    with pytest.raises(RunFailed, match="table of the lake") as back, translated(Path("the-log")):
        deltalake.DeltaTable(tmp_path / "lake")

    assert "\n" not in str(back.value.got)
