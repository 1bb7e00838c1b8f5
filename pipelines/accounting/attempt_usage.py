"""Spark's record of each attempt of a run: its tasks, and its allocated cores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from millrace.pipelines.lake.attempts import Attempt, attempts
from millrace.pipelines.spark.event_log import EventLog
from millrace.pipelines.spark.executors import LOCAL, CoreAllocation, Uptime, core_allocation
from millrace.pipelines.spark.task_times import TaskTime

NONE: Mapping[int, datetime] = MappingProxyType({})
UNKNOWN = ""  # the executor of slots that are in no event log


@dataclass(frozen=True)
class Closing:
    """One attempt and when it ended; ``is_measured`` is false where Spark's log could not be read."""

    attempt: Attempt
    ended_ms: int
    tasks: tuple[TaskTime, ...]
    executors: tuple[Uptime, ...]
    driver_cores: int = 0
    task_cpus: int = 1
    is_measured: bool = True
    started: frozenset[int] = frozenset()  # tasks that say they are the run's, whenever they began
    cut_lines: int = 0  # of Spark's log, where a full disk left an event in part

    @property
    def duration_ms(self) -> int:
        """Milliseconds that the attempt lasted."""
        return max(0, self.ended_ms - self.attempt.began_ms)


def closings(
    run_id: str,
    events: Sequence[dict[str, Any]],
    logs: Path,
    *,
    current: EventLog | None = None,
    slots: int | None = None,
    wanted: Collection[int] = (),
    charged_until: Mapping[int, datetime] = NONE,
) -> list[Closing]:
    """Return each attempt of the run in its events, the last one closed by ``books_closed_at``.

    Args:
        logs: The folder of the event logs.
        current: The last attempt's log; it is awaited until the tasks ``wanted`` are in it.
        slots: Allocated slots, where there is no log.
        charged_until: By attempt, the end of its charges, left by a driver that died between the
            ledger and its last event.
    """
    closed = [
        replace(one, closed=one.closed or charged_until.get(one.number)) for one in attempts(events)
    ]
    found = []
    for index, attempt in enumerate(closed):
        is_last = index == len(closed) - 1
        until = None if is_last else closed[index + 1].began
        log = current if is_last and current else EventLog.named(logs, attempt.application)
        if log is not None:
            found.append(_of_log(log, run_id, attempt, until, wanted if is_last else None))
        elif is_last and slots and attempt.closed:
            found.append(_of_slots(attempt, attempt.closed, slots))
    return found


def _of_log(
    log: EventLog,
    run_id: str,
    attempt: Attempt,
    until: datetime | None,
    wanted: Collection[int] | None,
) -> Closing:
    """The attempt's tasks: its own, and those in its time that say of no run that they are its.

    Those ``wanted`` are waited for; None: the attempt is over, and what never ended was lost with it.
    """
    everything = log.all_tasks() if wanted is None else log.tasks(wanted)
    last_ms = max((task.finished_ms for task in everything), default=attempt.began_ms)
    closed = attempt.closed or until
    closed_ms = round(closed.timestamp() * 1000) if closed else last_ms
    ended_ms = closed_ms if attempt.closed else min(closed_ms, max(last_ms, attempt.began_ms))
    tasks = sorted(
        (
            task
            for task in everything
            if task.run_id in (run_id, "") and attempt.began_ms <= task.launched_ms <= ended_ms
        ),
        key=lambda task: task.task_id,
    )
    allocation = core_allocation(log)
    return Closing(
        attempt,
        ended_ms,
        tuple(tasks),
        tuple(_since(attempt, allocation)),
        allocation.driver_cores,
        allocation.task_cpus,
        started=log.started(run_id),
        cut_lines=log.cut_lines(),
    )


def _since(attempt: Attempt, allocation: CoreAllocation) -> list[Uptime]:
    """Executors; one in the driver's own JVM counts from the attempt's start, while that JVM starts."""
    return [
        Uptime(LOCAL, one.cores, min(one.began_ms, attempt.began_ms), one.ended_ms)
        if name == LOCAL
        else one
        for name, one in sorted(allocation.executors.items())
    ]


def _of_slots(attempt: Attempt, closed: datetime, slots: int) -> Closing:
    ended_ms = round(closed.timestamp() * 1000)
    return Closing(
        attempt, ended_ms, (), (Uptime(UNKNOWN, slots, attempt.began_ms),), is_measured=False
    )
