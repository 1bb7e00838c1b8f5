"""Spark's own account of its tasks, read from the application's event log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from pipelines import place

_POLL_S = 0.1
_TAG = "millrace"
_OPEN = ".inprogress"  # after the name of a log whose application has not ended, or was killed
_JOB, _STARTED, _ENDED = (
    b'{"Event":"SparkListener%s"' % name for name in (b"JobStart", b"TaskStart", b"TaskEnd")
)
_QUERY = b'{"Event":"org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart"'
LOST = "LostWithItsDriver"
_AGAIN = "Resubmitted"  # a task that ended well is told again when its output is lost
_OUTRUN = ("TaskKilled", "TaskCommitDenied")  # how the slower copy of a task ends
_PYTHON = (  # Spark's names for what `PythonTime` holds
    "time to start Python workers",
    "time to initialize Python workers",
    "time to run Python workers",
)


@dataclass(frozen=True)
class PythonTime:
    """What a task's Python worker took, by Spark's own clock, milliseconds."""

    boot_ms: int
    init_ms: int
    run_ms: int


@dataclass(frozen=True)
class TaskTime:
    """One attempt of one task, as Spark ended it."""

    application: str
    run_id: str  # empty for a job that is not ours
    step: str  # validate, infer or write: what Millrace was doing
    unit: int | None  # of the run; None where the step is not one unit's
    stage_id: int
    stage_attempt: int
    partition: int
    attempt: int
    task_id: int
    executor: str
    outcome: str  # Success, Spark's reason, or `LOST`
    launched_ms: int  # since 1970
    finished_ms: int
    run_ms: int  # executor run time; for an attempt that was lost, the time it was held
    speculative: bool = False  # a second copy, or one that a second copy was quicker than
    gc_ms: int = 0
    jvm_cpu_ns: int = 0
    python: PythonTime | None = None  # None for a task without Python, or one that did not end well


@dataclass(frozen=True)
class EventLog:
    """Where an application's event log is."""

    path: Path

    @staticmethod
    def of(spark: SparkSession) -> EventLog | None:
        """The session's log; None where Spark keeps none that this process can read."""
        folder = place.event_logs(spark)
        return EventLog.named(folder, place.application(spark)) if folder else None

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
            found = _marked(self._read())
            if set(wanted) <= {task.task_id for task in found} or time.monotonic() > deadline:
                return found
            time.sleep(_POLL_S)

    def all_tasks(self) -> list[TaskTime]:
        """Every task of an application that is gone; what it still ran was `LOST` at its last word."""
        return _marked(self._read(is_gone=True))

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
        last_ms = 0
        for event in self.events((_QUERY, _JOB, _STARTED, _ENDED)):
            if "executionId" in event:
                tags = {"spark.job.tags": ",".join(event.get("jobTags", ()))}
                queries[str(event["executionId"])] = tags
            elif "Task Info" not in event:
                of = event.get("Properties", {})
                # A query with a join asks for its jobs in threads without tags: its own has them.
                whole = queries.get(of.get("spark.sql.execution.root.id", ""), {})
                told = step_of(of) if step_of(of)[0] else step_of(whole)
                steps |= dict.fromkeys(event["Stage IDs"], told)
            elif event.get("Task End Reason", {}).get("Reason") == _AGAIN:
                continue
            elif "Task End Reason" in event:
                running.pop(event["Task Info"]["Task ID"], None)
                last_ms = max(last_ms, event["Task Info"]["Finish Time"])
                yield _task(self.application, event, steps)
            elif is_gone:
                running[event["Task Info"]["Task ID"]] = event
                last_ms = max(last_ms, event["Task Info"]["Launch Time"])
        for event in running.values():
            event["Task Info"]["Finish Time"] = last_ms
            yield _task(self.application, event | {"Task End Reason": {"Reason": LOST}}, steps)


def settle(spark: SparkSession, log: EventLog | None, run_id: str, timeout_s: float = 5.0) -> None:
    """Wait until a run's tasks have ended, those too that Spark is killing, so that all can be charged.

    Spark writes what it knows of tasks when a query begins: so one is asked for that needs no task.
    """
    deadline = time.monotonic() + timeout_s
    while log is not None and log.running(run_id) and time.monotonic() < deadline:
        spark.range(1).limit(0).collect()
        time.sleep(_POLL_S)


@contextmanager
def tagged(spark: SparkSession, run_id: str, step: str, unit: int | None = None) -> Iterator[None]:
    """Mark what this thread asks of Spark as belonging to a step of a run, and to a unit."""
    name = "/".join([_TAG, run_id, step, *([] if unit is None else [str(unit)])])
    spark.addTag(name)
    try:
        yield
    finally:
        spark.removeTag(name)


def step_of(properties: Mapping[str, str]) -> tuple[str, str, int | None]:
    """The run, step and unit whose tags a job carries; empty texts for a job that is not ours."""
    tags = properties.get("spark.job.tags", "").split(",")
    told = [name.partition(f"{_TAG}/")[2] for name in tags if f"{_TAG}/" in name]
    run_id, step, unit = [*max(told, key=len, default="").split("/"), "", ""][:3]
    return run_id, step, int(unit) if unit else None  # of two tags, the one with a unit


def _marked(tasks: Iterable[TaskTime]) -> list[TaskTime]:
    """The tasks; ``speculative`` is also one that ended while a quicker copy of it had begun."""
    found, quicker = list(tasks), dict[tuple[int, int, int], int]()
    for task in found:
        if task.outcome == "Success":
            quicker.setdefault(_place(task), task.launched_ms)
    return [
        replace(task, speculative=True)
        if task.outcome in _OUTRUN and quicker.get(_place(task), math.inf) < task.finished_ms
        else task
        for task in found
    ]


def _place(task: TaskTime) -> tuple[int, int, int]:
    return task.stage_id, task.stage_attempt, task.partition


def _task(
    application: str, event: dict[str, Any], steps: Mapping[int, tuple[str, str, int | None]]
) -> TaskTime:
    info, metrics = event["Task Info"], event.get("Task Metrics") or {}
    held_ms = info["Finish Time"] - info["Launch Time"]
    run_id, step, unit = steps.get(event["Stage ID"], ("", "", None))
    return TaskTime(
        application=application,
        run_id=run_id,
        step=step,
        unit=unit,
        stage_id=event["Stage ID"],
        stage_attempt=event["Stage Attempt ID"],
        partition=info.get("Partition ID", info["Index"]),
        attempt=info["Attempt"],
        task_id=info["Task ID"],
        executor=str(info["Executor ID"]),
        outcome=event["Task End Reason"]["Reason"],
        launched_ms=info["Launch Time"],
        finished_ms=info["Finish Time"],
        run_ms=metrics.get("Executor Run Time") or held_ms,
        speculative=bool(info.get("Speculative")),
        gc_ms=metrics.get("JVM GC Time", 0),
        jvm_cpu_ns=metrics.get("Executor CPU Time", 0),
        python=_python(info),
    )


def _python(info: dict[str, Any]) -> PythonTime | None:
    """Of several Python nodes in one stage, all together."""
    found = dict.fromkeys(_PYTHON, 0)
    for metric in info.get("Accumulables", []):
        if metric.get("Name") in found:
            found[metric["Name"]] += int(metric["Update"])
    return PythonTime(*found.values()) if any(found.values()) else None
