"""Rows that raise, kill and hang, in Spark's own workers: each is found, and all others are scored once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.lake.delta import spark_schema
from millrace.udfs.engine.fault_script import VARIABLE
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.engine.task_scoring import output_schema
from millrace.udfs.models import model_loading
from millrace.udfs.runtime.plan import Plan, Runtime, Scorer
from millrace.udfs.worker.functions import arrow_scorer
from tests.helpers import image_table, images, loaded, pixel_mlp, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ROWS = 400
SEGV, HANG, RAISE, EXIT = 255, 254, 253, 252
BAD = {30: RAISE, 111: SEGV, 217: HANG, 333: EXIT}


@pytest.fixture
def scripted(spark: SparkSession, tmp_path: Path) -> Iterator[Path]:
    """Spark's workers with a script; the file in which they count calls."""
    rules = [
        {"action": "raise", "when": [0, RAISE]},
        {"action": "segv", "when": [0, SEGV]},
        {"action": "hang", "when": [0, HANG]},
        {"action": "exit", "when": [0, EXIT]},
    ]
    script = tmp_path / "script.json"
    told = {"predict": {"calls": str(tmp_path / "calls"), "rules": rules}}
    script.write_text(json.dumps(told), "utf-8")
    environment = spark.sparkContext.environment
    environment[VARIABLE] = str(script)
    yield tmp_path / "calls"
    del environment[VARIABLE]


def test_rows_that_raise_kill_or_hang_are_errors_and_every_other_row_is_scored_once(
    spark: SparkSession, scripted: Path, tmp_path: Path
) -> None:
    folder = pixel_mlp(tmp_path / "model")
    pixels = [bytes([cell[0] % 200]) + cell[1:] for cell in images(ROWS)]
    for row, mark in BAD.items():
        pixels[row] = bytes([mark]) + pixels[row][1:]
    table = image_table(pixels)
    write_parquet(tmp_path / "input", table)  # one task: it may die thrice
    journal = tmp_path / "journal"
    plan = Plan(
        ("pixels",), ("id",), 64, 64, max_failed_rows=10, journal=str(journal), batch_timeout_s=3.0
    )
    scorer = Scorer(
        folder,
        model_loading.digest_of(folder),
        Runtime("cpu"),
        plan,
        spark.sparkContext.applicationId,
        0.0,
    )
    signature = loaded(folder).card.signature
    schema = spark_schema(output_schema(pa.schema([("id", pa.int64())]), signature))
    rows = spark.read.parquet(str(tmp_path / "input")).coalesce(1)

    found = rows.mapInArrow(arrow_scorer(scorer, rows.columns), schema).collect()

    undisturbed = pa.Table.from_batches(
        score(table.to_batches(), lambda: loaded(folder), plan, Meter(TaskAttempt()))
    ).to_pylist()
    assert sorted(row["id"] for row in found) == list(range(ROWS))
    errors = {
        row["id"]: (row["error"]["kind"], row["error"]["message"]) for row in found if row["error"]
    }
    assert errors == {
        30: ("predict", "Fault: a failpoint said so at predict"),
        111: ("crash", "the process ended by SIGSEGV"),
        217: ("crash", "no answer within 3 s"),
        333: ("crash", "the process ended with exit code 3"),
    }
    for row in found:
        if row["error"] is None:
            other = undisturbed[row["id"]]
            assert row["label"] == other["label"]
            assert row["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        else:
            assert (row["label"], row["score"], row["probabilities"]) == (None, None, None)
    meters = [row["_meter"] for row in found if row["_meter"]]
    assert sum(meter["rows"] for meter in meters) == ROWS
    assert sum(meter["failed"] for meter in meters) == len(BAD)
    assert {meter["attempt_number"] for meter in meters} == {2}  # two deaths, then all apart
    assert scripted.is_file()
    assert not list(journal.iterdir())
