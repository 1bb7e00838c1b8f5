from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from millrace.pipelines.job.prepared_job import read_as
from millrace.pipelines.sources import reader
from millrace.pipelines.sources.csv_hints import DELIMITERS
from millrace.pipelines.sources.reader import has_malformed, read
from millrace.pipelines.sources.schema_check import check_schema
from millrace.pipelines.sources.snapshot import check_unchanged, pin
from millrace.schemas.contract import Contract
from millrace.schemas.errors import InputCorrupt, SchemaMismatch, UsageError
from millrace.schemas.pinned import Pinned
from millrace.schemas.rule import MALFORMED
from millrace.schemas.sources import Source
from millrace.schemas.types import SCALARS
from tests.helpers import job_of

ADAPTER: TypeAdapter[Source] = TypeAdapter(Source)
GOOD = pa.table({"id": pa.array([1, 2], pa.int64()), "text": ["a", "😀 שלום"]})
NO_SPARK: Any = None  # check_schema asks Spark only about Delta tables


def source(kind: str, path: Path, **options: Any) -> Source:
    return ADAPTER.validate_python({"format": kind, "path": str(path), **options})


def contract(**types: str) -> Contract:
    return Contract(columns={name: {"type": kind} for name, kind in types.items()})


IDS = contract(id="bigint", text="string")


def parquet(folder: Path, name: str, table: pa.Table = GOOD) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def names(pinned: Pinned) -> list[str]:
    return [str(Path(file.path).relative_to(pinned.root)) for file in pinned.files]


def check(given: Source, wanted: Contract = IDS) -> None:
    check_schema(NO_SPARK, given, wanted, pin(given))


def rows(spark: SparkSession, given: Source, wanted: Contract = IDS) -> list[tuple[Any, ...]]:
    pinned = pin(given)
    check_schema(spark, given, wanted, pinned)
    return [tuple(row) for row in read(spark, given, wanted, pinned).collect()]


# Pinning


def test_files_are_pinned_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.csv", "a/c.csv", "_SUCCESS", ".b.csv.crc", "_tmp/x.csv", "a/.hidden/y.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("id\n")
    pinned = pin(source("csv", tmp_path))
    assert names(pinned) == ["a/c.csv", "b.csv"]
    stat = (tmp_path / "b.csv").stat()
    assert pinned.files[1].size_bytes == stat.st_size
    assert pinned.files[1].modified_ns == stat.st_mtime_ns


def test_images_are_pinned_by_suffix_in_any_case(tmp_path: Path) -> None:
    for name in ("a.PNG", "b.jpg", "c.JpEg", "notes.txt", "d.png.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert names(pin(source("images", tmp_path))) == ["a.PNG", "b.jpg", "c.JpEg"]


def test_a_path_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for kind in ("csv", "json", "parquet", "images", "idx", "delta"):
        with pytest.raises(UsageError, match="nowhere") as caught:
            pin(source(kind, tmp_path / "nowhere"))
        assert caught.value.got
        assert caught.value.next


def test_links_out_of_the_folder_are_refused_and_links_inside_are_listed_once(
    tmp_path: Path,
) -> None:
    inside = tmp_path / "in"
    (inside / "sub").mkdir(parents=True)
    (inside / "sub" / "a.csv").write_text("id\n")
    (inside / "link.csv").symlink_to("sub/a.csv")
    (inside / "sub" / "loop").symlink_to("..")
    assert len(pin(source("csv", inside)).files) == 1
    (tmp_path / "secret.csv").write_text("id\n")
    (inside / "out.csv").symlink_to("../secret.csv")
    with pytest.raises(UsageError, match=r"leads out of source\.path"):
        pin(source("csv", inside))


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gone.csv").symlink_to("nothing.csv")
    with pytest.raises(UsageError, match=r"gone\.csv"):
        pin(source("csv", tmp_path))


def test_a_delta_version_is_resolved_and_must_exist(tmp_path: Path) -> None:
    deltalake.write_deltalake(str(tmp_path / "t"), GOOD)
    deltalake.write_deltalake(str(tmp_path / "t"), GOOD, mode="append")
    assert pin(source("delta", tmp_path / "t")).version == 1
    assert pin(source("delta", tmp_path / "t", version=0)).version == 0
    with pytest.raises(UsageError, match="version 7"):
        pin(source("delta", tmp_path / "t", version=7))
    (tmp_path / "plain").mkdir()
    with pytest.raises(UsageError, match="not a Delta table"):
        pin(source("delta", tmp_path / "plain"))


def test_what_a_delta_version_holds_is_counted_by_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    deltalake.write_deltalake(str(folder), GOOD)
    first = [file.stat().st_size for file in folder.glob("*.parquet")]
    deltalake.write_deltalake(str(folder), GOOD, mode="append")
    both = [file.stat().st_size for file in folder.glob("*.parquet")]
    deltalake.write_deltalake(str(folder), GOOD.slice(0, 1), mode="overwrite")
    for version, sizes in enumerate([first, both]):
        told = pin(source("delta", folder, version=version)).summary()
        assert (told["files"], told["bytes"]) == (len(sizes), sum(sizes))
    assert pin(source("delta", folder)).summary()["files"] == 1  # what was replaced is not counted


def test_a_delta_table_that_was_made_anew_is_another_input_though_its_version_is_the_same(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "t"
    deltalake.write_deltalake(str(folder), GOOD)
    first = pin(source("delta", folder))
    check_unchanged(first)
    shutil.rmtree(folder)
    with pytest.raises(InputCorrupt, match="changed while the run read it"):
        check_unchanged(first)

    deltalake.write_deltalake(str(folder), GOOD)

    assert pin(source("delta", folder)).digest != first.digest
    with pytest.raises(InputCorrupt, match="changed while the run read it"):
        check_unchanged(first)


def test_a_file_that_is_replaced_is_not_what_was_pinned_whatever_its_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(GOOD, tmp_path / f"{name}.parquet")
    pinned = pin(source("parquet", tmp_path))
    check_unchanged(pinned)

    replaced = tmp_path / "b.parquet"
    replaced.write_bytes(replaced.read_bytes())

    with pytest.raises(InputCorrupt, match=r"b\.parquet: changed while the run read it"):
        check_unchanged(pinned)
    replaced.unlink()
    with pytest.raises(InputCorrupt, match=r"b\.parquet: changed"):
        check_unchanged(pinned)


# Schemas


def refusal(given: Source, wanted: Contract = IDS) -> str:
    with pytest.raises(SchemaMismatch) as caught:
        check(given, wanted)
    return str(caught.value)


def test_missing_retyped_and_renamed_columns_are_refused_with_both_schemas(tmp_path: Path) -> None:
    parquet(tmp_path, "a.parquet")
    bad = pa.table({"ID": pa.array([1], pa.int64()), "text": pa.array([1], pa.int32())})
    parquet(tmp_path, "z/b.parquet", bad)
    text = refusal(source("parquet", tmp_path), contract(id="bigint", text="string", x="date"))
    # a.parquet lacks x too, and comes first; both are named
    assert "a.parquet" in text
    assert "z/b.parquet" in text
    (tmp_path / "a.parquet").unlink()
    text = refusal(source("parquet", tmp_path), contract(id="bigint", text="string", x="date"))
    assert [line.strip() for line in text.splitlines() if "|" in line] == [
        "declared    | found     | verdict",
        "id bigint   | -         | missing: only the case differs from ID",
        "text string | text int  | retyped",
        "x date      | -         | missing",
        "-           | ID bigint | not declared: allowed",
    ]


def test_added_columns_are_allowed(tmp_path: Path) -> None:
    parquet(tmp_path, "a.parquet", GOOD.append_column("more", pa.array([1, 2])))
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "a.csv").write_text("more,text,id\n")
    check(source("parquet", tmp_path / "a.parquet"))
    check(source("csv", tmp_path / "csv"))


def test_large_and_dictionary_strings_are_strings(tmp_path: Path) -> None:
    large = GOOD.set_column(1, "text", GOOD["text"].cast(pa.large_string()))
    parquet(tmp_path, "a.parquet", large)
    parquet(tmp_path, "b.parquet", GOOD.set_column(1, "text", GOOD["text"].dictionary_encode()))
    check(source("parquet", tmp_path))


def test_a_timestamp_of_any_unit_is_a_timestamp(tmp_path: Path) -> None:
    for unit in ("ms", "us", "ns"):
        parquet(tmp_path, "t.parquet", pa.table({"t": pa.array([1000], pa.timestamp(unit, "UTC"))}))
        check(source("parquet", tmp_path), contract(t="timestamp"))


@pytest.mark.parametrize("damage", ["zero bytes", "truncated", "footer"])
def test_a_corrupt_parquet_file_among_good_ones_is_named(tmp_path: Path, damage: str) -> None:
    parquet(tmp_path, "a.parquet")
    bad = parquet(tmp_path, "sub/bad one.parquet")
    whole = bad.read_bytes()
    flipped = whole[:-40] + bytes(byte ^ 255 for byte in whole[-40:-8]) + whole[-8:]
    bad.write_bytes({"zero bytes": b"", "truncated": whole[:-9], "footer": flipped}[damage])
    with pytest.raises(InputCorrupt, match=r"sub/bad one\.parquet"):
        check(source("parquet", tmp_path))


def test_a_csv_header_must_name_every_declared_column_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,Text\n1,a\n")
    assert "only the case differs from Text" in refusal(source("csv", path))
    path.write_text("id,text,Text\n1,a,b\n")
    assert "ambiguous: only the case differs from Text" in refusal(source("csv", path))
    path.write_text("id,text,text\n")
    assert "there 2 times" in refusal(source("csv", path))
    path.write_text("")
    check(source("csv", path))


def test_a_csv_that_is_read_with_the_wrong_delimiter_or_header_is_refused_with_what_to_set(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;text;more\n1;a;b\n")
    assert 'next:    set source.delimiter: ";"' in refusal(source("csv", path))
    path.write_text("id\ttext\n1\ta\n")
    assert 'set source.delimiter: "\\t"' in refusal(source("csv", path))
    path.write_text("B-1;1,50;2,75;x\n")  # decimal commas cut it into three fields
    assert 'set source.delimiter: ";"' in refusal(source("csv", path))
    path.write_text("id,other;a;b\n1,a;b;c\n")
    assert "source.delimiter" not in refusal(source("csv", path))
    path.write_text("1,a\n2,b\n")
    assert "set source.header: false" in refusal(source("csv", path))
    check(source("csv", path, header=False))
    path.write_text("1;a\n2;b\n")
    text = refusal(source("csv", path, header=False))
    assert 'set source.delimiter: ";"' in text
    check(source("csv", path, header=False, delimiter=";"))
    path.write_text("1,a,x\n2,b,x\n")
    text = refusal(source("csv", path, header=False))
    assert "3 fields; names: id, text" in text
    assert "list their names in source.header" in text
    check(source("csv", path, header=["id", "text", "more"]))
    assert "missing" in refusal(source("csv", path, header=["id", "Text", "more"]))
    with pytest.raises(ValueError, match="twice: id"):
        source("csv", path, header=["id", "ID"])


def said_of(given: Source, contract: Contract) -> str:
    """What check_schema says; nothing where it lets the source pass."""
    try:
        check_schema(NO_SPARK, given, contract, pin(given))
    except (InputCorrupt, SchemaMismatch) as refused:
        return str(refused)
    return ""


NAMES = st.lists(
    st.text(st.sampled_from("abcXYZ ,;|\t_1"), min_size=1, max_size=6)
    .map(str.strip)
    .filter(lambda name: bool(name) and name.strip("_1 ,;|\t")[:1].isalpha()),
    min_size=1,
    max_size=5,
    unique_by=str.lower,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, st.permutations(DELIMITERS), st.data())
def test_the_delimiter_that_is_proposed_is_one_with_which_the_file_is_read(
    tmp_path: Path, names: list[str], delimiters: list[str], data: st.DataObject
) -> None:
    own, other, *_ = delimiters
    declared = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=own).writerows([names, *[["1"] * len(names)] * 2])
    wrong, right = source("csv", path, delimiter=other), source("csv", path, delimiter=own)
    wanted = {name: {"type": "string"} for name in declared}
    contract = Contract.model_validate({"columns": {f"c{at}": {**spec, "from": name}
                                        for at, (name, spec) in enumerate(wanted.items())}})  # fmt: skip
    check_schema(NO_SPARK, right, contract, pin(right))
    told = said_of(wrong, contract)
    if told and "check delimiter" not in told:  # which is said where a quote ends inside of a field
        proposed = re.search(r'source\.delimiter: "(.|\\t)"', told)
        assert proposed is not None
        better = source("csv", path, delimiter=proposed[1].replace("\\t", "\t"))
        check_schema(NO_SPARK, better, contract, pin(better))


def test_a_header_of_one_column_is_no_data_where_another_delimiter_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    one = Contract.model_validate({"columns": {"id": {"type": "bigint"}}})
    for text, mark in (
        ("id;a|b|c\n1;x\n", ";"),
        ("id\ta;b;c,d\n1\tx\n", "\\t"),
        ("a;b;c|id\n1|2\n", "|"),
    ):
        path.write_text(text)
        given = source("csv", path)
        with pytest.raises(SchemaMismatch, match=re.escape(f'source.delimiter: "{mark}"')):
            check_schema(NO_SPARK, given, one, pin(given))


def test_an_unknown_encoding_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n")
    with pytest.raises(UsageError, match="utf-9"):
        check(source("csv", tmp_path, encoding="utf-9"))


def test_json_is_judged_by_its_first_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "1", "text": "a"}\n')
    assert "id string" in refusal(source("json", path))
    path.write_text('{"id": "1"}\nnonsense\n{"id": 2}\n')
    check(source("json", path))
    path.write_text('{"id": 1, "TEXT": "a"}\n')
    assert "only the case differs from TEXT" in refusal(source("json", path))
    path.write_text('{"id": 1, "text": "a"}\n{"id": 2, "Text": "a"}\n')
    assert "ambiguous: only the case differs from Text" in refusal(source("json", path))
    strict = Contract(
        columns={"id": {"type": "int"}, "text": {"type": "string", "nullable": False}}
    )
    path.write_text('{"id": 1}\n')
    assert "missing" in refusal(source("json", path), strict)
    check(source("json", path))


def test_no_delta_table_has_columns_that_differ_in_case(tmp_path: Path) -> None:
    both = GOOD.append_column("Text", pa.array(["c", "d"]))
    with pytest.raises(
        Exception, match="Duplicate field name"
    ):  # delta-rs raises no kind of its own
        deltalake.write_deltalake(str(tmp_path / "t"), both)


def test_a_contract_has_no_names_that_differ_in_case_inside_of_a_struct_either() -> None:
    with pytest.raises(ValueError, match="differ by more than case; twice: id"):
        contract(id="bigint", ID="bigint")
    with pytest.raises(ValueError, match="struct fields must differ by more than case; twice: a"):
        contract(s="struct<a:int,A:int>")


def test_idx_and_images_have_fixed_columns(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    check(source("images", tmp_path), contract(path="string", content="binary"))
    assert "missing" in refusal(source("images", tmp_path), contract(image="binary"))
    idx = source("idx", tmp_path / "a.png")
    check(idx, contract(index="bigint", pixels="binary"))
    assert "missing" in refusal(idx, contract(label="int"))


# Reading


@pytest.mark.spark
def test_parquet_paths_are_taken_literally(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "fo [o] {b,c}*"
    odd = ["a b", "s*r", "[x]", "{a,b}", "q?", "back\\sl", "pct%20", "ünï,c#h+"]
    for number, name in enumerate(odd):
        parquet(folder, f"{name}.parquet", pa.table({"id": [number], "extra": ["x"]}))
    parquet(folder, "sxr.parquet", pa.table({"id": [99]}))
    wanted = contract(id="bigint")
    pinned = pin(source("parquet", folder))
    only = tuple(file for file in pinned.files if not file.path.endswith("sxr.parquet"))
    part = Pinned(format="parquet", root=pinned.root, files=only)
    frame = read(spark, source("parquet", folder), wanted, part)
    assert frame.columns == ["id"]
    assert sorted(row.id for row in frame.collect()) == list(range(len(odd)))


@pytest.mark.spark
def test_a_parquet_file_that_went_or_broke_fails_the_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    parquet(tmp_path, "a.parquet")
    bad = parquet(tmp_path, "bad.parquet")
    given = source("parquet", tmp_path)
    pinned = pin(given)
    bad.write_bytes(bad.read_bytes()[:50])
    spark.conf.set("spark.sql.files.ignoreCorruptFiles", "true")
    spark.conf.set("spark.sql.files.ignoreMissingFiles", "true")
    try:
        with pytest.raises(Exception, match=r"bad\.parquet"):
            read(spark, given, IDS, pinned).collect()
        bad.unlink()
        with pytest.raises(Exception, match=r"bad\.parquet"):
            read(spark, given, IDS, pinned).collect()
    finally:
        spark.conf.unset("spark.sql.files.ignoreCorruptFiles")
        spark.conf.unset("spark.sql.files.ignoreMissingFiles")


@pytest.mark.spark
def test_csv_rows_and_malformed_rows_come_from_every_file(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "a [1].csv").write_text('id,text\n1,"a\nb"\n2\n', encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.csv").write_text("text,id\n😀 שלום,3\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_text("")
    given = source("csv", tmp_path)
    assert has_malformed(given)
    assert sorted(rows(spark, given), key=str) == [
        (1, "a\nb", None),
        (3, "😀 שלום", None),
        (None, None, "a [1].csv line 4: 1 fields, header has 2: 2"),
    ]


@pytest.mark.spark
def test_every_declared_type_survives_csv_and_json_alike(
    spark: SparkSession, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "boolean": True,
        "tinyint": -128,
        "smallint": 32767,
        "int": -1,
        "bigint": 2**63 - 1,
        "float": 0.5,
        "double": 1e300,
        "string": "ø",
        "binary": "AP8=",
        "date": "2024-02-29",
        "timestamp": "2024-02-29T01:00:00.000001+01:00",
        "timestamp_ntz": "2024-02-29T01:00:00",
        "decimal(20,2)": 12.5,
        "array<int>": [1, None],
        "struct<k:string>": {"k": "v"},
    }
    assert set(SCALARS) <= set(values)
    wanted = contract(**{f"c{n}": kind for n, kind in enumerate(values)})
    cells = {f"c{n}": value for n, value in enumerate(values.values())}
    (tmp_path / "a.jsonl").write_text(json.dumps(cells))
    texts = [v if isinstance(v, str) else json.dumps(v) for v in cells.values()]
    doubled = [text.replace('"', '""') for text in texts]
    (tmp_path / "a.csv").write_text(
        ",".join(cells) + "\n" + ",".join(f'"{text}"' for text in doubled) + "\n"
    )
    found = rows(spark, source("json", tmp_path / "a.jsonl"), wanted)
    assert found == rows(spark, source("csv", tmp_path / "a.csv"), wanted)
    row = dict(zip([*values, MALFORMED], found[0], strict=True))
    assert row[MALFORMED] is None
    assert row["bigint"] == 2**63 - 1
    assert bytes(row["binary"]) == b"\x00\xff"
    assert row["timestamp_ntz"] == datetime(2024, 2, 29, 1)  # noqa: DTZ001 - it has no zone
    assert row["timestamp"].astimezone(UTC) == datetime(2024, 2, 29, 0, 0, 0, 1, UTC)
    assert row["decimal(20,2)"] == Decimal("12.50")


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "images"])
def test_an_empty_folder_is_an_empty_frame_of_the_declared_schema(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    wanted = contract(path="string", content="binary") if kind == "images" else IDS
    given = source(kind, tmp_path)
    pinned = pin(given)
    check_schema(spark, given, wanted, pinned)
    frame = read(spark, given, wanted, pinned)
    assert frame.columns == [*wanted.columns, *([MALFORMED] if has_malformed(given) else [])]
    assert frame.collect() == []


@pytest.mark.spark
def test_images_have_paths_relative_to_their_folder(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "my [photos] 100%"
    (root / "a b").mkdir(parents=True)
    Image.new("RGB", (3, 2), "red").save(root / "a b" / "x y%20.PNG", format="PNG")
    Image.new("L", (2, 2)).save(root / "ü?.jpg")
    (root / "notes.txt").write_text("no image")
    found = rows(spark, source("images", root), contract(content="binary", path="string"))
    assert sorted(row[1] for row in found) == ["a b/x y%20.PNG", "ü?.jpg"]
    assert all(bytes(row[0]) == (root / row[1]).read_bytes() for row in found)


@pytest.mark.spark
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_read_in_ranges_with_its_labels(
    spark: SparkSession, tmp_path: Path, shared_data: Path, packed: bool
) -> None:
    images = shared_data / "mnist" / "t10k-images-idx3-ubyte.gz"
    labels = shared_data / "mnist" / "t10k-labels-idx1-ubyte.gz"
    pixels = gzip.decompress(images.read_bytes())[16:]
    marks = gzip.decompress(labels.read_bytes())[8:]
    if not packed:
        plain = tmp_path / "images"
        with gzip.open(images) as packed_file, plain.open("wb") as out:
            shutil.copyfileobj(packed_file, out)
        images = plain
    given = source("idx", images, labels=str(labels))
    wanted = contract(label="int", index="bigint", pixels="binary")
    frame = read(spark, given, wanted, pin(given))
    found = sorted((row["index"], row["label"], bytes(row["pixels"])) for row in frame.collect())
    assert [index for index, _, _ in found] == list(range(10_000))
    assert bytes(label for _, label, _ in found) == marks
    assert b"".join(data for _, _, data in found) == pixels


@pytest.mark.spark
def test_delta_is_read_at_the_pinned_version(spark: SparkSession, tmp_path: Path) -> None:
    table = tmp_path / "a table"
    deltalake.write_deltalake(str(table), GOOD)
    given = source("delta", table)
    pinned = pin(given)
    wider = GOOD.append_column("more", pa.array([1, 2]))
    deltalake.write_deltalake(str(table), wider, mode="append", schema_mode="merge")
    assert len(read(spark, given, IDS, pinned).collect()) == 2
    assert len(rows(spark, given)) == 4
    assert len(rows(spark, source("delta", table, version=0))) == 2
    more = contract(more="bigint")
    check_schema(spark, given, more, pin(given))
    with pytest.raises(SchemaMismatch, match="at version 0"):
        check_schema(spark, given, more, pinned)


def test_every_source_format_has_a_reader() -> None:
    kinds = {"parquet", "delta", "csv", "json", "images", "idx"}
    assert set(reader.READERS) == kinds


def test_settings_that_came_later_leave_finished_runs_finished(tmp_path: Path) -> None:
    source = ADAPTER.validate_python({"format": "csv", "path": str(tmp_path)})
    job = job_of(tmp_path, tmp_path, source=source.model_dump())
    assert read_as(job) == {
        "format": "csv", "delimiter": ",", "quote": '"', "escape": "", "encoding": "utf-8",
        "null": "", "line": None,
    }  # fmt: skip
    german = source.model_copy(update={"thousands": ".", "decimal": ",", "date_format": "%d.%m.%Y"})
    told = read_as(job.model_copy(update={"source": german}))
    assert (told["thousands"], told["date_format"]) == (".", "%d.%m.%Y")
