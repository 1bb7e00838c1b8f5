"""A run in units: planned once, committed one by one, resumed after the last commit."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py4j.finalizer import ThreadSafeFinalizer
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run import unit_scoring
from millrace.pipelines.run.runner import run
from millrace.pipelines.run.unit_scoring import UnitScorer
from millrace.pipelines.sources import snapshot
from millrace.schemas.config import Engine, Job
from millrace.schemas.errors import InputCorrupt, RunFailed, TooManyFailed
from millrace.schemas.pinned import Pinned, PinnedFile
from millrace.schemas.sources import ParquetSource
from millrace.schemas.summary import RunSummary
from millrace.udfs.engine.fault_script import VARIABLE
from tests.helpers import image_table, images, job_of, rows, write_parquet

QUIET = Progress(quiet=True)
ROWS, FILES = 60, 6
Score = Callable[..., RunSummary]


@pytest.fixture
def job(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Six files, each a unit."""
    folder = write_parquet(tmp_path / "input", image_table(images(ROWS)), files=FILES)
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", min_size(folder))
    return job_of(tmp_path, model)


def min_size(folder: Path) -> int:
    return min(path.stat().st_size for path in folder.iterdir())


def ids(lake: Path) -> Counter[int]:
    return Counter(
        row["id"]
        for row in query(LakeLocation(lake), "SELECT id FROM predictions_tiny").to_pylist()
    )


def breaking_at(number: int) -> Callable[..., None]:
    """`sink.append`, which fails from its fourth call on, where that is 3."""
    real, seen = delta.append, []

    def breaks(frame: Any, lake: LakeLocation, table: Any, name: str, run_id: str) -> None:
        seen.append(name)
        if len(seen) > number:
            raise RunFailed("the disk is full")
        real(frame, lake, table, name, run_id)

    return breaks


SIZES = st.lists(st.integers(0, 1000), min_size=1, max_size=40)


@given(SIZES, st.integers(1, 3000))
def test_units_are_whole_files_in_order_and_none_is_much_larger_than_asked(
    sizes: list[int], size: int
) -> None:
    files = [PinnedFile(f"/in/{n:03}", bytes_, 0) for n, bytes_ in enumerate(sizes)]
    groups = list(work_units._grouped(files, size))
    assert [file for group in groups for file in group] == files
    assert all(groups)
    largest = max(sizes)
    assert all(sum(file.size_bytes for file in group) < size + largest + 1 for group in groups)


def test_a_known_speed_makes_units_of_so_many_minutes(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "input", image_table(images(ROWS)), files=FILES)
    pinned = snapshot.pin(ParquetSource(format="parquet", path=str(folder)))
    found = work_units.cut(pinned, seconds=2.0, rows_per_s=10.0)
    assert [unit.expected_rows for unit in found] == [20, 20, 20]
    assert len(work_units.cut(pinned, seconds=2.0, rows_per_s=1000.0)) == 1
    assert len(work_units.cut(pinned, seconds=2.0, rows_per_s=None)) == 1


def test_a_source_without_files_is_one_unit() -> None:
    pinned = Pinned("idx", "/in/x", (PinnedFile("/in/x", 5, 0), PinnedFile("/in/y", 5, 0)))
    assert [unit.pinned for unit in work_units.cut(pinned, 1.0, 1.0)] == [pinned]


@pytest.mark.slow
@pytest.mark.spark
def test_of_a_file_that_was_replaced_after_its_rows_were_checked_nothing_is_committed(
    score: Score, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = max((tmp_path / "input").glob("*.parquet"))
    others = pq.read_table(last)
    spoiled = others.set_column(1, "pixels", pa.array([b"bad"] * len(others), pa.binary()))
    pq.write_table(spoiled, tmp_path / "spoiled.parquet")

    def replaced(at: str) -> None:
        if at == "before_commit":  # of two units at a time: the file is there whole for both
            with suppress(FileNotFoundError):
                (tmp_path / "spoiled.parquet").replace(last)

    monkeypatch.setattr(unit_scoring, "reached", replaced)
    with pytest.raises(InputCorrupt, match="changed while the run read it"):
        score(job)
    before = ids(tmp_path / "lake")
    monkeypatch.undo()

    done = score(job)

    assert not before.keys() & set(others["id"].to_pylist())
    found = rows(
        tmp_path / "lake", f"SELECT id FROM predictions_tiny WHERE run_id = '{done.run_id}'"
    )
    assert (
        done.scored + done.quarantined + done.failed == ROWS
    )  # a run of its own, over what is there now
    assert len(found) == done.scored + done.failed


@pytest.mark.slow
@pytest.mark.spark
def test_each_unit_is_a_commit_and_all_rows_are_there_once(
    score: Score, job: Job, tmp_path: Path
) -> None:
    summary = score(job)

    lake = tmp_path / "lake"
    assert (summary.units_done, summary.units_total, summary.scored) == (FILES, FILES, ROWS)
    assert ids(lake) == Counter(range(ROWS))
    assert (
        deltalake.DeltaTable(lake / "predictions_tiny").version() == FILES
    )  # it is made, then one a unit
    told = rows(lake, "SELECT unit, scored, failed FROM units WHERE state = 'done' ORDER BY unit")
    assert told == [{"unit": n, "scored": 10, "failed": 0} for n in range(FILES)]
    charged = rows(lake, "SELECT DISTINCT x_Unit FROM ledger WHERE x_CostKind = 'useful'")
    assert {row["x_Unit"] for row in charged} == set(range(FILES))
    assert summary.books_closed


@pytest.mark.slow
@pytest.mark.spark
def test_a_run_that_broke_goes_on_after_its_last_commit_with_the_units_it_was_planned_with(
    score: Score, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(delta, "append", breaking_at(3))
        with pytest.raises(RunFailed, match="disk is full"):
            score(job)
    lake = tmp_path / "lake"
    first = rows(lake, "SELECT DISTINCT unit, scored_at FROM predictions_tiny")
    assert 1 <= len(first) < FILES
    monkeypatch.setattr(
        work_units, "_UNKNOWN_SPEED_BYTES", 1 << 30
    )  # planned anew it would be one unit

    summary = score(job)

    assert (summary.units_done, summary.scored) == (FILES, ROWS)
    assert ids(lake) == Counter(range(ROWS))
    after = rows(lake, "SELECT DISTINCT unit, scored_at FROM predictions_tiny")
    assert [one for one in first if one in after] == first
    events = rows(lake, "SELECT state FROM runs ORDER BY event")
    assert [event["state"] for event in events] == ["started", "failed", "resumed", "done"]


@pytest.mark.slow
@pytest.mark.spark
def test_a_driver_that_died_between_a_commit_and_its_telling_is_made_up_for(
    score: Score, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(UnitScorer, "record", dies)
    with pytest.raises(KeyboardInterrupt):
        score(job)
    monkeypatch.undo()
    lake = tmp_path / "lake"
    assert len(ids(lake)) in (ROWS // FILES, 2 * ROWS // FILES)  # two at once, and one may not end
    assert rows(lake, "SELECT count(*) AS n FROM units WHERE state = 'done'") == [{"n": 0}]

    assert score(job).scored == ROWS
    assert ids(lake) == Counter(range(ROWS))
    assert rows(lake, "SELECT sum(scored) AS n FROM units WHERE state = 'done'") == [{"n": ROWS}]
    assert rows(lake, "SELECT state FROM runs WHERE event = 1") == [{"state": "stopped"}]


@pytest.mark.slow
@pytest.mark.spark
def test_a_run_that_is_done_scores_nothing_and_fresh_scores_all_as_a_run_of_its_own(
    score: Score, job: Job, tmp_path: Path
) -> None:
    first = score(job)
    assert score(job).run_id == first.run_id
    again = score(job, fresh=True)

    lake = tmp_path / "lake"
    assert again.run_id != first.run_id
    assert again.scored == ROWS
    assert ids(lake) == Counter(list(range(ROWS)) * 2)
    assert len(rows(lake, "SELECT id FROM tiny_current")) == ROWS
    assert score(job).run_id == again.run_id


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("version", [0, 1, 5])
def test_a_table_that_was_restored_gets_its_rows_back_and_no_row_twice(
    score: Score, job: Job, tmp_path: Path, version: int
) -> None:
    first = score(job)
    table = tmp_path / "lake" / "predictions_tiny"
    deltalake.DeltaTable(table).restore(version)
    assert len(ids(tmp_path / "lake")) == ROWS // FILES * version

    summary = score(job)

    assert (summary.run_id, summary.scored) == (first.run_id, ROWS)
    assert ids(tmp_path / "lake") == Counter(range(ROWS))
    records = rows(tmp_path / "lake", "SELECT x_RecordId FROM ledger")
    assert max(Counter(row["x_RecordId"] for row in records).values()) == 1
    before = deltalake.DeltaTable(table).version()
    assert score(job).run_id == first.run_id
    assert deltalake.DeltaTable(table).version() == before


@pytest.mark.slow
@pytest.mark.spark
def test_a_clock_that_runs_backwards_a_year_a_look_changes_no_id_and_no_order(
    score: Score, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(1000))

    def clock() -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC) - timedelta(days=365) * next(looks)

    with monkeypatch.context() as broken:
        broken.setattr(delta, "append", breaking_at(3))
        with pytest.raises(RunFailed, match="disk is full"):
            score(job, now=clock)
    first = score(job, now=clock)
    before = deltalake.DeltaTable(tmp_path / "lake" / "predictions_tiny").version()

    assert first.scored == ROWS
    assert score(job, now=clock).run_id == first.run_id  # done, though its end was before its start
    assert deltalake.DeltaTable(tmp_path / "lake" / "predictions_tiny").version() == before
    again = score(job, now=clock, fresh=True)
    assert ids(tmp_path / "lake") == Counter(list(range(ROWS)) * 2)
    lake = tmp_path / "lake"
    assert rows(lake, "SELECT DISTINCT run_id FROM tiny_current") == [{"run_id": again.run_id}]
    events = rows(lake, f"SELECT state FROM runs WHERE run_id = '{first.run_id}' ORDER BY event")
    assert [event["state"] for event in events] == ["started", "failed", "resumed", "done"]


@pytest.mark.slow
@pytest.mark.spark
def test_more_failed_rows_than_the_job_allows_stop_the_run_between_units(
    score: Score, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = images(ROWS)
    bad = [b"no 16 bytes" if n % 10 < 8 else pixel for n, pixel in enumerate(pixels)]
    folder = write_parquet(tmp_path / "input", image_table(bad), files=FILES)
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", min_size(folder))
    monkeypatch.setattr(unit_scoring, "_FEW", 8)

    with pytest.raises(TooManyFailed) as error:
        score(job_of(tmp_path, model, run={"max_failed": 0.1}))

    assert "16 rows" in str(error.value)
    committed = len(ids(tmp_path / "lake"))
    assert committed < ROWS
    with pytest.raises(
        TooManyFailed
    ):  # as a scheduler does: that may not score a unit more each time
        score(job_of(tmp_path, model, run={"max_failed": 0.1}))
    assert len(ids(tmp_path / "lake")) == committed
    assert score(job_of(tmp_path, model, run={"max_failed": 1.0})).failed == ROWS * 8 // 10


@pytest.mark.slow
@pytest.mark.spark
def test_what_memory_does_not_hold_is_known_to_the_workers_of_later_runs(
    spark: SparkSession, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(number: int) -> list[int]:
        """The rows of each call, in a run whose workers are new."""
        calls, script = tmp_path / f"calls-{number}", tmp_path / f"script-{number}"
        script.write_text(json.dumps({"predict": {"calls": str(calls), "max_rows": 4}}), "utf-8")
        monkeypatch.setitem(spark.sparkContext.environment, VARIABLE, str(script))
        engine = {"backend": "torch", "precision": "fp32", "batch": 64}
        assert (
            run(
                spark, job.model_copy(update={"engine": Engine(**engine)}), QUIET, fresh=True
            ).scored
            == ROWS
        )
        return [int(line) for line in calls.read_text("ascii").split()]

    first, second = computed(1), computed(2)

    assert max(first) > 4  # each worker has to find that out
    assert max(second) <= 4
    assert sum(second) == ROWS


def test_a_runs_speed_is_read_from_its_own_events(tmp_path: Path) -> None:
    assert runs.rows_per_s(LakeLocation(tmp_path), "tiny", "digest") is None


def test_a_driver_does_not_hold_the_plans_of_units_that_are_over(
    score: Score, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would free them by and by, and a JVM with little memory cannot wait for that."""
    held, finished = [], work_units.finished

    def counting(*arguments: Any, **more: Any) -> None:
        finished(*arguments, **more)
        held.append(len(ThreadSafeFinalizer.finalizers))  # what it has of the JVM's

    monkeypatch.setattr(work_units, "finished", counting)
    gc.disable()
    try:
        score(job)
    finally:
        gc.enable()
    assert len(held) == FILES
    assert held[-1] - held[1] < 100
