"""What must add up after a run, each with its figures: the six gates of the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

from pipelines.charges import Row
from pipelines.closings import Closing
from pipelines.rate import Rate
from pipelines.task_times import TaskTime
from schemas.prices import PLACES, Meter
from schemas.summary import NOTHING_COMPUTED

LEAST_COVERAGE = 0.95  # of Spark's executor run time, in each outcome
CLOCKS_DIFFER = 0.05  # of Spark's Python run time, at most
CLOCKS = "the workers' clock agrees with Spark's of its Python workers"
FINE_MS = 3000  # a task: unpickling and first imports come before the worker's clock, not Spark's


@dataclass(frozen=True)
class Gate:
    """One thing that must add up; ``passed`` is None where it cannot be known."""

    name: str
    passed: bool | None
    got: str
    allowed: str


@dataclass(frozen=True)
class Books:
    """What the gates look at."""

    rows: Sequence[Row]  # the run's, in the ledger
    closings: Sequence[Closing]
    meters: Sequence[Row]
    rate: Rate | None
    read: int | None = None  # rows of the input; None for a run that did not get so far
    ended: int | None = None  # rows that are scored, quarantined or failed


def gates(books: Books) -> tuple[Gate, ...]:
    """All six, in their order."""
    return tuple(look(books) for look in _GATES)


def are_closed(found: Sequence[Gate]) -> bool | None:
    """Whether everything adds up; None where something cannot be known, and nothing is wrong."""
    passed = [gate.passed for gate in found]
    return False if False in passed else None if None in passed else True


def coverage(books: Books) -> float | None:
    """Metered seconds / Spark's executor run time of the same tasks; None where that is not known."""
    times = {(t.application, t.task_id): t.run_ms for c in books.closings for t in c.tasks}
    asked = [(meter["application"], meter["task_id"]) for meter in books.meters]
    if not asked or not set(asked) <= times.keys() or not sum(times[at] for at in asked):
        return None
    metered_s = float(sum(meter["wall_s"] for meter in books.meters))
    return round(1000 * metered_s / sum(times[at] for at in asked), 4)


def as_json(found: Sequence[Gate]) -> str:
    """For the runs table."""
    return json.dumps([asdict(gate) for gate in found])


def _tasks(books: Books) -> Gate:
    name, allowed = "every task that started is in the ledger", "all of them"
    if not _is_measured(books):
        return Gate(name, None, "Spark's event log could not be read", allowed)
    started = {(c.attempt.application, task) for c in books.closings for task in c.started}
    missing = started - {(row["x_AppId"], row["x_TaskId"]) for row in books.rows}
    got, cut = f"{len(started) - len(missing)} of {len(started)}", _cut_lines(books)
    if cut and not missing:
        return Gate(name, None, f"{got}, and {cut} lines of Spark's event log are cut", allowed)
    return Gate(name, not missing, got, allowed)


def _covered(books: Books) -> Gate:
    name = "the ledger's seconds are Spark's own, in each outcome of a task"
    allowed = f"at least {LEAST_COVERAGE:.0%}"
    if not _is_measured(books):
        return Gate(name, None, "Spark's event log could not be read", allowed)
    spark, ledger = Counter[str](), Counter[str]()
    for task in _each_task(books):
        spark[task.outcome] += task.run_ms
    for row in books.rows:
        if row["SkuMeter"] == "Core" and row["x_Outcome"]:
            ledger[row["x_Outcome"]] += row["x_SlotMs"]
    shares = {outcome: ledger[outcome] / held for outcome, held in spark.items() if held}
    told = ", ".join(f"{outcome} {share:.2%}" for outcome, share in sorted(shares.items()))
    passed = all(LEAST_COVERAGE <= share <= 2 - LEAST_COVERAGE for share in shares.values())
    return Gate(name, passed, told or "no task", allowed)


def _clocks(books: Books) -> Gate:
    name, allowed = CLOCKS, f"within {CLOCKS_DIFFER:.0%}, or {FINE_MS} ms a task"
    if not books.meters:  # a cache had them all, or there were none
        return Gate(name, True, NOTHING_COMPUTED, allowed)
    python = {
        (task.application, task.task_id): task.python.run_ms
        for task in _each_task(books)
        if task.python
    }
    both = [
        (1000 * meter["wall_s"], python[meter["application"], meter["task_id"]])
        for meter in books.meters
        if (meter["application"], meter["task_id"]) in python
    ]
    if not both:
        return Gate(name, None, "no task has both", allowed)
    ours, sparks = sum(one for one, _ in both), sum(other for _, other in both)
    far = abs(ours - sparks)
    passed = far <= max(CLOCKS_DIFFER * sparks, FINE_MS * len(both))
    return Gate(name, passed, f"{ours / 1000:.2f} s and {sparks / 1000:.2f} s", allowed)


def _held(books: Books) -> Gate:
    name, allowed = "tasks, start-up and idle cores are all the cores that were held", "equal"
    if not books.closings:
        return Gate(name, None, "no attempt's time is known", allowed)
    held_ms = sum(
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
    got = f"{given_ms / 1000:,.3f} of {held_ms / 1000:,.3f} core-seconds"
    return Gate(name, given_ms == held_ms, got, allowed)


def _money(books: Books) -> Gate:
    name, allowed = "every cost is price times time held", "equal to the last decimal"
    if books.rate is None:
        return Gate(name, None, "no price book", allowed)
    held: Counter[tuple[int | None, Meter, str, Decimal]] = Counter()
    spent: dict[tuple[int | None, Meter, str, Decimal], Decimal] = {}
    for row in books.rows:
        if row["EffectiveCost"] is None:  # the job named no price book then
            continue
        key = (row["x_RunAttempt"], row["SkuMeter"], row["SkuPriceId"], row["ListUnitPrice"])
        held[key] += row["x_SlotMs"] * _cpus(books, row)
        spent[key] = spent.get(key, Decimal(0)) + row["EffectiveCost"]
    owed = {key: _owed(books.rate, key[1], key[3], ms) for key, ms in held.items()}
    off = sum((abs(spent[key] - owed[key]) for key in owed), Decimal(0))
    got = f"{sum(spent.values(), Decimal(0)):f} {books.rate.currency}, off by {off:f}"
    if unpriced := sum(row["EffectiveCost"] is None for row in books.rows):
        got += f"; {unpriced} rows are of attempts without a price book"
    return Gate(name, off == 0, got, allowed)


def _owed(rate: Rate, meter: Meter, price: Decimal, core_ms: int) -> Decimal:
    exact = Decimal(core_ms) / 1000 * rate.instance.per_core(meter) * price
    return exact.quantize(PLACES)


def _rows(books: Books) -> Gate:
    name, allowed = "every row is scored, quarantined or failed", "as many as were read"
    if books.read is None or books.ended is None:
        return Gate(name, None, "the run did not get so far as to count its rows", allowed)
    return Gate(name, books.read == books.ended, f"{books.ended:,} of {books.read:,}", allowed)


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


_GATES: tuple[Callable[[Books], Gate], ...] = (_tasks, _covered, _clocks, _held, _money, _rows)
