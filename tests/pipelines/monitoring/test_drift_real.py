"""Drift on real data: halves of it are alike, shorter texts and inverted images are not."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.monitoring import baseline, drift
from millrace.pipelines.profiling import profiler
from millrace.pipelines.profiling.profiler import Sampling
from millrace.pipelines.profiling.profiles import Measure, MeasureProfile, measures_of
from millrace.pipelines.run.runner import run
from millrace.pipelines.sources import reader
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.config import Job
from millrace.schemas.monitor import Drift
from millrace.schemas.yaml_file import load
from tests.helpers import image_table, job_of, pixel_mlp, write_parquet
from tests.pipelines.monitoring.test_drift import PINNED, rows, told_of

pytestmark = pytest.mark.spark
ROOT = Path(__file__).resolve().parents[3]
SIDE, DIGITS = 28, 10


def test_halves_of_the_messages_are_alike_and_shorter_ones_or_another_mix_are_told(
    spark: SparkSession, shared_data: Path
) -> None:
    messages = shared_data / "sms-spam" / "SMSSpamCollection.tsv"
    told = load(ROOT / "conf" / "jobs" / "sms.yaml", Job, overrides=[f"source.path={messages}"])
    read = reader.read(spark, told.source, told.contract, pin(told.source)).cache()
    types = {"Label": "string", "SMS": "string"}

    def profiles(frame: DataFrame) -> dict[Measure, MeasureProfile]:
        found = profiler.profiled(frame, measures_of(types), types, Sampling(told.key, 1.0))
        return {one.measure: one for one in found}

    one, other = (profiles(read.where(F.col("line") % 2 == half)) for half in (0, 1))
    cut = profiles(read.withColumn("SMS", F.expr("substring(SMS, 1, length(SMS) div 2)")))
    spam = profiles(read.where("Label = 'spam' OR line % 6 = 0"))
    read.unpersist()

    def moved(now: dict[Measure, MeasureProfile]) -> list[str]:
        found = drift.findings(one, now, Drift())
        return [f"{f.column}.{f.measure}" for f in found if f.drifted]

    assert one[Measure("SMS", "length")].sketch.total + other[
        Measure("SMS", "length")
    ].sketch.total == pytest.approx(5574, abs=5)
    assert moved(other) == []
    assert moved(cut) == ["SMS.length"]
    # spam has four letters, ham three, and spam is longer than what people write
    assert moved(spam) == ["Label.category", "Label.length", "SMS.length"]


@pytest.mark.slow
def test_inverted_digits_are_told_by_what_the_model_makes_of_them(
    spark: SparkSession, shared_data: Path, tmp_path: Path
) -> None:
    packed = (shared_data / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes()
    images = np.frombuffer(gzip.decompress(packed), np.uint8, offset=16).reshape(-1, SIDE * SIDE)
    model = pixel_mlp(
        tmp_path / "model",
        options={"hidden": [8], "outputs": DIGITS},
        inputs={"pixels": {"type": "binary", "shape": [SIDE, SIDE]}},
        outputs={"label": {"type": "bigint"}, "score": {"type": "float"}},
    )
    job = job_of(tmp_path, model, engine=PINNED, monitor={})

    def scored(pixels: np.ndarray[Any, Any]) -> Any:
        write_parquet(tmp_path / "input", image_table([row.tobytes() for row in pixels]))
        return run(spark, job, Progress(quiet=True))

    first = scored(images[0:6000:2])
    lake = tmp_path / "lake"
    baseline.set_(LakeLocation(lake), first.run_id, first_at(lake))
    same = scored(images[1:6000:2])
    assert told_of(same) == []
    inverted = scored(255 - images[1:6000:2])

    assert {warning.split(": ")[1] for warning in told_of(inverted)} >= {"score.value"}
    assert all(warning.startswith("the outputs drifted") for warning in told_of(inverted))
    psi = {
        row["run_id"]: row["psi"]
        for row in rows(lake, "SELECT run_id, psi FROM drift WHERE column = 'score' AND psi IS NOT NULL AND unit IS NULL")
    }  # fmt: skip
    assert psi[same.run_id] < 0.05
    assert psi[inverted.run_id] > 1


def first_at(lake: Path) -> Any:
    return rows(lake, "SELECT MAX(at) AS at FROM runs")[0]["at"]
