"""Tasks as Spark's event log records them: their times, outcomes and Python workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

LOST = "LostWithItsDriver"
_OUTRUN = ("TaskKilled", "TaskCommitDenied")  # how the slower copy of a task ends
_PYTHON = (  # Spark's names for what `PythonTime` holds
    "time to start Python workers",
    "time to initialize Python workers",
    "time to run Python workers",
    "time to execute Python code",
)


@dataclass(frozen=True)
class PythonTime:
    """What a task's Python worker took, by Spark's own clocks, milliseconds."""

    boot_ms: int
    init_ms: int  # of a worker that is used again: since its last task
    run_ms: int  # from asking for a worker until it had run
    code_ms: int = 0  # of it, the time in which the worker ran what it was given


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
    run_ms: int  # executor run time; for a lost attempt, its time on the executor
    speculative: bool = False  # a second copy, or one that a second copy was quicker than
    gc_ms: int = 0
    jvm_cpu_ns: int = 0
    python: PythonTime | None = None  # None for a task without Python, or one that did not end well


def with_speculative(tasks: Iterable[TaskTime]) -> list[TaskTime]:
    """Return the tasks; also one that ended while a faster copy of it ran is ``speculative``."""
    found, fastest_ms = list(tasks), dict[tuple[int, int, int], int]()
    for task in found:
        if task.outcome == "Success":
            fastest_ms.setdefault(_slot_of(task), task.launched_ms)
    return [
        replace(task, speculative=True)
        if task.outcome in _OUTRUN and fastest_ms.get(_slot_of(task), math.inf) < task.finished_ms
        else task
        for task in found
    ]


def _slot_of(task: TaskTime) -> tuple[int, int, int]:
    return task.stage_id, task.stage_attempt, task.partition


def task_time(
    application: str, event: dict[str, Any], steps: Mapping[int, tuple[str, str, int | None]]
) -> TaskTime:
    """Return the task of a TaskEnd event; ``steps`` has each stage's run, step and unit."""
    info, metrics = event["Task Info"], event.get("Task Metrics") or {}
    span_ms = info["Finish Time"] - info["Launch Time"]
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
        run_ms=metrics.get("Executor Run Time") or span_ms,
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
