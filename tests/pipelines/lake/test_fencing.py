"""The scratch folder of a driver: who makes it, and that nothing of it is left, whoever still writes."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from millrace.pipelines.inference.worker_plan import counts_folder
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import RunFailed
from millrace.udfs.runtime.row_counts import SCORED, RowCount
from millrace.udfs.worker.journal import Journal


def test_workers_that_still_write_when_a_driver_ends_leave_nothing_behind(tmp_path: Path) -> None:
    lake, ended = LakeLocation(tmp_path), threading.Event()

    def work(folder: Path, worker: int) -> None:
        unit = 0
        while not ended.is_set():
            unit = (unit + 1) % 100
            with (
                suppress(RunFailed),
                Journal(folder / f"unit-{worker}-{unit}", 0) as journal,
            ):
                journal.began(0)
            with RowCount(counts_folder(folder, unit), SCORED, worker, 0) as count:
                count.computed(1)

    for attempt in range(5):
        driver = Driver.at(lake, "run", f"driver-{attempt}")
        driver.begin()
        ended.clear()
        workers = [threading.Thread(target=work, args=(driver.folder, at)) for at in range(2)]
        for worker in workers:
            worker.start()
        try:
            while not any(driver.folder.iterdir()):
                pass
            driver.end()
            for _ in range(50):
                assert not driver.folder.exists()
        finally:
            ended.set()
            for worker in workers:
                worker.join()
        assert not lake.staging.exists()


def test_a_file_made_after_its_folder_was_listed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = LakeLocation(tmp_path)
    driver = Driver.at(lake, "run")
    driver.begin()
    late, remove = [os.open(driver.folder, os.O_RDONLY)], os.rmdir

    def removed_late(path: str, *, dir_fd: int | None = None) -> None:
        """Before a folder is removed the first time, a call that had found it makes its file."""
        if late:
            folder = late.pop()
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
            os.close(folder)
        remove(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", removed_late)
    driver.end()
    assert not late
    assert not lake.staging.exists()


def test_a_worker_that_does_not_see_the_runs_folder_says_so_and_makes_none(tmp_path: Path) -> None:
    folder = tmp_path / "_staging" / "run" / "driver"
    with pytest.raises(RunFailed, match="the run's scratch folder is not there") as raised:
        Journal(folder / "unit-0", 0).__enter__()
    assert "file system that the driver and all executors share" in str(raised.value.allowed)
    with RowCount(counts_folder(folder, 0), SCORED, 0, 0) as count:
        count.computed(1)
    assert not list(tmp_path.iterdir())


def test_a_driver_removes_what_a_killed_one_left_and_ends_where_nothing_was_begun(
    tmp_path: Path,
) -> None:
    lake = LakeLocation(tmp_path)
    killed, last = Driver.at(lake, "run", "killed"), Driver.at(lake, "run", "last")
    killed.begin()
    (killed.folder / "unit-0").mkdir()
    last.begin()
    assert [path.name for path in (lake.staging / "run").iterdir()] == ["last"]
    last.end()
    assert not lake.staging.exists()
    last.end()
    Driver.at(lake, "other").end()
