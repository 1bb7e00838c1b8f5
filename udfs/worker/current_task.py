"""The task that runs this code: one of Spark's, or one of the embedded engine's."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pyspark import TaskContext


class Clock(Protocol):
    """What meters a task where several share a process; all in seconds."""

    def seconds(self) -> float:
        """Time since 1970 at the start of the task, plus the time that it has computed since."""
        ...

    def cpu_s(self) -> float:
        """CPU time of the threads that computed for it."""
        ...


@dataclass(frozen=True)
class CurrentTask:
    """Where the task is, and what it may use."""

    stage_id: int
    partition: int
    attempt_number: int
    task_id: int
    executor: str
    gpu_addresses: tuple[str, ...] = ()
    application: str | None = None  # None: the one that the scorer names
    clock: Clock | None = None  # None: the process has one task at a time
    may_die: bool = True  # Spark tries a task again whose process has died


def current_task() -> CurrentTask | None:
    """Return the task of this thread; None outside of tasks."""
    if (embedded := _embedded()) is not None:
        return embedded
    task = TaskContext.get()
    if task is None:
        return None
    gpu = task.resources().get("gpu")
    return CurrentTask(
        stage_id=task.stageId(),
        partition=task.partitionId(),
        attempt_number=task.attemptNumber(),
        task_id=task.taskAttemptId(),
        executor=socket.gethostname(),
        gpu_addresses=tuple(gpu.addresses) if gpu else (),
    )


def embedded_tasks(of: Callable[[], CurrentTask | None]) -> None:
    """From now on the process's tasks are those of the embedded engine; ``of`` gives a thread's."""
    _tasks[:] = [of]


def _embedded() -> CurrentTask | None:
    return _tasks[0]() if _tasks else None


_tasks: list[Callable[[], CurrentTask | None]] = []
