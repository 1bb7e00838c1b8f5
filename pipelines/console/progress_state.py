"""How far scoring is: rows, units, money, and what went wrong so far; counted here, shown elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from millrace.pipelines.console.formatting import count, duration, money
from millrace.udfs.runtime.row_counts import Counts


@dataclass(frozen=True)
class Tasks:
    """Spark's tasks of the stages that are at work."""

    finished: int = 0
    total: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Spent:
    """Money so far, and what it comes to in the end where something tells; in one currency."""

    amount: Decimal
    end: Decimal | None
    budget: Decimal | None
    currency: str


class _AtWork:
    """A unit whose tasks are running."""

    def __init__(self, rows: float, count: Callable[[], Counts]) -> None:
        self.rows, self._count = rows, count
        self.counts = Counts()

    def look(self) -> None:
        """Count its rows again: no count becomes less, as where a task begins again."""
        now = self._count()
        before = self.counts
        self.counts = Counts(max(before.read, now.read), max(before.scored, now.scored))


@dataclass
class Tally:
    """What is known of a pass over units of work.

    Rows of committed units are their share of the rows that validation counted; of a unit at work, those
    that its tasks have counted.
    """

    rows_total: float = 0.0  # of the units that were left when this attempt began
    units_total: int = 0
    units_done: int = 0  # earlier attempts' too
    quarantined: int = 0
    failed: int = 0
    spent: Callable[[float], Spent | None] = lambda _: None  # by the rows that are left
    began: float = field(default_factory=time.monotonic)
    retried: int = 0  # tasks that failed and were tried again
    accepted: float = 1.0  # the share of rows that are not quarantined: only these are scored
    counted: float = 1.0  # rows of the input by validation's count, for each one expected
    is_read_apart: bool = False  # rows are read in tasks of their own, which count them too
    _done: float = 0.0
    _read: int = 0  # by units that are committed
    _running: dict[int, _AtWork] = field(default_factory=dict)
    _most: float = 0.0  # rows that were shown: they do not go back

    def begins(self, unit: int, rows: float, count: Callable[[], Counts] = Counts) -> None:
        """A unit of so many rows is at work; ``count`` gives those that its tasks have finished."""
        self._running[unit] = _AtWork(rows * self.counted, count)

    def look(self) -> None:
        """Ask the units at work how far they are."""
        for unit in list(self._running.values()):
            unit.look()

    def ends(self, unit: int, rows: float, failed: int) -> None:
        """It is committed; so many of its rows have no prediction."""
        if at_work := self._running.pop(unit, None):
            at_work.look()
            self._read += at_work.counts.read
        self._done, self.failed = self._done + rows * self.counted, self.failed + failed
        self.units_done += 1

    @property
    def rows(self) -> float:
        """Rows that are scored or quarantined: of committed units, and of those at work, as last counted."""
        scored = sum(
            min(unit.rows, unit.counts.scored / self.accepted)
            for unit in list(self._running.values())
            if self.accepted
        )
        self._most = min(self.rows_total, max(self._most, self._done + scored))
        return self._most

    @property
    def rows_read(self) -> int | None:
        """Rows that were read; None where the tasks that score read them, too."""
        if not self.is_read_apart:
            return None
        return self._read + sum(unit.counts.read for unit in list(self._running.values()))

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for a log; what is not known is None."""
        rows, past_s = self.rows, time.monotonic() - self.began
        rate = rows / past_s if rows and past_s > 0 else None
        left = self.rows_total - rows
        spent = self.spent(self.rows_total - self._done)
        return {
            "rows": round(rows),
            "rows_read": self.rows_read,
            "rows_total": round(self.rows_total),
            "rows_per_s": rate and round(rate, 1),
            "left_s": rate and round(left / rate, 1),
            "units_done": self.units_done,
            "units_total": self.units_total,
            "quarantined": self.quarantined,
            "failed": self.failed,
            "retried": self.retried,
            "spent": spent and f"{spent.amount:f}",
            "spent_in_the_end": spent and spent.end and f"{spent.end:f}",
            "budget": spent and spent.budget and f"{spent.budget:f}",
            "currency": spent and spent.currency,
        }

    def parts(self) -> tuple[list[str], list[str]]:
        """What a line says of rows and time, and what it says of money and what went wrong."""
        known = self.facts()
        is_reading = not known["rows"] and known["rows_read"]
        rows = f"{count(known['rows_read'] if is_reading else known['rows'])} of about"
        ahead = [f"{rows} {count(known['rows_total'])} rows" + (" read" if is_reading else "")]
        if known["rows_per_s"] is not None:
            ahead.append(f"{known['rows_per_s']:,.0f} rows/s")
            ahead.append(f"about {duration(known['left_s'])} left")
        if self.units_total > 1:
            ahead.append(f"unit {self.units_done} of {self.units_total}")
        return ahead, [*self._money(), *self._wrong()]

    def _money(self) -> list[str]:
        spent = self.spent(self.rows_total - self._done)
        if spent is None:
            return []
        of = "" if spent.budget is None else f" of {money(spent.budget)}"
        end = "" if spent.end is None else f", about {money(spent.end)} in the end"
        return [f"{money(spent.amount)}{of} {spent.currency}{end}"]

    def _wrong(self) -> list[str]:
        counts = [
            (self.quarantined, "quarantined"),
            (self.failed, "failed"),
            (self.retried, "retried"),
        ]
        return [f"{count(number)} {what}" for number, what in counts if number]
