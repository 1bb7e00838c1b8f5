"""Columns that folders name, as Hive and Spark lay them out."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from millrace.pipelines.job.passthrough_columns import with_kept
from millrace.pipelines.planning.input_sample import SampleRequest, cut
from millrace.pipelines.run.runner import run
from millrace.pipelines.sources import partition_columns
from millrace.pipelines.sources.reader import read
from millrace.pipelines.sources.schema_check import check_schema
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.contract import Contract
from millrace.schemas.errors import SchemaMismatch
from millrace.schemas.sources import Source
from millrace.udfs.readers.folder_columns import NULL, folder_values
from tests.helpers import image_table, images, job_of

NO_SPARK: Any = None  # check_schema asks Spark only about Delta tables
ADAPTER: TypeAdapter[Source] = TypeAdapter(Source)
TYPES = {"day": "date", "region": "string", "size": "decimal(5,2)", "id": "bigint"}
FOLDERS = {
    "day=2024-01-01/region=a%2Fb c/size=007": (date(2024, 1, 1), "a/b c", Decimal("7.00")),
    f"day={NULL}/region=007/size=1.5": (None, "007", Decimal("1.50")),
    "day=1500-02-28/region=ü [x]*{y}/size=-0.25": (
        date(1500, 2, 28),
        "ü [x]*{y}",
        Decimal("-0.25"),
    ),
}


def source(kind: str, folder: Path) -> Source:
    return ADAPTER.validate_python({"format": kind, "path": str(folder)})


def contract(types: dict[str, str]) -> Contract:
    return Contract(columns={name: {"type": kind} for name, kind in types.items()})


def write(kind: str, folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.table({"id": [number]}), folder / "part 1.parquet")
    elif kind == "csv":
        (folder / "part.csv").write_text(f"id\n{number}\n")
    else:
        (folder / "part.jsonl").write_text(json.dumps({"id": number}) + "\n")


def checked(given: Source, wanted: Contract) -> None:
    check_schema(NO_SPARK, given, wanted, pin(given))


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_folders_are_columns_of_their_declared_types(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "ta ble [1]"
    for number, folder in enumerate(FOLDERS):
        write(kind, root / folder, number)
    given, wanted = source(kind, root), contract(TYPES)
    checked(given, wanted)

    found = read(spark, given, wanted, pin(given)).select(*TYPES).collect()

    expected = [(*values, number) for number, values in enumerate(FOLDERS.values())]
    assert sorted(map(tuple, found), key=str) == sorted(expected, key=str)
    assert partition_columns.undeclared(pin(given), contract({"id": "bigint"})) == (
        "day",
        "region",
        "size",
    )
    kept = with_kept(NO_SPARK, given, contract({"id": "bigint"}), ("size",), pin(given))
    assert kept.columns["size"].type == "string"


def test_what_folders_cannot_give_is_refused_with_a_reason(tmp_path: Path) -> None:
    def told(*names: str, kind: str = "parquet", **types: str) -> str:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for number, folder in enumerate(names):
            write(kind, root / folder, number)
        with pytest.raises(SchemaMismatch) as refused:
            checked(source(kind, root), contract({"id": "bigint", **types}))
        return str(refused.value)

    assert '"yesterday" is not date' in told("day=2024-01-01", "day=yesterday", day="date")
    assert "its folders name other columns" in told("day=2024-01-01", "", day="date")
    assert "its folders name other columns" in told("a=1/b=2", "b=2/a=1", a="int")
    assert "there 2 times, once as a folder's name" in told("id=1")
    assert "not binary, arrays or structs" in told("x=AA==", x="binary", kind="csv")
    assert "two folders name the column" in told("a=1/A=2", a="int", kind="json")
    assert "Spark misreads" in told("r=%C3%BC", r="string")
    assert "missing" in told("Day=2024-01-01", day="date")


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: name.isascii()),
        st.none() | st.text(st.characters(exclude_categories=["Cs"])).filter(lambda t: t != NULL),
        max_size=4,
    )
)
def test_folder_names_come_back_as_they_were_written(columns: dict[str, str | None]) -> None:
    unique = {name.lower(): text for name, text in columns.items()}
    parts = [
        f"{quote(name, safe='')}={NULL if text is None else quote(text, safe='')}"
        for name, text in unique.items()
    ]
    assert folder_values("/".join([*parts, "plain", "part=0.parquet"])) == unique


@pytest.mark.spark
def test_a_run_keys_by_a_folders_name_and_says_which_it_does_not_read(
    spark: SparkSession, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from millrace.pipelines.console.progress import Progress

    for day, seed in (("2024-01-01", 0), ("2024-01-02", 1)):
        folder = tmp_path / "input" / f"day={day}" / "run=7"
        folder.mkdir(parents=True)
        pq.write_table(image_table(images(3, seed)), folder / "part.parquet")
    columns = {"id": {"type": "bigint"}, "day": {"type": "date"}, "pixels": {"type": "binary"}}
    job = job_of(tmp_path, model, key=["day", "id"], contract={"columns": columns})

    summary = run(spark, job, Progress())

    assert (summary.rows_read, summary.scored, summary.quarantined) == (6, 6, 0)
    assert (
        "folders name columns that are not declared, and not read: run" in capsys.readouterr().err
    )


def test_a_slice_keeps_the_folders_of_its_files(tmp_path: Path) -> None:
    for kind in ("parquet", "csv"):
        root = tmp_path / kind
        for number in range(4):
            write(kind, root / f"day=2024-01-0{number + 1}", number)
        given = source(kind, root)
        part = cut(given, pin(given), SampleRequest(2, 4, ("id",), 1), tmp_path / f"{kind}-slice")
        assert partition_columns.named(part.pinned) == ("day",)


def a_picture(folder: Path, name: str = "a.png", size: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if size:
        Image.new("RGB", (size, size)).save(folder / name)
    else:
        (folder / name).touch()


@pytest.mark.spark
def test_folders_of_pictures_are_columns_of_their_declared_types(
    spark: SparkSession, tmp_path: Path
) -> None:
    root = tmp_path / "ta ble [1]"
    odd = "day=2024-01-02/plain/region=50%25 %zz+%C3%BC/size=2"
    for folder in (*FOLDERS, odd):
        a_picture(root / folder)
    a_picture(root / "day=2024-01-03/region=x/size=3", "empty.png", 0)
    given = source("images", root)
    wanted = Contract.model_validate({
        "columns": {
            "day": {"type": "date"}, "path": {"type": "string"}, "place": {"type": "string", "from": "region"},
            "size": {"type": "decimal(5,2)"}, "content": {"type": "binary"},
        }
    })  # fmt: skip
    checked(given, wanted)

    found = read(spark, given, wanted, pin(given)).collect()

    told = {row["path"]: (row["day"], row["place"], row["size"]) for row in found}
    assert told == {f"{folder}/a.png": values for folder, values in FOLDERS.items()} | {
        f"{odd}/a.png": (date(2024, 1, 2), "50% %zz+ü", Decimal("2.00")),
        "day=2024-01-03/region=x/size=3/empty.png": (date(2024, 1, 3), "x", Decimal("3.00")),
    }
    assert [row["_malformed"] for row in found if row["_malformed"]] == [
        "day=2024-01-03/region=x/size=3/empty.png: 0 bytes"
    ]
    plain = contract({"path": "string", "content": "binary"})
    assert read(spark, given, plain, pin(given)).count() == len(FOLDERS) + 2
    assert partition_columns.undeclared(pin(given), plain) == ("day", "region", "size")
    assert (
        with_kept(NO_SPARK, given, plain, ("region",), pin(given)).columns["region"].type
        == "string"
    )


def test_what_folders_of_pictures_cannot_give_is_refused_with_a_reason(tmp_path: Path) -> None:
    def told(*names: str, **types: str) -> str:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for name in names:
            a_picture(root / name)
        with pytest.raises(SchemaMismatch) as refused:
            checked(source("images", root), contract({"content": "binary", **types}))
        return str(refused.value)

    assert '"yesterday" is not date' in told("day=2024-01-01", "day=yesterday", day="date")
    assert "its folders name other columns" in told("day=2024-01-01", "", day="date")
    assert "there 2 times, once as a folder's name" in told("path=1", path="string")
    assert "two folders name the column" in told("a=1/A=2", a="int")
    assert "missing" in told("Day=2024-01-01", day="date")
