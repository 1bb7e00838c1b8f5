"""A run that stops and is resumed in a session that a notebook uses for its own statements, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.run.runner import run
from tests.bill import PRICES
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet
from tests.stopping import stopped_after_commits

pytestmark = [pytest.mark.spark, pytest.mark.slow]
QUIET = Progress(quiet=True)
TABLES = ("predictions_tiny", "ledger", "runs", "quarantine", "units")


def change_tables(spark: SparkSession, lake: Path) -> None:
    """What an owner may do to the lake's tables between two attempts."""
    for name in TABLES:
        table = f"delta.`{lake / name}`"
        properties = "'delta.enableDeletionVectors' = 'true', 'delta.enableChangeDataFeed' = 'true'"
        spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({properties})")
        spark.sql(f"ALTER TABLE {table} ADD COLUMNS (extra string)")


@contextmanager
def other_jobs(spark: SparkSession) -> Iterator[None]:
    """Jobs of someone else hold the session's cores, one after the other."""
    stopped, began = threading.Event(), threading.Event()

    def work() -> None:
        while not stopped.is_set():
            spark.range(0, 3_000_000, 1, 2).selectExpr("sum(hash(id))").collect()
            began.set()

    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.mark.parametrize("is_busy", [False, True], ids=["between attempts", "at the same time"])
def test_the_books_of_a_resumed_run_close_whatever_else_the_session_does(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    write_parquet(tmp_path / "input", image_table(images(118)), files=3)
    job = job_of(
        tmp_path,
        pixel_mlp(tmp_path / "model"),
        cost={"prices": str(PRICES), "instance": "laptop"},
        engine={"backend": "torch", "precision": "fp32"},
    )
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", 1)  # each file is a unit
    with stopped_after_commits(2), pytest.raises(KeyboardInterrupt):
        run(spark, job, QUIET)
    change_tables(spark, tmp_path / "lake")

    if is_busy:
        with other_jobs(spark):
            resumed = run(spark, job, QUIET)
    else:
        resumed = run(spark, job, QUIET)

    assert (resumed.scored, resumed.units_done) == (118, 3)
    assert [gate.passed for gate in resumed.gates] == [True] * 6, resumed.gates
