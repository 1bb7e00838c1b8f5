"""Repricing a run: never an edit, the same book twice writes nothing, and sums are right at any time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from millrace.pipelines.accounting import repricing
from millrace.pipelines.accounting.corrections import current
from millrace.pipelines.accounting.focus_export import export
from millrace.pipelines.accounting.repricing import PricingOverrides, Repriced, reprice
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake import delta, live_rows
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.run_details import read
from millrace.pipelines.query.views import register
from millrace.pipelines.reporting.run_page import books
from millrace.pipelines.run import runner
from millrace.schemas.errors import QueryError, RunFailed, UsageError
from millrace.schemas.prices import PriceBook
from millrace.schemas.tables import LEDGER
from millrace.schemas.yaml_file import load
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet
from tests.ledgers import BEGAN, book, charge, entry, lake_of

ROOT = Path(__file__).resolve().parents[3]
FIRST = book(entry("0.36"))
MACHINE = FIRST.instances[0]
DOUBLE = book(entry("0.72"))
VIEWS = ("cost_by_run", "cost_by_partition", "waste", "cost_per_thousand_rows")


def rows(lake: Path) -> list[dict[str, Any]]:
    return sorted(delta.values(LakeLocation(lake), LEDGER), key=lambda row: str(row["x_RecordId"]))


def cost(lake: Path) -> Decimal:
    (found,) = query(
        LakeLocation(lake), "SELECT SUM(EffectiveCost) AS cost FROM ledger"
    ).to_pylist()
    return Decimal(found["cost"])


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    found = charge(MACHINE, 1, 4000, version=FIRST.version)
    found += charge(MACHINE, 2, 7000, version=FIRST.version, x_CostKind="failed", x_Committed=False)
    found += charge(MACHINE, 3, 500, version=FIRST.version, x_RunId="sms-b2", x_Job="sms")
    return lake_of(tmp_path / "lake", found)


def test_a_run_at_twice_the_price_costs_twice_as_much(lake: Path) -> None:
    before = rows(lake)
    done = reprice(LakeLocation(lake), "digits", DOUBLE)

    assert (done.revision, done.retracted, done.restated) == (1, 4, 4)
    assert done.after["USD"] == pytest.approx(2 * done.before["USD"], abs=Decimal("1e-9"))
    after = rows(lake)
    assert [row for row in after if row["x_RecordType"] == "ORIGINAL"] == before
    assert {row["x_RunId"] for row in after if row["x_RecordType"] != "ORIGINAL"} == {"digits-a1"}
    assert done.after["USD"] == sum(
        row["EffectiveCost"] for row in after if row["x_RunId"] == "digits-a1"
    )


def test_the_same_book_twice_writes_nothing(lake: Path) -> None:
    reprice(LakeLocation(lake), "digits", DOUBLE)
    version = DeltaTable(str(lake / "ledger")).version()

    again = reprice(LakeLocation(lake), "digits", DOUBLE)

    assert (again.revision, again.retracted, again.restated) == (None, 0, 0)
    assert again.before == again.after
    assert DeltaTable(str(lake / "ledger")).version() == version


def test_the_runs_own_book_writes_nothing(lake: Path) -> None:
    assert reprice(LakeLocation(lake), "digits", FIRST).revision is None
    assert len(rows(lake)) == 6


def test_going_back_to_the_first_book_gives_the_first_bill(lake: Path) -> None:
    before = cost(lake)
    reprice(LakeLocation(lake), "digits", DOUBLE)
    back = reprice(LakeLocation(lake), "digits", FIRST)
    assert (back.revision, cost(lake)) == (2, before)
    assert len(current(rows(lake))) == 6


def test_ids_and_rows_are_the_same_wherever_a_run_is_repriced(lake: Path, tmp_path: Path) -> None:
    other = lake_of(tmp_path / "other", rows(lake))
    for one in (lake, other):
        reprice(LakeLocation(one), "digits", DOUBLE)
        reprice(
            LakeLocation(one),
            "digits",
            book(entry("0.5"), entry("0.1", sku="n")),
            PricingOverrides(instance="n"),
        )
    assert rows(lake) == rows(other)
    ids = [row["x_RecordId"] for row in rows(lake)]
    assert len(set(ids)) == len(ids)


def test_views_say_the_new_cost_and_the_same_rows_and_seconds(lake: Path) -> None:
    before = {
        view: query(LakeLocation(lake), f"SELECT * FROM {view} ORDER BY run_id").to_pylist()
        for view in VIEWS
    }
    done = reprice(LakeLocation(lake), "digits", DOUBLE)
    for view in VIEWS:
        after = query(LakeLocation(lake), f"SELECT * FROM {view} ORDER BY run_id").to_pylist()
        assert len(after) == len(before[view])
        for one, other in zip(before[view], after, strict=True):
            share = "share_of_cost"  # the same but for the last bit
            assert one.get(share, 1) == pytest.approx(other.get(share, 1), rel=1e-9)
            changed = {name for name in one if one[name] != other[name]} - {share}
            assert changed <= {"cost", "cost_per_thousand_rows"}
            assert changed or one["run_id"] == "sms-b2"
    (total,) = query(
        LakeLocation(lake), "SELECT cost FROM cost_by_run WHERE run_id = 'digits-a1'"
    ).to_pylist()
    assert total["cost"] == done.after["USD"]


def test_another_currency_takes_the_place_of_the_first_in_every_view(lake: Path) -> None:
    done = reprice(LakeLocation(lake), "digits", book(entry("0.30"), currency="EUR"))
    assert (list(done.before), list(done.after)) == (["USD"], ["EUR"])
    for view in ("cost_by_run", "cost_by_partition"):
        found = query(
            LakeLocation(lake), f"SELECT DISTINCT currency FROM {view} WHERE run_id = 'digits-a1'"
        )
        assert found.to_pylist() == [{"currency": "EUR"}]
    (run,) = query(
        LakeLocation(lake), "SELECT * FROM cost_by_run WHERE run_id = 'digits-a1'"
    ).to_pylist()
    assert (run["rows_scored"], run["slot_s"], run["cost"]) == (97, 11.0, done.after["EUR"])


def test_rows_that_were_saved_are_a_runs_rows_once_in_whatever_currency_it_is_priced(
    lake: Path,
) -> None:
    saved = charge(MACHINE, 9, 100, x_CostKind="saved", ChargePeriodStart=None, x_RowsOut=900)
    lake_of(lake, saved, "saved")
    sql = "SELECT rows_scored, currency FROM cost_by_run WHERE run_id = 'digits-a1'"
    assert query(LakeLocation(lake), sql).to_pylist() == [{"rows_scored": 997, "currency": "USD"}]

    done = reprice(LakeLocation(lake), "digits", book(entry("0.30"), currency="EUR"))

    assert query(LakeLocation(lake), sql).to_pylist() == [{"rows_scored": 997, "currency": "EUR"}]
    assert done.unpriceable == 0


@pytest.mark.slow
@pytest.mark.spark
def test_spark_and_millrace_sql_agree_on_a_run_that_was_repriced(
    spark: SparkSession, lake: Path
) -> None:
    reprice(LakeLocation(lake), "digits", book(entry("0.30"), currency="EUR"))
    register(spark, LakeLocation(lake))
    for view in VIEWS:
        ours = query(LakeLocation(lake), f"SELECT * FROM {view}").to_pylist()
        assert sorted(map(str, ours)) == sorted(map(str, spark.table(view).toArrow().to_pylist()))


def test_a_run_without_prices_is_priced_afterwards_as_the_instance_that_is_named(
    tmp_path: Path,
) -> None:
    lake = lake_of(tmp_path / "lake", charge(None, 1, 4000))
    with pytest.raises(UsageError, match="not priced") as error:
        reprice(LakeLocation(lake), "digits", DOUBLE)
    assert (error.value.allowed, "--instance" in str(error.value.next)) == ("m", True)

    done = reprice(LakeLocation(lake), "digits", DOUBLE, PricingOverrides(instance="m"))

    assert (done.before, list(done.after)) == ({}, ["USD"])
    (run,) = query(LakeLocation(lake), "SELECT * FROM cost_by_run").to_pylist()
    assert (run["currency"], run["cost"], run["rows_scored"]) == ("USD", done.after["USD"], 97)


def test_spot_prices_that_changed_within_the_run_split_its_rows(lake: Path) -> None:
    noon = BEGAN + timedelta(hours=1)
    spot = [
        entry("0.1", category="Dynamic", valid_to=noon),
        entry("0.2", category="Dynamic", valid_from=noon),
    ]
    done = reprice(LakeLocation(lake), "digits", book(*spot), PricingOverrides(category="Dynamic"))
    assert (done.retracted, done.restated, done.nearest) == (4, 8, 0)
    assert (
        reprice(
            LakeLocation(lake), "digits", book(*spot), PricingOverrides(category="Dynamic")
        ).revision
        is None
    )
    half = Decimal("0.15") / Decimal("0.36")
    assert done.after["USD"] == pytest.approx(done.before["USD"] * half, abs=Decimal("1e-9"))


def test_a_price_that_is_only_the_nearest_is_counted(lake: Path) -> None:
    done = reprice(LakeLocation(lake), "digits", book(entry("0.5", valid_from="2026-02-01")))
    assert (done.restated, done.nearest) == (4, 4)


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (PricingOverrides(), "no such instance"),
        (PricingOverrides(instance="n"), "several regions"),
        (PricingOverrides(instance="n", region="q"), "in this region"),
        (PricingOverrides(instance="n", region="s", category="Committed"), "in this category"),
    ],
)
def test_a_machine_that_the_book_does_not_have_is_refused_and_nothing_is_written(
    lake: Path, overrides: PricingOverrides, what: str
) -> None:
    two = book(entry(sku="n", region="s"), entry(sku="n", region="t"))
    with pytest.raises(UsageError, match=what) as error:
        reprice(LakeLocation(lake), "digits", two, overrides)
    assert error.value.allowed
    assert "cost." not in str(error.value)
    assert len(rows(lake)) == 6


def test_a_run_or_a_lake_that_is_not_there_is_named(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run of this id"):
        reprice(LakeLocation(lake), "digitz", DOUBLE)
    with pytest.raises(QueryError, match="no lake"):
        reprice(LakeLocation(tmp_path / "nowhere"), "digits", DOUBLE)


def test_a_row_of_another_meter_keeps_what_it_says_and_is_counted(tmp_path: Path) -> None:
    odd = {
        **charge(MACHINE, 1, 4000, meters=["Core"])[0],
        "SkuMeter": "Licence",
        "x_RecordId": "odd",
    }
    lake = lake_of(tmp_path / "lake", [*charge(MACHINE, 1, 4000), odd])
    done = reprice(LakeLocation(lake), "digits", DOUBLE)
    assert (done.unpriceable, done.retracted) == (1, 2)
    assert [row["EffectiveCost"] for row in current(rows(lake)) if row["x_RecordId"] == "odd"] == [
        odd["EffectiveCost"]
    ]


def test_rows_that_a_later_attempt_adds_are_priced_by_the_same_book_when_asked_again(
    lake: Path,
) -> None:
    reprice(LakeLocation(lake), "digits", DOUBLE)
    lake_of(lake, charge(MACHINE, 9, 1000, version=FIRST.version), "later")
    done = reprice(LakeLocation(lake), "digits", DOUBLE)
    assert (done.revision, done.retracted, done.restated) == (2, 2, 2)


def test_of_two_who_reprice_at_the_same_time_one_wins_and_the_other_is_told(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read the ledger before either writes."""
    met = threading.Barrier(2, timeout=30)
    write = repricing._write

    def after_both_have_read(*words: Any) -> None:
        met.wait()
        write(*words)

    monkeypatch.setattr(repricing, "_write", after_both_have_read)
    books = [DOUBLE, book(entry("0.5"))]
    told: list[Repriced | Exception] = []

    def one(number: int) -> None:
        try:
            told.append(reprice(LakeLocation(lake), "digits", books[number]))
        except RunFailed as error:
            told.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (won,) = [found for found in told if isinstance(found, Repriced)]
    assert len([found for found in told if isinstance(found, RunFailed)]) == 1
    mine = [row for row in rows(lake) if row["x_RunId"] == "digits-a1"]
    assert sum(row["EffectiveCost"] for row in mine) == won.after["USD"]
    assert {row["x_PriceBookVersion"] for row in current(mine)} == {won.book_version}


def test_one_who_comes_too_late_is_told_that_another_book_was_quicker(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = repricing._write

    def another_first(*words: Any) -> None:
        monkeypatch.setattr(repricing, "_write", write)
        reprice(LakeLocation(lake), "digits", DOUBLE)
        write(*words)

    monkeypatch.setattr(repricing, "_write", another_first)
    with pytest.raises(RunFailed, match="repriced by someone else"):
        reprice(LakeLocation(lake), "digits", book(entry("0.5")))
    assert reprice(LakeLocation(lake), "digits", book(entry("0.5"))).revision == 2


def test_a_ledger_that_was_restored_to_before_can_be_repriced_again(lake: Path) -> None:
    table = DeltaTable(str(lake / "ledger"))
    version = table.version()
    done = reprice(LakeLocation(lake), "digits", DOUBLE)
    DeltaTable(str(lake / "ledger")).restore(version)
    again = reprice(LakeLocation(lake), "digits", DOUBLE)
    assert (again.revision, again.after) == (1, done.after)
    assert len(rows(lake)) == 14


@pytest.mark.spark
@pytest.mark.slow
def test_a_real_run_is_repriced_and_exported_and_its_report_still_closes(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(40)), files=2)
    done = runner.run(spark, job_of(tmp_path, pixel_mlp(tmp_path / "model")), Progress(quiet=True))
    lake = tmp_path / "lake"
    gpus = load(ROOT / "conf" / "prices" / "gpu.yaml", PriceBook)

    there = reprice(LakeLocation(lake), done.run_id, gpus, PricingOverrides(instance="g6.xlarge"))

    assert there.before == {"USD": done.cost}
    (priced,) = query(LakeLocation(lake), "SELECT cost, rows_scored FROM cost_by_run").to_pylist()
    assert (priced["cost"], priced["rows_scored"]) == (there.after["USD"], 40)
    assert export(LakeLocation(lake), tmp_path / "focus").cost == there.after
    facts = read(LakeLocation(lake), done.run_id)
    assert {name: holds for name, holds, _ in books(facts)}["The ledger agrees on cost"] is True
    assert facts.spent["cost"] == there.after["USD"]
    assert {row["book"] for row in facts.prices} == {gpus.version}
    back = reprice(
        LakeLocation(lake),
        done.run_id,
        load(ROOT / "conf" / "prices" / "example.yaml", PriceBook),
        PricingOverrides(instance="laptop"),
    )
    # A restatement is rounded row by row, the bill itself by running totals.
    assert abs(back.after["USD"] - done.cost) < Decimal("1e-10")


def millrace(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "millrace.pipelines.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_command_prints_before_after_and_the_difference(lake: Path, tmp_path: Path) -> None:
    prices = tmp_path / "double.yaml"
    prices.write_text(yaml.safe_dump({"currency": "USD", "instances": [entry("0.72")]}))

    first = millrace("reprice", "digits", "--prices", prices, "--lake", lake)
    again = millrace("reprice", "digits", "--prices", prices, "--lake", lake, "--json")

    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[1] == "revision 1: 4 rows taken back, 4 said again"
    assert [line.split()[0] for line in lines[2:]] == ["before", "after", "difference"]
    said = json.loads(again.stdout)
    assert (said["revision"], said["rows_restated"]) == (None, 0)
    assert said["difference"] == {"USD": "0"}
    assert said["after"]["USD"] == lines[3].split()[1]


def test_a_dry_run_says_what_a_bill_would_come_to_and_writes_nothing(tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", charge(MACHINE, 1, 4000, x_RunAttempt=3))
    before = DeltaTable(lake / "ledger").version()

    estimated = reprice(LakeLocation(lake), "digits", book(entry("0.72")), dry_run=True)

    assert DeltaTable(lake / "ledger").version() == before
    assert not estimated.is_written
    done = reprice(LakeLocation(lake), "digits", book(entry("0.72")))
    assert (estimated.before, estimated.after, estimated.retracted) == (
        done.before,
        done.after,
        done.retracted,
    )


def test_energy_stays_as_it_was_and_no_attempt_is_negated(tmp_path: Path) -> None:
    drawn = {"x_EnergyWh": 0.25, "x_CarbonG": 0.125, "x_EnergyMethod": "tdp"}
    core, memory = charge(MACHINE, 1, 4000, x_RunAttempt=3)
    lake = lake_of(tmp_path / "lake", [core | drawn, memory])

    reprice(
        LakeLocation(lake),
        "digits",
        book(entry("0.72", gpus=1, sku="g")),
        PricingOverrides(instance="g"),
    )

    rows = live_rows.rows(DeltaTable(lake / "ledger")).to_pylist()
    assert sum(row["x_EnergyWh"] or 0 for row in rows) == 0.25
    assert sum(row["x_CarbonG"] or 0 for row in rows) == 0.125
    assert {row["x_RunAttempt"] for row in rows} == {3}
    added = [row for row in rows if row["SkuMeter"] == "GPU"]
    assert [(row["x_EnergyWh"], row["x_EnergyMethod"]) for row in added] == [(None, None)]
