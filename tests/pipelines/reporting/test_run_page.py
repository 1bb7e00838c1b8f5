from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from millrace.pipelines.commands.printing.run_details import print_run
from millrace.pipelines.commands.report import write_report
from millrace.pipelines.console import formatting
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query import run_details
from millrace.pipelines.query.run_lookup import find
from millrace.pipelines.reporting import run_page
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import LEDGER, QUARANTINE, RUNS, VALIDATIONS, Table

RUN = "digits-1a2b-c3"
BEGAN = datetime(2026, 3, 5, 7, 11, 13, tzinfo=UTC)
TOTALS = {
    "rows_read": 1297,
    "scored": 1279,
    "quarantined": 17,
    "failed": 1,
    "units_done": 1,
    "units_total": 1,
    "wall_s": 31.7,
    "infer_s": 11.3,
    "cost": Decimal("0.000004300001"),
    "currency": "USD",
    "ledger_coverage": 0.9731,
    "books_closed": True,
}
VOID = {"meta", "link", "br", "img", "hr", "input", "wbr"}
HOSTILE = "</bdi><script>alert('x')</script>\"'&{{ 7*7 }} \u202eא 🦔"


class Page(HTMLParser):
    """A page taken apart; fails where a tag is closed that was not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.svgs: list[list[str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "svg":
            self.svgs.append([])
        elif self.svgs and "svg" in self.open:
            self.svgs[-1].append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closed out of turn"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def write(lake: Path, table: Table, rows: list[dict[str, Any]]) -> None:
    data = pa.Table.from_pylist(rows, schema=table.arrow_schema)
    write_deltalake(str(lake / table.name), data, mode="append")


def events(state: str, run_id: str = RUN, **last: Any) -> list[dict[str, Any]]:
    pinned = {"format": "csv", "root": "data/in", "files": 2, "bytes": 4321, "sha256": "ab" * 32}
    about = {
        "run_id": run_id,
        "job": "digits",
        "fingerprint": "fe" * 32,
        "pinned_input": json.dumps(pinned),
        "model": "cnn:1",
        "model_digest": "dd" * 32,
        "settings": json.dumps({"batch_rows": 64, "device": "cpu"}),
    }
    first = {**about, "event": 0, "state": "started", "at": BEGAN}
    if state == "started":
        return [first]
    at = BEGAN + timedelta(seconds=37)
    return [first, {**about, "event": 1, "state": state, "at": at, **last}]


def rule(name: str, failed: int | None, **more: Any) -> dict[str, Any]:
    known = {"run_id": RUN, "job": "digits", "kind": "row", "severity": "error", "columns": ["x"]}
    counts = {"checked": 1297, "failed": failed, "threshold": 0.0, "passed": not failed}
    return {**known, **counts, "rule": name, "definition": f"{name} > 0", "at": BEGAN, **more}


def refused(rule: str, rows: int, payload: str = "{}") -> list[dict[str, Any]]:
    reasons = [{"rule": rule, "severity": "error", "columns": ["x"], "message": payload}]
    row = {"run_id": RUN, "job": "digits", "unit": 0, "key": payload, "payload": payload}
    return [{**row, "reasons": reasons, "stage": "validate"}] * rows


def spent(kind: str, ms: int, cost: str, partition: int = 0, **more: Any) -> dict[str, Any]:
    where = {
        "x_RunId": RUN,
        "x_Job": "digits",
        "x_AppId": "a",
        "x_StageId": 3,
        "x_TaskId": partition,
    }
    return {
        **where,
        "x_PartitionId": partition,
        "x_CostKind": kind,
        "x_SlotMs": ms,
        "SkuMeter": "Core",
        "EffectiveCost": Decimal(cost),
        "BillingCurrency": "USD",
        "x_Committed": True,
        "x_RowsOut": 1279 if kind == "useful" else None,
        **more,
    }


def predictions(lake: Path, scored: int, failed: int) -> None:
    error = pa.struct([("kind", pa.string()), ("message", pa.string())])
    bad = {"kind": "decode", "message": "m"}
    rows = {"run_id": [RUN] * (scored + failed), "error": [None] * scored + [bad] * failed}
    schema = pa.schema([("run_id", pa.string()), ("error", error)])
    write_deltalake(str(lake / "predictions_digits"), pa.table(rows, schema=schema))


@pytest.fixture
def done(tmp_path: Path) -> Path:
    write(tmp_path, RUNS, events("done", **TOTALS))
    write(
        tmp_path,
        VALIDATIONS,
        [rule("sharp", 17), rule("bright", 0), rule("rare", 2, severity="warn")],
    )
    write(tmp_path, QUARANTINE, refused("sharp", 17, "SECRET-PAYLOAD"))
    rows = [
        spent("useful", 1301, "0.0000013"),
        spent("startup", 2003, "0.000002000001"),
        spent("failed", 1009, "0.000001", partition=1, x_Committed=False),
    ]
    write(tmp_path, LEDGER, rows)
    predictions(tmp_path, 1279, 1)
    return tmp_path


def page(lake: Path, run_id: str = RUN) -> tuple[str, Page]:
    text = run_page.write(LakeLocation(lake), run_id).read_text(encoding="utf-8")
    return text, Page(text)


def section(text: str, name: str) -> str:
    (found,) = re.findall(rf'<section aria-labelledby="{name}">(.*?)</section>', text, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found)).split())


def refused_lake(lake: Path) -> None:
    detail = (
        "GateRefused: the input was refused before anything was scored\n"
        "  got:     300 of 1297 rows (SECRET-VALUE) break the contract\n"
        "  allowed: max_quarantined 0.01\n  next:    look at the rows"
    )
    write(lake, RUNS, events("refused", detail=detail))
    write(lake, VALIDATIONS, [rule("sharp", 300)])
    write(lake, QUARANTINE, refused("sharp", 300))


def failed_lake(lake: Path) -> None:
    detail = (
        "RunFailed: a task failed on all its attempts\n  got:     ValueError: bad SECRET-VALUE\n"
        "  next:    see the log"
    )
    write(lake, RUNS, events("failed", detail=detail))


def stopped_lake(lake: Path) -> None:
    detail = "BudgetExceeded: the next unit is not paid for\n  next:    raise cost.budget"
    write(lake, RUNS, events("stopped", detail=detail))


def empty_lake(lake: Path) -> None:
    none = {
        "rows_read": 0,
        "scored": 0,
        "quarantined": 0,
        "failed": 0,
        "cost": None,
        "currency": None,
    }
    write(
        lake,
        RUNS,
        events("done", **{**TOTALS, **none, "ledger_coverage": None, "books_closed": None}),
    )
    write(lake, VALIDATIONS, [rule("sharp", 0, checked=0)])
    for table in (QUARANTINE, LEDGER):
        write(lake, table, [])
    predictions(lake, 0, 0)


def unfinished_lake(lake: Path) -> None:
    write(lake, RUNS, events("started"))


def hostile_lake(lake: Path) -> None:
    write(
        lake,
        RUNS,
        events(
            "failed", job=HOSTILE, model=HOSTILE, settings=HOSTILE, detail=f"RunFailed: {HOSTILE}"
        ),
    )
    write(lake, VALIDATIONS, [rule(HOSTILE, 3, severity=HOSTILE), rule("ok", 0)])
    write(lake, QUARANTINE, refused(HOSTILE, 3))
    write(
        lake,
        LEDGER,
        [
            spent(HOSTILE, 5, "0.1", BillingCurrency="<b>"),
            spent("useful", 7, "0.2", BillingCurrency="<b>"),
        ],
    )


def told_lake(lake: Path) -> None:
    """A run of which all is known: gates, a forecast, energy and what it emitted."""
    told = {"gates": json.dumps(GATES), "forecast": json.dumps(FORECAST)}
    write(lake, RUNS, events("done", **TOTALS, **told, price=json.dumps({"grid": GRID})))
    drawn = {"x_EnergyWh": 0.5, "x_EnergyWhLow": 0.3, "x_EnergyWhHigh": 0.7, "x_CarbonG": 0.2185,
             "x_EnergyMethod": "tdp", "x_IntensitySource": GRID["source"]}  # fmt: skip
    rest = {**drawn, "x_EnergyMethod": "constant", "x_EnergyWh": 0.05}
    rows = [spent("useful", 1301, "0.0000043", **drawn), spent("idle", 9, "0", **rest)]
    write(lake, LEDGER, rows)


LAKES = [
    refused_lake,
    failed_lake,
    stopped_lake,
    empty_lake,
    unfinished_lake,
    hostile_lake,
    told_lake,
]


@pytest.mark.parametrize("make", [None, *LAKES])
def test_every_page_is_well_formed_and_needs_nothing_else(
    make: Callable[[Path], None] | None, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if make is None:
        lake: Path = request.getfixturevalue("done")
    else:
        lake = tmp_path
        make(lake)
    text, parsed = page(lake)
    assert not re.search(r"http|src=|<script|url\(|@import| on\w+=", text)
    assert [tag for tag in parsed.tags if tag in ("h1", "main", "header", "footer")] == [
        "header", "h1", "main", "footer",
    ]  # fmt: skip
    assert all("title" in inside for inside in parsed.svgs)
    assert parsed.tags.count("caption") == parsed.tags.count("table")
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', text)) <= set(ids)


def test_the_first_sentence_says_what_a_manager_asks(done: Path) -> None:
    _, parsed = page(done)
    assert "1,279 of 1,297 rows were scored, 17 were quarantined, 1 failed;" in parsed.text
    assert "it took 32 s and cost 0.00000430 USD." in parsed.text
    assert "5 March 2026, 07:11 UTC" in parsed.text


def test_the_numbers_are_those_of_the_tables(done: Path) -> None:
    text, _ = page(done)
    assert "Scoring rows 1.301" in section(text, "time")
    assert "Together 4.313 100%" in section(text, "time")
    assert '<data value="0.000002000001">' in text
    assert "stage 3, partition 0" in section(text, "partitions")
    assert "Spark" not in section(text, "partitions")  # the embedded engine has stages, too
    assert "3.304" in section(text, "partitions")
    assert "sharp 17" in section(text, "reasons")
    assert "Failed attempts 1.009 23.3%" in section(text, "waste")
    assert "0.000004300001 USD, the run reported 0.000004300001 USD" in section(text, "books")
    assert "1,279 scored + 17 quarantined + 1 failed = 1,297, and 1,297 were read" in section(
        text, "books"
    )


def test_a_run_that_went_on_says_that_its_time_is_the_last_attempts(tmp_path: Path) -> None:
    first, last = events("done", **TOTALS)
    resumed = {**first, "event": 1, "state": "resumed", "at": BEGAN + timedelta(hours=1)}
    write(tmp_path, RUNS, [first, resumed, {**last, "event": 2}])
    write(tmp_path, LEDGER, [spent("useful", 1301, "0.0000013")])

    text, parsed = page(tmp_path)

    assert "in the last of its 2 attempts and cost" in " ".join(parsed.text.split())
    assert "over 2 attempts" in section(text, "time")
    assert " a second" not in section(text, "time")  # no unit says which rows the last one scored


def test_a_run_that_went_on_and_was_stopped_counts_no_hour_between_its_attempts(
    tmp_path: Path,
) -> None:
    first, last = events("stopped", detail="BudgetExceeded: the next unit is not paid for")
    later = timedelta(hours=1)
    resumed = {**first, "event": 1, "state": "resumed", "at": BEGAN + later}
    write(tmp_path, RUNS, [first, resumed, {**last, "event": 2, "at": last["at"] + later}])

    _, parsed = page(tmp_path)

    told = " ".join(parsed.text.split())
    assert "was stopped after 37 s in the last of its 2 attempts, by its budget" in told


def test_the_flow_says_its_numbers_in_words(done: Path) -> None:
    text, _ = page(done)
    assert "Of 1,297 rows read: 1,279 scored, 17 quarantined, 1 failed." in text


def test_books_that_do_not_close_are_named(done: Path) -> None:
    write(done, QUARANTINE, refused("sharp", 1))
    write(done, LEDGER, [spent("read", 1, "0.000000000001")])
    found = {
        name: holds for name, holds, _ in run_page.books(run_details.read(LakeLocation(done), RUN))
    }
    assert found["Every row is accounted for"] is True
    assert found["The quarantine table agrees"] is False
    assert found["The ledger agrees on cost"] is False


GATES = [
    {"name": "every task is there", "passed": True, "got": "7 of 7", "allowed": "all of them"},
    {"name": "clocks <agree>", "passed": None, "got": "no task has both", "allowed": "within 5%"},
    {"name": "every row is told", "passed": False, "got": "6 of 7", "allowed": "as many"},
]
FORECAST = {
    "seconds": {"low": 9.0, "mid": 10.0, "high": 11.0},
    "cost": {"low": "0.000004", "mid": "0.000005", "high": "0.000006"},
    "currency": "USD",
    "basis": "3 past runs",
}
GRID = {"grid_g_per_kwh": 380.0, "pue": 1.15, "source": "the grid <2025>"}


def test_gates_and_forecast_are_tables_with_their_figures(tmp_path: Path) -> None:
    told_lake(tmp_path)
    text, _ = page(tmp_path)
    found = section(text, "books")
    assert "Every task is there 7 of 7 all of them passed" in found
    assert "Clocks <agree> no task has both within 5% not checked" in found
    assert "Every row is told 6 of 7 as many failed" in found
    found = section(text, "forecast")
    assert "from 3 past runs" in found
    assert "Inference 9.0 s 10 s 11 s 11 s +13% no" in found  # 11.3 s came
    assert "Cost 0.00000400 USD 0.00000500 USD 0.00000600 USD 0.00000430 USD -14% yes" in found


def test_energy_is_shown_by_method_with_bounds_and_what_the_grid_says(tmp_path: Path) -> None:
    told_lake(tmp_path)
    text, _ = page(tmp_path)
    found = section(text, "energy")
    assert "Estimated from the load 500 mWh 300 mWh 700 mWh 0.218 g CO2e" in found
    assert "Together 550 mWh 600 mWh 1.40 Wh 0.437 g CO2e" in found
    assert "380.0 g CO2e a kWh × PUE 1.15: the grid <2025>" in found  # noqa: RUF001
    assert "Scoring rows 1.301 99.3% 500 mWh" in section(text, "time")


def test_without_energy_gates_or_forecast_there_is_no_section_and_no_zero(done: Path) -> None:
    text, parsed = page(done)
    assert not {"energy", "forecast"} & set(re.findall(r'aria-labelledby="(\w+)"', text))
    assert not re.search(r"\bm?Wh\b|CO2", parsed.text)
    assert "Six gates" not in parsed.text


def test_a_run_that_computed_nothing_says_so_where_clocks_would_be_compared(tmp_path: Path) -> None:
    nothing = {"name": "clocks", "passed": True, "got": "no row was computed", "allowed": "5%"}
    said = {**TOTALS, "ledger_coverage": None, "gates": json.dumps([nothing])}
    write(tmp_path, RUNS, events("done", **said))
    text, _ = page(tmp_path)
    assert "Clocks no row was computed 5% passed" in section(text, "books")


def test_no_value_of_a_row_is_on_the_page(done: Path) -> None:
    assert "SECRET" not in page(done)[0]


@pytest.mark.parametrize("make", [refused_lake, failed_lake])
def test_what_an_exception_quotes_is_not_on_the_page(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    assert "SECRET" not in page(tmp_path)[0]


def test_a_refused_run_says_why_and_what_to_do_next(tmp_path: Path) -> None:
    refused_lake(tmp_path)
    text, parsed = page(tmp_path)
    assert "300 of 1,297 rows break the contract" in parsed.text
    assert "What to do next" in parsed.text
    assert "look at the rows" in parsed.text
    assert "Of 1,297 rows read: 0 scored, 997 not scored, 300 quarantined, 0 failed." in text


def test_a_critical_expectation_that_shut_the_gate_is_named(tmp_path: Path) -> None:
    write(tmp_path, RUNS, events("refused", detail="GateRefused: the input was refused"))
    promise = {"kind": "expectation", "severity": "critical", "passed": False, "observed": "SECRET"}
    write(tmp_path, VALIDATIONS, [rule("ExpectMuch", None, **promise)])
    text, parsed = page(tmp_path)
    assert "1 promise about the whole input was not kept" in parsed.text
    assert "ExpectMuch is critical and not met" in parsed.text
    assert "SECRET" not in text


def test_a_failed_run_without_a_ledger_says_so(tmp_path: Path) -> None:
    failed_lake(tmp_path)
    text, parsed = page(tmp_path)
    assert "The run failed after 37 s. Nothing was scored." in parsed.text
    assert "a task failed on all its attempts" in parsed.text
    assert "no entry for this run" in section(text, "time")
    assert "Not known without a ledger" in section(text, "waste")


def test_a_run_that_its_budget_stopped_says_so_and_how_it_goes_on(tmp_path: Path) -> None:
    stopped_lake(tmp_path)
    _, parsed = page(tmp_path)
    assert "Stopped" in parsed.text
    assert "The run was stopped after 37 s, by its budget. Nothing was scored." in parsed.text
    assert "Raise cost.budget in the job file and run it again" in parsed.text


def test_a_run_of_no_rows_says_so(tmp_path: Path) -> None:
    empty_lake(tmp_path)
    text, parsed = page(tmp_path)
    assert "There were no rows to score, 0 were quarantined, 0 failed" in parsed.text
    assert "was not priced" in parsed.text
    assert "No rows were read." in section(text, "rows")


def test_hostile_names_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    hostile_lake(tmp_path)
    text, parsed = page(tmp_path)
    assert HOSTILE in parsed.text
    assert "{{ 7*7 }}" in text
    assert "script" not in parsed.tags
    assert "Cost, <b>" not in text
    assert "Cost, &lt;b&gt;" in text


def test_credentials_in_the_input_are_cut_out(tmp_path: Path) -> None:
    pinned = json.dumps(
        {"format": "csv", "root": "s3://key:hush@bucket/in", "files": 1, "bytes": 1}
    )
    write(tmp_path, RUNS, events("failed", pinned_input=pinned))
    text, _ = page(tmp_path)
    assert "hush" not in text
    assert "s3://bucket/in" in text


def test_partitions_beyond_the_longest_share_one_line(tmp_path: Path) -> None:
    write(tmp_path, RUNS, events("done", **TOTALS))
    write(tmp_path, LEDGER, [spent("read", 10 + i, "0.01", partition=i) for i in range(15)])
    text, _ = page(tmp_path)
    found = section(text, "partitions")
    assert "3 shorter ones 0.033" in found
    assert "Together 0.255" in found


def test_a_page_is_replaced_whole(done: Path) -> None:
    first = run_page.write(LakeLocation(done), RUN)
    first.write_text("old")
    assert run_page.write(LakeLocation(done), RUN) == first == done / "_reports" / f"{RUN}.html"
    assert first.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("run_id", ["../escape", "a/b", "", ".hidden", "x' OR '1'='1"])
def test_a_run_that_is_not_there_is_a_usage_error(done: Path, run_id: str) -> None:
    with pytest.raises(UsageError):
        run_page.write(LakeLocation(done), run_id)


def test_an_id_that_leads_out_of_the_folder_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path, RUNS, events("done", run_id="../escape", **TOTALS))
    with pytest.raises(UsageError, match="cannot name a file"):
        run_page.write(LakeLocation(tmp_path), "../escape")
    assert not list(tmp_path.rglob("*.html"))


def test_neither_spark_nor_torch_is_loaded(done: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from millrace.pipelines.lake.location import LakeLocation; from millrace.pipelines.reporting import run_page as report; from millrace.pipelines.commands.printing import run_details;"
        f"report.write(LakeLocation(Path({str(done)!r})), {RUN!r});"
        "print(sorted({'pyspark', 'py4j', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_run_is_found_by_the_beginning_of_its_id(done: Path) -> None:
    write(done, RUNS, events("done", run_id="digits-1a2b-d4", **TOTALS))
    assert find(LakeLocation(done), "digits-1a2b-c") == RUN
    assert find(LakeLocation(done), RUN) == RUN
    with pytest.raises(UsageError, match="several runs") as several:
        find(LakeLocation(done), "digits-1")
    assert RUN in str(several.value.allowed)
    with pytest.raises(UsageError, match="no run of this id") as none:
        find(LakeLocation(done), "digit-1a2b")
    assert RUN in str(none.value.allowed)


def test_show_prints_one_object_for_machines(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(LakeLocation(done), "digits", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["cost"] == "0.000004300001"
    assert [event["state"] for event in found["events"]] == ["started", "done"]
    assert {kind["kind"]: kind["slot_s"] for kind in found["cost_by_kind"]} == {
        "useful": 1.301,
        "startup": 2.003,
        "failed": 1.009,
    }
    assert found["report"] is None
    write_report(LakeLocation(done), "digits", as_json=True)
    told = json.loads(capsys.readouterr().out)
    pages = {
        "report": str(done / "_reports" / f"{RUN}.html"),
        "validation": str(done / "_reports" / f"{RUN}-validation.html"),
        "index": str(done / "_reports" / "index.html"),
    }
    assert told == {"run_id": RUN, **pages}


@pytest.mark.parametrize("make", LAKES)
def test_show_prints_every_kind_of_run(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path)
    for as_json in (False, True):
        print_run(LakeLocation(tmp_path), RUN, as_json=as_json)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["run_id"] == RUN


def test_show_says_that_a_time_is_the_last_attempts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = events("done", **TOTALS)
    write(tmp_path, RUNS, [first, {**first, "event": 1, "state": "resumed"}, {**last, "event": 2}])
    print_run(LakeLocation(tmp_path), RUN, as_json=False)
    assert "time      32 s, the last of 2 attempts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.000006579267", "0.00000658"),
        ("0", "0"),
        ("0.5", "0.500"),
        ("1234.567", "1,234.57"),
        ("0E-12", "0"),
    ],
)
def test_money_keeps_three_digits(value: str, text: str) -> None:
    assert formatting.money(Decimal(value)) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1, "100%"), (0.0004, "<0.1%"), (0.9996, ">99.9%"), (0.123, "12.3%")],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert formatting.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04, "40 ms"),
        (9.96, "10.0 s"),
        (59.6, "1 min 0 s"),
        (252, "4 min 12 s"),
        (11100, "3 h 5 min"),
    ],
)
def test_a_duration_is_said_as_people_say_it(value: float, text: str) -> None:
    assert formatting.duration(value) == text
