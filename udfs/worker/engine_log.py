"""The embedded engine's record of its work, in the form of Spark's event log: one reader reads both.

Each Python task is a task with its own clock. What the engine itself does for a step (reading, rules,
writing) has no tasks that can be seen: it is one task a step, as long as the process's CPU time that no
Python task used, and never more than the cores that no Python task held.
"""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from millrace.udfs.worker.current_task import CurrentTask

EXECUTOR = "driver"  # as Spark names the executor of a session on one machine
Totals = Callable[[], tuple[float, float]]  # seconds and CPU seconds of all Python tasks so far


@dataclass
class Step:
    """A step of a run that is under way."""

    tag: str
    stage: int
    task: int
    began: float  # seconds since 1970
    engine_s: float = 0.0


@dataclass(frozen=True)
class Mark:
    """What was used up to a moment, in seconds."""

    at: float
    cpu_s: float
    python_s: float
    python_cpu_s: float


@dataclass
class EngineLog:
    """Writes the events; its methods may be called from any thread."""

    file: TextIO
    application: str
    cores: int
    python: Totals = lambda: (0.0, 0.0)
    lock: threading.RLock = field(default_factory=threading.RLock)
    steps: dict[str, Step] = field(default_factory=dict)  # under way, by tag
    numbers: dict[str, int] = field(default_factory=lambda: {"stage": 0, "task": 0, "job": 0})
    partitions: dict[int, int] = field(default_factory=dict)  # by stage, how many tasks began
    mark: Mark | None = None
    idle_stage: int | None = None  # of tasks outside of every step

    @staticmethod
    def opened(path: Path, application: str, cores: int) -> EngineLog:
        """A new log, with the cores in it. Raises FileExistsError."""
        log = EngineLog(path.open("x", encoding="utf-8"), application, cores)
        now_ms = _ms(time.time())
        log._write("EnvironmentUpdate", {"Spark Properties": {"spark.master": f"local[{cores}]"}})
        about = {"Executor ID": EXECUTOR, "Executor Info": {"Total Cores": cores}}
        log._write("ExecutorAdded", {"Timestamp": now_ms, **about})
        return log

    def step_began(self, tag: str) -> None:
        """A step begins; its tag is of no other step that is under way."""
        with self.lock:
            self._share_out()
            stage = self._stage(tag)
            self.steps[tag] = Step(tag, stage, self._next("task"), time.time())

    def step_ended(self, tag: str) -> None:
        """It ends: what the engine did for it is written."""
        with self.lock:
            self._share_out()
            step = self.steps.pop(tag)
            # Of a killed process it is not known what the engine did: that is idle, and no lost task.
            self._started(step.task, step.stage, 0, _ms(step.began))
            self._ended(
                step.task, step.stage, 0, "Success", step.began, step.engine_s, python=False
            )

    def task_started(self, tag: str, at: float) -> CurrentTask:
        """A Python task of a step begins; without a tag, of the step that began last."""
        with self.lock:
            known = self.steps.get(tag) or (next(reversed(self.steps.values()), None))
            if known is not None:
                stage = known.stage
            else:
                if self.idle_stage is None:
                    self.idle_stage = self._stage(tag)
                stage = self.idle_stage
            partition = self.partitions.get(stage, 0) + 1  # 0 is the engine's own
            self.partitions[stage] = partition
            number = self._next("task")
            self._started(number, stage, partition, _ms(at))
        return CurrentTask(
            stage, partition, 0, number, EXECUTOR, application=self.application, may_die=False
        )

    def task_ended(self, task: CurrentTask, outcome: str, began: float, seconds: float) -> None:
        """It ends, having held a slot for so long."""
        with self.lock:
            self._ended(
                task.task_id, task.stage_id, task.partition, outcome, began, seconds, python=True
            )

    def record_slot_time(self, task: CurrentTask, seconds: float, since: float | None) -> None:
        """A task has held slots for so long, and ``since`` then holds one; None: it has given it back.

        Should the process be killed, that is all that is known of the task.
        """
        at_ms = None if since is None else _ms(since)
        with self.lock:
            about = {"Task ID": task.task_id, "Held Time": _ms(seconds), "Since": at_ms}
            self._write("TaskHeld", about)

    def close(self) -> None:
        """The last event."""
        with self.lock:
            self._write("ApplicationEnd", {"Timestamp": _ms(time.time())})
            self.file.close()

    def _share_out(self) -> None:
        """Give the engine's own time since the last mark to the steps that are under way, in equal parts."""
        python_s, python_cpu_s = self.python()
        now = Mark(time.perf_counter(), _process_cpu_s(), python_s, python_cpu_s)
        before, self.mark = self.mark, now
        if before is None or not self.steps:
            return
        free_s = self.cores * (now.at - before.at) - (now.python_s - before.python_s)
        own_s = (now.cpu_s - before.cpu_s) - (now.python_cpu_s - before.python_cpu_s)
        for step in self.steps.values():
            step.engine_s += max(0.0, min(free_s, own_s)) / len(self.steps)

    def _stage(self, tag: str) -> int:
        stage = self._next("stage")
        about = {"Stage IDs": [stage], "Properties": {"spark.job.tags": tag}}
        self._write("JobStart", {"Job ID": self._next("job"), **about})
        return stage

    def _started(self, task: int, stage: int, partition: int, at_ms: int) -> None:
        about = {"Stage ID": stage, "Stage Attempt ID": 0}
        self._write("TaskStart", {**about, "Task Info": _info(task, partition, at_ms)})

    def _ended(
        self, task: int, stage: int, partition: int, outcome: str, began: float, seconds: float,
        *, python: bool,
    ) -> None:  # fmt: skip
        spent_ms = max(1, _ms(seconds))  # of none, Spark's reader would take the span for it
        info = _info(task, partition, _ms(began)) | {
            "Finish Time": max(_ms(time.time()), _ms(began))
        }
        if python:
            names = "time to run Python workers", "time to execute Python code"
            info["Accumulables"] = [{"Name": name, "Update": str(spent_ms)} for name in names]
        cpu_ns = 0 if python else round(seconds * 1e9)
        metrics = {"Executor Run Time": spent_ms, "Executor CPU Time": cpu_ns}
        about = {"Stage ID": stage, "Stage Attempt ID": 0, "Task End Reason": {"Reason": outcome}}
        self._write("TaskEnd", {**about, "Task Info": info, "Task Metrics": metrics})

    def _write(self, kind: str, content: dict[str, Any]) -> None:
        event = {"Event": f"SparkListener{kind}", **content}
        self.file.write(json.dumps(event, separators=(",", ":")) + "\n")
        self.file.flush()

    def _next(self, what: str) -> int:
        self.numbers[what] += 1
        return self.numbers[what] - 1


def _info(task: int, partition: int, at_ms: int) -> dict[str, Any]:
    return {
        "Task ID": task, "Index": partition, "Attempt": 0, "Partition ID": partition,
        "Launch Time": at_ms, "Executor ID": EXECUTOR, "Speculative": False,
    }  # fmt: skip


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _process_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
