"""What a pilot's trials took, and what a whole run would take by them: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from millrace.pipelines.inference.time_model import (
    LinearTime,
    Observation,
    RunTimeModel,
    Workload,
    fit,
    stray,
)


@dataclass(frozen=True)
class PilotTrial:
    """One part, and what its steps took."""

    amount: Workload
    validate_s: float
    infer_s: float
    metered_s: float  # of infer_s: what workers' own clocks say of decoding and computing, by slots
    account_s: float
    pages_s: float

    @property
    def grown_s(self) -> float:
        """What grows with rows, and what stands before it."""
        return self.validate_s + self.infer_s


@dataclass(frozen=True)
class Pilot:
    """The trials: the cold one, and those that did nothing for the first time."""

    cold: PilotTrial
    warm: tuple[PilotTrial, ...]
    slots: int
    from_all_over: bool

    @property
    def rows(self) -> int:
        """Rows that were scored, all trials together."""
        return round(sum(trial.amount.rows for trial in (self.cold, *self.warm)))

    def amount(self, rows: int, size_bytes: int) -> Workload:
        """The whole input: its tokens as those of the largest part, by bytes."""
        part = max(self.warm, key=lambda trial: trial.amount.rows).amount
        times = size_bytes / part.size_bytes if part.size_bytes else rows / max(part.rows, 1.0)
        return Workload(rows, part.tokens * times, size_bytes)

    def shape(self, around_s: float) -> RunTimeModel:
        """What a run's time consists of; ``around_s``: the session's start and end, and the checks."""
        validate, *rest = self._lines()
        infer = rest[0] + rest[1]
        fitted_s = validate.seconds(self.cold.amount) + infer.seconds(self.cold.amount)
        cold_s = max(0.0, self.cold.grown_s - fitted_s)
        after_s = max(trial.account_s + trial.pages_s for trial in (self.cold, *self.warm))
        once_s = around_s + cold_s + validate.fixed_s + after_s
        growing = replace(validate + infer, fixed_s=0.0)
        return RunTimeModel(once_s, infer.fixed_s, growing, self.slots)

    def stray(self, amount: Workload) -> float:
        """The seconds that the trials leave open, of validation and inference of an amount."""
        each = zip(self._seen(), self._lines(), strict=True)
        return math.hypot(*(stray(seen, line, amount) for seen, line in each))

    def _seen(self) -> list[list[Observation]]:
        """Of the warm trials: validation, inference but for what workers metered, and that."""
        return [
            [Observation(trial.amount, trial.validate_s) for trial in self.warm],
            [Observation(t.amount, max(0.0, t.infer_s - t.metered_s)) for t in self.warm],
            [Observation(trial.amount, trial.metered_s) for trial in self.warm],
        ]

    def _lines(self) -> list[LinearTime]:
        """A line for each: all three read, move or write rows, so all three grow with them."""
        return [fit(seen) for seen in self._seen()]
