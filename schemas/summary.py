"""The result of a run: the object that ``--json`` prints, and the last event of the runs table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from millrace.schemas import figures
from millrace.schemas.html import table

TOTALS = (  # columns of the runs table
    "rows_read", "scored", "quarantined", "failed", "units_done", "units_total", "wall_s", "infer_s",
    "model_load_s", "cost", "currency", "energy_wh", "energy_wh_low", "energy_wh_high", "carbon_g",
    "ledger_coverage", "books_closed",
)  # fmt: skip
NOTHING_COMPUTED = "no row was computed"  # what a gate got that has nothing to compare


@dataclass(frozen=True)
class RunSummary:
    """One run's totals, and the seconds of this attempt.

    ``rows_read`` = ``scored`` + ``quarantined`` + ``failed``.
    """

    run_id: str
    state: str
    fingerprint: str
    lake: str
    input: dict[str, Any] | None = None  # what was pinned: files, and those that were ignored
    rows_read: int = 0
    scored: int = 0
    quarantined: int = 0
    failed: int = 0
    truncated: int = 0  # of the scored: the model read only a part of the text
    units_done: int = 0
    units_total: int = 1
    scored_now: int = 0  # of `scored`: by this attempt; earlier ones committed the others
    wall_s: float = 0.0
    infer_s: float = 0.0
    model_load_s: float = 0.0
    cost: Decimal | None = None
    currency: str | None = None
    energy_wh: float | None = None  # None where what the machine draws is not known
    energy_wh_low: float | None = None
    energy_wh_high: float | None = None
    carbon_g: float | None = None  # of CO2 equivalent
    forecast: dict[str, Any] | None = None  # before scoring: seconds, cost, and their basis
    ledger_coverage: float | None = None
    books_closed: bool | None = None
    gates: tuple[Any, ...] = ()  # what must add up: name, passed, got and allowed of each
    backend: str | None = None  # what the workers computed with; None where nothing was scored
    precision: str | None = None
    computed_so_because: str | None = None
    saved_rows: int | None = None  # that took outputs which were there; None: not counted here
    saved_s: float | None = None  # estimated task time of computing them
    saved_cost: Decimal | None = None  # of it; in no other sum
    report: str | None = None
    done_before: str | None = None  # when, of a run that this command found done
    warnings: tuple[str, ...] = field(default=())

    @property
    def totals(self) -> dict[str, Any]:
        """The numbers as columns of the runs table."""
        return {name: getattr(self, name) for name in TOTALS}

    @property
    def rows_per_s(self) -> float | None:
        """Return the rows that this attempt scored per second of inference, with start-up and commit."""
        return figures.rows_per_s(self.scored_now, self.infer_s)

    def as_json(self) -> dict[str, Any]:
        """Return plain values; money is a text, so that no digit is lost."""
        plain = asdict(self) | {"rows_per_s": self.rows_per_s, "warnings": list(self.warnings)}
        sums = {name: plain[name] for name in ("cost", "saved_cost")}
        return plain | {name: None if sum_ is None else f"{sum_:f}" for name, sum_ in sums.items()}

    def _repr_html_(self) -> str:
        cost = None if self.cost is None else f"{self.cost:f} {self.currency}"
        names = [
            "state",
            "rows read",
            "scored",
            "quarantined",
            "failed",
            "seconds",
            "cost",
            "report",
        ]
        values = [
            self.state,
            self.rows_read,
            self.scored,
            self.quarantined,
            self.failed,
            self.wall_s,
        ]
        return table(f"run {self.run_id}", names, [[*values, cost, self.report]])
