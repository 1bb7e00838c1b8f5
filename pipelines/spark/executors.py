"""Which cores an application held, from when to when: Spark's own words, from its event log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.task_times import EventLog

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
class Held:
    """What an application held."""

    executors: dict[str, Uptime] = field(default_factory=dict)
    driver_cores: int = 0  # of a driver that shares no executor's: in a cluster
    task_cpus: int = 1


def held(log: EventLog) -> Held:
    """Executors, the driver's cores and the cores of a task, as the whole log tells them."""
    found = Held()
    for event in EventLog(log.path).events(_KINDS):
        _READERS[event["Event"].removeprefix("SparkListener")](event, found)
    return found


def _added(event: dict[str, Any], found: Held) -> None:
    name, cores = event["Executor ID"], event["Executor Info"]["Total Cores"]
    found.executors[name] = Uptime(name, cores, event["Timestamp"])


def _ended(event: dict[str, Any], found: Held, name: str) -> None:
    before = found.executors.get(name)
    if before is not None and before.ended_ms is None:
        found.executors[name] = Uptime(name, before.cores, before.began_ms, event["Timestamp"])


def _removed(event: dict[str, Any], found: Held) -> None:
    _ended(event, found, event["Executor ID"])


def _all_ended(event: dict[str, Any], found: Held) -> None:
    for name in found.executors:
        _ended(event, found, name)


def _settings(event: dict[str, Any], found: Held) -> None:
    told = event["Spark Properties"]
    found.task_cpus = int(told.get("spark.task.cpus", 1))
    is_local = str(told.get("spark.master", "local")).partition("[")[0] == "local"
    found.driver_cores = 0 if is_local else int(told.get("spark.driver.cores", 1))


_READERS = {
    "ExecutorAdded": _added,
    "ExecutorRemoved": _removed,
    "EnvironmentUpdate": _settings,
    "ApplicationEnd": _all_ended,
}
