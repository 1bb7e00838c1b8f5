"""Spark's own account of its tasks, read from the application's event log."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from pyspark.sql import SparkSession

_POLL_S = 0.1


@dataclass(frozen=True)
class TaskTime:
    """One attempt of one task, as Spark ended it."""

    step: str  # validate, infer or write: what Millrace was doing
    stage_id: int
    stage_attempt: int
    partition: int
    attempt: int
    task_id: int
    executor: str
    outcome: str  # Success, or Spark's reason
    launched_ms: int  # since 1970
    finished_ms: int
    run_ms: int  # executor run time; for an attempt that was lost, the time it was held


@dataclass(frozen=True)
class EventLog:
    """Where a session's event log is, and how far it had been written when the run began."""

    path: Path
    offset: int

    @staticmethod
    def of(spark: SparkSession) -> EventLog | None:
        """The session's log; None where Spark keeps none that this process can read."""
        folder = urlparse(spark.conf.get("spark.eventLog.dir", ""))
        if spark.conf.get("spark.eventLog.enabled", "false") != "true" or folder.scheme not in (
            "",
            "file",
        ):
            return None
        name = spark.sparkContext.applicationId
        for path in (
            Path(unquote(folder.path)) / f"{name}.inprogress",
            Path(unquote(folder.path)) / name,
        ):
            if path.is_file():
                return EventLog(path, path.stat().st_size)
        return None

    def tasks(self, wanted: Collection[int] = (), timeout_s: float = 10.0) -> list[TaskTime]:
        """Every task that ended since the run began, once those in ``wanted`` (task ids) are written.

        Spark writes the log behind its work; after ``timeout_s`` what is there is given back.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = list(self._read())
            if set(wanted) <= {task.task_id for task in found} or time.monotonic() > deadline:
                return found
            time.sleep(_POLL_S)

    def _read(self) -> Iterator[TaskTime]:
        steps: dict[int, str] = {}
        with self.path.open("rb") as log:
            log.seek(self.offset)
            for line in log:
                if not line.endswith(b"\n"):  # still being written
                    return
                if line.startswith(b'{"Event":"SparkListenerJobStart"'):
                    event = json.loads(line)
                    steps |= dict.fromkeys(event["Stage IDs"], step_of(event.get("Properties", {})))
                elif line.startswith(b'{"Event":"SparkListenerTaskEnd"'):
                    yield _task(json.loads(line), steps)


def tag(step: str) -> str:
    """The tag that marks Spark jobs as belonging to a step of the run."""
    return f"millrace.{step}"


def step_of(properties: dict[str, str]) -> str:
    """The step whose tag a job carries; empty for a job that is not ours."""
    for name in properties.get("spark.job.tags", "").split(","):
        _, found, step = name.partition("millrace.")
        if found:
            return step
    return ""


def _task(event: dict[str, object], steps: dict[int, str]) -> TaskTime:
    info: dict[str, int] = event["Task Info"]  # type: ignore[assignment]
    metrics: dict[str, int] = event.get("Task Metrics") or {}  # type: ignore[assignment]
    reason: dict[str, str] = event["Task End Reason"]  # type: ignore[assignment]
    stage = int(str(event["Stage ID"]))
    held_ms = info["Finish Time"] - info["Launch Time"]
    return TaskTime(
        step=steps.get(stage, ""),
        stage_id=stage,
        stage_attempt=int(str(event["Stage Attempt ID"])),
        partition=info.get("Partition ID", info["Index"]),
        attempt=info["Attempt"],
        task_id=info["Task ID"],
        executor=str(info["Executor ID"]),
        outcome=reason["Reason"],
        launched_ms=info["Launch Time"],
        finished_ms=info["Finish Time"],
        run_ms=metrics.get("Executor Run Time") or held_ms,
    )
