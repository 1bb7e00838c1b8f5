"""``millrace sql`` as a program or a spreadsheet gets it: every format has the same rows, a page at a time."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from math import inf, nan
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.cli import main
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import RUNS

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROWS = [
    {"id": 1, "name": "=1+1", "cost": Decimal("0.10"), "at": AT, "raw": b"\x00", "tags": ["a"]},
    {"id": 2, "name": 'a "b", c', "cost": None, "at": None, "raw": None, "tags": None},
    {"id": 3, "name": "two\nlines", "cost": Decimal("-1.00"), "at": AT, "raw": b"", "tags": []},
]
HOSTILE = ["\x1b]0;title\x07", "a\x9b31mb", "\u202egnp.exe", "one\ttwo\nthree", "[red]ähnlich[/]"]
ASKED = "SELECT * FROM labels_odd ORDER BY id"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_deltalake(str(folder / "labels_odd"), pa.Table.from_pylist(ROWS))
    write_deltalake(str(folder / "labels_many"), pa.table({"n": range(1000)}))
    spoiled = {"n": nan, "whole": {"a": [inf, 1.5], "b": {"c": -inf}}}
    write_deltalake(str(folder / "labels_spoiled"), pa.Table.from_pylist([spoiled]))
    hostile = pa.table({"said": HOSTILE, "x\x1b[2J": [1] * len(HOSTILE)})
    write_deltalake(str(folder / "labels_hostile"), hostile)
    return folder


def said(lake: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["sql", *arguments, "--lake", str(lake)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_csv_has_every_row_and_no_formula(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(lake, capsys, ASKED, "--format", "csv")

    assert code == 0
    assert list(csv.DictReader(out.splitlines(keepends=True))) == [
        {"id": "1", "name": "'=1+1", "cost": "0.1", "at": "2026-01-02T03:04:05Z", "raw": "AA==", "tags": '["a"]'},
        {"id": "2", "name": 'a "b", c', "cost": "", "at": "", "raw": "", "tags": ""},
        {"id": "3", "name": "two\nlines", "cost": "-1", "at": "2026-01-02T03:04:05Z", "raw": "", "tags": "[]"},
    ]  # fmt: skip


def test_json_is_one_line_that_programs_read(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = said(lake, capsys, ASKED, "--format", "json")

    assert out.count("\n") == 1
    assert [row["name"] for row in json.loads(out)] == [row["name"] for row in ROWS]
    assert said(lake, capsys, ASKED, "--json")[1] == out
    assert said(lake, capsys, "SELECT * FROM labels_odd WHERE false", "--json")[1] == "[]\n"


def test_a_number_that_is_none_is_null_in_json_and_in_a_cell_of_csv_that_is_json(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NaN and Infinity are Python's words: other programs refuse the whole answer for one of them."""
    whole = {"a": [None, 1.5], "b": {"c": None}}
    asked = "SELECT * FROM labels_spoiled"

    assert json.loads(said(lake, capsys, asked, "--json")[1], parse_constant=pytest.fail) == [
        {"n": None, "whole": whole}
    ]
    (row,) = csv.DictReader(said(lake, capsys, asked, "--format", "csv")[1].splitlines())
    assert json.loads(row["whole"], parse_constant=pytest.fail) == whole


def test_parquet_keeps_the_types_and_wants_a_file(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.parquet"

    assert said(lake, capsys, ASKED, "--format", "parquet", "--out", str(path))[0] == 0
    assert pq.read_table(path).to_pylist() == query(LakeLocation(lake), ASKED).to_pylist()
    code, _, err = said(lake, capsys, ASKED, "--format", "parquet")
    assert code == 2
    assert "--out FILE" in err
    code, _, err = said(lake, capsys, ASKED, "--format", "csv", "--out", str(tmp_path / "no" / "x"))
    assert code == 2
    assert "cannot be written" in err


def test_a_table_on_the_terminal_is_a_screenful_and_says_how_to_go_on(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, err = said(lake, capsys, "SELECT n FROM labels_many ORDER BY n")

    assert out.split()[-1] == "99"
    assert "--offset 100" in err
    _, out, err = said(lake, capsys, "SELECT n FROM labels_many ORDER BY n", "--offset", "990")
    assert out.split()[-10:] == [str(n) for n in range(990, 1000)]
    assert not err


def test_a_cell_cannot_speak_to_the_terminal(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = said(lake, capsys, "SELECT * FROM labels_hostile")

    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out)
    for shown in (
        r"\x1b]0;title\x07",
        r"a\x9b31mb",
        r"\u202egnp.exe",
        "three",
        "[red]ähnlich[/]",
        r"x\x1b[2J",
    ):
        assert shown in out


@given(limit=st.integers(0, 30), offset=st.integers(0, 1100))
def test_a_page_is_those_rows_of_the_whole(lake: Path, limit: int, offset: int) -> None:
    asked = "SELECT n FROM labels_many ORDER BY n"

    found = query(LakeLocation(lake), asked, limit=limit, offset=offset)

    assert found["n"].to_pylist() == list(range(1000))[offset : offset + limit]


@pytest.mark.parametrize("kind", ["table", "csv", "json", "parquet"])
def test_two_columns_of_one_name_are_refused_before_a_row_is_written(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """A row by its names would have the last one's value twice, or once."""
    joined = "FROM labels_many one, labels_many two WHERE one.n = 1 AND two.n = 2"
    path = tmp_path / "rows"

    code, out, err = said(
        lake, capsys, f"SELECT one.n, two.n {joined}", "--format", kind, "--out", str(path)
    )

    assert (code, out, path.exists()) == (2, "", False)
    assert "got:     n\n" in err
    assert "give them names with AS" in err
    assert said(lake, capsys, f"SELECT one.n, two.n AS m {joined}", "--json")[1] == (
        '[{"n": 1, "m": 2}]\n'
    )


@pytest.mark.parametrize("kind", ["csv", "json", "table"])
def test_a_reader_that_has_had_enough_is_no_error(lake: Path, kind: str) -> None:
    """``millrace sql ... | head`` ends as quietly as other programs do."""
    asked = "SELECT one.n FROM labels_many one, labels_many two WHERE two.n < 150"
    words = [sys.executable, "-m", "millrace.pipelines.cli", "sql", asked, "--lake", str(lake)]
    with subprocess.Popen(
        [*words, "--format", kind, "--limit", "150000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as ours:
        assert ours.stdout
        assert ours.stderr
        ours.stdout.read(2)
        ours.stdout.close()
        assert (ours.wait(60), ours.stderr.read()) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_what_the_terminal_does_not_take_is_told(lake: Path) -> None:
    words = [sys.executable, "-m", "millrace.pipelines.cli", "sql", ASKED, "--lake", str(lake)]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*words, "--format", "csv"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == UsageError.exit_code
    assert "standard output cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_there_is_to_ask_is_told(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(lake, capsys, "show  tables;", "--format", "csv")
    assert code == 0
    assert out.splitlines() == [
        "name,kind", "labels_hostile,table", "labels_many,table", "labels_odd,table",
        "labels_spoiled,table",
    ]  # fmt: skip
    code, out, _ = said(lake, capsys, "DESCRIBE TABLE Labels_Odd", "--format", "json")
    assert [(row["col_name"], row["data_type"]) for row in json.loads(out)] == [
        ("id", "bigint"), ("name", "string"), ("cost", "decimal(3,2)"), ("at", "timestamp"),
        ("raw", "binary"), ("tags", "array<string>"),
    ]  # fmt: skip


def test_columns_of_the_shipped_tables_and_views_are_told_with_their_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DeltaTable.create(str(tmp_path / "runs"), RUNS.arrow_schema)
    _, out, _ = said(tmp_path, capsys, "SHOW TABLES", "--format", "csv")
    assert "runs_current,view" in out.splitlines()
    _, out, _ = said(tmp_path, capsys, "DESC runs", "--format", "json")
    assert [(row["col_name"], row["comment"]) for row in json.loads(out)] == [
        (column.name, column.comment) for column in RUNS.columns
    ]
    _, out, _ = said(tmp_path, capsys, 'DESCRIBE "runs_current"', "--format", "json")
    told = {row["col_name"]: row["data_type"] for row in json.loads(out)}
    assert (told["run_id"], told["number"], told["at"]) == ("string", "int", "timestamp")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DESCRIBE labels_od", "did you mean labels_odd?"),
        ("DESCRIBE labels_odd; SELECT 1", "not a read-only query"),
        ("DESCRIBE labels_odd, labels_many", "not a read-only query"),
        ("SHOW DATABASES", "SHOW TABLES, DESCRIBE name"),
    ],
)
def test_nothing_else_is_described(
    lake: Path, capsys: pytest.CaptureFixture[str], sql: str, told: str
) -> None:
    code, _, err = said(lake, capsys, sql)
    assert code == 2
    assert told in err
