"""Drivers that die while rows share outputs: each row is there once, with its own, and saved once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.driven import KILL, start, table, violations
from tests.chaos.test_kills import killing
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.faults, pytest.mark.timeout(600)]
ROWS, FILES, DISTINCT = 60, 6, 15


@pytest.mark.timeout(600)
def test_a_driver_killed_between_commits_and_cache_leaves_every_row_once_with_its_own_outputs(
    tmp_path: Path,
) -> None:
    model = pixel_mlp(tmp_path / "model")
    pixels = [images(DISTINCT)[n * 7 % DISTINCT] for n in range(ROWS)]
    write_parquet(tmp_path / "input", image_table(pixels), files=FILES)
    engine = {"backend": "torch", "precision": "fp32", "dedupe": "unit", "cache": "table"}
    job = job_of(tmp_path, model, engine=engine)
    calls, lake = tmp_path / "calls", Path(job.output.path)
    for at, nth in (("before_commit", 2), ("after_commit", 1), ("before_ledger", 1)):
        driver = start(job, tmp_path / "drivers", script=killing(at, nth, calls))
        assert driver.wait() == -KILL, driver.log.read_text("utf-8")
        assert not driver.orphans()

    last = start(job, tmp_path / "drivers", script={"predict": {"calls": str(calls)}})

    assert last.wait() == 0, last.log.read_text("utf-8")
    told = last.told()
    assert told["scored"] == ROWS
    assert not violations(job, model, pixels, set(), set())
    saved = [row for row in table(lake, "ledger") if row["x_CostKind"] == "saved"]
    assert sum(row["x_RowsIn"] for row in saved if row["SkuMeter"] == "Core") == told["saved_rows"]
    (cache,) = lake.glob("cache_*")
    kept = {row["input"] for row in table(lake, cache.name)}
    computed = {row["_input"] for row in table(lake, job.table)} - {None}
    assert kept == computed
    assert len(kept) == DISTINCT
