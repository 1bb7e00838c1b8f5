"""A disk that is full in the middle of a run: nothing half-written counts, and with room the run goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.schemas.config import Job
from tests.chaos.driven import start, table, violations
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.faults, pytest.mark.timeout(600)]
ROWS, FILES = 60, 6
CELL_BYTES = 100_000  # kept with each row: a unit is a megabyte


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    folder = tmp_path / "lake"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def job_with_large_rows(tmp_path: Path) -> tuple[Job, Path, list[bytes]]:
    pixels, model = images(ROWS), pixel_mlp(tmp_path / "model")
    dice = np.random.default_rng(0)  # what does not compress
    noise = pa.array([dice.bytes(CELL_BYTES) for _ in range(ROWS)], pa.binary())
    rows = image_table(pixels).append_column("noise", noise)
    write_parquet(tmp_path / "input", rows, files=FILES)
    engine = {"backend": "torch", "precision": "fp32"}
    return job_of(tmp_path, model, keep=["noise"], engine=engine), model, pixels


def test_a_full_disk_ends_the_run_and_with_room_it_goes_on_after_its_last_commit(
    small: Path, tmp_path: Path
) -> None:
    job, model, pixels = job_with_large_rows(tmp_path)

    first = start(job, tmp_path / "drivers")

    assert first.wait() == 5, first.log.read_text("utf-8")
    assert "space" in first.told()["got"].lower()
    assert not first.orphans()
    before = len(table(small, job.table))
    assert before % (ROWS // FILES) == 0
    assert before < ROWS
    subprocess.run(["mount", "-o", "remount,size=256m", small], check=True)

    again = start(job, tmp_path / "drivers")

    assert again.wait() == 0, again.log.read_text("utf-8")
    assert not violations(job, model, pixels, set(), set())
    assert not again.orphans()
