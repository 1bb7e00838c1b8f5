"""How far scoring is: rows, units, money, and what went wrong so far; counted here, shown elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipelines.words import count, duration, money


@dataclass(frozen=True)
class Tasks:
    """Spark's tasks of the stages that are at work."""

    finished: int = 0
    total: int = 0
    failed: int = 0

    @property
    def share(self) -> float:
        """Of the tasks, those that are finished; 0 to 1."""
        return self.finished / self.total if self.total else 0.0


@dataclass(frozen=True)
class Spent:
    """Money so far, and what it comes to in the end where something tells; in one currency."""

    amount: Decimal
    end: Decimal | None
    budget: Decimal | None
    currency: str


@dataclass
class Tally:
    """What is known of a pass over units of work. Rows are those expected, until all are counted."""

    rows_total: float = 0.0  # of the units that were left when this attempt began
    units_total: int = 0
    units_done: int = 0  # earlier attempts' too
    quarantined: int = 0
    failed: int = 0
    spent: Callable[[float], Spent | None] = lambda _: None  # by the rows that are left
    began: float = field(default_factory=time.monotonic)
    retried: int = 0  # tasks that failed and were tried again
    _done: float = 0.0
    _running: dict[int, float] = field(default_factory=dict)
    _most: float = 0.0  # rows that were shown: they do not go back

    def begins(self, unit: int, rows: float) -> None:
        """A unit of so many rows is at work."""
        self._running[unit] = rows

    def ends(self, unit: int, rows: float, failed: int) -> None:
        """It is committed; so many of its rows have no prediction."""
        self._running.pop(unit, None)
        self._done, self.failed = self._done + rows, self.failed + failed
        self.units_done += 1

    def rows(self, tasks: Tasks) -> float:
        """Rows that are scored, about: committed units, and of those at work the share of tasks."""
        at_work = sum(list(self._running.values())) * tasks.share
        self._most = min(self.rows_total, max(self._most, self._done + at_work))
        return self._most

    def facts(self, tasks: Tasks) -> dict[str, Any]:
        """All of it as plain values, for a log; what is not known is None."""
        rows, past_s = self.rows(tasks), time.monotonic() - self.began
        rate = rows / past_s if rows and past_s > 0 else None
        left = self.rows_total - rows
        spent = self.spent(self.rows_total - self._done)
        return {
            "rows": round(rows),
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

    def parts(self, tasks: Tasks) -> tuple[list[str], list[str]]:
        """What a line says of rows and time, and what it says of money and what went wrong."""
        known = self.facts(tasks)
        ahead = [f"{count(known['rows'])} of about {count(known['rows_total'])} rows"]
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
        told = [
            (self.quarantined, "quarantined"),
            (self.failed, "failed"),
            (self.retried, "retried"),
        ]
        return [f"{count(number)} {what}" for number, what in told if number]
