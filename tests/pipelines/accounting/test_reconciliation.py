"""What must add up where there is nothing to add, or nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipelines.attempts import Attempt
from pipelines.closings import Closing
from pipelines.executors import Uptime
from pipelines.gates import CLOCKS, Books, are_closed, gates
from pipelines.ledger import rows_of
from pipelines.rate import Rate
from pipelines.task_times import PythonTime, TaskTime
from schemas.summary import NOTHING_COMPUTED
from tests.ledgers import book, entry

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
BEGAN_MS = round(BEGAN.timestamp() * 1000)
RATE = Rate(book(entry()).instances[0], "USD", "book")


def task(number: int, **more: Any) -> TaskTime:
    return TaskTime(
        "app", "run", "infer", 0, 2, 0, number, 0, number, "driver", "Success",
        BEGAN_MS + 1000, BEGAN_MS + 3000, 2000, **more,
    )  # fmt: skip


def closing(*tasks: TaskTime, **more: Any) -> Closing:
    started = frozenset(one.task_id for one in tasks)
    held = (Uptime("driver", 2, BEGAN_MS),)
    attempt = Attempt("app", 0, BEGAN, None)
    return Closing(attempt, BEGAN_MS + 9000, tasks, held, started=started, **more)


def books(*closings: Closing, rows: int = 7) -> Books:
    made = rows_of([], closings, RATE, "run", "job", {})
    return Books(made, closings, [], RATE, rows, rows)


def test_a_run_that_computed_nothing_has_nothing_to_compare_and_closes() -> None:
    found = gates(books(closing(task(1), task(2))))

    assert [gate.passed for gate in found] == [True] * 6
    assert {gate.name: gate.got for gate in found}[CLOCKS] == NOTHING_COMPUTED
    assert are_closed(found) is True


def test_a_run_that_computed_rows_of_which_spark_tells_no_python_time_is_not_known() -> None:
    told = books(closing(task(1)))
    meter = {"application": "app", "task_id": 1, "wall_s": 2.0}
    (clocks,) = [
        g for g in gates(Books(told.rows, told.closings, [meter], RATE)) if g.name == CLOCKS
    ]
    assert clocks.passed is None

    python = task(1, python=PythonTime(0, 0, 9000))
    (clocks,) = [
        g for g in gates(Books(told.rows, [closing(python)], [meter], RATE)) if g.name == CLOCKS
    ]
    assert clocks.passed is False  # 7 s of a task's 9 s are in no meter


def test_a_run_that_computed_nothing_and_of_which_spark_left_no_log_is_not_known() -> None:
    found = gates(books(closing(is_measured=False)))

    assert [gate.passed for gate in found][:2] == [None, None]
    assert are_closed(found) is None


def test_an_attempt_before_the_job_named_its_prices_has_no_cost_and_the_books_close() -> None:
    first, second = closing(task(1)), closing(task(2))
    free = rows_of([], [first], None, "run", "job", {})
    paid = rows_of([], [second], RATE, "run", "job", {})

    found = gates(Books([*free, *paid], [first, second], [], RATE, 7, 7))

    (money,) = [gate for gate in found if "price" in gate.name]
    assert money.passed is True
    assert f"{len(free)} rows are of attempts without a price book" in money.got


def test_a_run_of_no_rows_closes() -> None:
    assert are_closed(gates(books(closing(), rows=0))) is True
