"""A run's bill as a whole: what it drew, the forecast, its tags, and that all of it can be made again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.accounting.ledger_rebuild import rebuild
from millrace.pipelines.commands.printing.run_details import print_run
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference.time_model import Estimate
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.run_details import read
from millrace.pipelines.run.budget import BudgetTracker
from millrace.pipelines.run.runner import run
from millrace.schemas.prices import PriceBook
from millrace.schemas.yaml_file import load
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

QUIET = Progress(quiet=True)
PRICES = Path("conf/prices/example.yaml")


def asked(lake: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(LakeLocation(lake), sql).to_pylist()
    return found


@pytest.mark.parametrize("budget", [None, Decimal(1000)])
def test_what_a_purse_foretells_is_what_was_spent_and_the_rest_with_a_budget_or_without(
    budget: Decimal | None,
) -> None:
    tracker = BudgetTracker(
        budget, Decimal(2), before=Decimal(5), currency="EUR", elapsed_s=lambda: 3.0, basis="it",
        expect=lambda rows: Estimate(rows, 2 * rows, 4 * rows),
    )  # fmt: skip

    assert bool(tracker.begin(7)) == (budget is not None)

    spent, rows, price = 5 + 2 * 3, 7, 2
    assert tracker.forecast is not None
    assert tracker.forecast["seconds"] == {"low": 7, "mid": 14, "high": 28}
    cost = {name: Decimal(told) for name, told in tracker.forecast["cost"].items()}
    assert cost == {
        "low": spent + price * rows,
        "mid": spent + price * 2 * rows,
        "high": spent + price * 4 * rows,
    }


@pytest.mark.spark
def test_a_run_says_what_it_drew_and_emitted_and_the_next_one_what_it_will_take(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "input", image_table(images(60)), files=3)
    cost = {"prices": str(PRICES), "instance": "laptop", "tags": {"team": "mail"}}
    engine = {"backend": "torch", "precision": "fp32"}
    job = job_of(tmp_path, pixel_mlp(tmp_path / "model"), engine=engine, cost=cost)
    lake = tmp_path / "lake"

    first = run(spark, job, QUIET)
    second = run(spark, job, QUIET, fresh=True)

    core = asked(lake, "SELECT * FROM ledger WHERE SkuMeter = 'Core'")
    assert all(row["x_EnergyWh"] is not None for row in core)  # each kind, idle time too
    grid = load(PRICES, PriceBook).regions["home"]
    for row in core:
        grams = row["x_EnergyWh"] / 1000 * grid.pue * grid.grid_g_per_kwh
        assert row["x_CarbonG"] == pytest.approx(grams, abs=1e-8)
    assert {row["x_EnergyMethod"] for row in core if row["x_CostKind"] == "useful"} <= {
        "tdp",
        "rapl",
    }
    others = asked(lake, "SELECT DISTINCT x_EnergyWh FROM ledger WHERE SkuMeter <> 'Core'")
    assert others == [{"x_EnergyWh": None}]
    gpu = asked(lake, "SELECT DISTINCT x_GpuBusyMs, x_GpuMemoryBytes FROM ledger")
    assert gpu == [{"x_GpuBusyMs": None, "x_GpuMemoryBytes": None}]  # here is none

    views = asked(lake, "SELECT * FROM energy_by_run ORDER BY run_id")
    for summary in (first, second):
        (mine,) = [view for view in views if view["run_id"] == summary.run_id]
        assert summary.energy_wh == pytest.approx(mine["energy_wh"])
        assert summary.carbon_g == pytest.approx(mine["carbon_g"])
        assert 0 < mine["energy_wh_low"] < mine["energy_wh"] < mine["energy_wh_high"]
    (tag,) = asked(lake, "SELECT * FROM cost_by_tag")
    assert first.cost is not None
    assert second.cost is not None
    assert (tag["tag"], tag["value"], tag["runs"]) == ("team", "mail", 2)
    assert tag["cost"] == first.cost + second.cost

    assert first.forecast is None  # nothing told yet
    assert second.forecast is not None
    assert second.forecast["basis"] == "1 past run"
    found = read(LakeLocation(lake), second.run_id).run["forecast"]
    assert found is not None
    assert second.forecast["cost"]["mid"] in found
    text = LakeLocation(lake).report_page(second.run_id).read_text("utf-8")
    assert "The forecast, and what it came to" in text
    assert "What it drew from the wall" in text
    assert text.count(">passed</span></td></tr>") >= 6  # the gates
    capsys.readouterr()
    print_run(LakeLocation(lake), second.run_id, as_json=False)
    told = capsys.readouterr().out
    assert "energy    " in told
    assert "g CO2e" in told
    assert "by 1 past run" in told
    assert "every row is scored, quarantined or failed" in told

    logs = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    for summary in (first, second):  # to the last digit of a watt-hour
        again = rebuild(LakeLocation(lake), summary.run_id, logs)
        assert (again.written, again.different) == (0, ())
        assert again.same > 0
