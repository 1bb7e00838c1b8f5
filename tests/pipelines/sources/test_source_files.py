"""Every file of a source's folder is read or ignored by a stated rule, and every row of it is counted."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter
from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.console.formatting import input_lines
from millrace.pipelines.console.output import print_summary
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.run.runner import check
from millrace.pipelines.sources import reader
from millrace.pipelines.sources.ignored_files import HIDDEN, NO_PICTURE, REPEATED, UNFINISHED
from millrace.pipelines.sources.row_counts import stated
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.config import Job
from millrace.schemas.errors import InputCorrupt, UsageError
from millrace.schemas.sources import Source
from millrace.schemas.summary import RunSummary
from tests.helpers import image_cnn, image_table, images, job_of, rows, write_parquet

ADAPTER: TypeAdapter[Source] = TypeAdapter(Source)
IDS = pa.table({"id": pa.array([1, 2], pa.int64())})
PICTURES = {
    "columns": {"path": {"type": "string"}, "content": {"type": "binary", "nullable": False}},
    "max_quarantined": 1.0,
}
FIXED = {"backend": "torch", "precision": "fp32", "batch": 8}  # nothing is measured before the run


def source(kind: str, path: Path, **options: Any) -> Source:
    return ADAPTER.validate_python({"format": kind, "path": str(path), **options})


def picture(format_: str = "PNG", color: int = 9) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (color, 0, 0)).save(file, format_)
    return file.getvalue()


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names(given: Source) -> list[str]:
    pinned = pin(given)
    return [str(Path(file.path).relative_to(pinned.root)) for file in pinned.files]


def ignored(given: Source) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {one.rule: (one.files, one.first) for one in pin(given).ignored}


# Which files are read


def test_pictures_are_read_by_their_names_in_any_case_or_else_by_their_first_bytes(
    tmp_path: Path,
) -> None:
    by_name = ["a.png", "b.JPG", "c.Jpeg", "d.webp", "e.tiff", "f.TIF", "g.bmp", "h.gif", "i.HEIC"]
    by_bytes = {
        "no suffix": picture("JPEG"),
        "p.dat": picture("BMP"),
        "q.txt": picture("WEBP"),
        "r": picture("TIFF"),
        "s": picture("GIF"),
    }
    others = {
        "notes.txt": b"BM is how many texts begin",
        "Thumbs.db": b"",
        "film.mp4": b"\0\0\0\x18",
    }
    put(tmp_path, dict.fromkeys(by_name, b"") | by_bytes | others)

    assert names(source("images", tmp_path)) == sorted([*by_name, *by_bytes])
    assert ignored(source("images", tmp_path)) == {
        NO_PICTURE: (3, ("Thumbs.db", "film.mp4", "notes.txt"))
    }


def test_every_file_of_a_folder_is_read_or_ignored_by_a_rule_with_its_name(tmp_path: Path) -> None:
    hidden = ["_SUCCESS", ".a.csv.crc", "_tmp/x.csv", "_tmp/sub/y.csv", ".git/z", "p=1/.w.csv"]
    read = ["_day=1/a.csv", "_f=1.csv", "a.csv", "b.txt", "p=1/c.csv"]
    put(tmp_path, dict.fromkeys([*hidden, *read, "d.csv._COPYING_"], b"id\n1\n"))
    (tmp_path / "link.csv").symlink_to("p=1/c.csv")

    assert names(source("csv", tmp_path)) == [*read[:4], "link.csv"]
    assert ignored(source("csv", tmp_path)) == {
        HIDDEN: (6, tuple(sorted(hidden)[:5])),
        REPEATED: (1, ("p=1/c.csv",)),
        UNFINISHED: (1, ("d.csv._COPYING_",)),
    }
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    pinned = pin(source("csv", tmp_path))
    assert len(files) == len(pinned.files) + sum(one.files for one in pinned.ignored)


def test_a_link_among_hidden_names_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "out", {"a": b"", "b": b""})
    put(tmp_path / "in", {"c.csv": b""})
    (tmp_path / "in" / ".link").symlink_to("../out")

    assert ignored(source("csv", tmp_path / "in")) == {HIDDEN: (1, (".link",))}


def test_what_is_ignored_is_no_part_of_the_digest(tmp_path: Path) -> None:
    put(tmp_path, {"a.csv": b"id\n1\n"})
    before = pin(source("csv", tmp_path)).digest

    put(tmp_path, {"_SUCCESS": b""})

    assert pin(source("csv", tmp_path)).digest == before


@pytest.mark.parametrize("name", ["_a.parquet", ".a.parquet", "a.parquet._COPYING_"])
def test_a_file_that_spark_would_pass_over_is_refused_where_it_is_named_itself(
    tmp_path: Path, name: str
) -> None:
    pq.write_table(IDS, tmp_path / name)
    for kind in ("parquet", "images"):
        with pytest.raises(UsageError, match="a file that Spark does not read"):
            pin(source(kind, tmp_path / name))
    assert len(pin(source("csv", tmp_path / name)).files) == 1  # which Spark does not open


def test_one_file_that_is_named_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    put(tmp_path, {"photo.dat": picture()})

    assert len(pin(source("images", tmp_path / "photo.dat")).files) == 1


def test_a_delta_table_is_not_read_as_plain_files(tmp_path: Path) -> None:
    deltalake.write_deltalake(str(tmp_path / "all" / "t"), IDS)
    for folder in (tmp_path / "all" / "t", tmp_path / "all"):
        with pytest.raises(UsageError, match=r"all/t is a Delta table"):
            pin(source("parquet", folder))


# Which rows are read


def test_files_without_rows_are_named_whatever_the_format(tmp_path: Path) -> None:
    put(
        tmp_path / "csv",
        {
            "a.csv": b"id\n1\n",
            "b.csv": b"id\n",
            "c.csv": b"",
            "d.csv": b"id\n\n\n",
            "e.csv": b'id\n"',
        },
    )
    put(
        tmp_path / "json",
        {"a.json": b'\n{"id": 1}\n', "b.json": b"", "c.json": b"\n \n", "d.json": b"x"},
    )
    (tmp_path / "parquet").mkdir()
    pq.write_table(IDS, tmp_path / "parquet" / "a.parquet")
    pq.write_table(IDS.slice(0, 0), tmp_path / "parquet" / "b.parquet")

    def told(kind: str) -> tuple[int | None, tuple[str, ...]]:
        given = source(kind, tmp_path / kind)
        found = stated(given, pin(given))
        return found.rows, found.without_rows

    headless = source("csv", tmp_path / "csv", header=["id"])
    assert stated(headless, pin(headless)).without_rows == ("c.csv",)
    assert told("csv") == (None, ("b.csv", "c.csv", "d.csv"))
    assert told("json") == (None, ("b.json", "c.json"))
    assert told("parquet") == (2, ("b.parquet",))


@pytest.mark.spark
@pytest.mark.slow
def test_a_delta_table_states_its_live_rows(spark: SparkSession, tmp_path: Path) -> None:
    table = str(tmp_path / "t")
    frame = spark.range(0, 100, 1, 2).write.format("delta")
    frame.option("delta.enableDeletionVectors", "true").save(table)
    spark.sql(f"DELETE FROM delta.`{table}` WHERE id % 10 = 3")

    live, before = source("delta", tmp_path / "t"), source("delta", tmp_path / "t", version=0)

    assert stated(live, pin(live)).rows == 90
    assert stated(before, pin(before)).rows == 100


def idx(path: Path, pixels: list[bytes]) -> Path:
    path.write_bytes(bytes([0, 0, 8, 2]) + struct.pack(">2I", len(pixels), 16) + b"".join(pixels))
    return path


def job_over(kind: str, tmp_path: Path, model: Path) -> Job:
    """A job over four rows of a format."""
    path, pixels = tmp_path / "input", images(4)
    if kind == "parquet":
        write_parquet(path, image_table(pixels), files=2)
    elif kind == "delta":
        deltalake.write_deltalake(str(path), image_table(pixels))
    elif kind == "idx":
        idx(path, pixels)
        columns = {"index": {"type": "bigint"}, "pixels": {"type": "binary"}}
        given = {"format": kind, "path": str(path)}
        return job_of(tmp_path, model, source=given, key=["index"], contract={"columns": columns})
    else:
        put(path, {f"{number}.png": picture(color=number) for number in range(4)})
        given = {"format": kind, "path": str(path)}
        folder = image_cnn(tmp_path / "model")
        return job_of(tmp_path, folder, source=given, key=["path"], contract=PICTURES)
    return job_of(tmp_path, model, source={"format": kind, "path": str(path)})


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["parquet", "delta", "idx", "images"])
def test_rows_that_the_reader_loses_stop_the_run_before_anything_is_scored(
    spark: SparkSession, tmp_path: Path, model: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, whole = job_over(kind, tmp_path, model), reader.READERS[kind]

    def lossy(*given: Any) -> DataFrame:
        return whole(*given).limit(3)

    monkeypatch.setitem(reader.READERS, kind, lossy)

    with pytest.raises(InputCorrupt, match="did not read the rows that the input states") as caught:
        check(spark, job, Progress(quiet=True))
    assert (caught.value.got, caught.value.allowed is not None) == ("3 rows", True)
    assert "4 rows" in str(caught.value.allowed)


@pytest.mark.spark
def test_empty_pictures_are_quarantined_and_a_run_tells_of_every_file_of_its_folder(
    score: Callable[[Job], RunSummary], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = {
        "a.png": picture(),
        "b.JPG": picture("JPEG"),
        "c.webp": picture("WEBP"),
        "d.tiff": picture("TIFF"),
        "e.bmp": picture("BMP"),
        "f.gif": picture("GIF"),
        "sub/e1.png": b"",
        "e2.jpeg": b"",
    }
    put(tmp_path / "input", pictures | {"_SUCCESS": b"", "notes.txt": b"text"})
    given = {"format": "images", "path": str(tmp_path / "input")}
    about = {"source": given, "key": ["path"], "contract": PICTURES, "engine": FIXED}
    job = job_of(tmp_path, image_cnn(tmp_path / "model"), **about)

    summary = score(job)

    found = (summary.rows_read, summary.scored, summary.quarantined, summary.failed)
    assert found == (8, 6, 2, 0)
    (gate,) = (one for one in summary.gates if one.name.startswith("every row"))
    assert (gate.passed, gate.got) == (True, "8 of 8")
    lake = tmp_path / "lake"
    refused = rows(lake, "SELECT key, reasons FROM quarantine ORDER BY key")
    assert [
        (json.loads(row["key"])["path"], [(r["rule"], r["message"]) for r in row["reasons"]])
        for row in refused
    ] == [
        ("e2.jpeg", [("record.well_formed", "e2.jpeg: 0 bytes")]),
        ("sub/e1.png", [("record.well_formed", "sub/e1.png: 0 bytes")]),
    ]
    (run,) = rows(lake, "SELECT pinned_input FROM runs_current")
    told = json.loads(run["pinned_input"])
    assert (told["files"], told["empty_files"], told["ignored_files"]) == (8, 2, 2)
    lines = input_lines(told)
    assert lines[0].startswith("8 files, ")
    assert lines[0].endswith("; 2 of 0 bytes")
    assert lines[1:] == [
        f"1 file ignored, {HIDDEN} (_SUCCESS)",
        f"1 file ignored, {NO_PICTURE} (notes.txt)",
    ]
    page = Path(str(summary.report)).read_text("utf-8")
    for again in (summary, score(job)):  # the second is read back: nothing is scored again
        assert again.as_json()["input"] == told
        print_summary(again, as_json=False)
        printed = capsys.readouterr().out
        assert all(line in printed for line in lines)
    assert f"{NO_PICTURE} (notes.txt)" in page
    assert "2 of 0 bytes" in page


@pytest.mark.spark
def test_a_run_names_the_files_of_text_that_gave_no_rows(
    score: Callable[[Job], RunSummary], tmp_path: Path, model: Path
) -> None:
    put(tmp_path / "input", {"a.csv": b"id,pixels\n1,x\n", "b.csv": b"id,pixels\n", "c.csv": b""})
    given = {"format": "csv", "path": str(tmp_path / "input")}

    summary = score(job_of(tmp_path, model, source=given, engine=FIXED))

    assert summary.rows_read == 1
    assert "2 of 3 files hold no rows: b.csv, c.csv" in summary.warnings
