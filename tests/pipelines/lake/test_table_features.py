"""Tables of a lake on which their owner switched on features of Delta: their live rows count, or it is said."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from millrace.pipelines.accounting import ledger
from millrace.pipelines.accounting.focus_export import _ledger
from millrace.pipelines.accounting.ledger_rebuild import rebuild
from millrace.pipelines.cli import main
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.job.preflight import checked
from millrace.pipelines.job.size_estimate import counted
from millrace.pipelines.lake import delta, garbage, live_rows, own_tables
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query import validation_details
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.replay import replay, request
from millrace.pipelines.run.runner import run, utc_now
from millrace.pipelines.sources.row_counts import stated
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError
from millrace.schemas.sources import DeltaSource
from millrace.schemas.summary import RunSummary
from millrace.schemas.tables import LEDGER, QUARANTINE, RUNS, Column, Table
from millrace.udfs.engine import fault_actions, fault_injection, fault_script
from tests.helpers import image_table, images, job_of, write_parquet

ROOT = Path(__file__).resolve().parents[3]
QUIET = Progress(quiet=True)
CONTRACT = {
    "columns": {"id": {"type": "bigint", "nullable": False}, "pixels": {"type": "binary"}},
    "rules": [{"name": "whole", "holds": "length(pixels) = 16"}],
    "max_quarantined": 0.9,
}
FEED = "'delta.enableChangeDataFeed' = 'true'"
VECTORS = "'delta.enableDeletionVectors' = 'true'"
MAPPED = "'delta.columnMapping.mode' = 'name'"


def alter(spark: SparkSession, table: Path, what: str) -> None:
    spark.sql(f"ALTER TABLE delta.`{table}` {what}")


@pytest.fixture(scope="module")
def job(spark: SparkSession, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that ran; then all its tables got features, and a row each of two was deleted."""
    folder = tmp_path_factory.mktemp("features")
    pixels = images(12)
    pixels[3] = pixels[5] = b"short"
    write_parquet(folder / "input", image_table(pixels, [*range(12)]), files=2)
    places = {"source": {"format": "parquet", "path": str(folder / "input")}}
    job = job_of(folder, model, contract=CONTRACT, **places)
    run(spark, job, QUIET)
    for table in sorted((folder / "lake").glob("[a-z]*")):
        alter(spark, table, f"SET TBLPROPERTIES ({VECTORS}, {MAPPED})")
    for table, gone in (("quarantine", """key = '{"id":3}'"""), (job.table, "id = 7")):
        spark.sql(f"DELETE FROM delta.`{folder / 'lake' / table}` WHERE {gone}")
    return job


def lake_of(job: Job) -> Path:
    return Path(job.output.path)


def of(lake: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(LakeLocation(lake), sql).to_pylist()
    return found


@pytest.mark.slow
@pytest.mark.spark
def test_live_rows_alone_are_read(spark: SparkSession, job: Job) -> None:
    lake = lake_of(job)
    run_id = delta.values(LakeLocation(lake), RUNS)[0]["run_id"]
    vectors = DeltaTable(lake / "quarantine")
    assert not live_rows.is_plain(vectors)
    assert sum(live_rows.deleted(vectors).values()) == 1, "the file was written anew: no vector"

    (left,) = delta.values(LakeLocation(lake), QUARANTINE)
    assert (left["key"], [one["rule"] for one in left["reasons"]]) == ('{"id":5}', ["whole"])
    assert of(lake, "SELECT key FROM quarantine") == [{"key": '{"id":5}'}]
    assert delta.count(LakeLocation(lake), job.table, run_id=run_id) == 9
    assert ledger.counted(LakeLocation(lake), job.table, run_id).scored == 9
    (batch,) = validation_details._refused(LakeLocation(lake), run_id, "key")
    assert batch.column("key").to_pylist() == ['{"id":5}']
    charged = [row["EffectiveCost"] for row in delta.values(LakeLocation(lake), LEDGER)]
    assert len(charged) == len(of(lake, "SELECT * FROM ledger")) > 3
    assert _ledger(LakeLocation(lake), None).num_rows == len(charged)
    told = [
        name
        for name, value in delta.values(LakeLocation(lake), RUNS)[-1].items()
        if value is not None
    ]
    assert {"run_id", "state", "at", "fingerprint"} <= set(told)
    rebuilt = rebuild(
        LakeLocation(lake), run_id, Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    )
    assert (rebuilt.same, rebuilt.written, rebuilt.different) == (len(charged), 0, ())


@pytest.mark.spark
def test_deleted_rows_of_files_with_one_name_in_two_folders_are_both_counted(
    spark: SparkSession, tmp_path: Path
) -> None:
    table = tmp_path / "a table"
    for folder in ("kind=a%20b", "kind=c"):
        (table / folder).mkdir(parents=True)
        pq.write_table(pa.table({"id": pa.array([*range(10)])}), table / folder / "part-0.parquet")
    spark.sql(f"CONVERT TO DELTA parquet.`{table}` PARTITIONED BY (kind string)")
    alter(spark, table, f"SET TBLPROPERTIES ({VECTORS})")
    spark.sql(f"DELETE FROM delta.`{table}` WHERE id < 3")
    source = DeltaSource(format="delta", path=str(table))
    pinned = pin(source)

    assert (stated(source, pinned).rows, counted(pinned).rows) == (14, 14)
    assert sorted(live_rows.deleted(DeltaTable(table)).values()) == [3, 3]


@pytest.mark.slow
@pytest.mark.spark
def test_a_run_goes_on_writing_such_tables(spark: SparkSession, job: Job) -> None:
    lake = lake_of(job)
    again = run(spark, job, QUIET, fresh=True)

    assert (again.scored, again.quarantined) == (10, 2)
    assert delta.count(LakeLocation(lake), job.table, run_id=again.run_id) == 10
    (seen,) = of(lake, f"SELECT count(id) AS ids, count(DISTINCT id) AS other FROM {job.table} WHERE run_id = '{again.run_id}'")  # fmt: skip
    assert (seen["ids"], seen["other"]) == (10, 10)
    by_spark = spark.read.format("delta").load(str(lake / job.table))
    assert by_spark.where(by_spark.run_id == again.run_id).where("label IS NOT NULL").count() == 10


@pytest.mark.slow
@pytest.mark.spark
def test_a_table_with_renamed_columns_is_not_written(spark: SparkSession, tmp_path: Path) -> None:
    """Its files would have a column under a name that means another, or nothing."""
    moved = tmp_path / "moved"
    once = pa.table({"a": pa.array([1, 2]), "b": pa.array([3, 4])})
    write_deltalake(str(moved), once)
    alter(spark, moved, f"SET TBLPROPERTIES ({MAPPED})")
    for change in ("RENAME COLUMN a TO c", "RENAME COLUMN b TO a", "RENAME COLUMN c TO b"):
        alter(spark, moved, change)
    swapped = DeltaTable(str(moved))
    assert live_rows.rows(swapped).to_pydict() == {"b": [1, 2], "a": [3, 4]}
    assert live_rows.renamed(swapped) == {"b": "a", "a": "b"}
    mine = Table("moved", "a row", (Column("a", "bigint", "one"), Column("b", "bigint", "other")))
    with pytest.raises(UsageError, match="renamed columns"):
        own_tables.check(swapped, mine)


@pytest.mark.slow
@pytest.mark.spark
def test_rows_of_a_delta_source_are_its_live_rows(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    spark.range(100).coalesce(1).write.format("delta").save(path)
    alter(spark, Path(path), f"SET TBLPROPERTIES ({VECTORS})")
    spark.sql(f"DELETE FROM delta.`{path}` WHERE id < 10")

    found = counted(pin(DeltaSource(format="delta", path=path)))

    assert (found.rows, found.is_exact) == (90, True)
    first = counted(pin(DeltaSource(format="delta", path=path, version=0)))
    assert (first.rows, first.is_exact) == (100, True)


def command(*words: str | Path) -> dict[str, Any]:
    """What a command printed as JSON."""
    done = CliRunner().invoke(main, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.output.splitlines()[-1])
    return told


def resumed_job(
    spark: SparkSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Job, list[bytes], RunSummary]:
    """A job, its pictures, and its run, which a driver left before all tables got features."""
    lake, input_ = tmp_path / "lake", tmp_path / "input"
    pixels = images(12)
    pixels[3] = pixels[5] = b"short"
    write_parquet(input_, image_table(pixels, [*range(12)]), files=3)
    smallest = min(path.stat().st_size for path in input_.iterdir())
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", smallest)  # a unit a file
    pinned = {"backend": "torch", "precision": "fp32", "batch": 64}
    job = job_of(tmp_path, model, contract=CONTRACT, engine=pinned, monitor={})
    with monkeypatch.context() as broken:
        dies = fault_script.FaultRule("raise", at="after_commit", nth=2)
        broken.setattr(fault_injection, "ON", True)
        broken.setattr(fault_injection, "SCRIPT", fault_script.FaultScript(driver=(dies,)))
        with pytest.raises(fault_actions.Fault):
            run(spark, job, QUIET)
    for table in sorted(lake.glob("[a-z]*/_delta_log")):
        alter(spark, table.parent, f"SET TBLPROPERTIES ({VECTORS}, {MAPPED}, {FEED})")
    alter(spark, lake / job.table, "ADD COLUMN remark string")
    there = f"delta.`{lake / job.table}`"
    spark.sql(f"UPDATE {there} SET remark = 'mine' WHERE id = 1")

    done = run(spark, job, QUIET)

    assert (done.rows_read, done.scored, done.quarantined) == (12, 10, 2)
    told = {gate.name: gate.passed for gate in done.gates}
    assert told["every row is scored, quarantined or failed"] is True
    ids = of(lake, f"SELECT id, remark FROM {job.table} ORDER BY id")
    assert [row["id"] for row in ids] == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert [row["id"] for row in ids if row["remark"] == "mine"] == [1]
    return job, pixels, done


@pytest.mark.slow
@pytest.mark.spark
def test_every_command_is_exact_on_a_lake_that_got_features_while_a_run_was_down(
    spark: SparkSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, pixels, done = resumed_job(spark, model, tmp_path, monkeypatch)
    lake, there = tmp_path / "lake", f"delta.`{tmp_path / 'lake' / job.table}`"

    # An owner corrects one row, and takes out another.
    spark.sql(f"UPDATE {there} SET score = 0.0 WHERE id = 2")
    spark.sql(f"DELETE FROM delta.`{lake / 'quarantine'}` WHERE key = '{{\"id\":3}}'")
    cost = command("export", "--focus", tmp_path / "focus", "--lake", lake)["effective_cost"]
    assert Decimal(cost["USD"]) == done.cost
    book = ROOT / "conf" / "prices" / "gpu.yaml"
    priced = command(
        "reprice", done.run_id, "--prices", book, "--instance", "g6.xlarge", "--lake", lake
    )
    (by_view,) = of(lake, "SELECT cost, rows_scored FROM cost_by_run")
    assert by_view["rows_scored"] == 10
    assert f"{by_view['cost']:f}".rstrip("0") in json.dumps(priced)
    pixels[3] = pixels[5] = images(1)[0]
    repaired = write_parquet(tmp_path / "repaired", image_table(pixels[3:6], [3, 4, 5]))
    again = replay(spark, job, request(job, done.run_id, f"parquet:{repaired}"), QUIET)
    assert (again.scored, again.quarantined) == (1, 0), "row 5: 3 is no longer quarantined"
    command("report", done.run_id, "--lake", lake)
    command("show", done.run_id, "--lake", lake)
    drift = command("drift", done.run_id, "--baseline", done.run_id, "--lake", lake)
    assert drift["drifted"] is False
    found = garbage.data(LakeLocation(lake), garbage.runs(LakeLocation(lake), set()), timedelta(0))
    for file in {one.path for one in found}:
        file.unlink()
    for table in lake.glob("[a-z]*/_delta_log"):
        name = table.parent.name
        rows = spark.sql(f"SELECT * FROM delta.`{table.parent}`").count()
        assert of(lake, f'SELECT count(*) AS n FROM "{name}"') == [{"n": rows}], name
    assert of(lake, f"SELECT count(*) AS n FROM {job.table}") == [{"n": 11}]


@pytest.mark.slow
@pytest.mark.spark
def test_a_job_that_could_not_commit_is_refused_before_anything_is_computed(
    spark: SparkSession, job: Job
) -> None:
    lake = lake_of(job)
    alter(spark, lake / job.table, "SET TBLPROPERTIES ('delta.enableRowTracking' = 'true')")
    before = len(of(lake, "SELECT * FROM runs"))
    for refused in (lambda: run(spark, job, QUIET, fresh=True), lambda: checked(job, utc_now())):
        with pytest.raises(UsageError, match=f"{job.table} has features that Millrace does not"):
            refused()
    assert len(of(lake, "SELECT * FROM runs")) == before
    assert not (lake / "_staging").exists()
