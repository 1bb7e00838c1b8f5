"""Allocated time by executor and cost kind: ledger rows before pricing, one a task and kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from millrace.pipelines.accounting.attempt_usage import UNKNOWN, Closing
from millrace.pipelines.accounting.energy import Used
from millrace.pipelines.spark.executors import LOCAL, Uptime
from millrace.pipelines.spark.task_times import TaskTime

Row = dict[str, Any]
Meters = Mapping[tuple[str, int], Row]  # by application and task id

# Which lap of the meter is which kind of cost. Around what the worker ran Spark started it, or handed it
# the work (`startup`), and after it Spark writes the rows (`write`); what is left is `unattributed`.
KINDS = {
    "startup": ("startup_s",),
    "model_load": ("load_s",),
    "read": ("wait_s",),
    "useful": ("decode_s", "compute_s"),
    "write": ("convert_s", "emit_s"),
}
STEP_KINDS = {
    "start": "startup",
    "calibrate": "calibration",
    "warm": "startup",
    "validate": "validation",
    "infer": "write",
    "write": "write",
}
WASTE = ("failed", "killed", "speculative", "recomputed")
_COMPUTES = ("calibrate", "warm", "infer")  # steps whose tasks may use a GPU
_NO_LOG = "no task times from Spark"


def charged(
    closing: Closing, meters: Meters, committed_by: Mapping[int | None, set[str]]
) -> list[Row]:
    """Return the charges of an attempt: its tasks by kind, its idle cores, its driver.

    ``committed_by`` has, by unit, the applications whose commit of it is in the table.
    """
    application, number = closing.attempt.application, closing.attempt.number
    if closing.is_measured:
        rows = list(_tasks(closing, meters, committed_by))
    else:
        rows = metered_alone([meters[at] for at in sorted(meters) if at[0] == application])
    return [{**row, "x_RunAttempt": number} for row in (*rows, *_overhead(closing, rows))]


def metered_alone(meters: Sequence[Row]) -> list[Row]:
    """Return rows of tasks that have a meter and are not in Spark's log."""
    return [row for meter in meters for row in _of_meter(meter, None, 1)]


def _tasks(
    closing: Closing, meters: Meters, committed_by: Mapping[int | None, set[str]]
) -> Iterator[Row]:
    made: Counter[tuple[int, int]] = Counter()  # times that a stage's partition was computed
    # A stage that is skipped, for an earlier one left its shuffle, begins with attempt 1 when that is lost.
    first = {task.stage_id for task in closing.tasks if task.stage_attempt == 0}
    for task in closing.tasks:
        meter = meters.get((task.application, task.task_id))
        if meter is not None:
            yield from _of_meter(meter, task, closing.task_cpus)
            continue
        is_committed = task.application in committed_by.get(task.unit, {task.application})
        is_again = task.stage_id not in first or bool(made[task.stage_id, task.partition])
        kind = _kind(task, is_committed=is_committed, is_again=is_again)
        made[task.stage_id, task.partition] += task.outcome == "Success"
        yield _of_task(task, kind, closing.task_cpus)


def _kind(task: TaskTime, *, is_committed: bool, is_again: bool) -> str:
    """Of a task without a meter: another step's, one without rows, or one that was lost, or its unit."""
    if task.outcome != "Success" or not is_committed:
        lost = {"TaskKilled": "killed"}.get(task.outcome, "failed")
        return "speculative" if task.speculative else lost
    if is_again:
        return "recomputed"
    return STEP_KINDS.get(task.step, "unattributed")


def _of_meter(meter: Row, task: TaskTime | None, cpus: int) -> Iterator[Row]:
    """A metered task's time by kind; with Spark's own time, the kinds sum to exactly that.

    Cores and GPUs are measured for the whole task, so each kind has its share by time.
    """
    laps = _laps(meter, task)
    allocated_ms = task.run_ms if task else round(1000 * meter["wall_s"])
    used = _used(meter, task)
    began = meter["started_at"].replace(tzinfo=UTC)
    common = {
        "x_Unit": meter["unit"],
        "x_AppId": meter["application"],
        "x_StageId": meter["stage_id"],
        "x_StageAttempt": task.stage_attempt if task else None,
        "x_PartitionId": meter["partition"],
        "x_TaskAttempt": meter["attempt_number"],
        "x_TaskId": meter["task_id"],
        "x_ExecutorId": task.executor if task else meter["executor"],
        "x_Outcome": task.outcome if task else None,
        "x_Committed": True,
        "ChargePeriodStart": _utc(task.launched_ms) if task else began,
        "ChargePeriodEnd": _utc(task.finished_ms) if task else None,
        "x_Quality": "measured" if task else _NO_LOG,
        "cores": cpus,
    }
    for kind, spent_ms in _fitted(laps, allocated_ms).items():
        work = {**_work(meter), **_sparks(task)} if kind == "useful" else {}
        part = used.part(spent_ms / allocated_ms if allocated_ms else 0.0)
        yield {**common, "x_CostKind": kind, "x_SlotMs": spent_ms, "used": part, **work}


def _laps(meter: Row, task: TaskTime | None) -> dict[str, float]:
    """Milliseconds by kind, as the worker's clock and Spark's have them."""
    laps = {kind: 1000 * sum(meter[lap] for lap in names) for kind, names in KINDS.items()}
    if task is not None and task.python is not None and task.python.code_ms:
        laps["startup"] = max(0, task.python.run_ms - task.python.code_ms)
        laps["write"] += max(0, task.run_ms - task.python.run_ms)
    return laps


def _used(meter: Row, task: TaskTime | None) -> Used:
    """The CPU time of the worker and of its JVM; the counter's joules grow with both."""
    jvm_s = task.jvm_cpu_ns / 1e9 if task else 0.0
    cpu_s, joules, busy_s = meter["cpu_s"], meter["cpu_joules"], meter["gpu_busy_s"]
    if joules is not None and cpu_s:
        joules *= (cpu_s + jvm_s) / cpu_s
    if busy_s is None and meter["device"] == "cpu":
        busy_s = 0.0
    return Used(cpu_s + jvm_s, joules, busy_s, meter["gpu_joules"])


def _fitted(laps: Mapping[str, float], allocated_ms: int) -> dict[str, int]:
    """Return whole milliseconds that sum to the allocated ones; the rest is unattributed."""
    claimed = sum(laps.values())
    scale = min(1.0, allocated_ms / claimed) if claimed else 1.0
    found, so_far, given = {}, 0.0, 0
    for kind, spent in laps.items():
        so_far += spent * scale
        found[kind] = round(so_far) - given
        given += found[kind]
    return found | {"unattributed": allocated_ms - given}


def _work(meter: Row) -> Row:
    return {
        "x_PyCpuNs": round(meter["cpu_s"] * 1e9),
        "x_RowsIn": meter["rows"],
        "x_RowsOut": meter["rows"] - meter["failed"],
        "x_Tokens": meter["tokens"],
        "x_Bytes": meter["bytes"],
        "x_PeakRssBytes": meter["peak_rss_bytes"],
        "x_GpuBusyMs": None if meter["gpu_busy_s"] is None else round(1000 * meter["gpu_busy_s"]),
        "x_GpuMemoryBytes": meter["gpu_memory_bytes"],
    }


def _sparks(task: TaskTime | None) -> Row:
    """What only Spark knows of a task; on one of its rows."""
    if task is None:
        return {}
    python = task.python
    return {
        "x_ExecutorRunTimeMs": task.run_ms,
        "x_GcMs": task.gc_ms,
        "x_JvmCpuNs": task.jvm_cpu_ns,
        "x_PyBootMs": python and python.boot_ms,
        "x_PyInitMs": python and python.init_ms,
        "x_PyRunMs": python and python.run_ms,
    }


def _of_task(task: TaskTime, kind: str, cpus: int) -> Row:
    is_waste = kind in WASTE
    is_known = task.outcome == "Success" and task.python is None  # else Python's CPU time is not
    return {
        "x_Unit": task.unit,
        "x_AppId": task.application,
        "x_StageId": task.stage_id,
        "x_StageAttempt": task.stage_attempt,
        "x_PartitionId": task.partition,
        "x_TaskAttempt": task.attempt,
        "x_TaskId": task.task_id,
        "x_ExecutorId": task.executor,
        "x_CostKind": kind,
        "x_Outcome": task.outcome,
        "x_Committed": not is_waste,
        "ChargePeriodStart": _utc(task.launched_ms),
        "ChargePeriodEnd": _utc(task.finished_ms),
        "x_SlotMs": task.run_ms,
        "x_Quality": "no meter: the attempt did not commit" if is_waste else "measured",
        "cores": cpus,
        "used": Used(
            cpu_s=task.jvm_cpu_ns / 1e9 if is_known else None,
            gpu_s=0.0 if is_known or task.step not in _COMPUTES else None,
        ),
        **_sparks(task),
    }


def _overhead(closing: Closing, rows: Sequence[Row]) -> Iterator[Row]:
    """Yield idle cores, one row an executor, and the driver's own."""
    busy: Counter[str] = Counter()
    for row in rows:
        executor = row["x_ExecutorId"] if closing.is_measured else UNKNOWN
        busy[executor] += row["x_SlotMs"] * row["cores"]
    first_ms = min((task.launched_ms for task in closing.tasks), default=closing.ended_ms)
    for one in closing.executors:
        began, ended = closing.attempt.began_ms, closing.ended_ms
        allocated_ms = one.cores * one.within(began, ended)
        starting_ms = one.cores * one.within(began, first_ms) if one.executor == LOCAL else 0
        idle_ms = max(0, allocated_ms - starting_ms - busy[one.executor])
        if starting_ms:
            yield _of_nobody(closing, one.executor, "startup", starting_ms, (began, first_ms))
        if idle_ms:
            yield _of_nobody(closing, one.executor, "idle", idle_ms, _span(closing, one, first_ms))
    if closing.driver_cores:
        spent_ms = closing.driver_cores * closing.duration_ms
        span = (closing.attempt.began_ms, closing.ended_ms)
        yield _of_nobody(closing, "driver", "driver", spent_ms, span)


def _span(closing: Closing, one: Uptime, first_ms: int) -> tuple[int, int]:
    began = first_ms if one.executor == LOCAL else max(one.began_ms, closing.attempt.began_ms)
    return began, closing.ended_ms if one.ended_ms is None else min(one.ended_ms, closing.ended_ms)


def _of_nobody(
    closing: Closing, executor: str, kind: str, core_ms: int, span: tuple[int, int]
) -> Row:
    return {
        "x_AppId": closing.attempt.application,
        "x_ExecutorId": executor,
        "x_CostKind": kind,
        "x_Committed": True,
        "ChargePeriodStart": _utc(span[0]),
        "ChargePeriodEnd": _utc(max(span)),
        "x_SlotMs": core_ms,
        "x_Quality": "measured" if closing.is_measured else _NO_LOG,
        "cores": 1,
        "used": Used(cpu_s=0.0 if kind == "idle" else None, gpu_s=0.0),
    }


def _utc(since_1970_ms: int) -> datetime:
    return datetime.fromtimestamp(since_1970_ms / 1000, UTC)
