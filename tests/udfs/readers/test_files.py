from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import string
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from millrace.schemas.errors import InputCorrupt
from millrace.schemas.rule import MALFORMED
from millrace.schemas.sources import CsvSource, JsonSource
from millrace.schemas.types import arrow_type
from millrace.udfs.readers import csv_reader
from millrace.udfs.readers.csv_reader import csv_header, read_csv
from millrace.udfs.readers.files import InputFile
from millrace.udfs.readers.idx_reader import idx_shape, read_idx
from millrace.udfs.readers.json_reader import read_json

CSV = CsvSource(format="csv", path="unused")
JSON = JsonSource(format="json", path="unused")
TWO = {"id": "int", "text": "string"}
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
# csv.writer cannot write a lone surrogate as UTF-8; every other character is fair.
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def schema(columns: dict[str, str]) -> pa.Schema:
    return pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])


def put(folder: Path, data: bytes, name: str = "reviews.csv") -> InputFile:
    (folder / name).write_bytes(data)
    return InputFile(str(folder / name), name, len(data))


def rows_of(batches: Any) -> list[dict[str, Any]]:
    found = list(batches)
    for batch in found:
        batch.validate(full=True)
    return [row for batch in found for row in batch.to_pylist()]


def parsed(
    folder: Path, data: bytes, columns: dict[str, str] = TWO, *, rows: int = 4096, **options: Any
) -> list[tuple[Any, ...]]:
    file, source = put(folder, data), CSV.model_copy(update=options)
    return [tuple(r.values()) for r in rows_of(read_csv(file, source, schema(columns), rows=rows))]


def parsed_json(
    folder: Path, data: bytes, columns: dict[str, str] = TWO, **options: Any
) -> list[tuple[Any, ...]]:
    file, source = put(folder, data, "reviews.jsonl"), JSON.model_copy(update=options)
    return [tuple(row.values()) for row in rows_of(read_json(file, source, schema(columns)))]


def test_quotes_hold_line_breaks_delimiters_and_doubled_quotes(tmp_path: Path) -> None:
    data = b'id,text\r\n1,"a\r\nb, ""c"""\r\n2,d\r\n'
    assert parsed(tmp_path, data) == [(1, 'a\r\nb, "c"', None), (2, "d", None)]


def test_columns_are_found_by_name_in_any_order_and_others_are_ignored(tmp_path: Path) -> None:
    assert parsed(tmp_path, b"text,more,id\na,x,1\n") == [(1, "a", None)]


def test_an_escape_character_escapes_quotes_and_delimiters(tmp_path: Path) -> None:
    data = b"id;text\n1;'it\\'s; \\\\'\n2;a\\;b\n"
    found = parsed(tmp_path, data, delimiter=";", quote="'", escape="\\")
    assert found == [(1, "it's; \\", None), (2, "a;b", None)]


def test_without_a_quote_character_quotes_are_text(tmp_path: Path) -> None:
    found = parsed(tmp_path, b'id\ttext\n1\t"a" b"\n', delimiter="\t", quote="")
    assert found == [(1, '"a" b"', None)]


def test_only_an_unquoted_cell_is_null(tmp_path: Path) -> None:
    assert parsed(tmp_path, b'id,text\n1,\n2,""\n') == [(1, None, None), (2, "", None)]


def test_another_null_text_leaves_empty_strings_empty(tmp_path: Path) -> None:
    data = b'id,text\n1,NA\n2,"NA"\n3,\n'
    found = parsed(tmp_path, data, null="NA")
    assert found == [(1, None, None), (2, "NA", None), (3, "", None)]


def test_a_null_text_may_hold_the_escape_character(tmp_path: Path) -> None:
    data = b'id,text\n1,\\N\n2,"\\\\N"\n3,N\n'
    found = parsed(tmp_path, data, null="\\N", escape="\\")
    assert found == [(1, None, None), (2, "\\N", None), (3, "N", None)]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Größe ÿ"),
        ("cp1252", "5 € “so”"),
        ("utf-16", "مرحبا 😀"),
        ("utf-16-le", "漢字"),
        ("utf-8", "مرحبا 👩‍👩‍👧"),
        ("utf-8-sig", "with a mark"),
        ("shift_jis", "こんにちは"),
    ],
)
def test_text_comes_back_from_its_encoding(tmp_path: Path, encoding: str, text: str) -> None:
    data = f"id,text\n1,{text}\n".encode(encoding)
    assert parsed(tmp_path, data, encoding=encoding) == [(1, text, None)]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    assert parsed(tmp_path, b"\xef\xbb\xbfid,text\n1,a\n") == [(1, "a", None)]
    assert parsed_json(tmp_path, b'\xef\xbb\xbf{"id": 1}\n') == [(1, None, None)]


def test_a_wrong_number_of_fields_is_told_with_line_and_counts(tmp_path: Path) -> None:
    found = parsed(tmp_path, b'id,text\n1,"a\nb"\n2,b,c\n3\n4,d\n')
    assert found == [
        (1, "a\nb", None),
        (None, None, "reviews.csv line 4: 3 fields, header has 2: 2,b,c"),
        (None, None, "reviews.csv line 5: 1 fields, header has 2: 3"),
        (4, "d", None),
    ]


def test_an_unclosed_quote_costs_one_malformed_row_a_line(tmp_path: Path) -> None:
    found = parsed(tmp_path, b'id,text\n1,a\n2,"b\n3,c\n4,d\n')
    assert found[0] == (1, "a", None)
    assert [row[:2] for row in found[1:]] == [(None, None)] * 3
    assert found[1][2] == 'reviews.csv line 3: a quote is never closed: 2,"b'
    assert found[3][2].startswith("reviews.csv line 5: inside the record of line 3")


def test_text_after_a_closing_quote_is_malformed_and_the_next_line_is_not(tmp_path: Path) -> None:
    found = parsed(tmp_path, b'id,text\n1,"a"b\n2,c\n')
    assert found[0][2] == "reviews.csv line 2: ',' expected after '\"': 1,\"a\"b"
    assert found[1] == (2, "c", None)


@pytest.mark.parametrize(("encoding", "byte"), [("utf-8", b"\xff"), ("cp1252", b"\x81")])
def test_bytes_unknown_to_the_encoding_cost_one_row(
    tmp_path: Path, encoding: str, byte: bytes
) -> None:
    found = parsed(tmp_path, b"id,text\n1,a" + byte + b"\n2,b\n", encoding=encoding)
    shown = f"\\x{byte.hex()}"
    why = f"reviews.csv line 2: bytes that are not valid in the encoding: 1,a{shown}"
    assert found == [(None, None, why), (2, "b", None)]


def test_where_a_codec_cannot_go_on_the_file_is_named(tmp_path: Path) -> None:
    data = "id,text\n1,a\n".encode("utf-16") + b"\x00"
    with pytest.raises(InputCorrupt, match=r"reviews\.csv: not text in the encoding"):
        parsed(tmp_path, data, encoding="utf-16")


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("boolean", "TRUE", True),
        ("tinyint", "-128", -128),
        ("bigint", "+7", 7),
        ("double", "1e-3", 0.001),
        ("float", "-inf", float("-inf")),
        ("decimal(5,2)", "1.50", Decimal("1.50")),
        ("binary", base64.b64encode(b"\x00\xff").decode(), b"\x00\xff"),
        ("array<int>", '"[1,null]"', [1, None]),
        ("struct<a:int,b:string>", '"{""a"":1}"', {"a": 1, "b": None}),
    ],
)
def test_cells_become_values_of_their_type(
    tmp_path: Path, kind: str, cell: str, value: Any
) -> None:
    assert parsed(tmp_path, f"x\n{cell}\n".encode(), {"x": kind}) == [(value, None)]


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("boolean", "1"),
        ("tinyint", "128"),
        ("int", "0x1f"),
        ("int", " 1"),
        ("int", "1.0"),
        ("bigint", "9223372036854775808"),
        ("double", "1e400"),
        ("float", "1e39"),
        ("decimal(5,2)", "1.555"),
        ("decimal(5,2)", "1000"),
        ("date", "2021-02-29"),
        ("timestamp_ntz", "2021-01-01T00:00:00Z"),
        ("timestamp", "2021-01-01T00:00:00.1234567"),
        ("binary", "a"),
        ("array<int>", "[x]"),
    ],
)
def test_a_cell_that_does_not_fit_its_type_is_malformed(
    tmp_path: Path, kind: str, cell: str
) -> None:
    found = parsed(tmp_path, f"id,x\n1,{cell}\n2,\n".encode(), {"id": "int", "x": kind})
    assert found[0][:2] == (None, None)
    assert found[0][2].startswith("reviews.csv line 2: column x: ")
    assert found[1] == (2, None, None)


def test_times_without_a_zone_are_utc_and_leap_days_are_days(tmp_path: Path) -> None:
    data = b"d,t\n2020-02-29,2020-02-29T01:00:00+02:00\n1600-02-29,2020-02-28 23:00\n"
    found = parsed(tmp_path, data, {"d": "date", "t": "timestamp"})
    assert [row[2] for row in found] == [None, None]
    assert found[0][1] == found[1][1]
    assert found[0][1].isoformat() == "2020-02-28T23:00:00+00:00"


def test_a_cell_may_hold_a_megabyte(tmp_path: Path) -> None:
    long = 'x"\n😀' * 250_000
    data = f'id,text\n1,"{long.replace(chr(34), chr(34) * 2)}"\n2,b\n'.encode()
    assert parsed(tmp_path, data) == [(1, long, None), (2, "b", None)]
    line = json.dumps({"id": 1, "text": long}).encode()
    assert parsed_json(tmp_path, line) == [(1, long, None)]


def test_a_record_beyond_the_limit_is_malformed_and_so_is_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "LONGEST_RECORD", 10)
    found = parsed(tmp_path, b'id,text\n1,a\n2,"bbbb\ncccc\ndddd"\n3,e\n')
    assert found[0] == (1, "a", None)
    assert [row[2].split(":")[0] for row in found[1:]] == [
        f"reviews.csv line {n}" for n in (3, 4, 5, 6)
    ]


def test_nul_characters_survive(tmp_path: Path) -> None:
    assert parsed(tmp_path, b"id,text\n1,a\0b\n") == [(1, "a\0b", None)]
    assert parsed_json(tmp_path, b'{"text": "a\\u0000b"}') == [(None, "a\0b", None)]


def test_without_a_header_fields_are_the_declared_columns_in_their_order(tmp_path: Path) -> None:
    data = b"1,a\n2\n\xef\xbb\xbf3,b\n"
    assert parsed(tmp_path, data, header=False) == [
        (1, "a", None),
        (None, None, "reviews.csv line 2: 1 fields, 2 are named: 2"),
        (None, None, 'reviews.csv line 3: column id: "\ufeff3" is not int: \ufeff3,b'),
    ]
    numbered = {"text": "string", "line": "bigint", "id": "int"}
    assert parsed(tmp_path, b"a,1\nb,2\n", numbered, header=False, line="line") == [
        ("a", 1, 1, None),
        ("b", 2, 2, None),
    ]
    assert parsed(tmp_path, b"x,a,1\n", header=("more", "text", "id")) == [(1, "a", None)]
    assert parsed(tmp_path, b"\xef\xbb\xbf1,a\n", header=False) == [(1, "a", None)]
    assert parsed(tmp_path, b"", header=False) == []


@given(
    st.lists(st.decimals(-(10**12), 10**12, places=4) | st.decimals(-9, 9, places=4), min_size=1)
)
@quick
def test_a_decimal_comma_is_read_as_python_reads_the_point(
    tmp_path: Path, values: list[Decimal]
) -> None:
    lines = [f"{value:f}".replace(".", ",") for value in values]
    data = "\n".join(["x;y;z", *(f"{one};{one};{one}" for one in lines)]).encode()
    kinds = {"x": "double", "y": "decimal(20,4)", "z": "string"}
    found = parsed(tmp_path, data, kinds, delimiter=";", decimal=",")
    assert found == [
        (float(value), value, line, None) for value, line in zip(values, lines, strict=True)
    ]


@pytest.mark.parametrize("cell", ["1.5", "1.234,5", "1,2,3", "1 234,5", ",", "1,5e", "1e400"])
def test_with_a_decimal_comma_other_marks_are_malformed(tmp_path: Path, cell: str) -> None:
    ((value, why),) = parsed(
        tmp_path, f"x;y\n{cell};".encode(), {"x": "double"}, delimiter=";", decimal=","
    )
    assert value is None
    assert "is not double" in why
    ((whole, why),) = parsed(tmp_path, b"x;y\n1,5;", {"x": "int"}, delimiter=";", decimal=",")
    assert (whole, "is not int" in why) == (None, True)


@given(
    st.lists(st.decimals(-(10**12), 10**12, places=4) | st.integers(-(10**9), 10**9), min_size=1),
    st.sampled_from([(".", ","), (",", "."), ("\u00a0", ","), ("'", "."), (" ", ",")]),
)
@quick
def test_grouped_digits_are_read_as_python_writes_them(
    tmp_path: Path, values: list[Decimal | int], marks: tuple[str, str]
) -> None:
    mark, decimal = marks
    swap = str.maketrans(",.", mark + decimal)
    lines = [f"{value:,}".translate(swap) for value in values]
    data = "\n".join(["x;y;z", *(f"{one};{one};{one}" for one in lines)]).encode()
    kinds = {"x": "double", "y": "decimal(20,4)", "z": "string"}
    notation = {"decimal": decimal, "thousands": mark}
    found = parsed(tmp_path, data, kinds, delimiter=";", **notation)
    assert found == [
        (float(value), Decimal(value), line, None)
        for value, line in zip(values, lines, strict=True)
    ]
    whole = [one for one in values if isinstance(one, int)]
    data = "\n".join(["x;", *(f"{one:,};".translate(swap) for one in whole)]).encode()
    found = parsed(tmp_path, data, {"x": "bigint"}, delimiter=";", **notation)
    assert found == [(one, None) for one in whole]


@pytest.mark.parametrize(
    "cell",
    ["4.23", "1.2345", "1.23.456", ".123", "1..234", "1234.567", "12.34,5", "1.234.", "1,234.5",
     "1.234,5e3", "0x1.234", "1.234 ", "+.123", "1,234,5"],
)  # fmt: skip
def test_marks_that_do_not_group_by_three_are_malformed(tmp_path: Path, cell: str) -> None:
    marks = {"delimiter": ";", "decimal": ",", "thousands": "."}
    for kind in ("double", "decimal(9,4)", "bigint"):
        ((value, why),) = parsed(tmp_path, f"x;y\n{cell};".encode(), {"x": kind}, **marks)
        assert (value, f"is not {kind}" in why) == (None, True)


@given(
    st.lists(st.dates(), min_size=1),
    st.sampled_from(["%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%d%%%Y-%m"]),
)
@quick
def test_a_day_is_read_as_strptime_reads_it(tmp_path: Path, days: list[date], form: str) -> None:
    texts = [f"{day:{form.replace('%Y', str(day.year).zfill(4))}}" for day in days]
    data = "\n".join(["x", *texts]).encode()
    found = parsed(tmp_path, data, {"x": "date"}, date_format=form)
    assert found == [(datetime.strptime(one, form).date(), None) for one in texts]  # noqa: DTZ007


@given(st.lists(st.datetimes(), min_size=1))
@quick
def test_an_instant_is_read_as_strptime_reads_it(tmp_path: Path, times: list[datetime]) -> None:
    form = "%d.%m.%Y %H:%M:%S.%f"
    texts = [one.strftime(f"%d.%m.{one.year:04} %-H:%M:%S.%f") for one in times]
    data = "\n".join(["x,y", *(f"{one},{one}" for one in texts)]).encode()
    kinds = {"x": "timestamp_ntz", "y": "timestamp"}
    found = parsed(tmp_path, data, kinds, timestamp_format=form)
    assert found == [(one, one.replace(tzinfo=UTC), None) for one in times]
    zoned = "%Y-%m-%dT%H:%M%z"
    data = b"x\n2026-03-01T1:30+0230\n2026-3-1T01:30-02:30\n2026-3-1T01:30-0230\n2026-3-1T1:3Z\n"
    found = parsed(tmp_path, data, {"x": "timestamp"}, timestamp_format=zoned)
    utc = ["2026-02-28 23:00", "2026-03-01 04:00", "2026-03-01 04:00", "2026-03-01 01:03"]
    assert found == [(datetime.fromisoformat(f"{one}+00:00"), None) for one in utc]


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("%d.%m.%Y", "2026-03-01"), ("%d.%m.%Y", "31.02.2026"), ("%d.%m.%Y", "01.13.2026"),
        ("%d.%m.%Y", "1.3.26"), ("%d.%m.%Y", "01.03.2026 "), ("%d.%m.%Y", "01x03x2026"),
        ("%Y%m%d", "2026031"), ("%Y%m%d", "202603011"), ("%d.%m.%Y", "00.01.2026"),
    ],
)  # fmt: skip
def test_a_day_in_another_form_is_malformed(tmp_path: Path, form: str, cell: str) -> None:
    ((value, why),) = parsed(tmp_path, f"x,y\n{cell},".encode(), {"x": "date"}, date_format=form)
    assert (value, f"is not date ({form})" in why) == (None, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"date_format": "%d.%m.%y"},
            "%y is not read; a year has four digits; allowed: %Y, %m, %d",
        ),
        ({"date_format": "%d. %B %Y"}, "%B is not read; names of months depend on a language"),
        ({"date_format": "dd.MM.yyyy"}, "%Y, %m, %d is missing"),
        ({"date_format": "%d.%m.%Y %H"}, "%H is not read"),
        ({"date_format": "%d.%d.%m.%Y"}, "%d stands twice"),
        ({"timestamp_format": "%d.%m.%Y %H:%S"}, "%S needs %H, %M"),
        ({"timestamp_format": "%d.%m.%Y %z"}, "%z needs %H"),
        ({"timestamp_format": "%d.%m.%Y %"}, "% is not read"),
        ({"thousands": "."}, "thousands and decimal are both"),
        ({"thousands": "x"}, "Input should be"),
    ],
)
def test_a_notation_that_cannot_be_meant_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        CsvSource(format="csv", path="p", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"id,text\n", b"id,text"])
def test_a_file_without_records_gives_no_rows(tmp_path: Path, data: bytes) -> None:
    assert parsed(tmp_path, data) == []
    assert parsed_json(tmp_path, data.partition(b"id")[0]) == []


def test_a_last_line_needs_no_line_break(tmp_path: Path) -> None:
    assert parsed(tmp_path, b"id,text\n1,a") == [(1, "a", None)]


def test_compressed_text_is_read_by_its_suffix(tmp_path: Path) -> None:
    file = put(tmp_path, gzip.compress(b"id,text\n1,a\n"), "r.csv.gz")
    assert rows_of(read_csv(file, CSV, schema(TWO)))[0]["text"] == "a"
    cut = put(tmp_path, gzip.compress(b"id,text\n" + b"1,a\n" * 9999)[:-20], "cut.csv.gz")
    with pytest.raises(InputCorrupt, match=r"cut\.csv\.gz"):
        rows_of(read_csv(cut, CSV, schema(TWO)))


def test_a_file_that_changed_or_went_since_the_plan_is_refused(tmp_path: Path) -> None:
    file = put(tmp_path, b"id,text\n1,a\n")
    Path(file.path).write_bytes(b"id,text\n")
    with pytest.raises(InputCorrupt, match=r"reviews\.csv: changed since the run was planned"):
        rows_of(read_csv(file, CSV, schema(TWO)))
    Path(file.path).unlink()
    with pytest.raises(InputCorrupt, match="no such file"):
        rows_of(read_csv(file, CSV, schema(TWO)))


def test_a_header_that_cannot_be_parsed_is_an_error_with_the_files_name(tmp_path: Path) -> None:
    with pytest.raises(InputCorrupt, match=r"reviews\.csv line 1: the header"):
        csv_header(put(tmp_path, b'id,"text\n1,a\n'), CSV)
    with pytest.raises(InputCorrupt, match="column 'id' 2 times"):
        parsed(tmp_path, b"id,text,id\n1,a,2\n")


def test_json_values_must_be_of_their_type(tmp_path: Path) -> None:
    kinds = {"n": "bigint", "x": "double", "t": "timestamp", "a": "array<struct<k:int>>"}
    lines = [
        '{"n": 1, "x": 2, "t": "2020-01-01T00:00:00Z", "a": [{"k": 1}, null, {}]}',
        '{"n": "1"}',
        '{"n": 1.0}',
        '{"n": true}',
        '{"x": "1"}',
        '{"x": 1e400}',
        '{"t": 1577836800}',
        '{"a": [{"k": "1"}]}',
        '{"n": null}',
    ]
    found = parsed_json(tmp_path, "\n".join(lines).encode(), kinds)
    assert found[0][:2] == (1, 2.0)
    assert found[0][3] == [{"k": 1}, None, {"k": None}]
    causes = [row[-1] for row in found]
    assert causes[0] is None
    assert causes[8] is None
    for number, cause in enumerate(causes[1:8], start=2):
        assert cause.startswith(f"reviews.jsonl line {number}: ")


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1',
        b"[1]",
        b"1",
        b'{"id": 1, "id": 2}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_json_object_is_malformed(tmp_path: Path, line: bytes) -> None:
    found = parsed_json(tmp_path, b'\n{"id": 1}\n' + line + b'\n{"id": 2}\n')
    assert [row[0] for row in found] == [1, None, 2]
    assert found[1][2].startswith("reviews.jsonl line 3: ")
    assert len(found[1][2]) < 400


def test_a_key_in_another_case_is_a_malformed_record_and_no_silent_null(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "text": "a", "more": 1},
        {"id": 2, "Text": "a", "more": 1},
        {"id": 3, "text": "a", "TEXT": "b"},
        {"id": 4, "s": {"K": 1}},
        {"id": 5, "s": {"k": 1, "other": 2}},
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    found = parsed_json(tmp_path, data, {"id": "int", "text": "string", "s": "struct<k:int>"})
    assert [row[0] for row in found] == [1, None, None, None, 5]
    assert "line 2: key 'Text' differs from 'text' in case alone" in found[1][-1]
    assert "key 'TEXT'" in found[2][-1]
    assert "column s: key 'K' differs from 'k' in case alone" in found[3][-1]


def test_json_decimals_lose_no_digit(tmp_path: Path) -> None:
    found = parsed_json(tmp_path, b'{"p": 12345678901234567890.10}', {"p": "decimal(38,2)"})
    assert found == [(Decimal("12345678901234567890.10"), None)]
    assert parsed_json(tmp_path, b'{"p": 1.001}', {"p": "decimal(38,2)"})[0][0] is None
    nines = b"-" + b"9" * 36 + b".99"
    found = parsed_json(tmp_path, b'{"p": %b}' % nines, {"p": "decimal(38,2)"})
    assert found == [(Decimal(nines.decode()), None)]


@pytest.mark.parametrize("number", ["1e999999", "1e99999999999999999999", "1e-2000000", "1" * 200])
def test_a_number_that_no_decimal_holds_costs_its_own_row_alone(
    tmp_path: Path, number: str
) -> None:
    columns = {"p": "decimal(10,2)"}
    lines = f'{{"p": {number}}}\n{{"p": 1}}\n'.encode()
    cells = f'p\n"[{number}]"\n[1]\n'.encode()

    malformed, good = parsed_json(tmp_path, lines, columns)
    listed, also_good = parsed(tmp_path, cells, {"p": "array<decimal(10,2)>"})

    assert malformed[1].startswith("reviews.jsonl line 1: ")
    assert listed[1].startswith("reviews.csv line 2: column p: ")
    assert good == (Decimal(1), None)
    assert also_good == ([Decimal(1)], None)


def test_a_number_beyond_decimals_under_a_key_that_nobody_declared_costs_its_own_row_alone(
    tmp_path: Path,
) -> None:
    lines = b'{"p": 1, "more": 1e99999999999999999999}\n{"p": 1}\n'

    malformed, good = parsed_json(tmp_path, lines, {"p": "decimal(10,2)"})

    assert "not JSON (number 1e99999999999999999999 is beyond a decimal)" in malformed[1]
    assert good == (Decimal(1), None)


exponents = st.integers(-12, 12) | st.integers() | st.integers(-(10**25), 10**25)


@quick
@given(digits=st.text("0123456789", min_size=1, max_size=12), exponent=exponents)
def test_any_number_is_the_decimal_that_is_written_or_a_malformed_row(
    tmp_path: Path, digits: str, exponent: int
) -> None:
    text = f"{int(digits[:1])}.{digits}e{exponent}"

    ((value, why),) = parsed_json(tmp_path, f'{{"p": {text}}}'.encode(), {"p": "decimal(9,3)"})

    assert (value is None) is (why is not None)
    if value is not None:
        assert value == Decimal(text)
        assert value.as_tuple().exponent == -3
    elif abs(exponent) < 10**5:
        wanted = Decimal(text)
        is_whole = wanted.is_zero() or int(wanted.normalize().as_tuple().exponent) >= -3
        assert not is_whole or abs(wanted) >= 10**6


@quick
@given(
    rows=st.lists(st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), any_text), max_size=12),
    batch=st.integers(1, 5),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    delimiter=st.sampled_from(",;\t|"),
)
def test_what_csv_writer_wrote_comes_back_whatever_the_batch_size(
    tmp_path: Path, rows: list[tuple[int | None, str]], batch: int, quoting: Any, delimiter: str
) -> None:
    # The writer knows no NULL beside the empty string, so NULL has a text of its own here.
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, delimiter=delimiter)
    writer.writerow(["id", "text"])
    null = "\x1a\x1b"
    writer.writerows([null if number is None else number, "t" + text] for number, text in rows)
    data = out.getvalue().replace(f'"{null}"', null).encode()
    columns = {"id": "bigint", "text": "string"}
    found = parsed(tmp_path, data, columns, rows=batch, null=null, delimiter=delimiter)
    assert found == [(number, "t" + text, None) for number, text in rows]


@quick
@given(
    rows=st.lists(
        st.tuples(
            st.none() | any_text, st.none() | st.floats(), st.none() | st.lists(st.booleans())
        ),
        max_size=12,
    ),
    batch=st.integers(1, 5),
)
def test_what_json_dumps_wrote_comes_back_whatever_the_batch_size(
    tmp_path: Path, rows: list[tuple[Any, ...]], batch: int
) -> None:
    columns = {"a": "string", "b": "double", "c": "array<boolean>"}
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    file = put(tmp_path, "\n".join(lines).encode(), "r.jsonl")
    found = rows_of(read_json(file, JSON, schema(columns), rows=batch))
    assert [repr(tuple(row.values())) for row in found] == [repr((*row, None)) for row in rows]


@quick
@given(data=st.binary(max_size=60) | st.text('",\n\r\\a1', max_size=40).map(str.encode))
def test_any_bytes_are_rows_or_malformed_rows_whatever_the_batch_size(
    tmp_path: Path, data: bytes
) -> None:
    body = b"id,text\n" + data
    whole = parsed(tmp_path, body)
    assert whole == parsed(tmp_path, body, rows=1)
    assert all((row[2] is None) or row[:2] == (None, None) for row in whole)
    if data.strip(b"\r\n"):
        assert whole


@quick
@given(rows=st.lists(st.lists(st.sampled_from(["", "NA", "a", "b,\n"]), min_size=3, max_size=3)))
def test_quoted_and_unquoted_nulls_are_told_apart(tmp_path: Path, rows: list[list[str]]) -> None:
    def cell(text: str, position: int) -> str:
        return f'"{text}"' if "," in text or position == 1 else text

    lines = ["x,y,z"] + [",".join(cell(t, i) for i, t in enumerate(row)) for row in rows]
    found = parsed(tmp_path, "\n".join(lines).encode(), dict.fromkeys("xyz", "string"), null="NA")
    wanted = [tuple(None if t == "NA" and i != 1 else t for i, t in enumerate(row)) for row in rows]
    assert [row[:3] for row in found] == wanted


def test_batches_are_bounded_in_rows_and_in_text(tmp_path: Path) -> None:
    body = "".join(f"{n},{string.ascii_letters * 1000}\n" for n in range(200))
    batches = list(read_csv(put(tmp_path, b"id,text\n" + body.encode()), CSV, schema(TWO)))
    assert sum(batch.num_rows for batch in batches) == 200
    assert max(batch.nbytes for batch in batches) < 6 * 1024 * 1024
    assert batches[0].schema.names == ["id", "text", MALFORMED]


def idx(shape: tuple[int, ...], data: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + data


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_ranges_of_an_idx_file_add_up_to_its_rows(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    images = put(tmp_path, pack(idx((5, 2, 2), bytes(range(20)))), f"images{suffix}")
    labels = put(tmp_path, pack(idx((5,), bytes([9, 8, 7, 6, 5]))), f"labels{suffix}")
    assert idx_shape(images) == (5, 2, 2)
    found = [row for at in (0, 2, 4) for row in rows_of(read_idx(images, labels, at, 2, rows=1))]
    assert [row["index"] for row in found] == [0, 1, 2, 3, 4]
    assert [row["label"] for row in found] == [9, 8, 7, 6, 5]
    assert [row["pixels"] for row in found] == [bytes(range(n, n + 4)) for n in range(0, 20, 4)]
    assert rows_of(read_idx(images, None, 0, 5))[0]["label"] is None


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_broken_idx_file_is_named(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    for data in (b"", b"\x00\x00\x08", idx((5, 2), b"short"), b"text", idx((1, 2), b"toolong")):
        file = put(tmp_path, pack(data), f"bad{suffix}")
        with pytest.raises(InputCorrupt, match="bad"):
            rows_of(read_idx(file, None, 0, 5))
    if suffix:
        cut = put(tmp_path, gzip.compress(idx((9, 9), bytes(81)))[:-12], "cut.gz")
        with pytest.raises(InputCorrupt, match=r"cut\.gz"):
            rows_of(read_idx(cut, None, 0, 9))


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    images = put(tmp_path, idx((2, 1), b"ab"), "images")
    labels = put(tmp_path, idx((3,), b"abc"), "labels")
    with pytest.raises(InputCorrupt, match=r"labels: labels of shape \(3,\) for 2 images"):
        rows_of(read_idx(images, labels, 0, 2))
