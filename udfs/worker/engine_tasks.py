"""Python tasks in the embedded engine's process: as many compute at once as cores were given.

The engine starts a thread for each partition at once. A task holds a slot only while its own Python code
runs: it gives the slot back while it waits for rows, and while the engine takes what it yields. So no task
can wait for another that waits for its slot, and the time that tasks hold slots is never more than the
cores had.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from millrace.udfs.worker.current_task import CurrentTask, embedded_tasks

if TYPE_CHECKING:
    from millrace.udfs.worker.engine_log import EngineLog

IDLE_S = 600.0  # a worker that sends nothing for so long is assumed to hang; Spark's sessions have it too
HUNG = 124  # exit code of a process that ended itself because a task hung, as of timeout(1)
_WATCHED_EVERY_S = 0.5
Batches = Iterator[Any]  # of pyarrow.RecordBatch, which workers import later


def in_engine(
    function: Callable[[Batches], Batches], tag: str = ""
) -> Callable[[Batches], Batches]:
    """Return the function for the embedded engine's `mapInArrow`; ``tag`` names the step that it is of."""
    return partial(_run, function, tag)


@dataclass
class TaskClock:
    """The time that one task has had a slot: a clock that stands still while it has none.

    Other threads read it, so each change is one assignment of all that belongs together.
    """

    began: float  # seconds since 1970
    # Seconds and CPU seconds in earlier slots; then clock, CPU time and whose, of the slot that it has now.
    _state: tuple[float, float, tuple[float, float, int] | None] = (0.0, 0.0, None)

    @property
    def has_slot(self) -> bool:
        """Whether the task has a slot now."""
        return self._state[2] is not None

    def slot_s(self) -> float:
        """Seconds that the task has had the slot that it has now."""
        since = self._state[2]
        return 0.0 if since is None else time.perf_counter() - since[0]

    def begin(self) -> None:
        """The calling thread computes from now on."""
        whose = time.pthread_getcpuclockid(threading.get_ident())
        wall_s, cpu_s, _ = self._state
        self._state = wall_s, cpu_s, (time.perf_counter(), time.clock_gettime(whose), whose)

    def end(self) -> None:
        """It stops."""
        self._state = (*self._now(), None)

    def wall_s(self) -> float:
        """Seconds that the task has had a slot, until now."""
        return self._now()[0]

    def cpu_s(self) -> float:
        """CPU seconds of its threads, until now."""
        return self._now()[1]

    def seconds(self) -> float:
        """When the task began, plus the time that it has had a slot."""
        return self.began + self.wall_s()

    def _now(self) -> tuple[float, float]:
        wall_s, cpu_s, since = self._state
        if since is None:
            return wall_s, cpu_s
        clock, cpu_clock, whose = since
        with suppress(OSError):  # the thread has ended
            cpu_s += time.clock_gettime(whose) - cpu_clock
        return wall_s + time.perf_counter() - clock, cpu_s


@dataclass
class EngineTasks:
    """The tasks of one process."""

    log: EngineLog
    slots: threading.Semaphore
    lock: threading.Lock = field(default_factory=threading.Lock)
    live: dict[int, TaskClock] = field(default_factory=dict)  # by task id
    ended_wall_s: float = 0.0
    ended_cpu_s: float = 0.0
    limit_s: float = IDLE_S  # in one slot; a task that computes for longer is assumed to hang

    def watch(self) -> None:
        """End the process where a task hangs: no thread can be ended alone. To be called in a thread."""
        while True:
            time.sleep(_WATCHED_EVERY_S)
            with self.lock:
                longest_s = max((clock.slot_s() for clock in self.live.values()), default=0.0)
            if longest_s > self.limit_s:
                sys.stderr.write(f"a task has computed for {longest_s:.0f} s without a result\n")
                sys.stderr.flush()
                os._exit(HUNG)

    def begin(self, tag: str) -> tuple[CurrentTask, TaskClock]:
        """Wait for a slot, then begin a task in it."""
        self.slots.acquire()
        slot_time = TaskClock(time.time())
        slot_time.begin()
        task = self.log.task_started(tag, slot_time.began)
        task = replace(task, clock=slot_time)
        with self.lock:
            self.live[task.task_id] = slot_time
        return task, slot_time

    def end(self, task: CurrentTask, slot_time: TaskClock, outcome: str) -> None:
        """The task ends, which holds no slot any more."""
        with self.lock:
            del self.live[task.task_id]
            self.ended_wall_s += slot_time.wall_s()
            self.ended_cpu_s += slot_time.cpu_s()
        self.log.task_ended(task, outcome, slot_time.began, slot_time.wall_s())

    def totals(self) -> tuple[float, float]:
        """Seconds that all tasks have held slots so far, and their CPU seconds."""
        with self.lock:
            live = list(self.live.values())
            wall_s, cpu_s = self.ended_wall_s, self.ended_cpu_s
        return (
            wall_s + sum(slot_time.wall_s() for slot_time in live),
            cpu_s + sum(slot_time.cpu_s() for slot_time in live),
        )


def serve(log: EngineLog, cores: int) -> EngineTasks:
    """Make this process the embedded engine's: its tasks are counted in ``log``."""
    tasks = EngineTasks(log, threading.Semaphore(cores))
    _process[:] = [tasks]
    embedded_tasks(lambda: getattr(_thread, "task", None))
    return tasks


_process: list[EngineTasks] = []
_thread = threading.local()


def _run(function: Callable[[Batches], Batches], tag: str, batches: Batches) -> Batches:
    tasks = _process[0]
    task, slot_time = tasks.begin(tag)
    outcome = "TaskKilled"  # where the engine drops the rows that are still to come
    try:
        _thread.task = task
        for made in function(_outside(tasks, task, slot_time, batches)):
            _leave(tasks, task, slot_time)
            yield made
            _enter(tasks, task, slot_time)
        outcome = "Success"
    except GeneratorExit:
        raise
    except BaseException:
        outcome = "ExceptionFailure"
        raise
    finally:
        if slot_time.has_slot:
            _leave(tasks, task, slot_time)
        tasks.end(task, slot_time, outcome)


def _outside(
    tasks: EngineTasks, task: CurrentTask, slot_time: TaskClock, batches: Batches
) -> Batches:
    """The batches; while the engine makes the next one, the task holds no slot."""
    coming = iter(batches)
    while True:
        _leave(tasks, task, slot_time)
        try:
            batch = next(coming, None)
        finally:
            _enter(tasks, task, slot_time)
        if batch is None:
            return
        yield batch


def _leave(tasks: EngineTasks, task: CurrentTask, slot_time: TaskClock) -> None:
    slot_time.end()
    _thread.task = None
    tasks.log.record_slot_time(task, slot_time.wall_s(), None)
    tasks.slots.release()


def _enter(tasks: EngineTasks, task: CurrentTask, slot_time: TaskClock) -> None:
    tasks.slots.acquire()
    tasks.log.record_slot_time(task, slot_time.wall_s(), time.time())
    slot_time.begin()
    _thread.task = task
