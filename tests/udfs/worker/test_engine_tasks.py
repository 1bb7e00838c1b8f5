"""Tasks of the embedded engine: as many compute at once as cores were given, and none waits for ever."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.pipelines.spark.event_log import EventLog
from millrace.pipelines.spark.executors import core_allocation
from millrace.udfs.worker import current_task, engine_tasks
from millrace.udfs.worker.engine_log import EngineLog
from millrace.udfs.worker.engine_tasks import in_engine

TAG = "millrace/run-1/infer/3"


@pytest.fixture(autouse=True)
def _this_process_is_no_engine() -> Iterator[None]:
    """The tests' process served tasks for a while: it must not stay the embedded engine's."""
    yield
    current_task._tasks.clear()
    engine_tasks._process.clear()


def served(folder: Path, cores: int) -> EngineLog:
    log = EngineLog.opened(folder / f"embedded-{time.monotonic_ns()}", "app", cores)
    log.python = engine_tasks.serve(log, cores).totals
    return log


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cores=st.integers(1, 3), tasks=st.integers(1, 6), batches=st.integers(0, 4))
def test_no_more_tasks_compute_at_once_than_there_are_cores_and_all_of_them_end(
    tmp_path: Path, cores: int, tasks: int, batches: int
) -> None:
    log, lock = served(tmp_path, cores), threading.Lock()
    computing, most = 0, 0

    def work(coming: Iterator[int]) -> Iterator[int]:
        nonlocal computing, most
        for one in coming:
            with lock:
                computing += 1
                most = max(most, computing)
            time.sleep(0.001)
            with lock:
                computing -= 1
            yield one + 1

    def chained(_: int) -> list[int]:
        """Two tasks, of which one feeds the other in one thread, as two stages of a query do."""
        inner = in_engine(work, TAG)(iter(range(batches)))
        return list(in_engine(work, TAG)(inner))

    log.step_began(TAG)
    with ThreadPoolExecutor(tasks) as pool:
        found = list(pool.map(chained, range(tasks), timeout=60))
    log.step_ended(TAG)
    log.close()

    assert found == [[one + 2 for one in range(batches)]] * tasks
    assert most <= cores
    ended = EventLog(Path(log.file.name)).tasks()
    assert {(one.run_id, one.step, one.unit, one.outcome) for one in ended} == {
        ("run-1", "infer", 3, "Success")
    }
    assert len(ended) == 2 * tasks + 1  # and the engine's own
    assert len({one.partition for one in ended}) == len(ended)


def test_the_clock_of_a_task_stands_still_while_it_waits_and_steps_share_what_is_left(
    tmp_path: Path,
) -> None:
    log, seen = served(tmp_path, 2), list[tuple[float, float]]()

    def slow_rows() -> Iterator[int]:
        (clock,) = engine_tasks._process[0].live.values()
        before = clock.wall_s(), clock.cpu_s()
        time.sleep(0.05)
        assert (clock.wall_s(), clock.cpu_s()) == before  # the task waits for this row
        yield 1

    def work(coming: Iterator[int]) -> Iterator[int]:
        task = current_task.current_task()
        assert task is not None
        assert task.clock is not None
        began = task.clock.seconds(), task.clock.cpu_s()
        for one in coming:
            spin(0.1)
            seen.append((task.clock.seconds() - began[0], task.clock.cpu_s() - began[1]))
            yield one

    log.step_began(TAG)
    assert list(in_engine(work, TAG)(slow_rows())) == [1]
    spin(0.2)  # the engine's own work
    log.step_ended(TAG)
    log.close()

    ((wall_s, cpu_s),) = seen
    assert wall_s >= 0.09
    assert cpu_s >= 0.1
    tasks = {one.partition: one for one in EventLog(Path(log.file.name)).tasks()}
    assert tasks[0].run_ms >= 190  # the engine's own; what tests' other threads did may be in it
    assert tasks[1].run_ms >= 1000 * wall_s - 1
    assert core_allocation(EventLog(Path(log.file.name))).executors["driver"].cores == 2


def test_an_error_a_task_that_is_dropped_and_one_whose_process_dies_are_told_apart(
    tmp_path: Path,
) -> None:
    log = served(tmp_path, 1)

    def work(coming: Iterator[int]) -> Iterator[int]:
        for one in coming:
            if one == 0:
                raise ValueError("zero")
            yield one

    with pytest.raises(ValueError, match="zero"):
        list(in_engine(work)(iter([0])))
    dropped = in_engine(work)(iter([1, 2]))
    next(dropped)
    dropped.close()
    lost = in_engine(work)(iter([1, 2]))
    next(lost)

    path = Path(log.file.name)
    outcomes = [(one.outcome, one.run_id) for one in EventLog(path).all_tasks()]
    assert {one.stage_id for one in EventLog(path).all_tasks()} == {0}  # one, of no step
    assert outcomes == [("ExceptionFailure", ""), ("TaskKilled", ""), ("LostWithItsDriver", "")]
    held = [json.loads(line) for line in path.read_text().splitlines() if '"TaskHeld' in line]
    assert held == [] or all(one["Held Time"] >= 0 for one in held)
    lost.close()
    assert len(list(in_engine(work)(iter([5])))) == 1  # each of them has given its slot back
    log.close()
