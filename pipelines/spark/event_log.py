"""Spark's record of its tasks, read from the application's event log."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.job_tags import step_of
from millrace.pipelines.spark.task_times import LOST, TaskTime, task_time, with_speculative

_POLL_S = 0.1
_OPEN = ".inprogress"  # after the name of a log whose application has not ended, or was killed
_JOB, _STARTED, _ENDED = (
    b'{"Event":"SparkListener%s"' % name for name in (b"JobStart", b"TaskStart", b"TaskEnd")
)
_HELD = (
    b'{"Event":"SparkListenerTaskHeld"'  # the embedded engine's: a task computes, or waits again
)
_GONE = b'{"Event":"SparkListenerEngineEnded"'  # its driver's, of an embedded engine that has died
_QUERY = b'{"Event":"org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart"'
_AGAIN = "Resubmitted"  # a successful task appears again when its output is lost


@dataclass(frozen=True)
class EventLog:
    """Where an application's event log is."""

    path: Path

    @staticmethod
    def of(spark: SparkSession) -> EventLog | None:
        """The session's log; None where Spark keeps none that this process can read."""
        folder = cluster.event_logs(spark)
        return EventLog.named(folder, cluster.application(spark)) if folder else None

    @staticmethod
    def named(folder: Path, application: str) -> EventLog | None:
        """The whole log of an application, ended or not; None where the folder does not have it."""
        names = (application, f"{application}{_OPEN}")
        found = [folder / name for name in names if (folder / name).is_file()]
        return EventLog(found[0]) if found else None

    @property
    def application(self) -> str:
        """Whose log it is."""
        return self.path.name.removesuffix(_OPEN)

    def tasks(self, wanted: Collection[int] = (), timeout_s: float = 10.0) -> list[TaskTime]:
        """Every task that has ended, once those in ``wanted`` (task ids) are written.

        Spark writes the log behind its work; after ``timeout_s`` what is there is given back.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = with_speculative(self._read())
            if set(wanted) <= {task.task_id for task in found} or time.monotonic() > deadline:
                return found
            time.sleep(_POLL_S)

    def all_tasks(self) -> list[TaskTime]:
        """Every task of an application that is gone; what it still ran was `LOST` at its last word."""
        return with_speculative(self._read(is_gone=True))

    def started(self, run_id: str) -> frozenset[int]:
        """The ids of all tasks of a run that began, ended or not."""
        mine, found = set[int](), set[int]()
        for event in self.events((_JOB, _STARTED)):
            if "Task Info" not in event:
                if step_of(event.get("Properties", {}))[0] == run_id:
                    mine.update(event["Stage IDs"])
            elif event["Stage ID"] in mine:
                found.add(event["Task Info"]["Task ID"])
        return frozenset(found)

    def running(self, run_id: str) -> frozenset[int]:
        """The ids of a run's tasks that began and did not end, as far as Spark has written its log."""
        ended = {event["Task Info"]["Task ID"] for event in self.events((_ENDED,))}
        return self.started(run_id) - ended

    def events(self, kinds: tuple[bytes, ...]) -> Iterator[dict[str, Any]]:
        """The events whose lines begin so; what a full disk cut, or Spark still writes, is none."""
        for event in self._lines(kinds):
            if event is not None:
                yield event

    def cut_lines(self) -> int:
        """How many events about jobs and tasks are there in part only: a disk was full at the time."""
        return sum(event is None for event in self._lines((_JOB, _STARTED, _ENDED)))

    def _lines(self, kinds: tuple[bytes, ...]) -> Iterator[dict[str, Any] | None]:
        with self.path.open("rb") as log:
            for line in log:
                if line.startswith(kinds) and line.endswith(b"\n"):
                    try:
                        yield json.loads(line)
                    except ValueError:
                        yield None

    def _read(self, *, is_gone: bool = False) -> Iterator[TaskTime]:
        steps: dict[int, tuple[str, str, int | None]] = {}
        queries: dict[str, Mapping[str, str]] = {}
        running: dict[int, dict[str, Any]] = {}
        held: dict[int, tuple[int, int | None]] = {}
        last_ms = 0
        for event in self.events((_QUERY, _JOB, _STARTED, _ENDED, _HELD, _GONE)):
            if "Exit Code" in event:
                is_gone = True
            elif "Held Time" in event:
                held[event["Task ID"]] = event["Held Time"], event["Since"]
                last_ms = max(last_ms, event["Since"] or 0)
            elif "executionId" in event:
                tags = {"spark.job.tags": ",".join(event.get("jobTags", ()))}
                queries[str(event["executionId"])] = tags
            elif "Task Info" not in event:
                of = event.get("Properties", {})
                # A query with a join asks for its jobs in threads without tags: its own has them.
                whole = queries.get(of.get("spark.sql.execution.root.id", ""), {})
                step = step_of(of) if step_of(of)[0] else step_of(whole)
                steps |= dict.fromkeys(event["Stage IDs"], step)
            elif event.get("Task End Reason", {}).get("Reason") == _AGAIN:
                continue
            elif "Task End Reason" in event:
                running.pop(event["Task Info"]["Task ID"], None)
                last_ms = max(last_ms, event["Task Info"]["Finish Time"])
                yield task_time(self.application, event, steps)
            else:
                running[event["Task Info"]["Task ID"]] = event
                last_ms = max(last_ms, event["Task Info"]["Launch Time"])
        for event in running.values() if is_gone else ():
            event["Task Info"]["Finish Time"] = last_ms
            if (known := held.get(event["Task Info"]["Task ID"])) is not None:
                spent_ms = known[0] + (0 if known[1] is None else last_ms - known[1])
                event["Task Metrics"] = {"Executor Run Time": max(1, spent_ms)}
            yield task_time(self.application, event | {"Task End Reason": {"Reason": LOST}}, steps)


def settle(spark: SparkSession, log: EventLog | None, run_id: str, timeout_s: float = 5.0) -> None:
    """Wait until a run's tasks have ended, those too that Spark is killing, so that all can be charged.

    Spark flushes its log when a query begins: an empty query, which needs no task, triggers that.
    """
    deadline = time.monotonic() + timeout_s
    while log is not None and log.running(run_id) and time.monotonic() < deadline:
        spark.range(1).limit(0).collect()
        time.sleep(_POLL_S)
