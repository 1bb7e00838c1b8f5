"""What is suggested from values, and how it is written down; without Spark."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from millrace.pipelines.cli import main
from millrace.pipelines.commands.validate import suggest_contract
from millrace.pipelines.sources.csv_hints import DELIMITERS
from millrace.pipelines.sources.format_detection import as_written, format_of, source_of, types_of
from millrace.pipelines.sources.snapshot import pin
from millrace.pipelines.validation.contract_file import as_yaml
from millrace.pipelines.validation.contract_suggestion import Dropped, Suggestion
from millrace.pipelines.validation.rule_inference import key_of, suggest_columns
from millrace.pipelines.validation.text_rules import sql_text
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.errors import UsageError
from millrace.schemas.job_file import load_job
from millrace.schemas.sources import CsvSource
from millrace.schemas.types import sql_type
from millrace.schemas.yaml_file import load
from millrace.udfs.readers.profiling import profile_of


class _Sections(BaseModel):
    contract: Contract


def suggested(table: pa.Table, path: str = "data/in.parquet") -> Suggestion:
    types = {field.name: sql_type(field.type) for field in table.schema}
    profiles = {name: profile_of(table[name].combine_chunks()) for name in table.column_names}
    columns = suggest_columns(types, profiles)
    key = key_of(columns, {name: profile.repeated for name, profile in profiles.items()})
    rows = table.num_rows
    return Suggestion(source_of(path, None), key, tuple(columns), (), (), rows, rows, 0)


def rules(values: list[object], kind: pa.DataType, name: str = "x") -> dict[str, str]:
    found = suggested(pa.table({name: pa.array(values, kind)}))
    return {rule.name: rule.holds for rule in found.columns[0].rules}


def test_numbers_get_bounds_with_their_reasons() -> None:
    assert rules(list(range(0, 1001, 7)), pa.int64()) == {"x.range": "x BETWEEN 0 AND 1094"}
    assert rules([-100, 100], pa.int32()) == {"x.range": "x BETWEEN -120 AND 120"}
    assert rules([0, 1, 2] * 20, pa.int32()) == {"x.range": "x BETWEEN 0 AND 2"}
    assert rules([0.25, 0.5], pa.float64()) == {"x.range": "x BETWEEN 0.0D AND 1.0D"}
    assert rules([1.0, 3.0] * 30, pa.float64())["x.whole"] == "x = floor(x)"
    assert rules([1.5, float("nan")], pa.float64())["x.range"].startswith("isnan(x) OR ")
    assert rules([120, -128], pa.int8()) == {"x.range": "x BETWEEN -128 AND 127"}
    assert rules(list(range(5, 99)), pa.int64(), "id") == {"id.range": "id >= 0"}
    assert rules([None, None], pa.int64()) == {}


def test_texts_get_a_set_a_form_or_a_length() -> None:
    assert rules(["a", "b's"] * 20, pa.string()) == {"x.known": r"x IN ('a', 'b\'s')"}
    codes = [f"AB-{n:04}" for n in range(100)]
    assert rules(codes, pa.string())["x.form"] == r"x RLIKE '^[A-Z]{2}-[0-9]{4}$'"
    emails = [f"{'a' * (n % 9 + 1)}{n}@example.org" for n in range(60)]
    assert "@" in rules(emails, pa.string())["x.form"]
    prose = [f"some text {'x' * n}" for n in range(60)]
    assert rules(prose, pa.string())["x.length"] == "length(x) <= 200"
    assert rules(prose, pa.string())["x.not_blank"] == "length(trim(x)) > 0"
    assert "x.readable" not in rules([*prose, "\x01"], pa.string())
    assert "x.not_blank" not in rules([*prose, " "], pa.string())


def test_bytes_and_arrays_of_one_length_have_to_keep_it() -> None:
    images = [bytes([n, 1] * 8) for n in range(60)]
    assert rules(images, pa.binary()) == {
        "x.length": "octet_length(x) = 16",
        "x.not_blank": "x <> unhex(repeat('00', 16))",
    }
    assert rules([[1.0, 2.0]] * 60, pa.list_(pa.float64()))["x.size"] == "size(x) = 2"


def test_the_key_is_the_column_that_is_named_like_one() -> None:
    table = pa.table({"n": list(range(60)), "user_id": [f"u{n}" for n in range(60)], "x": [1] * 60})
    found = suggested(table)
    assert found.key == "user_id"
    assert [one.unique for one in found.columns] == [False, True, False]
    assert suggested(pa.table({"x": [1, 1], "y": [0.5, 0.25]})).key is None


NAMES = [
    "a",
    "user id",
    "größe",
    "a`b",
    "a'b",
    'a"b',
    "a.b",
    "x: y",
    "- x",
    "#",
    "{x}",
    "${HOME}",
    "null",
    "1",
    "true",
]


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    st.lists(st.text(max_size=12) | st.sampled_from(["${HOME}", "'", "\\", "a: b #c", "\u202e", "😀", "\x00"]), min_size=2, max_size=4),
)  # fmt: skip
def test_whatever_the_data_hold_the_file_loads_and_is_the_contract(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], values: list[str]
) -> None:
    table = pa.table(
        {name: pa.array(values * 30, pa.string()) for name in names if name != "${HOME}"}
        or {"a": values}
    )
    found = suggested(table)
    path = tmp_path_factory.mktemp("suggested") / "job.yaml"
    path.write_text(as_yaml(found), "utf-8")

    tree = yaml.safe_load(path.read_text("utf-8"))
    read = load(path, _Sections, env={}).contract

    assert read.columns == found.contract().columns
    assert read.rules == found.contract().rules
    assert list(tree["contract"]["columns"]) == table.column_names


def test_the_file_is_a_job_but_for_the_model_and_says_why(tmp_path: Path) -> None:
    table = pa.table(
        {"id": list(range(100)), "kind": ["a", "b"] * 50, "x": [None, *[1.5] * 9] * 10}
    )
    found = suggested(table, "data/My Payments.parquet")
    found = Suggestion(
        **{
            **vars(found),
            "left_out": (("m", "map<string, int>: no type of a contract"),),
            "dropped": (Dropped("x.range", 2, 100),),
        }
    )
    path = tmp_path / "job.yaml"
    text = as_yaml(found)
    path.write_text(text)

    job = load(path, Job, overrides=["model.uri=m"])

    assert job.name == "my-payments"
    assert job.key == ("id",)
    assert [one.expect for one in job.contract.expectations] == [
        "ExpectTableRowCountToBeBetween",
        "ExpectColumnValuesToNotBeNull",
    ]
    assert "from 100 of 100 rows (all of them)" in text
    assert "m, map<string, int>" in text
    assert "dropped: x.range, which 2 of all 100 rows do not keep" in text
    lines = text.splitlines()
    assert all(
        lines[at - 1].strip().startswith("# ") for at, line in enumerate(lines) if "{name: " in line
    )
    assert all("#" in line for line in lines if "{type: " in line)


def test_what_a_key_cannot_be_called_is_none() -> None:
    assert suggested(pa.table({"the id": [1, 2], "run_id": [1, 2]})).key is None


@pytest.mark.parametrize(
    "words",
    [[], ["job.yaml", "--suggest", "in.csv"], ["--out", "x.yaml"], ["job.yaml", "--sample-rows", "5"],
     ["--suggest", "in.csv", "--set", "a=b"], ["--suggest", "in.csv", "--out", "pyproject.toml"],
     ["--suggest", "in.csv", "--sample-rows", "0"]],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["validate", *words])
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_the_format_is_told_by_names(tmp_path: Path) -> None:
    (tmp_path / "delta" / "_delta_log").mkdir(parents=True)
    (tmp_path / "mixed").mkdir()
    for name in ("a.csv", "b.parquet"):
        (tmp_path / "mixed" / name).touch()
    told = {
        n: format_of(str(tmp_path / n))
        for n in ("x.csv.gz", "x.jsonl", "t10k-images-idx3-ubyte.gz", "delta", "mixed", "x")
    }
    assert list(told.values()) == ["csv", "json", "idx", "delta", None, None]
    for form in (None, "xls"):
        with pytest.raises(UsageError, match="--format"):
            source_of(str(tmp_path / "x"), form)


@pytest.mark.parametrize(
    ("text", "delimiter", "quote", "types"),
    [
        ("a,b\n1,x\n2,y\n", ",", '"', ["bigint", "string"]),
        ("a;b\n1,5;x\n2,5;y\n", ";", '"', ["double", "string"]),
        ('a\tb\n1\t"he said no\n2\tok\n', "\t", "", ["bigint", "string"]),
        ('a,b\n"x, y",007\nz,1.5\n', ",", '"', ["string", "string"]),
        ("a|b|c|d\n1.5|true|2024-01-02|2024-01-02 03:04:05\n|false||\n", "|", '"', ["double", "boolean", "date", "timestamp"]),
    ],
)  # fmt: skip
def test_how_text_is_delimited_and_typed_is_found(
    tmp_path: Path, text: str, delimiter: str, quote: str, types: list[str]
) -> None:
    (tmp_path / "in.csv").write_text(text)
    source = source_of(str(tmp_path / "in.csv"), None)
    assert isinstance(source, CsvSource)
    found = as_written(source, pin(source))
    assert (found.delimiter, found.quote) == (delimiter, quote)
    assert list(types_of(None, found, pin(source)).values()) == types  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "written", "types"),
    [
        ("1;4.237,32;x\n2;1,50;y\n", {"header": False, "decimal": ",", "thousands": "."}, ["bigint", "double", "string"]),
        ("id;price\n1;4.237,32\n2;-1,50\n", {"decimal": ",", "thousands": "."}, ["bigint", "double"]),
        ("id;price\n1;1,50\n2;12,25\n", {"decimal": ","}, ["bigint", "double"]),
        ('id,price\n1,"4,237.32"\n2,1.5\n', {"thousands": ","}, ["bigint", "double"]),
        ("id;price\n1;1,500\n2;2,250\n", {}, ["bigint", "string"]),  # 1.5, or 1500: not for us to say
        ("country;2020;2021\nDE;1;2\nFR;3;4\n", {}, ["string", "bigint", "bigint"]),
        ("ham\tgo\nham\tstop\nspam\twin\nham\tx\n", {"header": False}, ["string", "string"]),
        ("kind\ttext\nham\tgo\nham\tstop\n", {}, ["string", "string"]),
        ("1,1,a\n2,1,b\n", {"header": False}, ["bigint", "bigint", "string"]),
        ("2024-01-02;1\n2024-01-03;2\n", {"header": False}, ["date", "bigint"]),
        ("id\n", {}, ["string"]),
        ("day;n\n2024-01-02;\n2024-01-03;5\n", {}, ["date", "bigint"]),
    ],
)  # fmt: skip
def test_a_missing_header_and_marks_in_numbers_are_found(
    tmp_path: Path, text: str, written: dict[str, Any], types: list[str]
) -> None:
    (tmp_path / "in.csv").write_text(text)
    source = source_of(str(tmp_path / "in.csv"), None)
    assert isinstance(source, CsvSource)
    found = as_written(source, pin(source))
    told = {name: getattr(found, name) for name in ("header", "decimal", "thousands")}
    assert told == {"header": True, "decimal": ".", "thousands": "", **written}
    assert list(types_of(None, found, pin(source)).values()) == types  # type: ignore[arg-type]


@given(
    st.sampled_from(DELIMITERS),
    st.booleans(),
    st.sampled_from([(".", ""), (",", ""), (",", "."), (".", ",")]),
    st.lists(
        st.tuples(st.integers(1000, 10**9), st.decimals(10_000, 10**7, places=2), st.text("xyz")),
        min_size=3,
        max_size=20,
    ),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_spreadsheet_wrote_is_recognised(
    tmp_path: Path,
    delimiter: str,
    has_header: bool,
    marks: tuple[str, str],
    rows: list[tuple[int, Decimal, str]],
) -> None:
    swap = str.maketrans({".": marks[0], ",": marks[1]})
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["number", "price", "text"]] if has_header else [])
        writer.writerows([n, f"{price:,}".translate(swap), f"t{text}"] for n, price, text in rows)
    source = source_of(str(tmp_path / "in.csv"), None)
    assert isinstance(source, CsvSource)
    found = as_written(source, pin(source))
    assert (found.delimiter, found.header) == (delimiter, has_header)
    assert (found.decimal, found.thousands) == marks
    kinds = types_of(None, found, pin(source))  # type: ignore[arg-type]
    assert list(kinds.values()) == ["bigint", "double", "string"]


def test_settings_that_are_given_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("1;2,5\n2;3,5\n")
    given = {"header": ["a", "b"], "decimal": ".", "delimiter": ";"}
    source = source_of(str(tmp_path / "in.csv"), None, given)
    assert isinstance(source, CsvSource)
    found = as_written(source, pin(source))
    assert (found.header, found.decimal, found.delimiter) == (("a", "b"), ".", ";")
    assert types_of(None, found, pin(source)) == {("a",): "bigint", ("b",): "string"}  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown key 'delimeter'; did you mean 'delimiter'"):
        source_of(str(tmp_path / "in.csv"), None, {"delimeter": ";"})
    with pytest.raises(UsageError, match="settings of the source alone"):
        suggest_contract(str(tmp_path / "in.csv"), None, None, None, ["key=[id]"], as_json=True)


def test_json_is_typed_by_its_values(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(
        '{"a": 1, "b": [1, 2.5], "c": null, "d": {"x": 1}}\n{"a": 1.5, "c": "x"}\n'
    )
    source = source_of(str(tmp_path / "in.json"), None)
    found = types_of(None, source, pin(source))  # type: ignore[arg-type]
    assert found == {
        ("a",): "double", ("b",): "array<double>", ("c",): "string", ("d", "x"): "bigint",
    }  # fmt: skip


@given(st.text(max_size=20))
def test_a_text_is_written_so_that_nothing_is_filled_in(text: str) -> None:
    written = sql_text(text)
    assert written.isprintable()
    assert "${" not in written
    name = "x"
    assert Contract.model_validate(
        {"columns": {name: {"type": "string"}}, "rules": [{"name": "r", "holds": f"x = {written}"}]}
    )


@pytest.mark.parametrize("folder", ["", "jobs", "a/b", "link", "../beside"])
def test_a_job_file_in_another_folder_reads_the_source_that_was_named_here(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    (here / "data" / "in.parquet").write_bytes(b"")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (here / "link").symlink_to(tmp_path / "far" / "away")
    monkeypatch.chdir(here)
    out = Path(folder) / "job.yaml"
    out.parent.mkdir(parents=True, exist_ok=True)
    found = suggested(pa.table({"id": [1, 2, 3]}))
    out.write_text(as_yaml(found, out.parent), "utf-8")

    job = load_job(out, ["model.uri=model", "output.path=lake"])

    assert Path(job.source.path).resolve() == (here / "data" / "in.parquet").resolve()
    for elsewhere in ("/data/in.parquet", "s3://bucket/in.parquet"):
        text = as_yaml(suggested(pa.table({"id": [1]}), elsewhere), out.parent)
        assert yaml.safe_load(text)["source"]["path"] == elsewhere
