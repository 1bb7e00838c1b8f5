"""Columns that the input calls otherwise than the contract: names with blanks, and fields of structs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake import runs
from millrace.pipelines.planning.input_sample import SampleRequest, cut
from millrace.pipelines.run.replay import replay, request
from millrace.pipelines.sources.reader import read
from millrace.pipelines.sources.schema_check import check_names, check_schema
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.errors import SchemaMismatch
from millrace.schemas.rule import MALFORMED
from millrace.schemas.sources import DeltaSource, Source
from millrace.schemas.summary import RunSummary
from tests.helpers import columns_mlp, job_of, rows

Score = Callable[..., RunSummary]
NO_SPARK: Any = None  # check_schema asks Spark only about Delta tables
ADAPTER: TypeAdapter[Source] = TypeAdapter(Source)
CITY = pa.struct([("city", pa.string()), ("Geo Point", pa.struct([("lat.x", pa.float64())]))])
ADDRESSES: list[dict[str, Any] | None] = [
    {"city": "Köln", "Geo Point": {"lat.x": 50.9}},
    {"city": None, "Geo Point": None},
    None,
    {"city": "Bonn", "Geo Point": {"lat.x": None}},
]
TABLE = pa.table({
    "Order ID": pa.array([1, 2, 3, 4], pa.int64()),
    "city": pa.array(["not this one"] * 4),
    "address": pa.array(ADDRESSES, CITY),
    "a.b": pa.array([0.5, 1.5, None, 3.5]),
})  # fmt: skip
CONTRACT = Contract.model_validate({
    "columns": {
        "order_id": {"type": "bigint", "from": "Order ID"},
        "city": {"type": "string", "from": "address.city"},
        "lat": {"type": "double", "from": "address.Geo Point.lat.x"},
        "ab": {"type": "double", "from": "a.b"},
        "address": {"type": "struct<city:string,Geo Point:struct<lat.x:double>>"},
    }
})  # fmt: skip
EXPECTED = [
    (1, "Köln", 50.9, 0.5, ADDRESSES[0]),
    (2, None, None, 1.5, ADDRESSES[1]),
    (3, None, None, None, ADDRESSES[2]),
    (4, "Bonn", None, 3.5, ADDRESSES[3]),
]


def source(kind: str, path: Path, **more: Any) -> Source:
    return ADAPTER.validate_python({"format": kind, "path": str(path), **more})


def contract(**columns: Any) -> Contract:
    return Contract.model_validate({"columns": columns})


def written(spark: SparkSession, kind: str, folder: Path) -> Path:
    if kind == "delta":
        write_deltalake(folder, TABLE)
    elif kind == "mapped":
        made = f"CREATE TABLE delta.`{folder}` (`Order ID` bigint, city string, address struct<city: string, "
        made += "`Geo Point`: struct<`lat.x`: double>>, `a.b` double) USING delta "
        spark.sql(made + "TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
        spark.createDataFrame(TABLE).write.format("delta").mode("append").save(str(folder))
        spark.sql(f"ALTER TABLE delta.`{folder}` RENAME COLUMN city TO town")
    else:
        folder.mkdir()
        if kind == "parquet":
            pq.write_table(TABLE, folder / "part.parquet")
        else:
            lines = [json.dumps(row) for row in TABLE.to_pylist()]
            (folder / "part.jsonl").write_text("\n".join(lines))
    return folder


def found(spark: SparkSession, given: Source, wanted: Contract) -> list[tuple[Any, ...]]:
    check_schema(spark, given, wanted, pin(given))
    frame = read(spark, given, wanted, pin(given))
    assert frame.columns[: len(wanted.columns)] == [*wanted.columns]
    assert MALFORMED not in frame.columns or not frame.where(f"{MALFORMED} is not null").count()
    rows = [tuple(row.asDict(recursive=True).values()) for row in frame.drop(MALFORMED).collect()]
    return sorted(rows, key=lambda row: row[0])


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["parquet", "delta", "mapped", "json"])
def test_a_column_is_read_from_another_name_or_a_path(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    folder = written(spark, kind, tmp_path / "in put")
    given = source({"mapped": "delta"}.get(kind, kind), folder)
    assert found(spark, given, CONTRACT) == EXPECTED
    # Without `from` a name is a name, and no path.
    plain = contract(**{"address.city": {"type": "string", "nullable": False}})
    with pytest.raises(SchemaMismatch, match=r"address\.city string +\| - +\| missing"):
        check_schema(spark, given, plain, pin(given))


@pytest.mark.spark
def test_a_csv_column_is_read_by_its_name_in_the_header_or_in_a_folder(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "in" / "Order Day=2024-01-02"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text('Unit Price;"Order;ID";city\n1,5;1;Köln\nx;2;Bonn\n')
    wanted = contract(
        day={"type": "date", "from": "Order Day"},
        id={"type": "bigint", "from": "Order;ID"},
        price={"type": "double", "from": "Unit Price"},
    )
    given = source("csv", tmp_path / "in", delimiter=";", decimal=",")
    check_schema(spark, given, wanted, pin(given))
    good, bad = sorted(
        read(spark, given, wanted, pin(given)).collect(), key=lambda row: row[1] or 9
    )
    assert (str(good["day"]), good["id"], good["price"], good[MALFORMED]) == (
        "2024-01-02",
        1,
        1.5,
        None,
    )
    assert 'column price: "x" is not double' in bad[MALFORMED]
    named = source("csv", tmp_path / "in", delimiter=";", header=["Unit Price", "Order;ID", "c"])
    check_schema(spark, named, wanted, pin(named))


@pytest.mark.spark
def test_fields_of_parquet_structs_are_judged_as_columns_are(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = datetime(2024, 2, 29, 1, 2, 3, 456789, UTC)
    plain = pa.struct([("at", pa.timestamp("ns", "UTC")), ("gone", pa.null()), ("n", pa.uint32())])
    folder = tmp_path / "in"
    folder.mkdir()
    values = [{"at": at, "gone": None, "n": 2**32 - 1}, None]
    table = pa.table({"id": [1, 2], "s": pa.array(values, plain)})
    pq.write_table(table, folder / "ns.parquet")
    wanted = contract(
        id={"type": "bigint"},
        at={"type": "timestamp", "from": "s.at"},
        gone={"type": "string", "from": "s.gone"},
        n={"type": "bigint", "from": "s.n"},
    )
    given = source("parquet", folder)
    assert found(spark, given, wanted.model_copy()) is not None
    texts = read(spark, given, wanted, pin(given)).selectExpr(
        "id", "cast(at as string)", "gone", "n"
    )
    expected = [(1, "2024-02-29 01:02:03.456789", None, 2**32 - 1), (2, None, None, None)]
    assert sorted(map(tuple, texts.collect())) == expected

    finer = pa.array([{"at": 1_709_168_523_456_789_001, "gone": None, "n": 0}], plain)
    pq.write_table(pa.table({"id": [3], "s": finer}), folder / "finer.parquet")
    with pytest.raises(SchemaMismatch, match="1 values are finer than a microsecond"):
        check_schema(spark, given, wanted, pin(given))


@pytest.mark.spark
def test_int96_inside_of_a_struct_is_read_by_its_path_and_with_its_struct(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    before = spark.conf.get("spark.sql.parquet.outputTimestampType")
    spark.conf.set("spark.sql.parquet.outputTimestampType", "INT96")
    try:
        made = spark.sql("select 1 as id, named_struct('at', timestamp'2263-01-01 00:00:00') as s")
        made.write.parquet(str(folder))
    finally:
        spark.conf.set("spark.sql.parquet.outputTimestampType", before)
    wanted = contract(
        wall={"type": "timestamp_ntz", "from": "s.at"}, s={"type": "struct<at:timestamp>"}
    )
    given = source("parquet", folder)
    check_schema(spark, given, wanted, pin(given))
    (row,) = (
        read(spark, given, wanted, pin(given))
        .selectExpr("cast(wall as string)", "cast(s.at as string)")
        .collect()
    )
    assert tuple(row) == ("2263-01-01 00:00:00", "2263-01-01 00:00:00")


@pytest.mark.spark
def test_json_says_line_by_line_where_a_path_leads_nowhere(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines: list[Any] = [
        {"id": 1, "address": {"city": "Köln"}},
        {"id": 2, "address.city": "exact", "address": {"city": "not this"}},
        {"id": 3, "address": "a text"},
        {"id": 4, "address": {"City": "Bonn"}},
        {"id": 5, "address": {"city": 7}},
        {"id": 6},
        {"id": 7, "address": {"city": "x", "CITY": "y"}},
        {"id": 8, "Address": {"city": "x"}},
    ]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = source("json", folder, line="n")
    wanted = contract(n={"type": "bigint"}, city={"type": "string", "from": "address.city"})
    check_schema(spark, given, wanted, pin(given))
    found = {
        row["n"]: (row["city"], row[MALFORMED])
        for row in read(spark, given, wanted, pin(given)).collect()
    }
    assert [found[n] for n in (1, 2, 6)] == [("Köln", None), ("exact", None), (None, None)]
    assert "column city: \"a text\" is not an object with 'city'" in found[3][1]
    assert "column city: key 'City' differs from 'city' in case alone" in found[4][1]
    assert "column city: 7 is not string" in found[5][1]
    assert "key 'CITY' differs from 'city'" in found[7][1]
    assert "key 'Address' differs from 'address'" in found[8][1]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"from": "Order Id"}, "missing: only the case differs from Order ID"),
        ({"from": "Ordr ID"}, "missing; if it is 'Order ID', set from: \"Order ID\""),
        ({"from": "address.ciyt"}, 'set from: "address.city"'),
        ({"from": "address.City"}, "missing: only the case differs from address.city"),
        ({"from": "address.city.x"}, 'set from: "address.city"'),
        ({"from": "address.city"}, "| address.city string"),
        ({"from": "address.city"}, "| retyped"),
    ],
)
def test_an_absent_column_is_refused_with_the_nearest_names(
    tmp_path: Path, column: dict[str, Any], told: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(TABLE, folder / "part.parquet")
    given = source("parquet", folder)
    with pytest.raises(SchemaMismatch) as refused:
        check_schema(NO_SPARK, given, contract(x={"type": "date", **column}), pin(given))
    assert told in str(refused.value)
    assert f"x date, from: {column['from']}" in str(refused.value)
    assert "allowed: every declared column" in str(refused.value)


@pytest.mark.parametrize("kind", ["parquet", "json", "csv"])
def test_a_name_that_could_not_be_guessed_is_proposed(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    if kind == "csv":
        (folder / "a.csv").write_text("Order ID,x\n1,2\n")
    else:
        written(NO_SPARK, kind, folder / "more")
    given = source(kind, folder)
    wanted = contract(order_id={"type": "bigint", "nullable": False})
    with pytest.raises(SchemaMismatch, match='set from: "Order ID"'):
        check_schema(NO_SPARK, given, wanted, pin(given))


def test_preflight_finds_absent_columns_of_a_delta_table_without_spark(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "in", TABLE)
    given = source("delta", tmp_path / "in")
    assert isinstance(given, DeltaSource)
    check_names(given, CONTRACT, pin(given))
    absent = contract(city={"type": "string", "from": "address.town"})
    with pytest.raises(SchemaMismatch, match=r"missing; if it is 'address.city'"):
        check_names(given, absent, pin(given))


@pytest.mark.spark
def test_a_slice_has_the_columns_that_paths_lead_into(spark: SparkSession, tmp_path: Path) -> None:
    given = source("parquet", written(spark, "parquet", tmp_path / "in"))
    heads = [head for origin in CONTRACT.origins.values() for head in origin.heads()]
    part = cut(given, pin(given), SampleRequest(3, 4, tuple(heads), 1), tmp_path / "slice")
    assert part.pinned.root != pin(given).root
    assert found(spark, part.source, CONTRACT) == EXPECTED[:3]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose key and features have other names in the input; its rule refuses one row of four."""
    table = pa.table({
        "Order ID": pa.array([1, 2, 3, 4], pa.int64()),
        "customer": pa.array([{"Age (y)": 30}, {"Age (y)": None}, None, {"Age (y)": -1}],
                             pa.struct([("Age (y)", pa.int32())])),
    })  # fmt: skip
    (tmp_path / "input").mkdir()
    pq.write_table(table, tmp_path / "input" / "part.parquet")
    model = columns_mlp(tmp_path / "model", age="int")
    columns = {
        "id": {"type": "bigint", "from": "Order ID", "unique": True},
        "age": {"type": "int", "from": "customer.Age (y)"},
    }
    rules = [{"name": "grown", "holds": "age >= 0", "on_null": "pass"}]
    limits = {"max_quarantined": 1.0, "rules": rules}
    fixed = {
        "backend": "torch",
        "precision": "fp32",
        "batch": 8,
    }  # nothing is measured before the run
    return job_of(
        tmp_path,
        model,
        key=["id"],
        keep=["age"],
        contract={"columns": columns, **limits},
        engine=fixed,
    )


@pytest.mark.slow
@pytest.mark.spark
def test_the_declared_name_is_the_name_everywhere_after_reading(
    spark: SparkSession, score: Score, job: Job, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    first = score(job)
    assert (first.scored, first.quarantined, first.failed) == (1, 1, 2)
    scored = rows(lake, "SELECT id, age, value FROM predictions_tiny ORDER BY id")
    assert [row["age"] for row in scored] == [30, None, None]
    assert scored[0]["value"] is not None
    (refused,) = rows(lake, "SELECT key, payload, reasons FROM quarantine")
    assert (refused["key"], refused["payload"]) == ('{"id":4}', '{"id":4,"age":-1}')
    assert refused["reasons"][0]["observed"] == '{"age":-1}'

    again = score(job)
    assert (again.run_id, again.state) == (first.run_id, runs.DONE)

    repaired = tmp_path / "repaired.csv"
    repaired.write_text("id,age\n4,31\n")
    asked = request(job, first.run_id, f"csv:{repaired}")
    assert replay(spark, job, asked, Progress(quiet=True)).scored == 1


@pytest.mark.spark
def test_nothing_is_filled_in_where_a_name_looks_like_a_variable(
    spark: SparkSession, tmp_path: Path
) -> None:
    name = "${env:HOME} {}"
    (tmp_path / "in").mkdir()
    at = "${system:user.home}"
    times = pa.array([datetime(2024, 1, 1)], pa.timestamp("ns"))  # noqa: DTZ001
    pq.write_table(pa.table({name: [1], at: times}), tmp_path / "in" / "part.parquet")
    names = {name: {"type": "bigint"}, "x": {"type": "bigint", "from": name}}
    wanted = contract(**names, **{at: {"type": "timestamp_ntz"}})
    expected = [(1, 1, datetime(2024, 1, 1))]  # noqa: DTZ001
    assert found(spark, source("parquet", tmp_path / "in"), wanted) == expected
