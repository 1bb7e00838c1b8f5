"""Spark's event log as a killed driver or a full disk leaves it: what is whole is read, what is cut is told."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlparse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from millrace.pipelines.spark.event_log import EventLog
from millrace.pipelines.spark.executors import core_allocation
from millrace.pipelines.spark.job_tags import tagged

TASKS = 3
KINDS = (b'{"Event":"SparkListenerTaskEnd"', b'{"Event":"SparkListenerTaskStart"')


@pytest.fixture(scope="module")
def lines(spark: SparkSession) -> list[bytes]:
    """What Spark wrote of one job of three tasks."""
    log = EventLog.of(spark)
    assert log is not None
    began = log.path.stat().st_size
    with tagged(spark, "cut-a1", "infer", 0):
        spark.range(0, TASKS, 1, TASKS).write.format("noop").mode("overwrite").save()
    told = log.tasks([-1], timeout_s=2.0)  # no such task: all that Spark writes in this time
    assert sum(task.run_id == "cut-a1" for task in told) == TASKS
    folder = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    (path,) = folder.glob(f"{spark.sparkContext.applicationId}*")
    written = path.read_bytes()
    return written[:began].splitlines(True)[:5] + written[began:].splitlines(True)


@given(data=st.data())
def test_a_line_that_is_cut_anywhere_hides_nothing_but_its_own_event(
    lines: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    at = data.draw(st.sampled_from([i for i, line in enumerate(lines) if line.startswith(KINDS)]))
    place = data.draw(st.integers(len(KINDS[1]), len(lines[at]) - 3))
    path = tmp_path_factory.mktemp("log") / "app-1"
    path.write_bytes(b"".join([*lines[:at], lines[at][:place] + b"\n", *lines[at + 1 :]]))
    log, is_end = EventLog(path), b"TaskEnd" in lines[at][:40]

    found = [task for task in log.all_tasks() if task.run_id == "cut-a1"]

    assert log.cut_lines() == 1
    assert len(found) == TASKS  # one whose end is cut was lost; one whose start is cut did end
    assert sum(task.outcome == "Success" for task in found) == TASKS - is_end
    assert len(log.started("cut-a1")) == TASKS - (not is_end)
    core_allocation(log)


def test_a_whole_log_has_no_cut_line(lines: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "app-1").write_bytes(b"".join(lines) + lines[-1][:20])

    assert EventLog(tmp_path / "app-1").cut_lines() == 0


def added(
    lines: list[bytes], folder: Path, reason: str, later_ms: int, number: int = 0
) -> EventLog:
    """A log in which the first task ends once more: in Spark's own words, at another time."""
    end = next(line for line in lines if line.startswith(KINDS[0]))
    event = json.loads(end)
    info = event["Task Info"]
    info["Task ID"] += number
    info["Finish Time"] = info["Launch Time"] + later_ms
    event |= {"Task End Reason": {"Reason": reason}, "Task Metrics": None}
    (folder / "app-1").write_bytes(b"".join([*lines, json.dumps(event, separators=(",", ":")).encode(), b"\n"]))  # fmt: skip
    return EventLog(folder / "app-1")


def test_a_task_that_is_told_again_when_its_output_is_lost_is_one_task(
    lines: list[bytes], tmp_path: Path
) -> None:
    found = added(lines, tmp_path, "Resubmitted", 1000).all_tasks()

    mine = [task for task in found if task.run_id == "cut-a1"]
    assert [task.outcome for task in mine] == ["Success"] * TASKS


@pytest.mark.parametrize(
    ("reason", "later_ms", "is_outrun"),
    [("TaskKilled", 1, True), ("TaskKilled", -1, False), ("ExecutorLostFailure", 1, False)],
)
def test_what_spark_killed_beside_a_quicker_copy_was_speculative_and_nothing_else_was(
    lines: list[bytes], tmp_path: Path, reason: str, later_ms: int, is_outrun: bool
) -> None:
    found = added(lines, tmp_path, reason, later_ms, number=1000).all_tasks()

    (other,) = (task for task in found if task.outcome == reason)
    assert other.speculative is is_outrun
    assert not any(task.speculative for task in found if task is not other)
