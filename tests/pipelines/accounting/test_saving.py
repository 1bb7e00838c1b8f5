"""Identical inputs are scored once: in a unit, and through the cache in later units and runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from pyspark.sql import SparkSession

from millrace.pipelines.accounting.focus_export import export
from millrace.pipelines.accounting.repricing import PricingOverrides, reprice
from millrace.pipelines.cli import main
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import deduplication
from millrace.pipelines.job import work_units
from millrace.pipelines.lake import delta, live_rows, vacuum
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.run_details import read
from millrace.pipelines.reporting.run_page import books
from millrace.pipelines.run import avoided_cost, inference_pass
from millrace.pipelines.run.runner import run
from millrace.pipelines.run.unit_scoring import UnitScorer
from millrace.schemas.config import Engine, Job
from millrace.schemas.errors import RunFailed, UsageError
from millrace.schemas.prices import PriceBook
from millrace.schemas.summary import RunSummary
from millrace.schemas.yaml_file import load
from millrace.udfs.backends.hardware import cpu_precisions
from millrace.udfs.engine.fault_script import VARIABLE
from tests.helpers import image_table, images, job_of, pixel_mlp, rows, torch_loop, write_parquet
from tests.ledgers import book, charge, entry
from tests.pipelines.job.test_work_units import breaking_at, min_size

QUIET = Progress(quiet=True)
ROWS, FILES, DISTINCT = 60, 6, 15
PRICES = Path(__file__).resolve().parents[3] / "conf" / "prices" / "example.yaml"
PINNED = {"backend": "torch", "precision": "fp32"}
Score = Callable[..., RunSummary]


@pytest.fixture
def pixels() -> list[bytes]:
    """Each image four times, and once in ten rows."""
    return [images(DISTINCT)[n * 7 % DISTINCT] for n in range(ROWS)]


@pytest.fixture
def make(tmp_path: Path, model: Path, pixels: list[bytes]) -> Callable[..., Job]:
    """A job over six files, all of them one unit; arguments are engine's settings."""
    write_parquet(tmp_path / "input", image_table(pixels), files=FILES)
    return lambda name="tiny", **engine: job_of(
        tmp_path, model, name=name, engine={**PINNED, **engine}
    )


@pytest.fixture
def in_units(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is a unit."""
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", min_size(tmp_path / "input"))


class Calls:
    """How many rows the models of Spark's workers were asked for, from now on."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._environment, self._folder, self._number = spark.sparkContext.environment, folder, 0

    def again(self) -> None:
        """Count from zero, in new workers."""
        self._number += 1
        script = self._folder / f"script-{self._number}"
        script.write_text(json.dumps({"predict": {"calls": str(self._file)}}), "utf-8")
        self._environment[VARIABLE] = str(script)

    @property
    def _file(self) -> Path:
        return self._folder / f"calls-{self._number}"

    @property
    def rows(self) -> int:
        there = self._file.exists()
        return sum(map(int, self._file.read_text("ascii").split())) if there else 0


@pytest.fixture
def calls(spark: SparkSession, tmp_path: Path) -> Iterator[Calls]:
    counted = Calls(spark, tmp_path)
    counted.again()
    yield counted
    del spark.sparkContext.environment[VARIABLE]


def check(lake: Path, model: Path, pixels: list[bytes], job: str = "tiny") -> None:
    """Every row once, with the values that plain torch gives it."""
    found = rows(lake, f"SELECT id, label, probabilities, error FROM predictions_{job}")
    labels, probabilities = torch_loop(model, pixels)
    assert Counter(row["id"] for row in found) == Counter(range(len(pixels)))
    for row in found:
        assert row["error"] is None
        assert row["label"] == labels[row["id"]]
        assert row["probabilities"] == pytest.approx(probabilities[row["id"]].tolist(), abs=1e-5)


def test_a_row_is_saved_once_where_computed_ones_had_two_prices() -> None:
    spent = [
        *charge(book(entry("0.40")).instances[0], 1, 1000, version="day", x_RowsIn=100),
        *charge(book(entry("0.80")).instances[0], 2, 1000, version="night", x_RowsIn=100),
    ]

    core, memory = avoided_cost._per_row(spent)

    assert (core["SkuMeter"], memory["SkuMeter"]) == ("Core", "Memory")
    assert core["EffectiveCost"] == (spent[0]["EffectiveCost"] + spent[2]["EffectiveCost"]) / 200
    assert core["x_PriceBookVersion"] == "night"


def test_reuse_with_the_surface_that_cannot_carry_it_is_refused() -> None:
    for setting in ({"dedupe": "unit"}, {"dedupe": "auto"}, {"cache": "table"}):
        with pytest.raises(ValidationError, match="surface pandas.*allowed: surface arrow"):
            Engine.model_validate({"surface": "pandas", **setting})
    with pytest.raises(ValidationError, match="'off', 'unit' or 'auto'"):
        Engine.model_validate({"dedupe": "run"})


@pytest.mark.parametrize(
    ("share", "rows_per_s", "is_worth"),
    [(0.0, None, False), (0.049, None, False), (0.05, None, True), (0.5, 100.0, True),
     (0.05, 100.0, True), (0.5, 100_000.0, False)],
)  # fmt: skip
def test_auto_gathers_rows_where_computing_the_repeated_ones_takes_longer_than_finding_them(
    share: float, rows_per_s: float | None, is_worth: bool
) -> None:
    found, why = deduplication.worth(share, rows_per_s)
    assert found is is_worth
    assert f"{share:.1%} of the sampled rows" in why


@pytest.mark.spark
def test_identical_rows_are_computed_once_and_each_gets_its_outputs(
    score: Score, make: Any, model: Path, pixels: list[bytes], calls: Calls, tmp_path: Path
) -> None:
    summary = score(make(dedupe="unit"))

    lake = tmp_path / "lake"
    check(lake, model, pixels)
    assert calls.rows == DISTINCT
    assert (summary.scored, summary.saved_rows) == (ROWS, ROWS - DISTINCT)
    metered = rows(lake, "SELECT _meter FROM predictions_tiny WHERE _meter IS NOT NULL")
    assert sum(row["_meter"]["rows"] for row in metered) == DISTINCT
    assert summary.books_closed


@pytest.mark.spark
def test_what_was_saved_is_in_the_ledger_at_the_runs_own_price_and_in_no_sum(
    score: Score, make: Any, tmp_path: Path
) -> None:
    summary = score(make(dedupe="unit"))

    lake = tmp_path / "lake"
    spent = rows(lake, "SELECT * FROM ledger WHERE x_CostKind <> 'saved'")
    saved = rows(lake, "SELECT * FROM ledger WHERE x_CostKind = 'saved' ORDER BY SkuMeter")
    useful = [row for row in spent if row["x_CostKind"] == "useful"]
    assert [row["SkuMeter"] for row in saved] == ["Core", "Memory"]
    for row in saved:
        mine = [one for one in useful if one["SkuMeter"] == row["SkuMeter"]]
        cost = sum(one["EffectiveCost"] for one in mine) / DISTINCT * (ROWS - DISTINCT)
        assert abs(row["EffectiveCost"] - cost) <= Decimal("1e-12")
        assert (row["x_RowsIn"], row["x_RowsOut"]) == (ROWS - DISTINCT, ROWS - DISTINCT)
        assert row["x_Quality"] == "this run's cost of a computed row"
    assert summary.saved_cost == sum(row["EffectiveCost"] for row in saved)
    assert summary.cost == sum(row["EffectiveCost"] for row in spent)
    (view,) = rows(lake, "SELECT * FROM cost_by_run")
    assert view["cost"] == summary.cost
    assert view["rows_scored"] == ROWS
    core_ms = sum(row["x_SlotMs"] for row in spent if row["SkuMeter"] == "Core")
    assert view["slot_s"] == pytest.approx(core_ms / 1000)
    partitions = rows(lake, "SELECT SUM(cost) AS cost FROM cost_by_partition")
    assert partitions == [{"cost": summary.cost}]
    told = CliRunner().invoke(main, ["show", summary.run_id, "--lake", str(lake)]).output
    assert f"saved     {ROWS - DISTINCT} rows were not computed again" in told
    told = CliRunner().invoke(main, ["show", summary.run_id, "--lake", str(lake), "--json"]).output
    assert json.loads(told)["saved"]["rows"] == ROWS - DISTINCT
    kinds = {one["kind"] for one in json.loads(told)["cost_by_kind"]}
    assert "saved" not in kinds
    exported = export(LakeLocation(lake), tmp_path / "focus")
    assert (exported.cost, exported.unpriced) == ({"USD": summary.cost}, 0)
    said = {name: holds for name, holds, _ in books(read(LakeLocation(lake), summary.run_id))}
    assert said["The ledger agrees on cost"] is True
    again = reprice(
        LakeLocation(lake),
        summary.run_id,
        load(PRICES, PriceBook),
        PricingOverrides(instance="laptop"),
    )
    assert (again.before, again.unpriceable) == ({"USD": summary.cost}, 0)


@pytest.mark.slow
@pytest.mark.spark
def test_a_run_that_broke_goes_on_with_the_same_rows_and_saves_once(
    score: Score,
    make: Any,
    in_units: None,
    model: Path,
    pixels: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, lake = make(dedupe="unit", cache="table"), tmp_path / "lake"
    with monkeypatch.context() as broken:
        broken.setattr(delta, "append", breaking_at(3))
        with pytest.raises(RunFailed, match="disk is full"):
            score(job)

    summary = score(job)

    check(lake, model, pixels)
    assert (summary.units_done, summary.scored) == (FILES, ROWS)
    saved = rows(lake, "SELECT x_RecordId, x_RowsIn FROM ledger WHERE x_CostKind = 'saved'")
    assert max(Counter(row["x_RecordId"] for row in saved).values()) == 1
    assert sum(row["x_RowsIn"] for row in saved) == 2 * summary.saved_rows  # of two meters
    cached = rows(lake, f"SELECT input FROM {cache_of(lake)}")
    assert len(cached) >= DISTINCT
    assert score(job).run_id == summary.run_id


def cache_of(lake: Path) -> str:
    (name,) = (path.name for path in lake.glob("cache_*"))
    return name


@pytest.mark.slow
@pytest.mark.spark
def test_a_second_run_under_another_name_computes_nothing_and_says_the_same(
    score: Score, make: Any, model: Path, pixels: list[bytes], calls: Calls, tmp_path: Path
) -> None:
    first = score(make("first", cache="table", dedupe="unit"))
    assert calls.rows == DISTINCT
    assert first.books_closed
    calls.again()

    second = score(make("second", cache="table"))

    lake = tmp_path / "lake"
    assert calls.rows == 0
    assert (second.scored, second.saved_rows) == (ROWS, ROWS)
    assert second.books_closed  # nothing was computed: nothing to compare is not unknown
    check(lake, model, pixels, "first")
    check(lake, model, pixels, "second")
    columns = "id, label, score, probabilities"
    one, other = (
        rows(lake, f"SELECT {columns} FROM predictions_{n} ORDER BY id")
        for n in ("first", "second")
    )
    assert one == other  # to the last bit
    saved = rows(
        lake,
        "SELECT * FROM ledger WHERE x_CostKind = 'saved' AND x_Job = 'second' AND SkuMeter = 'Core'",
    )
    assert [row["x_RowsIn"] for row in saved] == [ROWS]
    assert saved[0]["x_Quality"] == f"run {first.run_id}'s cost of a computed row"
    assert second.saved_cost is not None
    assert second.saved_cost > 0
    assert len(rows(lake, f"SELECT input FROM {cache_of(lake)}")) == DISTINCT
    (view,) = rows(lake, "SELECT rows_scored FROM cost_by_run WHERE job = 'second'")
    assert view["rows_scored"] == ROWS


@pytest.mark.slow
@pytest.mark.spark
def test_later_units_of_a_run_find_what_earlier_ones_kept(
    score: Score, model: Path, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = images(ROWS // FILES) * FILES  # each file has the same images
    folder = write_parquet(tmp_path / "input", image_table(pixels), files=FILES)
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", min_size(folder))

    summary = score(job_of(tmp_path, model, engine={**PINNED, "cache": "table"}))

    check(tmp_path / "lake", model, pixels)
    assert calls.rows in (ROWS // FILES, 2 * ROWS // FILES)  # two at once may not find each other's
    assert (summary.units_done, summary.saved_rows) == (FILES, ROWS - calls.rows)


@pytest.mark.slow
@pytest.mark.spark
def test_rows_that_failed_are_not_kept_and_are_tried_again(
    score: Score, make: Any, pixels: list[bytes], calls: Calls, tmp_path: Path
) -> None:
    bad = [b"no 16 bytes" if n % 20 == 3 else pixel for n, pixel in enumerate(pixels)]
    write_parquet(tmp_path / "input", image_table(bad), files=FILES)
    first = score(make("first", cache="table", dedupe="unit"))
    assert (first.scored, first.failed) == (ROWS - 3, 3)
    lake = tmp_path / "lake"
    calls.again()

    second = score(make("second", cache="table", dedupe="unit"))

    assert (second.scored, second.failed, second.saved_rows) == (ROWS - 3, 3, ROWS - 1)
    failed = rows(lake, "SELECT id FROM predictions_second WHERE error IS NOT NULL ORDER BY id")
    assert [row["id"] for row in failed] == [3, 23, 43]
    assert all(rows(lake, f"SELECT outputs FROM {cache_of(lake)}"))
    saved = rows(lake, "SELECT * FROM ledger WHERE x_CostKind = 'saved' AND x_Job = 'second'")
    assert {row["x_RowsOut"] for row in saved} == {ROWS - 3}


def at(day: int) -> Callable[[], datetime]:
    return lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)


@pytest.mark.long
@pytest.mark.spark
def test_outputs_that_are_too_old_are_computed_again_and_removed(
    score: Score, make: Any, calls: Calls, tmp_path: Path
) -> None:
    engine = {"cache": "table", "dedupe": "unit", "cache_days": 30}
    score(make("first", **engine), now=at(0))
    calls.again()
    score(make("second", **engine), now=at(29))
    assert calls.rows == 0

    score(make("third", **engine), now=at(31))

    assert calls.rows == DISTINCT
    kept = rows(tmp_path / "lake", f"SELECT at FROM {cache_of(tmp_path / 'lake')}")
    assert [row["at"] for row in kept] == [at(31)()] * DISTINCT
    calls.again()
    score(make("fourth", **engine), now=at(60))
    assert calls.rows == 0


@pytest.mark.long
@pytest.mark.spark
def test_the_oldest_outputs_make_room_for_new_ones(
    score: Score, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_parquet(tmp_path / "input", image_table(images(ROWS)), files=FILES)
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", min_size(folder))
    monkeypatch.setattr(inference_pass, "AT_ONCE", 1)
    engine = {**PINNED, "cache": "table", "cache_max_rows": 25}
    ticks = iter(range(10_000))

    summary = score(
        job_of(tmp_path, model, engine=engine), now=lambda: at(0)() + timedelta(seconds=next(ticks))
    )

    lake = tmp_path / "lake"
    assert summary.scored == ROWS
    kept = rows(lake, f"SELECT input FROM {cache_of(lake)}")
    assert len(kept) == 20  # of two units: with a third it would be 30
    newest = rows(
        lake,
        "SELECT unit, MAX(scored_at) AS at FROM predictions_tiny GROUP BY unit ORDER BY at DESC LIMIT 2",
    )
    wanted = ", ".join(str(row["unit"]) for row in newest)
    last = rows(lake, f"SELECT _input FROM predictions_tiny WHERE unit IN ({wanted})")
    assert {row["input"] for row in kept} == {row["_input"] for row in last}


@pytest.mark.slow
@pytest.mark.spark
def test_an_input_that_was_kept_twice_makes_no_row_twice(
    score: Score, make: Any, model: Path, pixels: list[bytes], tmp_path: Path
) -> None:
    score(make("first", cache="table", dedupe="unit"))
    lake = tmp_path / "lake"
    table = deltalake.DeltaTable(lake / cache_of(lake))
    deltalake.write_deltalake(table, live_rows.rows(table), mode="append")  # as a run beside does

    summary = score(make("second", cache="table"))

    assert summary.saved_rows == ROWS
    check(lake, model, pixels, "second")


@pytest.mark.slow
@pytest.mark.spark
def test_a_driver_that_died_between_a_commit_and_its_keeping_is_made_up_for(
    score: Score, make: Any, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    job, lake = make(cache="table", dedupe="unit"), tmp_path / "lake"
    with monkeypatch.context() as broken:
        broken.setattr(UnitScorer, "keep_outputs", dies)
        with pytest.raises(KeyboardInterrupt):
            score(job)
    assert rows(lake, f"SELECT input FROM {cache_of(lake)}") == []

    assert score(job).scored == ROWS

    assert calls.rows == DISTINCT
    assert len(rows(lake, f"SELECT input FROM {cache_of(lake)}")) == DISTINCT


@pytest.mark.spark
def test_what_only_saves_is_no_reason_to_score_again(score: Score, make: Any) -> None:
    first = score(make())
    for engine in ({"dedupe": "unit"}, {"dedupe": "auto"}, {"cache": "table", "cache_days": 3}):
        assert score(make(**engine)).run_id == first.run_id


@pytest.mark.slow
@pytest.mark.spark
def test_another_precision_or_model_finds_nothing(
    score: Score, make: Any, calls: Calls, tmp_path: Path
) -> None:
    if "bf16" not in cpu_precisions():
        pytest.skip("this processor has no other precision than fp32")
    score(make("first", cache="table", dedupe="unit"))
    calls.again()
    score(make("second", cache="table", dedupe="unit", precision="bf16"))
    assert calls.rows == DISTINCT
    calls.again()
    other = pixel_mlp(tmp_path / "other", options={"hidden": [9], "outputs": 3})
    job = make("third", cache="table", dedupe="unit")
    summary = score(
        job.model_copy(update={"model": job.model.model_copy(update={"uri": str(other)})})
    )
    assert (calls.rows, summary.saved_rows) == (DISTINCT, ROWS - DISTINCT)
    assert len(list((tmp_path / "lake").glob("cache_*"))) == 2


@pytest.mark.slow
@pytest.mark.spark
def test_auto_looks_at_a_sample_and_says_what_it_saw(
    spark: SparkSession, make: Any, calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = run(spark, make(dedupe="auto"), Progress())
    assert calls.rows == DISTINCT
    assert summary.saved_rows == ROWS - DISTINCT
    told = capsys.readouterr()
    assert "computed once: 62.5% of the sampled rows repeat" in told.out + told.err

    write_parquet(tmp_path / "input", image_table(images(ROWS)), files=FILES)
    calls.again()
    summary = run(spark, make(dedupe="auto"), Progress())
    assert (calls.rows, summary.saved_rows) == (ROWS, 0)
    told = capsys.readouterr()
    assert "computed each: 0.0% of the sampled rows repeat" in told.out + told.err


@pytest.mark.long
@pytest.mark.spark
def test_a_lake_with_a_cache_can_be_vacuumed(
    score: Score, make: Any, calls: Calls, tmp_path: Path
) -> None:
    score(make("first", cache="table", dedupe="unit"), now=at(0))
    score(make("second", cache="table", dedupe="unit"), now=at(40))
    lake = tmp_path / "lake"
    found = vacuum.find_leftovers(LakeLocation(lake), timedelta(hours=1))
    assert not vacuum.remove_leftovers(LakeLocation(lake), found)
    calls.again()

    assert score(make("third", cache="table"), now=at(41)).saved_rows == ROWS
    assert calls.rows == 0


@pytest.mark.spark
def test_a_column_with_a_name_that_is_needed_is_refused(
    score: Score, make: Any, pixels: list[bytes], tmp_path: Path
) -> None:
    job = make(cache="table").model_copy(update={"keep": ("_known",)})
    table = image_table(pixels).append_column("_known", [list(range(ROWS))])
    (tmp_path / "other").mkdir()
    write_parquet(tmp_path / "other", table)
    source = job.source.model_copy(update={"path": str(tmp_path / "other")})
    with pytest.raises(UsageError, match=r"_known[\s\S]*rename it"):
        score(job.model_copy(update={"source": source}))
