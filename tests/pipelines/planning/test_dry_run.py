"""A dry run says what a run does, and writes nothing to the lake."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable
from pyspark.sql import SparkSession

import millrace
from millrace.schemas.config import Job
from millrace.udfs.engine import fault_injection
from millrace.udfs.engine.fault_actions import Fault
from millrace.udfs.engine.fault_script import FaultRule, FaultScript
from tests.helpers import image_table, images, job_of, write_parquet
from tests.pipelines.test_cli import millrace as command

CONTRACT: dict[str, Any] = {
    "columns": {
        "id": {"type": "bigint", "nullable": False, "unique": True},
        "pixels": {"type": "binary", "nullable": False},
    },
    "rules": [{"name": "late", "holds": "id >= 3"}],
    "max_quarantined": 0.5,
}
CORRECTED = {**CONTRACT, "rules": []}


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its bytes, and every folder."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        )
        for path in folder.rglob("*")
    }


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Job:
    write_parquet(tmp_path / "input", image_table(images(20)), files=4)
    return job_of(tmp_path, model, contract=CONTRACT)


@pytest.mark.spark
def test_before_a_first_run_the_lake_is_not_created(
    spark: SparkSession, job: Job, tmp_path: Path
) -> None:
    before = content(tmp_path)

    found = millrace.dry_run(job, spark=spark)

    assert content(tmp_path) == before
    assert not (tmp_path / "lake").exists()
    assert (found.state, found.run_id, found.rows, found.rows_are_exact) == ("new", None, 20, True)
    assert (found.units, found.units_committed, found.forecast) == (1, 0, None)
    assert (found.input["files"], found.instance) == (4, "laptop")
    summary = millrace.run(job, spark=spark)
    assert summary.fingerprint == found.fingerprint
    assert summary.units_total == found.units
    assert summary.input == found.input


@pytest.mark.spark
def test_a_run_that_is_done_would_score_nothing_and_a_fresh_one_has_a_forecast(
    spark: SparkSession, job: Job, tmp_path: Path
) -> None:
    summary = millrace.run(job, spark=spark)
    before = content(tmp_path)

    done = millrace.dry_run(job, spark=spark)
    cost = {"prices": "example", "instance": "laptop", "budget": "0.000000000001"}
    fresh = millrace.dry_run(job, spark=spark, fresh=True, cost=cost)

    assert content(tmp_path) == before
    assert (done.state, done.run_id, done.forecast) == ("done", summary.run_id, None)
    assert (fresh.state, fresh.run_id) == ("new", None)
    assert fresh.forecast is not None
    assert fresh.forecast["basis"] == "1 past run"
    seconds = fresh.forecast["seconds"]
    assert 0 < seconds["low"] <= seconds["mid"] <= seconds["high"]
    assert "the run would stop before it scores" in fresh.notes[-1]
    assert json.loads(json.dumps(fresh.as_json()))["dry_run"] is True
    assert "<td>done</td>" in done._repr_html_()


@pytest.mark.spark
def test_an_interrupted_run_would_resume_after_its_committed_units(
    spark: SparkSession, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fault_injection, "ON", True)
        rule = FaultRule("raise", at="before_ledger", nth=1)
        patch.setattr(fault_injection, "SCRIPT", FaultScript(driver=(rule,)))
        with pytest.raises(Fault):
            millrace.run(job, spark=spark)
    before = content(tmp_path)

    found = millrace.dry_run(job, spark=spark)

    assert content(tmp_path) == before
    assert (found.state, found.units, found.units_committed) == ("resumed", 1, 1)
    assert millrace.run(job, spark=spark).run_id == found.run_id


@pytest.mark.spark
def test_a_run_whose_table_was_restored_would_resume(
    spark: SparkSession, job: Job, tmp_path: Path
) -> None:
    summary = millrace.run(job, spark=spark)
    table = DeltaTable(str(tmp_path / "lake" / "predictions_tiny"))
    table.restore(0)

    found = millrace.dry_run(job, spark=spark)

    again = millrace.run(job, spark=spark)
    assert (found.state, found.run_id) == ("resumed", again.run_id)
    assert again.run_id == summary.run_id


@pytest.mark.spark
def test_the_rows_of_a_replay_are_counted_by_outcome(
    spark: SparkSession, job: Job, tmp_path: Path
) -> None:
    summary = millrace.run(job, spark=spark)
    before = content(tmp_path)

    found = millrace.dry_run_replay(summary.run_id, job, spark=spark, contract=CORRECTED)

    assert content(tmp_path) == before
    assert [(one.outcome, one.keys, one.rows) for one in found.replay] == [("replayed", 3, 3)]
    assert (found.rows, found.replayed_run, found.state) == (3, summary.run_id, "new")
    replayed = millrace.replay(summary.run_id, job, spark=spark, contract=CORRECTED)
    assert (replayed.rows_read, replayed.fingerprint) == (3, found.fingerprint)
    after = millrace.dry_run_replay(summary.run_id, job, spark=spark, contract=CORRECTED)
    assert (after.state, after.run_id) == ("done", replayed.run_id)
    other = {**CORRECTED, "max_quarantined": 0.4, "rules": [{"name": "all", "holds": "id >= 0"}]}
    left = millrace.dry_run_replay(summary.run_id, job, spark=spark, contract=other)
    assert [(one.outcome, one.rows) for one in left.replay] == [("scored", 3)]
    assert left.rows == 0


@pytest.mark.spark
def test_what_a_run_would_refuse_a_dry_run_refuses(
    spark: SparkSession, job: Job, tmp_path: Path
) -> None:
    absent = {"columns": {**CONTRACT["columns"], "note": {"type": "string"}}}
    before = content(tmp_path)
    with pytest.raises(millrace.errors.SchemaMismatch):
        millrace.dry_run(job, spark=spark, contract=absent)
    with pytest.raises(millrace.errors.UsageError):
        millrace.dry_run(job, spark=spark, source={"path": str(tmp_path / "absent")})
    rules = [{"name": "wrong", "holds": "unknown > 3"}]
    with pytest.raises(millrace.errors.UsageError, match="unknown"):
        millrace.dry_run(job, spark=spark, contract={"rules": rules})
    with pytest.raises(millrace.errors.UsageError, match="no lake at"):
        millrace.dry_run_replay("tiny-1234", job, spark=spark)
    assert content(tmp_path) == before


@pytest.mark.spark
@pytest.mark.slow
def test_a_dry_run_as_a_user_sees_it(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True)))
    before = content(tmp_path)

    shown = command("run", path, "--dry-run")

    assert shown.returncode == 0, shown.stderr
    assert content(tmp_path) == before
    for words in (
        "dry run of tiny: a run would start",
        f"input     {tmp_path / 'input'}: 4 files, ",
        "rows      20 (by the footers of 4 Parquet files)",
        "units     1",
        "forecast  none: no past run of this job and model",
        "nothing was scored or written",
    ):
        assert words in shown.stdout
    wrong = command(
        "run", path, "--dry-run", "--json", "--set", "contract.columns.note.type=string"
    )
    assert wrong.returncode == 3, wrong.stdout
    assert content(tmp_path) == before

    ran = json.loads(command("run", path, "--json").stdout)
    before = content(tmp_path)
    replayed = command("replay", ran["run_id"], path, "--dry-run")
    assert replayed.returncode == 0, replayed.stderr
    assert "3 (3 keys) would be scored" in replayed.stdout
    assert content(tmp_path) == before
