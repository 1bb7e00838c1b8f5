"""Executors of their own JVMs, in Spark's local cluster and under a master with two workers: faults there."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.accounting.attempt_usage import closings
from millrace.pipelines.accounting.charges import WASTE, charged
from millrace.pipelines.spark.event_log import EventLog
from millrace.schemas.config import Job
from tests import bill, clusters, event_log
from tests.chaos import lost_maps
from tests.chaos.driven import (
    KILL,
    ROOT,
    Driven,
    executors,
    scored_rows,
    send,
    start,
    table,
    violations,
    wait_for_calls,
)
from tests.helpers import columns_mlp, image_table, images, job_of, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.faults]
ROWS, FILES = 60, 6
WAIT, RAISE, SLOW, SEGV = 252, 253, 254, 255  # first pixels that scripts know
UNIT_FILES = 3  # of the run that loses a shuffle: with several maps, some are lost and some are not
# No task starts before both executors are there, however late a busy machine starts the second.
BOTH_EXECUTORS = (
    "--conf", "spark.cores.max=2",
    "--conf", "spark.scheduler.minRegisteredResourcesRatio=1.0",
    "--conf", "spark.scheduler.maxRegisteredResourcesWaitingTime=180s",
)  # fmt: skip


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A master's address."""
    with clusters.standalone(tmp_path_factory.mktemp("standalone")) as url:
        yield url


@pytest.fixture(params=["local[2,4]", "local-cluster[2,1,1024]", "standalone"])
def master(request: pytest.FixtureRequest) -> str:
    if request.param == "standalone":
        url: str = request.getfixturevalue("standalone")
        return url
    where: str = request.param
    return where


def check_bill(driver: Driven, lake: Path, *kinds: str, perhaps: Sequence[str] = ()) -> None:
    """The ledger agrees with the event log, has these kinds of waste alone, and the gates say so.

    ``perhaps``: kinds that Spark's timing decides on.
    """
    told = driver.told()
    (application,) = {event["application"] for event in table(lake, "runs")}
    log = event_log.log_of(lake / "_logs", application)

    found = bill.checked(lake, log, told["run_id"], sku="laptop")

    print(f"{found.wasted_ms}, {found.held_ms} core-ms held, {found.cost}")
    assert set(kinds) == found.wasted_ms.keys() - set(perhaps)
    assert [gate["passed"] for gate in told["gates"][:2]] == [True, True]
    assert not driver.open_books()


def job_on(folder: Path, model: Path, pixels: list[bytes], **parts: Any) -> Job:
    write_parquet(folder / "input", image_table(pixels), files=FILES)
    return job_of(folder, model, engine={"backend": "torch", "precision": "fp32"}, **parts)


def test_a_row_that_raises_and_one_that_kills_its_worker_are_found_wherever_spark_runs(
    master: str, model: Path, tmp_path: Path
) -> None:
    pixels = [bytes([cell[0] % 200]) + cell[1:] for cell in images(ROWS)]
    for row, mark in {17: RAISE, 44: SEGV}.items():
        pixels[row] = bytes([mark]) + pixels[row][1:]
    job = job_on(tmp_path, model, pixels)
    rules = [{"action": "raise", "when": [0, RAISE]}, {"action": "segv", "when": [0, SEGV]}]

    driver = start(
        job, tmp_path / "drivers", "--master", master, script={"predict": {"rules": rules}}
    )

    assert driver.wait() == 0, driver.log.read_text("utf-8")
    assert driver.told()["failed"] == 2
    assert not violations(job, model, pixels, set(), {17, 44})
    assert not driver.orphans()


def test_an_executor_killed_in_the_middle_repeats_its_own_tasks_and_nothing_that_is_committed(
    standalone: str, model: Path, tmp_path: Path
) -> None:
    calls, killed, size = tmp_path / "calls", tmp_path / "killed", ROWS // FILES
    pixels = [bytes([cell[0] % 200]) + cell[1:] for cell in images(ROWS)]
    pixels[size:] = [bytes([WAIT]) + cell[1:] for cell in pixels[size:]]
    job = job_on(tmp_path, model, pixels)
    wait = {"action": "wait", "until": str(killed), "seconds": 180.0, "when": [0, WAIT]}

    driver = start(
        job, tmp_path / "drivers", "--master", standalone, *BOTH_EXECUTORS,
        script={"predict": {"calls": str(calls), "rules": [wait]}},
    )  # fmt: skip
    wait_for_calls(driver, calls, 3)  # one has made the table, each executor waits in one
    send(executors(driver.family())[0], KILL)
    killed.touch()

    assert driver.wait() == 0, driver.log.read_text("utf-8")
    assert not violations(job, model, pixels, set(), set())
    assert ROWS <= scored_rows(calls) <= ROWS + 2 * size  # two units were under way
    check_bill(driver, Path(job.output.path), "failed")
    assert not driver.orphans()


def test_a_shuffle_lost_with_its_executor_is_read_again_and_what_is_committed_is_not_scored_again(
    standalone: str, tmp_path: Path
) -> None:
    model, calls = columns_mlp(tmp_path / "model", a="double", b="double"), tmp_path / "calls"
    (tmp_path / "input").mkdir()
    size = ROWS // FILES
    for file in range(FILES):
        ids = range(file * size, (file + 1) * size)
        lines = ["id,a,b", *(f"{row},{row / 7},{row / 3}" for row in ids)]
        (tmp_path / "input" / f"{file}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    kinds = {"id": "bigint", "a": "double", "b": "double"}
    job = job_of(
        tmp_path, model, engine={"backend": "torch", "precision": "fp32"},
        source={"format": "csv", "path": str(tmp_path / "input")},
        contract={"columns": {name: {"type": kind} for name, kind in kinds.items()}},
    )  # fmt: skip

    files = [tmp_path / "input" / f"{file}.csv" for file in range(UNIT_FILES)]
    units = ("--unit-bytes", str(sum(file.stat().st_size for file in files)))

    # Long enough that each executor is in a call while one of them is found and killed.
    slow = {"action": "sleep", "seconds": 4.0}

    driver = start(
        job, tmp_path / "drivers", "--master", standalone, *BOTH_EXECUTORS, *units,
        script={"predict": {"calls": str(calls), "rules": [slow]}},
    )  # fmt: skip
    # The second unit's shuffle is written, and in part read.
    wait_for_calls(driver, calls, UNIT_FILES + 2)
    send(executors(driver.family())[0], KILL)

    assert driver.wait() == 0, driver.log.read_text("utf-8")
    scored = table(Path(job.output.path), job.table)
    assert sorted(row["id"] for row in scored) == list(range(ROWS))
    assert ROWS <= scored_rows(calls) <= ROWS + 2 * size
    # Attempts of the stage that Spark begins anew may still run when the new ones have ended.
    check_bill(driver, Path(job.output.path), "failed", "recomputed", perhaps=["killed"])
    assert not driver.orphans()


def test_of_a_task_that_spark_starts_twice_for_its_slowness_the_rows_are_there_once_and_one_is_waste(
    standalone: str, model: Path, tmp_path: Path
) -> None:
    pixels = [bytes([cell[0] % 200]) + cell[1:] for cell in images(ROWS)]
    pixels[-1] = bytes([SLOW]) + pixels[-1][1:]  # in the last unit: its copy ends with the run
    job = job_on(tmp_path, model, pixels)
    # Longer than the run is waited for: only a second copy can end it.
    slow_once = {
        "action": "sleep", "seconds": 600.0, "when": [0, SLOW], "once": str(tmp_path / "fired"),
    }  # fmt: skip
    speculation = [
        "spark.speculation=true", "spark.speculation.interval=100ms",
        "spark.speculation.task.duration.threshold=8s",  # a unit's only task has no others to be slower than
    ]  # fmt: skip

    driver = start(
        job, tmp_path / "drivers", "--master", standalone,
        *(part for setting in speculation for part in ("--conf", setting)),
        script={"predict": {"rules": [slow_once]}},
    )  # fmt: skip

    assert driver.wait() == 0, driver.log.read_text("utf-8")
    assert (tmp_path / "fired").exists()
    assert not violations(job, model, pixels, set(), set())
    check_bill(driver, Path(job.output.path), "speculative")
    assert not driver.orphans()


def test_a_map_whose_output_was_lost_before_its_stage_ended_is_charged_once_each_time_it_was_computed(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.chaos.lost_maps", str(tmp_path)]
    told = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=200
    )

    application = told.stdout.split()[-1]
    log, path = EventLog.named(tmp_path, application), event_log.log_of(tmp_path, application)
    assert log is not None
    assert '"Reason":"Resubmitted"' in path.read_text("utf-8")  # Spark ends such a task twice
    told_ms = [(one.task_id, one.run_ms) for one in log.all_tasks() if one.run_id == lost_maps.RUN]
    assert told_ms == [(one.task, one.ms) for one in event_log.ended(path, lost_maps.RUN)]
    assert len(dict(told_ms)) == len(told_ms)
    (closing,) = closings(lost_maps.RUN, [event(application, path)], tmp_path)
    again_ms = Counter[str]()
    for row in charged(closing, {}, {}):
        if row["x_CostKind"] in WASTE:
            again_ms[row["x_CostKind"]] += row["x_SlotMs"]
    assert again_ms == event_log.wasted_ms(event_log.ended(path))
    assert again_ms["recomputed"] >= 1000 * lost_maps.SECONDS


def event(application: str, log: Path) -> dict[str, Any]:
    """The first of a run that began before the log, whose driver was lost."""
    since = datetime.fromtimestamp(log.stat().st_ctime - 3600, UTC)
    return {
        "event": 0, "state": "started", "application": application, "held_since": since,
        "books_closed_at": None,
    }  # fmt: skip
