"""A plan against what then happens, and as a user sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

from millrace.pipelines.cli import main
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.planning.forecast import foresee
from millrace.pipelines.planning.forecast_table import as_json
from millrace.pipelines.planning.pilot import SHARE
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Job
from millrace.udfs.engine.fault_script import VARIABLE
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet
from tests.pipelines.test_cli import millrace

QUIET = Progress(quiet=True)
ROWS, FILES, BATCH, SLEEP_S = 6000, 8, 8, 0.02


@pytest.fixture
def job(tmp_path: Path) -> Job:
    write_parquet(tmp_path / "input", image_table(images(ROWS)), files=FILES)
    model = pixel_mlp(tmp_path / "model")
    return job_of(tmp_path, model, engine={"batch": BATCH})


@pytest.fixture
def slow(spark: SparkSession, tmp_path: Path) -> Iterator[None]:
    """Every call of the model takes 20 ms: of the whole job, 7.5 s on two slots."""
    script = tmp_path / "script.json"
    rule = {"action": "sleep", "seconds": SLEEP_S}
    script.write_text(json.dumps({"predict": {"rules": [rule]}}), "utf-8")
    environment = spark.sparkContext.environment
    environment[VARIABLE] = str(script)
    yield
    del environment[VARIABLE]


@pytest.mark.spark
@pytest.mark.long
def test_a_run_takes_about_what_was_foreseen_and_past_runs_are_learned_from(
    spark: SparkSession, slow: None, job: Job, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    first = foresee(spark, job, QUIET, 0.0, deadline_s=3600)

    assert (first.count.rows, first.count.is_exact, first.past) == (ROWS, True, 0)
    trials = (first.pilot.cold, *first.pilot.warm)
    assert max(trial.amount.rows for trial in trials) <= ROWS / SHARE + FILES  # each rounds up
    assert not (lake / "predictions_tiny").exists()
    assert not (lake / "runs").exists()
    assert not list((lake / "_staging").glob("*")) if (lake / "_staging").exists() else True
    assert any("no past run" in note for note in first.notes)
    growing_s = first.pilot.shape(0.0).growing.growing_s(
        first.pilot.amount(ROWS, sum(f.stat().st_size for f in (tmp_path / "input").iterdir()))
    )
    # The sleeps are its floor; what a busy machine adds to them has no bound that a test could state.
    assert growing_s > 0.5 * ROWS / BATCH * SLEEP_S / 2

    began = time.monotonic()
    run(spark, job, QUIET)
    truth = time.monotonic() - began
    # Of the same order: how near it comes on a quiet machine is a benchmark's affair.
    assert truth / 4 < first.here.seconds.mid < truth * 4

    second = foresee(spark, job, QUIET, 0.0, deadline_s=0.5)
    assert second.past == 1
    assert second.chosen is None
    assert any("scored already" in note for note in second.notes)
    assert truth / 4 < second.here.seconds.mid < truth * 4
    told = as_json(second)
    assert json.loads(json.dumps(told)) == told
    assert [one["instance"] for one in told["elsewhere"]][:1] == ["c7i.xlarge"]


@pytest.mark.spark
@pytest.mark.slow
def test_a_plan_as_a_user_sees_it(job: Job, tmp_path: Path) -> None:
    path, chart = tmp_path / "job.yaml", tmp_path / "plan.svg"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True)))
    shown = millrace("plan", path, "--deadline", "30m", "--chart", chart)
    assert shown.returncode == 0, shown.stderr
    for words in (f"tiny: {ROWS:,} rows (by the footers of 8 Parquet files)", "the cheapest that ends within",
                  "16 \u00d7 c7i.xlarge", "note: other instances were not measured", f"chart: {chart}"):  # fmt: skip
        assert words in shown.stdout
    assert chart.read_text().startswith("<svg")

    wrong = millrace("plan", path, "--deadline", "soon", "--json")
    assert (wrong.returncode, json.loads(wrong.stdout)["got"]) == (2, "soon")
    assert "plan" in main.commands
