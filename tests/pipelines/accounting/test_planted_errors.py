"""Each gate of the ledger, with an error planted into what it compares: the smallest that it catches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from millrace.pipelines.accounting.attempt_usage import Closing
from millrace.pipelines.accounting.ledger import rows_of
from millrace.pipelines.accounting.rates import Rate
from millrace.pipelines.accounting.reconciliation import Books, Gate, gates
from millrace.pipelines.lake.attempts import Attempt
from millrace.pipelines.spark.executors import Uptime
from millrace.pipelines.spark.task_times import PythonTime, TaskTime
from tests.ledgers import book, entry

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
BEGAN_MS = round(BEGAN.timestamp() * 1000)
RATE = Rate(book(entry()).instances[0], "USD", book(entry()).version)
TASKS, TASK_MS = 100, 1000  # an error in one of them must not drown in the others
A_TENTH_MS = TASK_MS // 10
TASKS_GATE, COVERED, CLOCKS, HELD, MONEY, ROWS = range(6)


def meter(number: int) -> dict[str, Any]:
    """What the worker of a task says: 950 ms that it owes to nobody, of which 930 are in laps."""
    laps = {"load_s": 0.1, "wait_s": 0.1, "decode_s": 0.1, "compute_s": 0.5, "convert_s": 0.1}
    nothing = dict.fromkeys(
        ("tokens", "gpu_busy_s", "gpu_joules", "cpu_joules", "gpu_memory_bytes")
    )
    return {
        "unit": 0, "application": "app", "stage_id": 2, "partition": number, "attempt_number": 0,
        "task_id": number, "executor": "driver", "started_at": BEGAN, "rows": 10, "failed": 0, "bytes": 9,
        "startup_s": 0.0, "emit_s": 0.03, "wall_s": 0.95, "cpu_s": 0.5, "peak_rss_bytes": 1,
        "device": "cpu", **laps, **nothing,
    }  # fmt: skip


def sound() -> Books:
    """The books of a run of 100 tasks of one second each, without an error."""
    tasks = tuple(
        TaskTime(
            "app", "run", "infer", 0, 2, 0, number, 0, number, "driver", "Success",
            BEGAN_MS + 1000, BEGAN_MS + 2000, TASK_MS, python=PythonTime(0, 0, 980, 955),
        )
        for number in range(TASKS)
    )  # fmt: skip
    held = (Uptime("driver", TASKS, BEGAN_MS),)
    attempt = Attempt("app", 0, BEGAN, None)
    started = frozenset(range(TASKS))
    closing = Closing(attempt, BEGAN_MS + 9000, tasks, held, started=started)
    meters = [meter(number) for number in range(TASKS)]
    rows = rows_of(meters, [closing], RATE, "run", "job", {})
    return Books(rows, [closing], meters, RATE, 1000, 1000)


def no_row_of_a_task(books: Books, tasks: int) -> Books:
    """The ledger without all that it has of some tasks."""
    rows = [row for row in books.rows if row["x_TaskId"] is None or row["x_TaskId"] >= tasks]
    return replace(books, rows=rows)


def more_time_of_a_task(books: Books, ms: int) -> Books:
    return _changed(books, lambda row: {"x_SlotMs": row["x_SlotMs"] + ms})


def more_time_by_the_worker(books: Books, ms: int) -> Books:
    one = {**books.meters[7], "wall_s": books.meters[7]["wall_s"] + ms / 1000}
    return replace(books, meters=[*books.meters[:7], one, *books.meters[8:]])


def less_time_by_the_worker(books: Books, ms: int) -> Books:
    return more_time_by_the_worker(books, -ms)


def more_idle_time(books: Books, ms: int) -> Books:
    rows = [
        {**row, "x_SlotMs": row["x_SlotMs"] + ms} if row["x_CostKind"] == "idle" else row
        for row in books.rows
    ]
    return replace(books, rows=rows)


def more_cost(books: Books, last_places: int) -> Books:
    step = Decimal(last_places).scaleb(-12)
    return _changed(books, lambda row: {"EffectiveCost": row["EffectiveCost"] + step})


def another_price(books: Books, last_places: int) -> Books:
    """Price and cost agree with each other, and not with the price book."""
    price = RATE.instance.unit_price("Core") + Decimal(last_places).scaleb(-12)

    def at_it(row: dict[str, Any]) -> dict[str, Any]:
        cost = Decimal(row["x_SlotMs"]) / 1000 * price
        return {"ListUnitPrice": price, "EffectiveCost": cost.quantize(Decimal("1e-12"))}

    return _changed(books, at_it)


def lost_rows(books: Books, rows: int) -> Books:
    return replace(books, ended=(books.ended or 0) - rows)


def _changed(books: Books, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Books:
    """The books with another useful row of task 7 in the ledger."""
    rows = [
        {**row, **change(row)}
        if (row["x_TaskId"], row["x_CostKind"], row["SkuMeter"]) == (7, "useful", "Core")
        else row
        for row in books.rows
    ]
    return replace(books, rows=rows)


PLANTED = [  # a gate, an error, the largest that it may miss, and the unit
    (TASKS_GATE, no_row_of_a_task, 1, "task"),
    (COVERED, more_time_of_a_task, 1, "ms"),
    (CLOCKS, more_time_by_the_worker, A_TENTH_MS, "ms"),
    (CLOCKS, less_time_by_the_worker, A_TENTH_MS, "ms"),
    (HELD, more_idle_time, 1, "ms"),
    (HELD, more_time_of_a_task, 1, "ms"),
    (MONEY, more_cost, 1, "1e-12 USD"),
    (MONEY, another_price, 1, "1e-12 USD a core-second"),
    (ROWS, lost_rows, 1, "row"),
]


def test_books_without_an_error_close() -> None:
    assert [gate.passed for gate in gates(sound())] == [True] * 6


@pytest.mark.parametrize(
    ("number", "plant", "must", "unit"), PLANTED, ids=[case[1].__name__ for case in PLANTED]
)
def test_a_gate_catches_an_error_of_a_tenth_of_a_one_second_task_and_mostly_much_less(
    number: int, plant: Callable[[Books, int], Books], must: int, unit: str
) -> None:
    books = sound()

    def found(size: int) -> Gate:
        return gates(plant(books, size))[number]

    smallest = next(size for size in range(1, A_TENTH_MS + 1) if found(size).passed is False)

    print(f"| {found(smallest).name} | {plant.__name__} | {smallest} {unit} |")
    assert smallest <= must
    assert all(found(size).passed is False for size in range(smallest, A_TENTH_MS + 1))


def test_what_cannot_be_compared_is_not_checked_and_never_passed() -> None:
    books = sound()
    dark = replace(books.closings[0], is_measured=False)
    tasks = tuple(replace(task, python=None) for task in dark.tasks)
    half = tasks[:50] + books.closings[0].tasks[50:]

    unread = gates(replace(books, closings=[dark], rate=None, read=None))
    assert [gate.passed for gate in unread if gate is not unread[CLOCKS]] == [None] * 5
    for some in (tasks, half):
        seen = replace(books, closings=[replace(books.closings[0], tasks=some)])
        assert gates(seen)[CLOCKS].passed is None
