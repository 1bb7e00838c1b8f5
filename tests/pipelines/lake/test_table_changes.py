"""Tables whose owner changed them: read and written exactly, or refused before anything is computed."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

from millrace.pipelines.cli import main
from millrace.pipelines.job.size_estimate import counted
from millrace.pipelines.lake import delta, garbage
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.sources.row_counts import stated
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.errors import UsageError
from millrace.schemas.sources import DeltaSource
from millrace.schemas.tables import Column, Table

ROOT = Path(__file__).resolve().parents[3]
COLUMNS = (
    Column("id", "bigint", "number"),
    Column("at", "timestamp", "time, UTC"),
    Column("pairs", "array<struct<a:string,b:string>>", "texts"),
)
AT = datetime(2024, 1, 1, tzinfo=UTC)
OLD = datetime(2020, 1, 1, tzinfo=UTC)
EVERY = (  # what Spark can switch on of what Millrace reads and writes
    "delta.enableDeletionVectors = true",
    "delta.columnMapping.mode = name",
    "delta.enableChangeDataFeed = true",
    "delta.checkpointPolicy = v2",
    "delta.checkpointInterval = 6",
)
Sql = Callable[[str], Any]


def row(number: int, at: datetime = AT) -> dict[str, Any]:
    return {"id": number, "at": at, "pairs": [{"a": f"a{number}", "b": f"b{number}"}]}


def made(lake: Path, name: str, *numbers: int) -> Table:
    """A table of ours with such rows."""
    table = Table(name, "a row", COLUMNS)
    delta.append_values(map(row, numbers), LakeLocation(lake), table, f"made {name}")
    return table


def on(*properties: str) -> str:
    told = (f"'{name}' = '{value}'" for name, value in (one.split(" = ") for one in properties))
    return f"SET TBLPROPERTIES ({', '.join(told)})"


@pytest.fixture
def alter(spark: SparkSession, tmp_path: Path) -> Callable[..., None]:
    def change(name: str, *changes: str) -> None:
        for one in changes:
            spark.sql(f"ALTER TABLE delta.`{tmp_path / name}` {one}")

    return change


@pytest.mark.spark
def test_a_table_with_many_features_is_read_written_and_vacuumed(
    spark: SparkSession, tmp_path: Path, alter: Callable[..., None]
) -> None:
    there = f"delta.`{tmp_path / 'many'}`"
    table = made(tmp_path, "many", 1, 2, 3, 4)
    delta.append_values([row(0, OLD)], LakeLocation(tmp_path), table, "old")
    alter("many", on(*EVERY), "ADD COLUMN remark string")
    spark.sql(f"DELETE FROM {there} WHERE id = 3")
    spark.sql(f"UPDATE {there} SET remark = 'seen' WHERE id = 4")

    delta.append_values([row(5)], LakeLocation(tmp_path), table, "again")
    delta.remove_older(LakeLocation(tmp_path), table, "at", OLD + timedelta(days=1))

    live = [{**row(number), "remark": "seen" if number == 4 else None} for number in (1, 2, 4, 5)]
    assert sorted(delta.values(LakeLocation(tmp_path), table), key=lambda one: one["id"]) == live
    assert query(LakeLocation(tmp_path), "SELECT id, remark FROM many ORDER BY id").to_pylist() == [
        {"id": one["id"], "remark": one["remark"]} for one in live
    ]
    by_spark = spark.sql(f"SELECT id, remark FROM {there} ORDER BY id").collect()
    assert [tuple(one) for one in by_spark] == [(one["id"], one["remark"]) for one in live]
    told = [one.path for one in garbage.data(LakeLocation(tmp_path), [], timedelta(0))]
    assert len(told) == len(set(told)) > 0, "a file is listed once"
    for path in told:
        path.unlink()
    spark.catalog.clearCache()
    assert (
        len(delta.values(LakeLocation(tmp_path), table))
        == spark.sql(f"SELECT * FROM {there}").count()
        == 4
    )
    assert delta.count(LakeLocation(tmp_path), "many", id=4) == 1


@pytest.mark.spark
def test_features_that_are_not_read_or_written_exactly_are_refused_by_name(
    tmp_path: Path, alter: Callable[..., None]
) -> None:
    unwritable = made(tmp_path, "unwritable", 1)
    alter(
        "unwritable",
        on("delta.enableRowTracking = true", "delta.enableInCommitTimestamps = true"),
        "CLUSTER BY (id)",
    )
    names = "clustering, domainMetadata, inCommitTimestamp, rowTracking"
    with pytest.raises(UsageError, match="features that Millrace does not write") as refused:
        delta.append_values([row(2)], LakeLocation(tmp_path), unwritable, "more")
    assert refused.value.got == names, "all of them, at once"
    assert len(delta.values(LakeLocation(tmp_path), unwritable)) == 1, "it can be read all the same"

    unreadable = made(tmp_path, "runs", 1)
    alter("runs", on("delta.enableTypeWidening = true"))
    for read in (
        lambda: delta.values(LakeLocation(tmp_path), unreadable),
        lambda: delta.count(LakeLocation(tmp_path), "runs", id=1),
        lambda: query(LakeLocation(tmp_path), "SELECT * FROM runs"),
        lambda: delta.append_values([row(2)], LakeLocation(tmp_path), unreadable, "more"),
    ):
        with pytest.raises(UsageError, match="features that Millrace does not read") as refused:
            read()
        assert refused.value.got == "typeWidening"
        assert "DROP FEATURE" in (refused.value.next or "")
    for command in (["runs"], ["vacuum"], ["sql", "SELECT * FROM runs"]):
        done = CliRunner().invoke(main, [*command, "--lake", str(tmp_path)])
        assert done.exit_code == 2, done.output
        assert "typeWidening" in done.output


@pytest.mark.spark
def test_a_constraint_that_nobody_would_check_is_refused(
    tmp_path: Path, alter: Callable[..., None]
) -> None:
    table = made(tmp_path, "checked", 1)
    alter("checked", "ADD CONSTRAINT small CHECK (id < 100)")
    with pytest.raises(UsageError, match="constraints") as refused:
        delta._opened(LakeLocation(tmp_path), table)
    assert refused.value.got == "small: id < 100"


@pytest.mark.spark
def test_fields_of_structs_that_changed_their_names_are_found(
    tmp_path: Path, alter: Callable[..., None]
) -> None:
    """A file of Spark's would have one field's values under the name of the other."""
    table = made(tmp_path, "nested", 1)
    changes = ("pairs.element.a TO c", "pairs.element.b TO a", "pairs.element.c TO b")
    alter("nested", on(EVERY[1]), *(f"RENAME COLUMN {one}" for one in changes))
    with pytest.raises(UsageError, match="renamed columns") as refused:
        delta._opened(LakeLocation(tmp_path), table)
    assert refused.value.got == "pairs.element.b, in its files a, pairs.element.a, in its files b"


@pytest.mark.spark
def test_a_column_that_was_renamed_is_named_where_it_is_read(
    tmp_path: Path, alter: Callable[..., None]
) -> None:
    table = made(tmp_path, "moved", 1)
    alter("moved", on(EVERY[1]), "RENAME COLUMN id TO number")
    for read in (
        lambda: delta.values(LakeLocation(tmp_path), table),
        lambda: delta.values(LakeLocation(tmp_path), table, [("id", "=", 1)]),
        lambda: delta.values(LakeLocation(tmp_path), table, columns=["id"]),
        lambda: delta.count(LakeLocation(tmp_path), "moved", id=1),
    ):
        with pytest.raises(UsageError, match="moved has no column id"):
            read()


@pytest.mark.spark
def test_a_source_of_any_feature_is_counted_or_its_count_is_unknown(
    spark: SparkSession, tmp_path: Path, alter: Callable[..., None]
) -> None:
    path = str(tmp_path / "source")
    spark.range(50).selectExpr("cast(id AS int) AS id").coalesce(1).write.format("delta").save(path)
    alter("source", on("delta.enableTypeWidening = true"), "ALTER COLUMN id TYPE bigint")
    source = DeltaSource(format="delta", path=path)
    pinned = pin(source)
    assert (counted(pinned).rows, counted(pinned).is_exact) == (50, True)
    assert stated(source, pinned).rows == 50

    alter("source", on("delta.enableDeletionVectors = true"))
    spark.sql(f"DELETE FROM delta.`{path}` WHERE id < 10")
    pinned = pin(source)
    assert not counted(pinned).is_exact
    assert stated(source, pinned).rows is None


def test_no_code_of_ours_reads_a_table_by_arrows_dataset_but_one_function_that_may() -> None:
    """Arrow's dataset gives deleted rows, and nulls for columns that are mapped."""
    wrong = ("to_pyarrow_table", "to_pyarrow_dataset")
    found = Counter(
        str(path.relative_to(ROOT))
        for folder in ("pipelines", "schemas", "udfs", "examples", "benches", "deploy", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in wrong
    )
    assert found == {"pipelines/lake/live_rows.py": 1}
