"""Each figure of three runs derived from the tables anew, and compared with everything that shows it.

The first run, one that was stopped and went on, and one that found nothing to do. What is computed here shares
no code with `millrace.schemas.figures`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.commands.printing.run_details import print_run
from millrace.pipelines.console import output
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.observability.metrics import exposition
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from millrace.schemas.summary import RunSummary
from tests.bill import PRICES, table
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet
from tests.stopping import stopped_after_commits

pytestmark = pytest.mark.spark
QUIET = Progress(quiet=True)
WORK = {"useful", "calibration", "validation", "read", "write", "model_load"}
OVERHEAD = {"startup", "idle", "driver"}


@dataclass(frozen=True)
class Told:
    """A run, and its tables' rows as delta-rs reads them."""

    summary: RunSummary
    lake: Path

    def rows(self, name: str) -> list[dict[str, Any]]:
        key = "x_RunId" if name == "ledger" else "run_id"
        return [row for row in table(self.lake, name) if row[key] == self.summary.run_id]

    def spent(self) -> list[dict[str, Any]]:
        """Ledger rows that are in the run's cost: what it saved is not."""
        return [row for row in self.rows("ledger") if row["x_CostKind"] != "saved"]

    def core_s(self, *kinds: str) -> float:
        core = [row for row in self.spent() if row["SkuMeter"] == "Core"]
        return sum(r["x_SlotMs"] for r in core if not kinds or r["x_CostKind"] in kinds) / 1000

    def attempts(self) -> list[dict[str, Any]]:
        """When each began, since when it was charged, and until when."""
        events = sorted(self.rows("runs"), key=lambda event: event["event"])
        begins = [e for e in events if e["state"] in ("started", "resumed")]
        ends = [e["books_closed_at"] for e in events if e["books_closed_at"]]
        return [
            {"at": one["at"], "since": one["held_since"], "until": until}
            for one, until in zip(begins, ends, strict=True)
        ]

    def scored_by_the_last(self) -> int:
        began = self.attempts()[-1]["at"]
        made = self.rows("predictions_tiny")
        return sum(row["error"] is None and row["scored_at"] >= began for row in made)


@pytest.fixture(scope="module")
def runs(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """First, resumed and repeated, each with a lake of its own but the last, which is the first's."""
    folder = tmp_path_factory.mktemp("three")
    model = pixel_mlp(folder / "model")
    pixels = images(105)
    write_parquet(folder / "input", image_table([*pixels[:12], *pixels, b"short"]), files=3)
    parts = {
        "contract": {
            "columns": {"id": {"type": "bigint"}, "pixels": {"type": "binary"}},
            "rules": [{"name": "whole", "holds": "octet_length(pixels) = 16"}],
            "max_quarantined": 0.5,
        },
        "source": {"format": "parquet", "path": str(folder / "input")},
        "cost": {"prices": str(PRICES), "instance": "laptop"},
        "engine": {"backend": "torch", "precision": "fp32", "dedupe": "unit"},
    }

    def job(name: str) -> Any:
        return job_of(folder, model, output={"path": str(folder / name)}, **parts)

    first = run(spark, job("first"), QUIET)
    repeated = run(spark, job("first"), QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", 1)  # each file is a unit
        with stopped_after_commits(2), pytest.raises(KeyboardInterrupt):
            run(spark, job("second"), QUIET)
        resumed = run(spark, job("second"), QUIET)
    return {
        "first": Told(first, folder / "first"),
        "resumed": Told(resumed, folder / "second"),
        "repeated": Told(repeated, folder / "first"),
    }


@pytest.fixture(params=["first", "resumed", "repeated"])
def told(request: pytest.FixtureRequest, runs: dict[str, Told]) -> Told:
    return runs[request.param]


def words(told: Told) -> str:
    """The report as a reader sees it."""
    assert told.summary.report is not None
    page = Path(told.summary.report).read_text("utf-8").partition("</style>")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>|[\u2068\u2069]", " ", page)).split())


class _Tables(HTMLParser):
    """Cells of each section's table, row by row, as a reader sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self._section = ""
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self._section = dict(attrs).get("aria-labelledby") or ""
        elif tag == "tr":
            self.found.setdefault(self._section, []).append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.found[self._section][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None


def tables(told: Told) -> dict[str, list[list[str]]]:
    """The rows of the report's tables, heads first, by section."""
    assert told.summary.report is not None
    parser = _Tables()
    parser.feed(Path(told.summary.report).read_text("utf-8"))
    return parser.found


def cells(told: Told, section: str) -> list[list[str]]:
    """The table of a section of the report, without its head."""
    return tables(told)[section][1:]


UNITS = {"mWh": 0.001, "Wh": 1.0, "kWh": 1000.0, "g": 1.0, "kg": 1000.0}


def in_units(text: str) -> float:
    """The number of a cell such as `12.3 mWh` or `0.04 g CO2e`, in Wh or g."""
    number, unit = text.replace(",", "").split()[:2]
    return float(number) * UNITS[unit]


def shown(capsys: pytest.CaptureFixture[str], tell: Callable[[], None]) -> str:
    capsys.readouterr()
    tell()
    return capsys.readouterr().out


def test_rows_are_those_of_the_tables_everywhere(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    made = told.rows("predictions_tiny")
    scored = sum(row["error"] is None for row in made)
    refused = len(told.rows("quarantine"))

    assert (scored, refused) == (117, 1)
    assert (told.summary.scored, told.summary.quarantined) == (scored, refused)
    say = f"{scored + refused} read = {scored} scored + {refused} quarantined + 0 failed"
    assert say in shown(capsys, lambda: output.print_summary(told.summary, as_json=False))
    found = json.loads(
        shown(capsys, lambda: print_run(LakeLocation(told.lake), told.summary.run_id, as_json=True))
    )
    assert (found["rows_read"], found["scored"], found["quarantined"]) == (118, scored, refused)
    assert f"{scored} of {scored + refused} rows were scored" in words(told)
    (view,) = query(LakeLocation(told.lake), "SELECT rows_scored FROM cost_by_run").to_pylist()
    assert view["rows_scored"] == scored
    assert f'outcome="scored"}} {scored}' in exposition(LakeLocation(told.lake))


def test_the_rate_is_the_last_attempts_rows_by_its_own_seconds(
    runs: dict[str, Told], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "resumed"):
        one = runs[name]
        rows, infer_s = one.scored_by_the_last(), one.summary.infer_s
        assert (rows < 117) == (name == "resumed")
        assert one.summary.rows_per_s == pytest.approx(rows / infer_s, abs=0.06)
        assert one.summary.scored_now == rows
        rate = f"{round(round(rows / infer_s, 1)):,}"
        assert f" of it for {rows} rows: {rate} a second" in words(one)
        index = (one.lake / "_reports" / "index.html").read_text("utf-8")
        assert f"{rate} rows/s" in index
        out = shown(capsys, lambda one=one: output.print_summary(one.summary, as_json=False))
        assert f"of it inference {infer_s:.1f} s (" in out
        assert f" at {one.summary.rows_per_s:,} rows/s)" in out


def test_a_run_that_finds_nothing_to_do_has_neither_the_time_nor_the_rate_of_the_one_that_did(
    runs: dict[str, Told], capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = runs["first"].summary, runs["repeated"].summary

    assert again.run_id == first.run_id
    assert (again.infer_s, again.scored_now, again.rows_per_s) == (0.0, 0, None)
    out = shown(capsys, lambda: output.print_summary(again, as_json=False))
    assert "rows/s" not in out
    assert f"  time      {again.wall_s:.1f} s, and nothing was scored" in out
    assert "when it was done (the books close" in out


def test_what_cores_were_held_for_is_the_clock_times_the_cores_and_its_parts_are_the_whole(
    told: Told,
) -> None:
    span_s = sum((one["until"] - one["since"]).total_seconds() for one in told.attempts())
    held_s = told.core_s()

    assert held_s == pytest.approx(2 * span_s, abs=0.01 * len(told.attempts()))
    page = words(told)
    assert "2 cores were held for" in page
    (view,) = query(LakeLocation(told.lake), "SELECT slot_s FROM cost_by_run").to_pylist()
    assert view["slot_s"] == pytest.approx(held_s)
    kinds = {row["x_CostKind"] for row in told.spent()}
    lost = kinds - WORK - OVERHEAD
    assert told.core_s(*WORK) + told.core_s(*OVERHEAD) + told.core_s(*lost or {"none"}) == (
        pytest.approx(held_s)
    )
    shares = [told.core_s(*group) / held_s for group in (WORK, OVERHEAD, lost or {"none"})]
    said = re.search(
        r"In all, (\S+) went into this run's work, (\S+) was start-up, .*?, and (\S+) was lost",
        page,
    )
    assert said is not None
    for share, text in zip(shares, said.groups(), strict=True):
        if text[0] not in "<>":
            assert float(text.rstrip("%")) == pytest.approx(100 * share, abs=0.06)
    waste = (
        query(LakeLocation(told.lake), "SELECT SUM(slot_s) AS s FROM waste").to_pylist()[0]["s"]
        or 0.0
    )
    assert waste == pytest.approx(told.core_s(*lost or {"none"}))
    most = max((told.core_s(kind), kind) for kind in kinds)[0] / held_s
    assert ("Most of it" in page) == (most > 0.5)
    assert ("The largest part" in page) == (most <= 0.5)


def test_the_books_are_said_to_close_by_all_or_by_none(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    (last,) = [row for row in told.rows("runs") if row["state"] == "done"]
    gates = json.loads(last["gates"])
    closed = all(gate["passed"] is True for gate in gates)

    assert closed, gates
    assert told.summary.books_closed is closed
    page = words(told)
    assert "Do the books close? Yes." in page
    assert "✗ no" not in page
    assert "the books close" in shown(
        capsys, lambda: output.print_summary(told.summary, as_json=False)
    )
    assert "the books close" in shown(
        capsys, lambda: print_run(LakeLocation(told.lake), told.summary.run_id, as_json=False)
    )
    assert 'books_closed{job="tiny"} 1' in exposition(LakeLocation(told.lake))


def test_cost_and_the_share_of_time_that_is_explained_are_the_ledgers(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = sum(row["EffectiveCost"] for row in told.spent())
    tasks = [
        row for row in told.spent() if row["SkuMeter"] == "Core" and row["x_TaskId"] is not None
    ]
    unknown = sum(row["x_SlotMs"] for row in tasks if row["x_CostKind"] == "unattributed")
    share = 1 - unknown / sum(row["x_SlotMs"] for row in tasks)

    assert told.summary.cost == cost
    assert told.summary.ledger_coverage == pytest.approx(share, abs=0.0001)
    out = shown(capsys, lambda: output.print_summary(told.summary, as_json=False))
    assert f"{cost:.6f} USD" in out
    assert f"{told.summary.ledger_coverage:.1%} of task time explained" in out
    found = json.loads(
        shown(capsys, lambda: print_run(LakeLocation(told.lake), told.summary.run_id, as_json=True))
    )
    assert found["cost"] == f"{cost:f}"
    assert found["ledger_coverage"] == told.summary.ledger_coverage


def test_seconds_and_cost_by_kind_and_lost_work_are_sums_of_the_ledger(told: Told) -> None:
    whole = sum(row["EffectiveCost"] for row in told.spent())

    *kinds, together = cells(told, "time")
    assert len(kinds) == len({row["x_CostKind"] for row in told.spent()})
    slot_s = [float(row[1].replace(",", "")) for row in kinds]
    assert sorted(slot_s, reverse=True) == pytest.approx(
        sorted(
            (told.core_s(kind) for kind in {r["x_CostKind"] for r in told.spent()}), reverse=True
        )
    )
    assert float(together[1].replace(",", "")) == pytest.approx(told.core_s())
    costs = sum(float(row[-1].replace(",", "")) for row in kinds)
    assert costs == pytest.approx(float(whole), rel=0.02)
    assert float(together[-1].replace(",", "")) == pytest.approx(float(whole), rel=0.006)
    lost = {row["x_CostKind"] for row in told.spent()} - WORK - OVERHEAD
    wasted = cells(told, "waste") if lost else []
    assert sum(float(row[1].replace(",", "")) for row in wasted) == pytest.approx(
        told.core_s(*lost or {"none"})
    )


def test_energy_is_the_ledgers_with_its_bounds_and_what_it_emitted(told: Told) -> None:
    rows = [row for row in told.spent() if row["x_EnergyWh"] is not None]
    names = ("x_EnergyWh", "x_EnergyWhLow", "x_EnergyWhHigh", "x_CarbonG")
    expected = [sum(row[name] for row in rows) for name in names]

    *methods, together = cells(told, "energy")
    assert len(methods) == len({row["x_EnergyMethod"] for row in rows})
    assert [in_units(cell) for cell in together[1:]] == pytest.approx(expected, rel=0.006)
    for place in range(1, 5):
        assert sum(in_units(row[place]) for row in methods) == pytest.approx(
            expected[place - 1], rel=0.012
        )
    *kinds, all_kinds = cells(told, "time")
    assert in_units(all_kinds[3]) == pytest.approx(expected[0], rel=0.006)
    assert sum(in_units(row[3]) for row in kinds if row[3][0].isdigit()) == pytest.approx(
        expected[0], rel=0.02
    )
    (view,) = query(
        LakeLocation(told.lake), "SELECT energy_wh, carbon_g FROM energy_by_run"
    ).to_pylist()
    assert view == pytest.approx({"energy_wh": expected[0], "carbon_g": expected[3]})


def test_rows_that_were_not_computed_are_counted_and_priced_as_the_ledger_says(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = [row for row in told.rows("ledger") if row["x_CostKind"] == "saved"]
    rows = sum(row["x_RowsIn"] for row in saved if row["SkuMeter"] == "Core")
    cost = sum(row["EffectiveCost"] for row in saved)

    assert rows > 0
    out = shown(capsys, lambda: output.print_summary(told.summary, as_json=False))
    if told.summary.done_before:  # this command computed no row, and saved none
        assert told.summary.saved_rows is None
        assert "saved" not in out
    else:
        assert (told.summary.saved_rows, told.summary.saved_cost) == (rows, cost)
        assert re.search(rf"saved +{rows} rows", out)
    found = json.loads(
        shown(capsys, lambda: print_run(LakeLocation(told.lake), told.summary.run_id, as_json=True))
    )
    assert (found["saved"]["rows"], found["saved"]["cost"]) == (rows, f"{cost:f}")


def test_a_forecast_is_compared_with_the_time_and_the_cost_that_the_tables_have(
    told: Told,
) -> None:
    (last,) = [row for row in told.rows("runs") if row["state"] == "done"]
    if last["forecast"] is None:  # no earlier run of this lake had measured anything
        assert told.lake.name == "first"
        assert "forecast" not in tables(told)
        return
    forecast = json.loads(last["forecast"])
    cost = float(sum(row["EffectiveCost"] for row in told.spent()))

    time, money = cells(told, "forecast")
    for row, said, truth in (
        (time, forecast["seconds"], last["infer_s"]),
        (money, {name: float(value) for name, value in forecast["cost"].items()}, cost),
    ):
        assert row[6] == ("yes" if said["low"] <= truth <= said["high"] else "no")
        assert row[5] == f"{truth / said['mid'] - 1:+.0%}"
    assert float(money[4].split()[0]) == pytest.approx(cost, rel=0.006)
