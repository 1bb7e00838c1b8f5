"""The worker's clock against Spark's own, read from the event log with no code shared with Millrace."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from urllib.parse import urlparse

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from tests.helpers import image_table, images, job_of, model_folder, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.slow]
ROWS = 150_000  # seconds of work a task: Spark's part of a shorter one is no small share


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNN of the digits demonstration, untrained."""
    return model_folder(
        tmp_path_factory.mktemp("cnn"),
        "cnn",
        {"channels": [32, 64], "dense": 64, "classes": 10},
        {"pixels": {"type": "binary", "shape": [1, 28, 28]}},
        {"label": {"type": "bigint"}},
        {"name": "pixels", "options": {"scale": 1 / 255}},
        {"name": "classify"},
    )


def executor_run_s(spark: SparkSession, task_ids: set[int]) -> float:
    """Seconds that the executors ran these tasks, from the event log as Spark documents it."""
    folder = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    (log,) = folder.glob(f"{spark.sparkContext.applicationId}*")
    ended = [
        json.loads(line)
        for line in log.read_text().splitlines()
        if '"SparkListenerTaskEnd"' in line[:40]
    ]
    found = {e["Task Info"]["Task ID"]: e for e in ended if e["Task Info"]["Task ID"] in task_ids}
    # A task that another test of this session had killed ends without metrics: only ours are read.
    return sum(found[task]["Task Metrics"]["Executor Run Time"] for task in task_ids) / 1000


def coverage(spark: SparkSession, lake: Path) -> float:
    meters = query(
        LakeLocation(lake),
        "SELECT _meter.task_id AS task_id, _meter.wall_s AS wall_s FROM predictions_tiny WHERE _meter IS NOT NULL",
    ).to_pylist()
    assert len(meters) >= 2
    return sum(m["wall_s"] for m in meters) / executor_run_s(spark, {m["task_id"] for m in meters})


def unattributed(lake: Path) -> float:
    """Share of the run's task time of which the ledger does not say what it was for."""
    (found,) = query(
        LakeLocation(lake),
        "SELECT SUM(CASE WHEN x_CostKind = 'unattributed' THEN x_SlotMs ELSE 0 END) * 1.0"
        " / SUM(x_SlotMs) AS share FROM ledger WHERE SkuMeter = 'Core' AND x_TaskId IS NOT NULL",
    ).to_pylist()
    return float(found["share"])


def test_the_meters_cover_the_inference_stage(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    pictures = [image * 49 for image in images(ROWS)]  # 16 bytes x 49 = 28 x 28
    write_parquet(tmp_path / "input", image_table(pictures), files=4)

    summary = run(spark, job_of(tmp_path, model), Progress(quiet=True))

    found = coverage(spark, tmp_path / "lake")
    assert 0.90 <= found <= 1.01
    assert [gate.passed for gate in summary.gates] == [True] * 6
    assert summary.ledger_coverage is not None
    assert unattributed(tmp_path / "lake") == pytest.approx(1 - summary.ledger_coverage, abs=0.0001)
    assert unattributed(tmp_path / "lake") <= 0.02


@pytest.mark.long
def test_they_do_where_python_reads_the_input_too(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    pixels = b"".join(image * 49 for image in images(ROWS))
    header = struct.pack(">BBBBIII", 0, 0, 8, 3, ROWS, 28, 28)
    (tmp_path / "images.gz").write_bytes(gzip.compress(header + pixels, 1))
    columns = {"index": {"type": "bigint"}, "pixels": {"type": "binary", "nullable": False}}
    source = {"format": "idx", "path": str(tmp_path / "images.gz")}

    summary = run(
        spark,
        job_of(tmp_path, model, source=source, key=["index"], contract={"columns": columns}),
        Progress(quiet=True),
    )

    assert summary.scored == ROWS
    assert unattributed(tmp_path / "lake") <= 0.02
    assert 0.90 <= coverage(spark, tmp_path / "lake") <= 1.01
