"""What a run may spend: machines held x price, over all of its attempts, watched between units.

A session holds all of its cores from its start to its end, whatever they do. So a run has spent, for each
of its attempts, the seconds held x slots x (price of a core + price of the memory held with it).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from pipelines import history, place, runs, sink
from pipelines.attempts import BEGINS
from pipelines.calibrate import Way
from pipelines.command_session import logs
from pipelines.forecast import Range
from pipelines.rate import Rate
from pipelines.runs import Clock, Run
from pipelines.task_times import EventLog
from pipelines.units import DONE
from pipelines.words import duration, money
from pipelines.work import Work
from schemas.errors import BudgetExceeded
from schemas.prices import METERS, PLACES, Instance
from schemas.tables import UNITS

_RAISE = "raise cost.budget and run again: what is committed stays; or narrow source.path"


@dataclass(frozen=True)
class Held:
    """What one attempt held: so many slots for so many seconds."""

    seconds: float
    slots: int


def second(machine: Instance, slots: int) -> Decimal:
    """The price of so many slots for a second: cores, and what memory and GPUs are held with them."""
    return slots * sum(
        (machine.unit_price(meter) * machine.per_core(meter) for meter in METERS), Decimal(0)
    )


def cost(rate: Rate, attempts: Sequence[Held]) -> Decimal:
    """What the attempts come to."""
    each = (second(rate.instance, one.slots) * Decimal(str(one.seconds)) for one in attempts)
    return sum(each, Decimal(0)).quantize(PLACES)


def attempts(
    events: Sequence[dict[str, Any]], signs: Sequence[tuple[str, datetime]], slots: int
) -> list[Held]:
    """What the attempts held whose events these are, in order; ``slots`` where an event does not tell.

    An attempt that was killed told no end: then it held until the last sign of life (application, time).
    """
    begins = [at for at, event in enumerate(events) if event["state"] in BEGINS]
    found = []
    for begin, following in pairwise([*begins, len(events)]):
        first, last = events[begin], events[following - 1]
        since = first.get("held_since") or first["at"]
        until = last.get("books_closed_at") or last["at"]
        if following == begin + 1:
            limit = events[following]["at"] if following < len(events) else None
            lived = [
                at
                for application, at in signs
                if application == first["application"] and (limit is None or at <= limit)
            ]
            until = max([since, *lived])
        found.append(Held(max(0.0, (until - since).total_seconds()), _slots(first) or slots))
    return found


def own_pace(done: Sequence[dict[str, Any]]) -> float | None:
    """Seconds a row by the committed units of earlier attempts; None: there are none.

    Two run at a time, so each counts from its start or from the commit before it, whichever is later.
    """
    seconds = rows = 0.0
    for application in {one["application"] for one in done}:
        last: datetime | None = None
        mine = (one for one in done if one["application"] == application and one["seconds"])
        for one in sorted(mine, key=lambda each: each["at"]):
            since = math.inf if last is None else (one["at"] - last).total_seconds()
            seconds, rows = seconds + min(one["seconds"], since), rows + one["expected_rows"]
            last = one["at"]
    return seconds / rows if seconds > 0 and rows else None


def _slots(event: dict[str, Any]) -> int | None:
    """Cores of the session that told the event; None for one of an earlier version."""
    slots = json.loads(event["settings"]).get("slots")
    return None if slots is None else int(slots)


@dataclass
class Purse:
    """A run's budget and what went out of it; without a budget it admits everything.

    ``held_s`` is the clock: the seconds that this attempt has held its machines.
    """

    budget: Decimal | None = None
    second: Decimal | None = None  # the price of all slots for a second
    before: Decimal = Decimal(0)  # spent by earlier attempts
    currency: str = ""
    held_s: Callable[[], float] = time.monotonic
    expect: Callable[[float], Range] | None = None  # seconds of so many rows; None: nothing tells
    basis: str = ""  # what it rests on
    untold: str = "no past run of this job and model, nothing calibrated"  # why nothing tells
    forecast: dict[str, Any] | None = None  # as `begin` foretold it
    _done: list[tuple[float, float]] = field(default_factory=list)  # rows, seconds of each unit
    _last_s: float = 0.0

    @property
    def spent(self) -> Decimal:
        """By all attempts, up to now."""
        return self.before + Decimal(str(self.held_s())) * (self.second or Decimal(0))

    def begin(self, rows: float) -> str:
        """A line about what is left to score. Raises BudgetExceeded where it certainly costs too much."""
        if self.second is None or (self.budget is None and self.expect is None):
            return ""
        limit = f"{money(self.budget)} {self.currency}"
        if self.expect is None:
            return (
                f"  budget {limit}: nothing tells yet what this run will cost ({self.untold}); it starts,"
                " and is watched between units"
            )
        rest = self.expect(rows)
        seconds = {"low": rest.low, "mid": rest.mid, "high": rest.high}
        cost = {
            name: self.spent + self.second * Decimal(str(each)) for name, each in seconds.items()
        }
        self.forecast = {
            "seconds": {name: round(each, 3) for name, each in seconds.items()},
            "cost": {name: f"{each.quantize(PLACES):f}" for name, each in cost.items()},
            "currency": self.currency,
            "basis": self.basis,
        }
        if self.budget is None:
            return ""
        low, mid, high = (money(cost[name]) for name in ("low", "mid", "high"))
        text = f"{mid} {self.currency} ({low} to {high}, 80 % of the time), by {self.basis}"
        if cost["low"] > self.budget:
            raise BudgetExceeded(
                f"forecast {text}, exceeds the budget of {limit}: nothing more was scored",
                got=f"{money(self.spent)} {self.currency} spent so far, {duration(rest.mid)} to go",
                allowed=f"cost.budget {limit}",
                next=_RAISE,
            )
        return f"  budget {limit}, forecast {text}"

    def admits(self, rows: float, running: Sequence[float] = ()) -> bool:
        """Whether a unit of so many rows may start beside those that run, and all of them be paid for.

        The first one runs alone: it tells how fast they go. Beside another, one may start only where
        both are paid for even at the slowest unit's pace: so at most one is too much.
        """
        if self.budget is None or self.second is None:
            return True
        if running and not self._done:
            return False
        pace = self._slowest() if running else self._pace(rows)
        ahead_s = 0.0 if pace is None else pace * (rows + sum(running))
        spent = self.spent
        return spent < self.budget and spent + self.second * Decimal(str(ahead_s)) <= self.budget

    def finished(self, rows: float, started_s: float) -> None:
        """A unit of so many rows, which began at ``started_s`` of the clock, is committed now."""
        now = self.held_s()
        self._done.append((max(rows, 1.0), now - max(started_s, self._last_s)))
        self._last_s = now

    def stop(self, rows: float, units: int) -> BudgetExceeded:
        """What to raise where the next of ``units`` that are left, with ``rows``, is not admitted."""
        pace = self._pace(rows)
        more = self.second * Decimal(str((pace or 0.0) * rows)) if self.second else Decimal(0)
        return BudgetExceeded(
            f"the budget is spent: {money(self.spent)} {self.currency} so far, and the next unit takes"
            f" about {money(more)} more",
            got=f"{units} units are left",
            allowed=f"cost.budget {money(self.budget)} {self.currency}",
            next=_RAISE,
        )

    def end(self, rows_left: float) -> Decimal | None:
        """What it will come to with so many rows to go; None where nothing tells."""
        pace = self._pace(rows_left)
        if self.second is None or pace is None:
            return None
        return self.spent + self.second * Decimal(str(pace * rows_left))

    def _pace(self, rows: float) -> float | None:
        """Seconds a row, by the units that are done, else as expected; None: nothing tells."""
        if self._done:
            return sum(seconds for _, seconds in self._done) / sum(each for each, _ in self._done)
        return None if self.expect is None else self.expect(rows).mid / max(rows, 1.0)

    def _slowest(self) -> float:
        return max(seconds / rows for rows, seconds in self._done)


def purse_of(spark: SparkSession, work: Work, run: Run, way: Way, now: Clock) -> Purse:
    """The run's purse: its budget, what earlier attempts spent, and what foretells the rest."""
    if work.rate is None or work.job.cost is None:
        return Purse()
    slots, rate = place.slots(spark), work.rate
    purse = Purse(work.job.cost.budget, second(rate.instance, slots), currency=rate.currency)
    *earlier, present = runs.events(work.lake, run.run_id)
    since = present.get("held_since") or present["at"]
    already_s = max(0.0, (now() - since).total_seconds())
    purse.held_s = partial(_since, time.monotonic() - already_s)
    done = sink.values(work.lake, UNITS, [("run_id", "=", run.run_id), ("state", "=", DONE)])
    purse.before = cost(rate, attempts(earlier, _signs(work.lake, done, earlier), slots))
    pace, past = own_pace(done), history.past_runs(work.lake, work.job.name, work.model.digest)
    if pace is not None:
        purse.expect = partial(history.paced_range, pace)
        purse.basis = "its own units so far"
    elif work.job.engine.cache != "off":
        purse.untold = "how many of its rows the cache has is found while they are scored"
    elif past:
        purse.expect = partial(history.inference_range, past, slots)
        purse.basis = f"{len(past)} past run{'s' * (len(past) > 1)}"
    elif way.rows_per_s:
        purse.expect = partial(history.sampled_range, way.rows_per_s, slots)
        purse.basis = "what calibration measured"
    return purse


def _since(began: float) -> float:
    return time.monotonic() - began


def _signs(
    lake: Path, done: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]
) -> list[tuple[str, datetime]]:
    """Signs of life of earlier attempts: units that they committed, tasks that Spark logged."""
    found = [(row["application"], row["at"]) for row in done]
    for application in {event["application"] for event in events} - {None}:
        log = EventLog.named(logs(lake), application)
        tasks = log.all_tasks() if log else []
        found += [
            (application, datetime.fromtimestamp(task.finished_ms / 1000, UTC)) for task in tasks
        ]
    return found
