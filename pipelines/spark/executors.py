"""Cores that an application had allocated, and when, from Spark's event log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from millrace.pipelines.spark.event_log import EventLog

LOCAL = "driver"  # the executor that lives in the driver's own JVM
_KINDS = (
    b'{"Event":"SparkListenerExecutorAdded"', b'{"Event":"SparkListenerExecutorRemoved"',
    b'{"Event":"SparkListenerEnvironmentUpdate"', b'{"Event":"SparkListenerApplicationEnd"',
)  # fmt: skip


@dataclass(frozen=True)
class Uptime:
    """One executor: its cores, and since and until when it had them, milliseconds since 1970."""

    executor: str
    cores: int
    began_ms: int
    ended_ms: int | None = None  # None: it still has them

    def within(self, began_ms: int, ended_ms: int) -> int:
        """Milliseconds of this uptime in an interval."""
        end = ended_ms if self.ended_ms is None else min(ended_ms, self.ended_ms)
        return max(0, end - max(began_ms, self.began_ms))


@dataclass
class CoreAllocation:
    """The cores that an application had allocated."""

    executors: dict[str, Uptime] = field(default_factory=dict)
    driver_cores: int = 0  # of a driver that shares no executor's: in a cluster
    task_cpus: int = 1


def core_allocation(log: EventLog) -> CoreAllocation:
    """Return executors, the driver's cores and the cores of a task, from the whole log."""
    found = CoreAllocation()
    for event in EventLog(log.path).events(_KINDS):
        _READERS[event["Event"].removeprefix("SparkListener")](event, found)
    return found


def _added(event: dict[str, Any], found: CoreAllocation) -> None:
    name, cores = event["Executor ID"], event["Executor Info"]["Total Cores"]
    found.executors[name] = Uptime(name, cores, event["Timestamp"])


def _ended(event: dict[str, Any], found: CoreAllocation, name: str) -> None:
    before = found.executors.get(name)
    if before is not None and before.ended_ms is None:
        found.executors[name] = Uptime(name, before.cores, before.began_ms, event["Timestamp"])


def _removed(event: dict[str, Any], found: CoreAllocation) -> None:
    _ended(event, found, event["Executor ID"])


def _all_ended(event: dict[str, Any], found: CoreAllocation) -> None:
    for name in found.executors:
        _ended(event, found, name)


def _settings(event: dict[str, Any], found: CoreAllocation) -> None:
    properties = event["Spark Properties"]
    found.task_cpus = int(properties.get("spark.task.cpus", 1))
    is_local = str(properties.get("spark.master", "local")).partition("[")[0] == "local"
    found.driver_cores = 0 if is_local else int(properties.get("spark.driver.cores", 1))


_READERS = {
    "ExecutorAdded": _added,
    "ExecutorRemoved": _removed,
    "EnvironmentUpdate": _settings,
    "ApplicationEnd": _all_ended,
}
