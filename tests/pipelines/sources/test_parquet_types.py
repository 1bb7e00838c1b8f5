"""Parquet files as Spark, Hive and pandas write them, read without a changed value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from millrace.pipelines.job.passthrough_columns import with_kept
from millrace.pipelines.planning.input_sample import SampleRequest, cut
from millrace.pipelines.sources.reader import read
from millrace.pipelines.sources.schema_check import check_schema
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.contract import Contract
from millrace.schemas.errors import SchemaMismatch
from millrace.schemas.sources import Source

NO_SPARK: Any = None  # check_schema asks Spark only about Delta tables
ADAPTER: TypeAdapter[Source] = TypeAdapter(Source)
# Years that nanoseconds since 1970 do not reach, days before the Gregorian calendar, and daylight saving.
TIMES = [
    "0001-01-01 00:00:00",
    "1500-06-01 01:02:03.000004",
    "1677-01-01 00:00:00",
    "1890-11-18 12:00:00",
    "2024-02-29 01:00:00.123456",
    "2263-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
]


def parquet_source(folder: Path) -> Source:
    return ADAPTER.validate_python({"format": "parquet", "path": str(folder)})


def contract(**types: str) -> Contract:
    return Contract(columns={name: {"type": kind} for name, kind in types.items()})


def checked(folder: Path, wanted: Contract) -> None:
    check_schema(NO_SPARK, parquet_source(folder), wanted, pin(parquet_source(folder)))


def read_rows(spark: SparkSession, folder: Path, wanted: Contract) -> list[tuple[Any, ...]]:
    checked(folder, wanted)
    frame = read(spark, parquet_source(folder), wanted, pin(parquet_source(folder)))
    return sorted((tuple(row) for row in frame.collect()), key=str)


def as_texts(spark: SparkSession, folder: Path, kind: str) -> list[str]:
    """The column t as texts: Python's datetime and Spark's own conversion to it are left out."""
    wanted = contract(t=kind)
    checked(folder, wanted)
    frame = read(spark, parquet_source(folder), wanted, pin(parquet_source(folder)))
    assert frame.dtypes == [("t", kind)]
    return sorted(row[0] for row in frame.selectExpr("cast(t as string)").collect())


@pytest.fixture
def int96(spark: SparkSession, tmp_path: Path) -> Any:
    """Write INT96 timestamps with Spark; ``calendar`` is Spark's mode: CORRECTED or LEGACY."""

    def write(texts: Sequence[str], calendar: str, form: str = "cast(s as timestamp)") -> Path:
        folder = tmp_path / f"{calendar}-{len(list(tmp_path.iterdir()))}"
        asked = {
            "spark.sql.parquet.outputTimestampType": "INT96",
            "spark.sql.parquet.int96RebaseModeInWrite": calendar,
        }
        before = {key: spark.conf.get(key) for key in asked}
        for key, value in asked.items():
            spark.conf.set(key, value)
        try:
            texts_of = spark.createDataFrame([(text,) for text in texts], "s string")
            texts_of.selectExpr(f"{form} as t").write.parquet(str(folder))
        finally:
            for key, value in before.items():
                spark.conf.set(key, value)
        assert "INT96" in {
            pq.ParquetFile(file).schema.column(0).physical_type for file in folder.glob("*.parquet")
        }
        return folder

    return write


@pytest.mark.spark
@pytest.mark.parametrize("calendar", ["CORRECTED", "LEGACY"])
@pytest.mark.parametrize("kind", ["timestamp", "timestamp_ntz"])
def test_int96_is_a_timestamp_of_any_year(
    spark: SparkSession, int96: Any, calendar: str, kind: str
) -> None:
    folder = int96(TIMES, calendar)
    assert as_texts(spark, folder, kind) == TIMES


@pytest.mark.spark
def test_int96_inside_of_an_array_and_a_struct_is_a_timestamp(
    spark: SparkSession, int96: Any
) -> None:
    folder = int96(TIMES, "CORRECTED", "named_struct('a', array(cast(s as timestamp)))")
    nested = contract(t="struct<a:array<timestamp>>")
    frame = read(spark, parquet_source(folder), nested, pin(parquet_source(folder)))
    checked(folder, nested)
    found = [row[0] for row in frame.selectExpr("cast(t.a[0] as string)").collect()]
    assert sorted(found) == TIMES


@pytest.mark.spark
def test_files_of_both_calendars_and_of_microseconds_are_read_together(
    spark: SparkSession, int96: Any, tmp_path: Path
) -> None:
    old, new = int96(TIMES, "LEGACY"), int96(TIMES, "CORRECTED")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, file in enumerate([*old.glob("*.parquet"), *new.glob("*.parquet")]):
        file.rename(mixed / f"{number}.parquet")
    plain = pa.table({"t": pa.array([datetime(2024, 1, 1)], pa.timestamp("us"))})  # noqa: DTZ001
    pq.write_table(plain, mixed / "plain.parquet")
    assert as_texts(spark, mixed, "timestamp_ntz") == sorted(
        [*TIMES, *TIMES, "2024-01-01 00:00:00"]
    )


@pytest.mark.spark
def test_a_slice_of_int96_has_the_years_that_the_input_has(
    spark: SparkSession, int96: Any, tmp_path: Path
) -> None:
    folder = int96(TIMES * 4, "CORRECTED")
    given = parquet_source(folder)
    part = cut(given, pin(given), SampleRequest(20, len(TIMES) * 4, ("t",), 1), tmp_path / "slice")
    assert part.pinned.root != pin(given).root
    for kind in ("timestamp", "timestamp_ntz"):
        found = as_texts(spark, tmp_path / "slice", kind)
        assert set(found) <= set(TIMES)
        assert len(set(found)) > 4


@pytest.mark.spark
def test_what_pandas_writes_keeps_its_microseconds(spark: SparkSession, tmp_path: Path) -> None:
    times = pd.to_datetime(["1677-09-22 00:00", "1969-12-31 23:59:59.999999"], format="ISO8601")
    frame = pd.DataFrame({"t": times.astype("datetime64[ns]"), "u": times.tz_localize("UTC")})
    frame.loc[2] = [pd.NaT, pd.NaT]
    frame.to_parquet(tmp_path / "a.parquet")
    assert pq.read_schema(tmp_path / "a.parquet").field("t").type.unit == "ns"

    wanted = contract(t="timestamp_ntz", u="timestamp")
    found = read_rows(spark, tmp_path, wanted)

    plain = [None if pd.isna(t) else t.to_pydatetime() for t in frame["t"]]
    zoned = [None if pd.isna(t) else t.to_pydatetime() for t in frame["u"]]
    seen = [(t, None if u is None else u.astimezone(UTC)) for t, u in found]
    assert sorted(seen, key=str) == sorted(zip(plain, zoned, strict=True), key=str)


def test_values_finer_than_a_microsecond_are_refused_with_their_number(tmp_path: Path) -> None:
    values = pa.array([1_000, 1_500, -1, None], pa.timestamp("ns"))
    pq.write_table(pa.table({"t": values}), tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatch, match="2 values are finer than a microsecond"):
        checked(tmp_path, contract(t="timestamp_ntz"))
    with pytest.raises(SchemaMismatch, match="retyped"):  # without a zone it is no instant
        checked(tmp_path, contract(t="timestamp"))
    checked(tmp_path, contract(t="bigint"))
    nested = pa.table({"t": pa.array([[0]], pa.list_(pa.timestamp("ns")))})
    pq.write_table(nested, tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatch, match="nanoseconds inside"):
        checked(tmp_path, contract(t="array<timestamp_ntz>"))


@settings(max_examples=200)
@given(st.lists(st.none() | st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=5))
def test_nanoseconds_are_accepted_exactly_where_no_value_loses_any(
    tmp_path_factory: pytest.TempPathFactory, values: list[int | None]
) -> None:
    folder = tmp_path_factory.mktemp("ns")
    pq.write_table(pa.table({"t": pa.array(values, pa.timestamp("ns"))}), folder / "a.parquet")
    finer = sum(value % 1000 != 0 for value in values if value is not None)
    if not finer:
        checked(folder, contract(t="timestamp_ntz"))
        return
    with pytest.raises(SchemaMismatch, match=f"{finer} values are finer"):
        checked(folder, contract(t="timestamp_ntz"))


@pytest.mark.spark
def test_nanoseconds_declared_as_bigint_are_the_numbers_in_the_file(
    spark: SparkSession, tmp_path: Path
) -> None:
    pq.write_table(
        pa.table({"t": pa.array([1, None, 1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))}),
        tmp_path / "a.parquet",
    )
    found = read_rows(spark, tmp_path, contract(t="bigint"))
    assert found == sorted([(1,), (None,), (1_700_000_000_123_456_789,)], key=str)


ANY_TYPE = ["boolean", "int", "bigint", "double", "string", "binary", "date", "timestamp",
            "timestamp_ntz", "decimal(9,2)", "array<int>", "struct<a:int>"]  # fmt: skip


@pytest.mark.spark
def test_a_column_of_nothing_but_none_has_any_nullable_type(
    spark: SparkSession, tmp_path: Path
) -> None:
    names = [f"c{number}" for number in range(len(ANY_TYPE))]
    pd.DataFrame({"id": [1, 2], **{name: [None, None] for name in names}}).to_parquet(
        tmp_path / "a.parquet"
    )
    assert pa.types.is_null(pq.read_schema(tmp_path / "a.parquet").field("c0").type)
    wanted = contract(id="bigint", **dict(zip(names, ANY_TYPE, strict=True)))

    found = read_rows(spark, tmp_path, wanted)

    assert found == [(1, *[None] * len(names)), (2, *[None] * len(names))]
    strict = Contract(columns={"c0": {"type": "string", "nullable": False}})
    with pytest.raises(SchemaMismatch, match="nothing but null"):
        checked(tmp_path, strict)


@pytest.mark.spark
def test_files_without_rows_and_of_nulls_are_read_among_full_ones(
    spark: SparkSession, tmp_path: Path
) -> None:
    full = pd.DataFrame({"id": [1, 2], "text": ["a", None], "x": [0.5, None]})
    full.to_parquet(tmp_path / "b.parquet")
    pd.DataFrame({"id": [3], "text": [None], "x": [1.5]}).to_parquet(tmp_path / "a.parquet")
    empty = pd.DataFrame({"id": [], "text": []})  # pandas: double and null, and no x at all
    empty.to_parquet(tmp_path / "c.parquet")
    wanted = contract(id="bigint", text="string", x="double")

    assert read_rows(spark, tmp_path, wanted) == [(1, "a", 0.5), (2, None, None), (3, None, 1.5)]

    kept = with_kept(NO_SPARK, parquet_source(tmp_path), contract(id="bigint"), ("text",),
                     pin(parquet_source(tmp_path)))  # fmt: skip
    assert kept.columns["text"].type == "string"
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(SchemaMismatch, match="missing"):  # no file has rows: then they are compared
        checked(tmp_path, wanted)


@pytest.mark.spark
def test_unsigned_integers_are_what_spark_makes_of_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    largest = {"a": (pa.uint8(), 2**8 - 1), "b": (pa.uint16(), 2**16 - 1),
               "c": (pa.uint32(), 2**32 - 1), "d": (pa.uint64(), 2**64 - 1)}  # fmt: skip
    table = pa.table({name: pa.array([value], kind) for name, (kind, value) in largest.items()})
    pq.write_table(table, tmp_path / "a.parquet")
    wanted = contract(a="smallint", b="int", c="bigint", d="decimal(20,0)")
    ((*found,),) = read_rows(spark, tmp_path, wanted)
    assert [int(value) for value in found] == [value for _, value in largest.values()]
    with pytest.raises(SchemaMismatch, match="retyped"):
        checked(tmp_path, contract(c="int"))


@pytest.mark.spark
def test_columns_that_differ_in_case_are_refused_where_one_is_declared(
    spark: SparkSession, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"id": [1], "kind": ["a"], "Kind": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatch, match="ambiguous: only the case differs from Kind") as told:
        checked(tmp_path, contract(id="bigint", kind="string"))
    assert told.value.exit_code == 3
    assert "- " in str(told.value)
    assert "Kind string" in str(told.value)
    assert read_rows(spark, tmp_path, contract(id="bigint")) == [(1,)]
