"""Reconciliation after a run: the six gates of the ledger, each with its figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

from millrace.pipelines.accounting.attempt_usage import Closing
from millrace.pipelines.accounting.charges import Row
from millrace.pipelines.accounting.rates import Rate
from millrace.pipelines.spark.task_times import TaskTime
from millrace.schemas.prices import PLACES, Meter
from millrace.schemas.summary import NOTHING_COMPUTED

CLOCKS = "the workers' clock agrees with the event log's of the same code, in each task"
_NO_LOG = "the event log could not be read"
CLOCKS_DIFFER = 0.09  # of the event log's time of a task, at most
FINE_MS = 90  # of any task: between the two clocks' ends a busy machine may run something else


@dataclass(frozen=True)
class Gate:
    """One thing that must add up; ``passed`` is None where it was not checked."""

    name: str
    passed: bool | None
    got: str
    allowed: str
    is_empty: bool = False  # there was nothing to compare, which keeps no books open


@dataclass(frozen=True)
class Books:
    """What the gates look at."""

    rows: Sequence[Row]  # the run's, in the ledger
    closings: Sequence[Closing]
    meters: Sequence[Row]
    rate: Rate | None
    read: int | None = (
        None  # rows that the pinned input states, of text those read; None: not known
    )
    ended: int | None = None  # rows that are scored, quarantined or failed


def gates(books: Books) -> tuple[Gate, ...]:
    """All six, in their order."""
    return tuple(look(books) for look in _GATES)


def are_closed(found: Sequence[Gate]) -> bool | None:
    """Whether all that is there adds up; None where something is not known, and nothing is wrong."""
    passed = [gate.passed for gate in found if not gate.is_empty]
    return False if False in passed else None if None in passed else True


def as_json(found: Sequence[Gate]) -> str:
    """For the runs table."""
    return json.dumps([asdict(gate) for gate in found])


def _tasks(books: Books) -> Gate:
    name, allowed = "every task that started is in the ledger", "all of them"
    if not _is_measured(books):
        return Gate(name, None, _NO_LOG, allowed)
    started = {(c.attempt.application, task) for c in books.closings for task in c.started}
    if not started and not _cut_lines(books):
        return _nothing(name, "no task started", allowed)
    missing = started - {(row["x_AppId"], row["x_TaskId"]) for row in books.rows}
    got, cut = f"{len(started) - len(missing)} of {len(started)}", _cut_lines(books)
    if cut and not missing:
        return Gate(name, None, f"{got}, and {cut} lines of Spark's event log are cut", allowed)
    return Gate(name, not missing, got, allowed)


def _covered(books: Books) -> Gate:
    name = "the ledger has the event log's time of each task, whatever its outcome"
    allowed = "equal"
    if not _is_measured(books):
        return Gate(name, None, _NO_LOG, allowed)
    ledger = Counter[tuple[str, int]]()
    for row in books.rows:
        if row["SkuMeter"] == "Core" and row["x_TaskId"] is not None:
            ledger[row["x_AppId"], row["x_TaskId"]] += row["x_SlotMs"]
    spark, off = Counter[str](), Counter[str]()
    for task in _each_task(books):
        spark[task.outcome] += task.run_ms
        off[task.outcome] += abs(ledger[task.application, task.task_id] - task.run_ms)
    if not spark:
        return _nothing(name, "no task ended", allowed)
    text = ", ".join(
        f"{outcome} {allocated / 1000:,.3f} s, off by {off[outcome] / 1000:,.3f} s"
        for outcome, allocated in sorted(spark.items())
    )
    return Gate(name, not any(off.values()), text, allowed)


def _clocks(books: Books) -> Gate:
    name, allowed = CLOCKS, f"within {CLOCKS_DIFFER:.0%} of each, or {FINE_MS} ms"
    if not books.meters:  # a cache had them all, or there were none
        return _nothing(name, NOTHING_COMPUTED, allowed)
    logged = {
        (task.application, task.task_id): task.python.code_ms
        for task in _each_task(books)
        if task.python and task.python.code_ms
    }
    ours = {
        (meter["application"], meter["task_id"]): 1000 * (meter["wall_s"] - meter["startup_s"])
        for meter in books.meters
    }
    both = logged.keys() & ours.keys()
    if not both:
        return Gate(name, None, "no task has both", allowed)
    far = {at: abs(ours[at] - logged[at]) for at in both}
    wrong = sum(far[at] > max(CLOCKS_DIFFER * logged[at], FINE_MS) for at in both)
    got = f"{len(both) - wrong} of {len(ours)} tasks, {max(far.values()):,.0f} ms apart at most"
    if wrong:
        got += "; more work than cores on the machine can cause this, and scores are not concerned"
    return Gate(name, None if not wrong and len(both) < len(ours) else not wrong, got, allowed)


def _allocated(books: Books) -> Gate:
    name, allowed = "tasks, start-up and idle cores are all the cores that were held", "equal"
    if not _is_measured(books):
        return Gate(name, None, _NO_LOG, allowed)
    allocated_ms = sum(
        one.cores * one.within(closing.attempt.began_ms, closing.ended_ms)
        for closing in books.closings
        for one in closing.executors
    )
    given_ms = sum(
        row["x_SlotMs"] * _cpus(books, row)
        for row in books.rows
        if row["SkuMeter"] == "Core"
        and row["x_CostKind"] != "driver"
        and row["x_RunAttempt"] is not None  # a killed driver's log may lack its last tasks
    )
    if not allocated_ms and not given_ms:
        return _nothing(name, "no core was held", allowed)
    got = f"{given_ms / 1000:,.3f} of {allocated_ms / 1000:,.3f} core-seconds"
    return Gate(name, given_ms == allocated_ms, got, allowed)


def _money(books: Books) -> Gate:
    name, allowed = "every cost is price times time held", "equal to the last decimal"
    if books.rate is None:
        return Gate(name, None, "no price book", allowed)
    allocated: Counter[tuple[int | None, Meter, str, Decimal]] = Counter()
    spent: dict[tuple[int | None, Meter, str, Decimal], Decimal] = {}
    paid = [row for row in books.rows if row["EffectiveCost"] is not None]
    if not paid:
        return Gate(name, None, "no row has a cost", allowed, is_empty=not books.rows)
    for row in paid:  # others are of when the job named no price book
        key = (row["x_RunAttempt"], row["SkuMeter"], row["SkuPriceId"], row["ListUnitPrice"])
        allocated[key] += row["x_SlotMs"] * _cpus(books, row)
        spent[key] = spent.get(key, Decimal(0)) + row["EffectiveCost"]
    owed = {key: _owed(books.rate, key[1], key[3], ms) for key, ms in allocated.items()}
    off = sum((abs(spent[key] - owed[key]) for key in owed), Decimal(0))
    got = f"{sum(spent.values(), Decimal(0)):f} {books.rate.currency}, off by {off:f}"
    if strange := sum(not _is_of_the_book(books.rate, row) for row in paid):
        got += f"; the price book has no such price for {strange} rows"
    if unpriced := len(books.rows) - len(paid):
        got += f"; {unpriced} rows are of attempts without a price book"
    return Gate(name, off == 0 and not strange, got, allowed)


def _is_of_the_book(rate: Rate, row: Row) -> bool:
    """Whether the book has the row's unit price; of a row that another book priced, nobody here knows."""
    if row["x_PriceBookVersion"] != rate.book_version:
        return True
    entries = rate.entries or (rate.instance,)
    return row["ListUnitPrice"] in {one.unit_price(row["SkuMeter"]) for one in entries}


def _owed(rate: Rate, meter: Meter, price: Decimal, core_ms: int) -> Decimal:
    exact = Decimal(core_ms) / 1000 * rate.instance.per_core(meter) * price
    return exact.quantize(PLACES)


def _rows(books: Books) -> Gate:
    name, allowed = "every row is scored, quarantined or failed", "as many as the input has"
    if books.read is None or books.ended is None:
        return Gate(name, None, "the run did not get so far as to count its rows", allowed)
    return Gate(name, books.read == books.ended, f"{books.ended:,} of {books.read:,}", allowed)


def _nothing(name: str, what: str, allowed: str) -> Gate:
    return Gate(name, None, what, allowed, is_empty=True)


def _is_measured(books: Books) -> bool:
    return bool(books.closings) and all(closing.is_measured for closing in books.closings)


def _cut_lines(books: Books) -> int:
    return sum(closing.cut_lines for closing in books.closings)


def _each_task(books: Books) -> Iterator[TaskTime]:
    return (task for closing in books.closings for task in closing.tasks)


def _cpus(books: Books, row: Row) -> int:
    """Cores of a row's task; rows of no task have their cores in their milliseconds."""
    if row["x_TaskId"] is None:
        return 1
    return next((c.task_cpus for c in books.closings if c.attempt.number == row["x_RunAttempt"]), 1)


_GATES: tuple[Callable[[Books], Gate], ...] = (_tasks, _covered, _clocks, _allocated, _money, _rows)
