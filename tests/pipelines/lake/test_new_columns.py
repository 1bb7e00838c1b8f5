"""Lakes that an earlier version made: tables get the columns that came since, and keep their rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake import delta, live_rows, own_tables
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import LEDGER, QUARANTINE, RUNS, UNITS, Column, Table
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

OLD = Table("t", "a number", (Column("n", "bigint", "one"),))
NEW = Table("t", "a number", (*OLD.columns, Column("seconds", "double", "how long, seconds")))


@pytest.fixture
def old(tmp_path: Path) -> LakeLocation:
    lake = LakeLocation(tmp_path)
    delta.append_values([{"n": 1}], lake, OLD, "first")
    return lake


def test_rows_of_an_earlier_version_are_read_with_null_in_new_columns(old: LakeLocation) -> None:
    assert delta.values(old, NEW) == [{"n": 1, "seconds": None}]
    assert delta.values(old, NEW, columns=["seconds"]) == [{"seconds": None}]
    assert delta.values(old, NEW, [("seconds", "=", 1.0)]) == []
    assert delta.values(old, NEW, [("n", "=", 1)], ["seconds", "n"]) == [{"n": 1, "seconds": None}]


def test_the_first_write_adds_the_columns_once_with_their_comments(old: LakeLocation) -> None:
    delta.append_values([{"n": 2, "seconds": 0.5}], old, NEW, "second")
    version = DeltaTable(old.uri("t")).version()
    delta.append_values([{"n": 3, "seconds": 0.25}], old, NEW, "third")

    found = sorted(delta.values(old, NEW), key=lambda row: row["n"])
    assert [row["seconds"] for row in found] == [None, 0.5, 0.25]
    (field,) = [f for f in DeltaTable(old.uri("t")).schema().fields if f.name == "seconds"]
    assert field.metadata["comment"] == "how long, seconds"
    assert DeltaTable(old.uri("t")).version() == version + 1
    delta.append_values([{"n": 4}], old, OLD, "fourth")  # the earlier version can write on
    assert delta.count(old, "t") == 4


@pytest.mark.spark
def test_rows_that_spark_computed_add_them_too(
    spark: SparkSession, old: LakeLocation, tmp_path: Path
) -> None:
    rows = spark.sql("SELECT 2L AS n, 0.5D AS seconds")
    delta.append(rows, old, NEW, "second", Driver.at(LakeLocation(tmp_path), "run"))
    assert sorted(row["seconds"] or 0 for row in delta.values(old, NEW)) == [0, 0.5]


def test_two_drivers_that_see_the_earlier_table_both_write(
    old: LakeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = own_tables.extend, []

    def late(log: DeltaTable, table: Table) -> None:
        if not seen:  # another driver is quicker, after this one has looked
            seen.append(log.version())
            delta.append_values([{"n": 2, "seconds": 0.5}], old, NEW, "second")
        original(log, table)

    monkeypatch.setattr(own_tables, "extend", late)
    delta.append_values([{"n": 3, "seconds": 0.25}], old, NEW, "third")

    assert sorted(row["seconds"] or 0 for row in delta.values(old, NEW)) == [0, 0.25, 0.5]


def test_a_column_with_another_type_is_refused_and_nothing_is_added(old: LakeLocation) -> None:
    other = Table("t", "a number", (Column("n", "string", "one"), *NEW.columns[1:]))
    with pytest.raises(UsageError, match="other columns") as refused:
        delta.append_values([{"n": "2"}], old, other, "second")
    assert "n int64" in str(refused.value.got)
    assert DeltaTable(old.uri("t")).version() == 1


@pytest.mark.spark
def test_a_column_that_the_owner_dropped_is_not_added_again(
    spark: SparkSession, old: LakeLocation
) -> None:
    delta.append_values([{"n": 2, "seconds": 0.5}], old, NEW, "second")
    place = f"delta.`{old.uri('t')}`"
    spark.sql(f"ALTER TABLE {place} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    spark.sql(f"ALTER TABLE {place} DROP COLUMN seconds")
    with pytest.raises(UsageError, match="other columns"):
        delta.append_values([{"n": 3, "seconds": 0.5}], old, NEW, "third")


@pytest.mark.spark
@pytest.mark.parametrize(
    "cut", [lambda table: table.columns[-1:], lambda table: table.columns[-3:]]
)
def test_a_job_runs_in_a_lake_whose_tables_are_of_an_earlier_version(
    spark: SparkSession, tmp_path: Path, cut: Callable[[Table], tuple[Column, ...]]
) -> None:
    write_parquet(tmp_path / "input", image_table(images(20)))
    job = job_of(tmp_path, pixel_mlp(tmp_path / "model"))
    first = run(spark, job, Progress(quiet=True))
    lake = LakeLocation.of(job)
    for table in (UNITS, QUARANTINE, RUNS, LEDGER):
        without = [column.name for column in cut(table)]
        there = DeltaTable(lake.uri(table.name))
        left = live_rows.rows(there).drop_columns(without)
        write_deltalake(there, left, mode="overwrite", schema_mode="overwrite")

    again = run(spark, job, Progress(quiet=True), fresh=True)

    assert (again.scored, again.run_id == first.run_id) == (20, False)
    for table in (UNITS, RUNS, LEDGER):
        names = {field.name for field in DeltaTable(lake.uri(table.name)).schema().fields}
        assert {column.name for column in table.columns} <= names
    states = query(lake, "SELECT run_id, state FROM runs_current").to_pylist()
    assert {row["run_id"]: row["state"] for row in states} == {
        first.run_id: "done",
        again.run_id: "done",
    }
