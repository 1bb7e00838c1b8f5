"""What a pilot measures with: rows from all over the input, in files of the same kind."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.job.size_estimate import counted
from millrace.pipelines.planning.input_sample import InputSample, SampleRequest, cut, spread
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.sources import (
    CsvSource,
    IdxSource,
    ImagesSource,
    JsonSource,
    ParquetSource,
    Source,
)
from millrace.udfs.readers.files import InputFile
from millrace.udfs.readers.idx_reader import read_idx

COLUMNS = ("id", "text")


def table(rows: int, start: int = 0) -> pa.Table:
    ids = list(range(start, start + rows))
    return pa.table({"id": ids, "text": [f"text {one}" for one in ids], "more": ids})


def slice_of(source: Source, rows: int, tmp_path: Path, slots: int = 2) -> InputSample:
    pinned = pin(source)
    asked = SampleRequest(rows, counted(pinned).rows, COLUMNS, slots)
    return cut(source, pinned, asked, tmp_path / "slice")


def ids_in(part: InputSample) -> list[int]:
    return [one for file in part.pinned.files for one in pq.read_table(file.path)["id"].to_pylist()]


@given(st.integers(1, 200), st.integers(1, 300))
def test_a_spread_has_different_items_from_the_whole_range(items: int, count: int) -> None:
    found = spread(range(items), count)
    assert found == sorted(set(found))
    assert len(found) == min(items, count)
    assert (
        max(b - a for a, b in zip([-1, *found], [*found, items], strict=True))
        <= 2 * items / len(found) + 1
    )


@pytest.mark.parametrize("files", [1, 3, 8, 40])
def test_parquet_rows_come_from_all_over_and_none_twice(tmp_path: Path, files: int) -> None:
    (tmp_path / "in").mkdir()
    for number in range(files):
        pq.write_table(
            table(200, 200 * number), tmp_path / "in" / f"{number:03}.parquet", row_group_size=70
        )
    part = slice_of(ParquetSource(format="parquet", path=str(tmp_path / "in")), 16, tmp_path)
    found = ids_in(part)
    assert len(found) == len(set(found)) >= 16
    assert len(part.pinned.files) == min(files, 8)
    assert {one // 200 for one in found} == set(spread(range(files), 8))
    assert part.share == pytest.approx(len(found) / (200 * files), rel=0.05)
    assert "more" not in pq.read_table(part.pinned.files[0].path).column_names


def test_a_large_file_gives_rows_from_its_beginning_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.pipelines.planning.input_sample._SPLIT_BYTES", 100)
    pq.write_table(table(800), tmp_path / "one.parquet", row_group_size=90)
    part = slice_of(
        ParquetSource(format="parquet", path=str(tmp_path / "one.parquet")), 24, tmp_path
    )
    assert ids_in(part) == [100 * piece + one for piece in range(8) for one in range(3)]


def test_more_rows_than_there_are_is_the_input_itself(tmp_path: Path) -> None:
    pq.write_table(table(5), tmp_path / "one.parquet")
    source = ParquetSource(format="parquet", path=str(tmp_path / "one.parquet"))
    part = slice_of(source, 5, tmp_path)
    assert (part.source, part.pinned, part.share) == (source, pin(source), 1.0)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv_keeps_its_header_its_encoding_and_its_compression(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in").mkdir()
    lines = ["id,text\n", *(f"{n},größe {n}\n" for n in range(400))]
    data = "".join(lines).encode("latin-1")
    for number in range(3):
        path = tmp_path / "in" / f"{number}{suffix}"
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    source = CsvSource(format="csv", path=str(tmp_path / "in"), encoding="latin-1")
    part = slice_of(source, 9, tmp_path)
    for file in part.pinned.files:
        read = Path(file.path).read_bytes()
        text = (gzip.decompress(read) if suffix.endswith("gz") else read).decode("latin-1")
        assert text == "".join(lines[:4])
    assert (len(part.pinned.files), part.source.format) == (3, "csv")


def test_json_lines_of_one_file_are_from_its_beginning_and_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text("".join(json.dumps({"id": n}) + "\n" for n in range(500)))
    part = slice_of(JsonSource(format="json", path=str(path)), 7, tmp_path)
    (file,) = part.pinned.files
    assert [json.loads(line)["id"] for line in Path(file.path).read_text().splitlines()] == list(
        range(7)
    )
    assert not part.from_all_over


def test_idx_rows_are_taken_in_equal_steps(tmp_path: Path) -> None:
    head = bytes([0, 0, 8, 2, 0, 0, 0, 100, 0, 0, 0, 2])
    (tmp_path / "x.gz").write_bytes(
        gzip.compress(head + bytes(n for row in range(100) for n in (row, 7)))
    )
    (tmp_path / "y").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 100, *range(100)]))
    source = IdxSource(format="idx", path=str(tmp_path / "x.gz"), labels=str(tmp_path / "y"))
    part = slice_of(source, 10, tmp_path)
    files = [InputFile(f.path, f.path, f.size_bytes) for f in part.pinned.files]
    (batch,) = read_idx(files[0], files[1], 0, 100)
    assert batch.column("label").to_pylist() == list(range(0, 100, 10))
    assert [pixels[0] for pixels in batch.column("pixels").to_pylist()] == list(range(0, 100, 10))


def test_images_are_taken_as_they_are(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(b"x" * 10)
    part = slice_of(ImagesSource(format="images", path=str(tmp_path)), 4, tmp_path)
    assert [Path(file.path).stem for file in part.pinned.files] == ["02", "07", "12", "17"]
    assert part.share == pytest.approx(0.2)


def test_rows_are_counted_from_metadata_or_said_to_be_estimated(tmp_path: Path) -> None:
    pq.write_table(table(500), tmp_path / "one.parquet")
    exact = counted(pin(ParquetSource(format="parquet", path=str(tmp_path / "one.parquet"))))
    assert (exact.rows, exact.is_exact) == (500, True)
    path = tmp_path / "one.csv"
    path.write_text("id,text\n" + "".join(f"{n},abcdefgh\n" for n in range(50_000)))
    told = counted(pin(CsvSource(format="csv", path=str(path))))
    assert (told.rows, told.is_exact) == (pytest.approx(50_000, rel=0.05), False)
    assert "sampled bytes" in told.counted_from
