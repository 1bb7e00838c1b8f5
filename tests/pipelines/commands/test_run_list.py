"""``millrace runs`` and ``show`` as a person reads them, at every width; long values on a terminal."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.cli import main
from millrace.pipelines.commands.printing import run_list
from millrace.pipelines.console import output
from millrace.pipelines.console.formatting import rough
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.tables import RUNS

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
STATES = ("done", "stopped", "failed", "refused")


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "run_id": f"payments-{number:08x}-5e6f70", "event": 0, "job": "payments", "fingerprint": f"{number}",
        "number": number, "series": 0, "state": STATES[number % 4], "at": NOW - timedelta(hours=number),
        "rows_read": 1_000_000, "scored": 999_000 + number, "quarantined": 900, "failed": 100,
        "wall_s": 83.2, "cost": Decimal("0.000076827781"), "currency": "USD", **more,
    }  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Six runs, of which two have ids that begin alike and one has ended without any count."""
    unknown = dict.fromkeys(("rows_read", "scored", "quarantined", "failed", "wall_s", "cost"))
    events = [event(n) for n in range(5)] + [event(5, run_id="payments-00000004-aaaaaa", **unknown)]
    delta.append_values(events, LakeLocation(tmp_path), RUNS, "test:0")
    return tmp_path


def printed(lake: Path, width: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    run_list.print_runs(LakeLocation(lake), NOW, width)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [72, 80, 100, 140])
def test_each_run_is_one_line_that_fits_the_terminal(
    lake: Path, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(lake, width, capsys)

    assert len(lines) == 7
    assert max(len(line.rstrip()) for line in lines) <= width
    assert [name in lines[0].split() for name in ("run", "state", "quarantined", "cost")] == [
        True
    ] * 4
    assert ("read" in lines[0].split()) == (width >= 140)
    assert "0.000077 USD" in lines[1]


def test_the_newest_is_first_and_its_time_is_relative(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(lake, 100, capsys)
    assert "just now" in lines[1]
    assert "5 h ago" in lines[-1]
    assert "refused" not in lines[0]


def test_a_short_id_leads_to_its_run_and_no_id_to_the_latest(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorts = [line.split()[0] for line in printed(lake, 100, capsys)[1:]]
    assert len(set(shorts)) == 6
    assert "payments-00000004-5" in shorts
    ask = ["show", "--lake", str(lake), "--json"]
    for short in shorts:
        shown = CliRunner().invoke(main, [*ask, short])
        assert shown.exit_code == 0, shown.output
        assert json.loads(shown.output.splitlines()[-1])["run_id"].startswith(short)
    latest = json.loads(CliRunner().invoke(main, ask).output.splitlines()[-1])
    assert latest["run_id"] == event(0)["run_id"]


def test_json_has_whole_ids_and_every_digit(lake: Path) -> None:
    told = json.loads(CliRunner().invoke(main, ["runs", "--lake", str(lake), "--json"]).output)
    assert {row["run_id"] for row in told} >= {event(0)["run_id"], event(4)["run_id"]}
    assert Decimal(str(told[0]["cost"])) == Decimal("0.000076827781")


@given(ids=st.lists(st.from_regex(r"job-[0-9a-f]{8}-[0-9a-f]{6}", fullmatch=True), unique=True))
def test_no_short_id_begins_another_run(ids: list[str]) -> None:
    shorts = run_list.short_ids([{"run_id": one, "job": "job"} for one in ids])
    for one, short in zip(ids, shorts, strict=True):
        assert [other for other in ids if other.startswith(short)] == [one]
        assert len(short) >= len("job-0000")


@pytest.mark.parametrize(
    ("cost", "told"),
    [("0.000076827781", "0.000077"), ("0.0105", "0.010"), ("0.5", "0.50"), ("1234.567", "1,234.57"), ("0", "0")],
)  # fmt: skip
def test_money_has_two_digits_that_count(cost: str, told: str) -> None:
    assert rough(Decimal(cost)) == told


def test_long_arrays_and_bytes_are_short_on_a_terminal_and_whole_elsewhere() -> None:
    values = {
        "embedding": [0.5] * 384,
        "image": b"x" * 784,
        "nested": {"raw": b"abc"},
        "few": [1, 2],
    }
    assert output.brief(values) == {
        "embedding": [0.5, 0.5, 0.5, "… 384 in all"], "image": "784 bytes", "nested": {"raw": "3 bytes"}, "few": [1, 2],
    }  # fmt: skip
    piped = io.StringIO()
    output.print_rows(["few"], [{"few": list(range(20))}], file=piped)
    assert "19]" in piped.getvalue()


def test_a_run_without_a_price_book_is_told_as_that(lake: Path) -> None:
    shown = CliRunner().invoke(main, ["show", "payments-00000004-a", "--lake", str(lake)])
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("not priced: the job names no price book") == 2
