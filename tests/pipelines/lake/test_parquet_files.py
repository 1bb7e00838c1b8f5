"""What a commit says of a file is what the file holds, and what Delta's own writer would have said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.lake import delta, live_rows
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.parquet_files import adding
from millrace.schemas.errors import ClaimLost, UsageError
from millrace.schemas.tables import QUARANTINE, Column, Table

KINDS = {
    "number": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "share": (pa.float64(), st.floats()),
    "text": (pa.string(), st.text(max_size=40)),
    "at": (
        pa.timestamp("us", "UTC"),
        st.datetimes(*(datetime(year, 6, 1) for year in (1, 9999)), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
    "day": (pa.date32(), st.dates()),
    "yes": (pa.bool_(), st.booleans()),
}
SCHEMA = pa.schema(
    [pa.field(name, kind) for name, (kind, _) in KINDS.items()]
    + [pa.field("inner", pa.struct([pa.field("number", pa.int32())]))]
    + [pa.field("many", pa.list_(pa.float32()))]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {name: st.none() | values for name, (_, values) in KINDS.items()}
        | {
            "inner": st.none() | st.fixed_dictionaries({"number": st.none() | st.integers(-9, 9)}),
            "many": st.none() | st.lists(st.none() | st.floats(width=32), max_size=3),
        }
    ),
    min_size=1,
    max_size=12,
)


def by(tmp_path: Path) -> Driver:
    return Driver.at(LakeLocation(tmp_path), "run")


def read(name: str, told: Any) -> Any:
    """A bound as the value that it bounds."""
    kinds = {"at": datetime.fromisoformat, "day": date.fromisoformat}
    return kinds[name](told) if name in kinds else float(told) if name == "share" else told


def numbers(values: list[Any]) -> list[Any]:
    """Without NULL, and without NaN, which has no order in Python."""
    return [one for one in values if one is not None and str(one) != "nan"]


def flat(told: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", one) for inner, one in flat(value))
        else:
            yield name, value


@given(ROWS, st.integers(1, 4))
def test_bounds_hold_for_every_value_and_nulls_are_counted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], group: int
) -> None:
    file = tmp_path_factory.mktemp("files") / "part.parquet"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file, row_group_size=group)
    (action,) = adding([file], SCHEMA, indexed=8)
    told = json.loads(action.stats)
    values: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in KINDS}
    values["inner.number"] = [(row["inner"] or {}).get("number") for row in rows]

    assert told["numRecords"] == len(rows)
    assert dict(flat(told["nullCount"])) == {
        name: of.count(None) for name, of in values.items()
    } | {name: count for name, count in flat(told["nullCount"]) if name == "many"}
    least, most = dict(flat(told["minValues"])), dict(flat(told["maxValues"]))
    assert set(least) == set(most)
    bounded = {name for name, of in values.items() if numbers(of)}
    # Delta has no bounds of truth values; and Arrow's writer none of numbers that are all NaN.
    unknown = {"yes"} | ({"share"} if "nan" in map(str, values["share"]) else set())
    assert set(least) - unknown == bounded - unknown
    for name, low in least.items():
        assert read(name, low) <= min(known := numbers(values[name])), name
        assert max(known) <= (high := read(name, most[name])), name
        if name == "at":  # Delta's times are whole milliseconds
            assert high - max(known) < timedelta(milliseconds=1)


def test_a_file_without_a_row_is_not_added(tmp_path: Path) -> None:
    pq.write_table(SCHEMA.empty_table(), tmp_path / "part.parquet")
    assert adding([tmp_path / "part.parquet"], SCHEMA, indexed=8) == []


def test_columns_beyond_the_indexed_have_no_statistics(tmp_path: Path) -> None:
    row = {"number": 3, "share": 0.5, "text": "a", "inner": {"number": 7}}
    pq.write_table(pa.Table.from_pylist([row], SCHEMA), tmp_path / "part.parquet")
    (action,) = adding([tmp_path / "part.parquet"], SCHEMA, indexed=2)
    told = json.loads(action.stats)
    assert told["minValues"] == {"number": 3, "share": 0.5}
    assert set(told["nullCount"]) == {"number", "share"}


@pytest.mark.spark
def test_statistics_are_those_of_deltas_own_writer(spark: SparkSession, tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    rows = [
        ("run", "job", key, "{}" * length, [], "validate", at + timedelta(seconds=length))
        for key, length in (("b", 1), ("a", 2), (None, 30))
    ]
    frame = spark.createDataFrame(rows, delta.spark_schema(QUARANTINE.arrow_schema)).coalesce(1)
    delta.append(frame, LakeLocation(tmp_path), QUARANTINE, "once", by(tmp_path))
    frame.write.format("delta").save(str(tmp_path / "theirs"))

    mine, theirs = (
        json.loads(
            next(
                json.loads(line)["add"]["stats"]
                for log in sorted((tmp_path / name / "_delta_log").glob("*.json"))
                for line in log.read_text().splitlines()
                if "add" in json.loads(line)
            )
        )
        for name in (QUARANTINE.name, "theirs")
    )
    assert mine["numRecords"] == theirs["numRecords"] == 3
    assert mine["minValues"] == {k: v for k, v in theirs["minValues"].items() if k != "reasons"}
    # Delta cuts a largest time to milliseconds, and its readers add one; ours is above it as it stands.
    assert mine["maxValues"].pop("quarantined_at") == "2026-01-02T03:04:35.679Z"
    assert theirs["maxValues"].pop("quarantined_at") == "2026-01-02T03:04:35.678Z"
    # Of a text that is cut Delta takes the next larger ASCII character where that does; ours is larger.
    assert mine["maxValues"].pop("payload") > theirs["maxValues"].pop("payload") > "{}" * 30
    assert mine["maxValues"] == theirs["maxValues"]
    theirs["nullCount"].pop("reasons")
    assert mine["nullCount"] == theirs["nullCount"]
    there = spark.read.format("delta").load(str(tmp_path / QUARANTINE.name))
    for row in rows:
        assert (
            there.where(there.quarantined_at == row[6]).count() == 1
        )  # no file is skipped wrongly


@pytest.mark.spark
def test_a_transaction_is_committed_once_and_of_two_at_once_one_fails(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table("numbers", "a number", (Column("n", "bigint", "one"),))
    frame = spark.range(3).toDF("n")
    delta.append(frame, LakeLocation(tmp_path), table, "first", by(tmp_path))
    delta.append(frame, LakeLocation(tmp_path), table, "first", by(tmp_path))
    assert live_rows.rows(DeltaTable(str(tmp_path / "numbers"))).num_rows == 3

    original = delta._computed

    @contextmanager
    def meanwhile(rows: DataFrame, staging: Path) -> Iterator[list[Path]]:
        with original(rows, staging) as files:
            with (
                pytest.MonkeyPatch.context() as patch
            ):  # another driver, while this one has computed
                patch.setattr(delta, "_computed", original)
                delta.append(frame, LakeLocation(tmp_path), table, name, by(tmp_path))
            yield files

    monkeypatch.setattr(delta, "_computed", meanwhile)
    name = "second"
    with pytest.raises(delta.RunFailed, match="numbers cannot be written"):
        delta.append(frame, LakeLocation(tmp_path), table, name, by(tmp_path))
    table, name = Table("new", "a number", table.columns), "first"
    with pytest.raises(delta.RunFailed, match="another driver has committed first"):
        delta.append(frame, LakeLocation(tmp_path), table, name, by(tmp_path))
    assert live_rows.rows(DeltaTable(str(tmp_path / "new"))).num_rows == 3
    found = DeltaTable(str(tmp_path / "numbers"))
    assert live_rows.rows(found).num_rows == 6
    assert found.transaction_version("second") == 1
    assert not list(by(tmp_path).folder.iterdir())


@pytest.mark.spark
@pytest.mark.parametrize("removed", [False, True])
def test_a_driver_whose_run_was_taken_over_while_it_computed_commits_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, removed: bool
) -> None:
    table = Table("numbers", "a number", (Column("n", "bigint", "one"),))
    mine = by(tmp_path)

    def lost() -> None:
        raise ClaimLost("another driver took its run over")

    def taken_over(at: str) -> None:
        if at == "computed" and removed:
            shutil.rmtree(mine.folder)

    monkeypatch.setattr(delta, "reached", taken_over)

    with pytest.raises(ClaimLost):
        delta.append(
            spark.range(3).toDF("n"),
            LakeLocation(tmp_path),
            table,
            "once",
            replace(mine, may_commit=lost),
        )

    assert not delta.committed(LakeLocation(tmp_path), "numbers", "once")
    assert not list((tmp_path / "numbers").glob("*.parquet"))


@pytest.mark.spark
def test_a_job_table_with_other_columns_is_refused_before_anything_is_written(
    spark: SparkSession, tmp_path: Path
) -> None:
    columns = (Column("n", "bigint", "one"),)
    delta.append(
        spark.range(3).toDF("n"),
        LakeLocation(tmp_path),
        Table("t", "a number", columns),
        "first",
        by(tmp_path),
    )
    more = (*columns, Column("text", "string", "more"))
    wider = Table("t", "a number", more, is_of_job=True)
    with pytest.raises(UsageError, match="other columns") as refused:
        delta.append(
            spark.sql("SELECT 1L AS n, 'a' AS text"),
            LakeLocation(tmp_path),
            wider,
            "second",
            by(tmp_path),
        )
    assert "text absent" in str(refused.value.got)
    assert (
        len(list((tmp_path / "t").glob("*.parquet")))
        == DeltaTable(str(tmp_path / "t")).get_add_actions().num_rows
    )


@pytest.mark.spark
def test_not_a_number_is_found_though_no_bound_holds_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    """To Spark NaN is larger than any number: a file with one must not be skipped."""
    columns = (Column("x", "double", "one"), Column("y", "float", "one"))
    numbers = spark.sql("SELECT * FROM VALUES (1D, 1F), (double('NaN'), float('NaN')) AS (x, y)")
    delta.append(
        numbers.coalesce(1),
        LakeLocation(tmp_path),
        Table("t", "numbers", columns),
        "once",
        by(tmp_path),
    )
    there = spark.read.format("delta").load(str(tmp_path / "t"))
    for name in ("x", "y"):
        assert there.where(f"{name} > 5").count() == 1
        assert there.where(f"isnan({name})").count() == 1
