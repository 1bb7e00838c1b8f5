"""What a run may spend over all of its attempts, checked between units. `attempt_costs` has the prices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.accounting.rates import second
from millrace.pipelines.console.formatting import duration, money
from millrace.pipelines.inference import run_history
from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.inference.time_model import Estimate
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.job.work_units import DONE
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.run.attempt_costs import cost, own_pace, signs_of_life, slot_times
from millrace.pipelines.spark import cluster
from millrace.schemas.errors import BudgetExceeded
from millrace.schemas.prices import PLACES
from millrace.schemas.tables import UNITS

_RAISE = "raise cost.budget and run again: what is committed stays; or narrow source.path"


@dataclass
class BudgetTracker:
    """A run's budget and what went out of it; without a budget it admits everything.

    ``elapsed_s`` is the clock: seconds since this attempt got its machines.
    """

    budget: Decimal | None = None
    second: Decimal | None = None  # the price of all slots for a second
    before: Decimal = Decimal(0)  # spent by earlier attempts
    currency: str = ""
    elapsed_s: Callable[[], float] = time.monotonic
    expect: Callable[[float], Estimate] | None = None  # seconds of so many rows; None: no forecast
    basis: str = ""  # what it rests on
    no_basis: str = (
        "no past run of this job and model, nothing calibrated"  # why there is no forecast
    )
    forecast: dict[str, Any] | None = None  # by `begin`
    _done: list[tuple[float, float]] = field(default_factory=list)  # rows, seconds of each unit
    _last_s: float = 0.0

    @property
    def spent(self) -> Decimal:
        """By all attempts, up to now."""
        return self.before + Decimal(str(self.elapsed_s())) * (self.second or Decimal(0))

    def begin(self, rows: float) -> str:
        """A line about what is left to score. Raises BudgetExceeded where it certainly costs too much."""
        if self.second is None or (self.budget is None and self.expect is None):
            return ""
        limit = f"{money(self.budget)} {self.currency}"
        if self.expect is None:
            return (
                f"  budget {limit}: nothing tells yet what this run will cost ({self.no_basis}); it starts,"
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
        """Whether the budget pays for a unit of so many rows and those that run.

        The first unit runs alone and gives the pace. While one runs, another may start only where the
        budget pays for both at the slowest unit's pace: so at most one is too much.
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
        now = self.elapsed_s()
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


def track_budget(
    spark: SparkSession, prepared: PreparedJob, run: Run, config: InferenceConfig, now: Clock
) -> BudgetTracker:
    """The run's budget tracker: its budget, what earlier attempts spent, and what foretells the rest."""
    if prepared.rate is None or prepared.job.cost is None:
        return BudgetTracker()
    slots, rate = cluster.slots(spark), prepared.rate
    tracker = BudgetTracker(
        prepared.job.cost.budget, second(rate.instance, slots), currency=rate.currency
    )
    *earlier, present = runs.events(prepared.lake, run.run_id)
    since = present.get("held_since") or present["at"]
    already_s = max(0.0, (now() - since).total_seconds())
    tracker.elapsed_s = partial(_since, time.monotonic() - already_s)
    done = delta.values(prepared.lake, UNITS, [("run_id", "=", run.run_id), ("state", "=", DONE)])
    signs = signs_of_life(prepared.lake, done, earlier)
    tracker.before = cost(rate, slot_times(earlier, signs, slots))
    pace, past = (
        own_pace(done),
        run_history.past_runs(prepared.lake, prepared.job.name, prepared.model.digest),
    )
    if pace is not None:
        tracker.expect = partial(run_history.paced_range, pace)
        tracker.basis = "its own units so far"
    elif prepared.job.engine.cache != "off":
        tracker.no_basis = "how many of its rows the cache has is found while they are scored"
    elif past:
        tracker.expect = partial(run_history.inference_range, past, slots)
        tracker.basis = f"{len(past)} past run{'s' * (len(past) > 1)}"
    elif config.rows_per_s:
        tracker.expect = partial(run_history.sampled_range, config.rows_per_s, slots)
        tracker.basis = "what calibration measured"
    return tracker


def _since(began: float) -> float:
    return time.monotonic() - began
