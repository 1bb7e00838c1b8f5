"""What must add up where there is nothing to add, or nobody knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from millrace.pipelines.accounting.attempt_usage import Closing
from millrace.pipelines.accounting.ledger import rows_of
from millrace.pipelines.accounting.rates import Rate
from millrace.pipelines.accounting.reconciliation import CLOCKS, Books, are_closed, as_json, gates
from millrace.pipelines.console.formatting import gates_text
from millrace.pipelines.lake.attempts import Attempt
from millrace.pipelines.spark.executors import Uptime
from millrace.pipelines.spark.task_times import PythonTime, TaskTime
from millrace.schemas.summary import NOTHING_COMPUTED
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


def test_where_there_is_nothing_to_compare_a_gate_is_not_checked_and_the_books_close() -> None:
    found = gates(books(closing(task(1), task(2))))

    assert [gate.passed for gate in found] == [True, True, None, True, True, True]
    assert {gate.name: gate.got for gate in found}[CLOCKS] == NOTHING_COMPUTED
    assert are_closed(found) is True


def test_a_run_that_computed_rows_of_which_spark_tells_no_python_time_is_not_known() -> None:
    told = books(closing(task(1)))
    meter = {"application": "app", "task_id": 1, "wall_s": 2.0, "startup_s": 0.0}
    (clocks,) = [
        g for g in gates(Books(told.rows, told.closings, [meter], RATE)) if g.name == CLOCKS
    ]
    assert clocks.passed is None

    python = task(1, python=PythonTime(0, 0, 9500, 9000))
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


def test_a_run_of_no_rows_and_no_tasks_closes_with_what_there_was_to_check() -> None:
    found = gates(books(closing(), rows=0))
    assert [gate.passed for gate in found] == [None, None, None, True, True, True]
    assert are_closed(found) is True

    none_held = Closing(Attempt("app", 0, BEGAN, None), BEGAN_MS + 9000, (), ())
    found = gates(Books([], [none_held], [], RATE, 0, 0))
    assert [gate.passed for gate in found] == [None] * 5 + [True]
    assert are_closed(found) is True


def test_words_about_gates_say_which_were_checked_and_why_the_others_were_not() -> None:
    told = books(closing(task(1)))
    found = gates(Books(told.rows, told.closings, [], None, 7, 7))

    assert are_closed(found) is None
    said = "4 of 6 gates passed; not checked: the workers' clock agrees with the event log's of the same "
    said += "code, in each task (no row was computed); every cost is price times time held (no price book)"
    assert gates_text(json.loads(as_json(found))) == said
    assert gates_text(found) == said
