"""How long a worker may say nothing: what that is made of, and that a slow one is let alone, a hung one not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import worker_timeouts
from millrace.pipelines.inference.worker_timeouts import IDLE_TIMEOUT, silence_s
from millrace.pipelines.run.runner import run
from millrace.schemas.summary import RunSummary
from millrace.udfs.engine.fault_script import VARIABLE
from millrace.udfs.runtime.plan import Plan
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

ROWS, BATCH = 12, 4
LIMIT_S = 8  # above the imports of a worker that starts
SIZES = st.integers(0, 10**11)
SECONDS = st.floats(0.01, 1e4)


def test_silence_is_load_window_and_rows_that_hang_each_in_its_unit() -> None:
    load_s = 120 + 2 * 3e9 / 20e6
    assert silence_s(3 * 10**9, None, None, None) == 5 * load_s
    assert silence_s(3 * 10**9, None, None, 7.0) == 5 * load_s + 5852  # 10 x 4096 / 7
    # A call of 64 s may take 72: one in a window of known speed, 4096 / 128 without, and 4 x 12 halvings.
    assert silence_s(0, 128, 64.0, 8.0) == 600 + 10 * 512 + 72 + 48 * 72
    assert silence_s(0, 128, 64.0, None) == 600 + 32 * 72 + 48 * 72


@given(SIZES, st.none() | st.integers(1, 5000), st.none() | SECONDS, st.none() | SECONDS)
def test_a_row_that_hangs_in_the_largest_window_is_found_before_its_worker_seems_to(
    size: int, batch: int | None, timeout_s: float | None, rows_per_s: float | None
) -> None:
    found = silence_s(size, batch, timeout_s, rows_per_s)

    assert found >= 600
    assert found >= 12 * 9 / 8 * (
        timeout_s or 0
    )  # halved from 4,096 rows to one, each half hanging
    if rows_per_s:
        assert found >= Plan.window_rows / rows_per_s
    elif timeout_s and batch:
        assert found >= Plan.window_rows / batch * timeout_s


@pytest.fixture
def sleeps(spark: SparkSession, tmp_path: Path) -> Iterator[Path]:
    """The model sleeps once, for longer than a worker may say nothing by the session's own limit."""
    script, before = tmp_path / "script.json", spark.conf.get(IDLE_TIMEOUT)
    rule = {"action": "sleep", "seconds": LIMIT_S + 4.0, "once": str(tmp_path / "slept")}
    told = {"predict": {"calls": str(tmp_path / "calls"), "rules": [rule]}}
    script.write_text(json.dumps(told), "utf-8")
    spark.sparkContext.environment[VARIABLE] = str(script)
    spark.conf.set(IDLE_TIMEOUT, str(LIMIT_S))
    yield tmp_path / "calls"
    spark.conf.set(IDLE_TIMEOUT, str(before))
    del spark.sparkContext.environment[VARIABLE]


def scored(spark: SparkSession, tmp_path: Path) -> RunSummary:
    write_parquet(tmp_path / "input", image_table(images(ROWS)))
    engine = {"backend": "torch", "precision": "fp32", "batch": BATCH}
    job = job_of(tmp_path, pixel_mlp(tmp_path / "model"), engine=engine)
    return run(spark, job, Progress(quiet=True))


@pytest.mark.spark
@pytest.mark.faults
def test_a_worker_that_is_slower_than_the_session_s_limit_is_let_alone(
    spark: SparkSession, sleeps: Path, tmp_path: Path
) -> None:
    assert scored(spark, tmp_path).scored == ROWS

    assert sleeps.read_text("ascii").split() == [str(BATCH)] * (ROWS // BATCH)  # no call twice
    assert spark.conf.get(IDLE_TIMEOUT) == str(LIMIT_S)


@pytest.mark.spark
@pytest.mark.faults
def test_a_worker_that_hangs_is_ended_and_its_rows_are_scored_by_the_next(
    spark: SparkSession, sleeps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_timeouts, "IMPORTS_S", 0.0)

    assert scored(spark, tmp_path).scored == ROWS

    assert len(sleeps.read_text("ascii").split()) > ROWS // BATCH  # the first attempt's too
