"""The FOCUS export: its columns are the specification's, its cells are safe, its sums are the ledger's."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.accounting.focus_export import export
from millrace.pipelines.accounting.repricing import reprice
from millrace.pipelines.console.safe_csv import cell
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas import focus
from millrace.schemas.errors import QueryError, UsageError
from tests.ledgers import BEGAN, book, charge, entry, lake_of

ROOT = Path(__file__).resolve().parents[3]
MACHINE = book(entry("0.36")).instances[0]
TYPES = {
    "Decimal": pa.types.is_decimal,
    "String": pa.types.is_string,
    "Date/Time": pa.types.is_timestamp,
    "JSON": pa.types.is_string,
}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    found = charge(MACHINE, 1, 4001)
    found += charge(MACHINE, 2, 7000, x_CostKind="failed", x_ExecutorId="=cmd()")
    found += charge(
        MACHINE,
        3,
        1500,
        ChargePeriodEnd=None,
        ChargePeriodStart=BEGAN + timedelta(milliseconds=250),
    )
    team = [{"key": "team", "value": "mail"}, {"key": "env", "value": "a=b"}]
    found += charge(MACHINE, 4, 500, x_RunId="sms-b2", Tags=team, x_EnergyWh=0.25, x_CarbonG=0.1)
    found += charge(None, 5, 500, x_RunId="free-c3")
    return lake_of(tmp_path / "lake", found)


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "cost_and_usage.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def parquet(folder: Path) -> pa.Table:
    return pq.read_table(folder / "cost_and_usage.parquet")


def test_every_column_is_the_specifications_or_has_the_prefix_of_custom_ones(
    lake: Path, tmp_path: Path
) -> None:
    export(LakeLocation(lake), tmp_path / "out")
    schema = parquet(tmp_path / "out").schema
    for field in schema:
        known = focus.BY_NAME.get(field.name)
        assert known or field.name.startswith("x_"), field.name
        assert known is None or TYPES[known.type](field.type), field.name
    ours = [name for name in schema.names if not name.startswith("x_")]
    assert ours == [column.name for column in focus.COLUMNS if column.name in ours]
    assert list(read_csv(tmp_path / "out")[0]) == schema.names


def test_every_mandatory_column_is_there_or_its_absence_is_explained(
    lake: Path, tmp_path: Path
) -> None:
    export(LakeLocation(lake), tmp_path / "out")
    told = json.loads((tmp_path / "out" / "metadata.json").read_text())
    names = {column["ColumnName"] for column in told["Schema"]["ColumnDefinition"]}
    mandatory = {column.name for column in focus.COLUMNS if column.level == "Mandatory"}
    assert names & set(told["x_AbsentColumns"]) == set()
    assert mandatory - names == set(told["x_AbsentColumns"])
    assert names == set(parquet(tmp_path / "out").column_names)
    assert told["Schema"]["FocusVersion"] == focus.VERSION
    assert json.loads(parquet(tmp_path / "out").schema.metadata[b"focus"]) == told


def test_tags_are_an_object_and_energy_and_carbon_are_columns_of_ours(
    lake: Path, tmp_path: Path
) -> None:
    export(LakeLocation(lake), tmp_path / "out", "sms")
    rows = read_csv(tmp_path / "out")
    assert {row["Tags"] for row in rows} == {'{"env": "a=b", "team": "mail"}'}
    assert {(row["x_EnergyWh"], row["x_CarbonG"]) for row in rows} == {("0.25", "0.1")}
    about = json.loads((tmp_path / "out" / "metadata.json").read_text())
    kinds = {c["ColumnName"]: c["DataType"] for c in about["Schema"]["ColumnDefinition"]}
    assert kinds["Tags"] == "JSON"


def test_a_column_that_may_not_be_null_never_is(lake: Path, tmp_path: Path) -> None:
    reprice(LakeLocation(lake), "digits", book(entry("0.5")))
    export(LakeLocation(lake), tmp_path / "out")
    table = parquet(tmp_path / "out")
    nulls = {name: table[name].null_count for name in table.column_names if name in focus.BY_NAME}
    assert {n for n, count in nulls.items() if count and not focus.BY_NAME[n].nulls} == set()
    assert {n for n, count in nulls.items() if count} == {"ChargeClass", "Tags"}


def test_the_sums_are_the_ledgers_before_and_after_repricing(lake: Path, tmp_path: Path) -> None:
    first = export(LakeLocation(lake), tmp_path / "out", "digits")
    done = reprice(LakeLocation(lake), "digits", book(entry("0.5")))
    second = export(LakeLocation(lake), tmp_path / "out", "digits")

    assert first.cost == done.before
    assert second.cost == done.after
    assert (first.rows, second.rows) == (6, 18)
    cells = read_csv(tmp_path / "out")
    assert sum(Decimal(row["EffectiveCost"]) for row in cells) == done.after["USD"]
    assert {row["x_RecordType"] for row in cells} == {"ORIGINAL", "RETRACTION", "RESTATEMENT"}


def test_cost_is_quantity_times_price_in_every_row(lake: Path, tmp_path: Path) -> None:
    export(LakeLocation(lake), tmp_path / "out")
    for row in read_csv(tmp_path / "out"):
        cost = Decimal(row["PricingQuantity"]) * Decimal(row["ListUnitPrice"])
        assert abs(cost - Decimal(row["EffectiveCost"])) <= Decimal("1e-12")
        assert row["ListCost"] == row["ContractedCost"] == row["EffectiveCost"]
        assert row["PricingUnit"] == row["ConsumedUnit"] in ("Core-Seconds", "GB-Seconds")
        assert (row["RegionId"], row["ChargeCategory"], row["ServiceCategory"]) == (
            "r",
            "Usage",
            "Compute",
        )


def test_a_period_is_whole_seconds_and_the_exact_time_is_beside_it(
    lake: Path, tmp_path: Path
) -> None:
    export(LakeLocation(lake), tmp_path / "out")
    found = {row["x_TaskId"]: row for row in read_csv(tmp_path / "out")}
    whole = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    for row in found.values():
        assert re.fullmatch(whole, row["ChargePeriodStart"])
        assert re.fullmatch(whole, row["ChargePeriodEnd"])
    assert found["3"]["ChargePeriodStart"] == "2026-01-01T12:00:00Z"
    assert (
        found["3"]["ChargePeriodEnd"] == "2026-01-01T12:00:02Z"
    )  # 0.25 s + 1.5 s held, rounded up
    assert (found["3"]["x_HeldFrom"], found["3"]["x_HeldUntil"]) == (
        "2026-01-01T12:00:00.250000Z",
        "",
    )


def test_rows_without_a_price_are_left_out_and_counted(lake: Path, tmp_path: Path) -> None:
    done = export(LakeLocation(lake), tmp_path / "out")
    assert (done.rows, done.unpriced) == (8, 2)
    nothing = export(LakeLocation(lake), tmp_path / "free", "free-c3")
    assert (nothing.rows, nothing.unpriced, nothing.cost) == (0, 2, {})
    assert read_csv(tmp_path / "free") == []


def test_the_same_ledger_gives_the_same_bytes_and_leaves_no_other_file(
    lake: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        export(LakeLocation(lake), folder)
        export(LakeLocation(lake), folder)
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert sorted(one) == ["cost_and_usage.csv", "cost_and_usage.parquet", "metadata.json"]


def test_a_text_that_a_spreadsheet_takes_for_a_formula_is_quoted_in_the_csv_alone(
    lake: Path, tmp_path: Path
) -> None:
    export(LakeLocation(lake), tmp_path / "out")
    assert "'=cmd()" in {row["x_ExecutorId"] for row in read_csv(tmp_path / "out")}
    assert "=cmd()" in parquet(tmp_path / "out")["x_ExecutorId"].to_pylist()


@given(st.text(max_size=20))
def test_no_text_cell_begins_as_a_formula_and_no_other_text_is_changed(text: str) -> None:
    shown = cell(text)
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert shown.removeprefix("'") == text.removeprefix("'") if shown != text else True
    assert (shown != text) == text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@given(
    st.one_of(
        st.integers(-(10**18), 10**18),
        st.decimals(-(10**25), 10**25, places=12),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
)
def test_a_number_stays_a_number_with_every_digit(number: Any) -> None:
    shown = cell(number)
    assert re.fullmatch(r"-?\d+(\.\d+)?", shown)
    assert Decimal(shown) == Decimal(str(number))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (True, "true"), (False, "false"), ({"b": 1, "a": "x"}, '{"a": "x", "b": 1}'),
     (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"), (Decimal("1E-12"), "0.000000000001")],
)  # fmt: skip
def test_a_cell_has_the_form_that_the_specification_asks_for(value: Any, shown: str) -> None:
    assert cell(value) == shown


def test_what_cannot_be_exported_is_said(lake: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        export(LakeLocation(lake), tmp_path / "file")
    with pytest.raises(UsageError, match="no run of this id"):
        export(LakeLocation(lake), tmp_path / "out", "nope")
    with pytest.raises(QueryError, match="no lake"):
        export(LakeLocation(tmp_path / "nowhere"), tmp_path / "out")
    (lake / "ledger").rename(lake / "other")
    with pytest.raises(UsageError, match="has no ledger"):
        export(LakeLocation(lake), tmp_path / "out")


def test_the_command_says_what_it_wrote_and_what_is_absent(lake: Path, tmp_path: Path) -> None:
    words = ["export", "--focus", str(tmp_path / "out"), "--lake", str(lake), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "millrace.pipelines.cli", *words],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert (said["rows"], said["rows_without_price"]) == (8, 2)
    assert "BilledCost" in said["absent_columns"]
    assert all(Path(path).is_file() for path in said["files"])
