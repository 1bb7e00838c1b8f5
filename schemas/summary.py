"""What a run comes to: the object that ``--json`` prints and the last event of the runs table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

NOTHING_COMPUTED = "no row was computed"  # what a gate got that has nothing to compare


@dataclass(frozen=True)
class Summary:
    """One run's totals. ``rows_read`` = ``scored`` + ``quarantined`` + ``failed``."""

    run_id: str
    state: str
    fingerprint: str
    lake: str
    rows_read: int = 0
    scored: int = 0
    quarantined: int = 0
    failed: int = 0
    units_done: int = 0
    units_total: int = 1
    wall_s: float = 0.0
    infer_s: float = 0.0
    model_load_s: float = 0.0
    cost: Decimal | None = None
    currency: str | None = None
    energy_wh: float | None = None  # None where what the machine draws is not known
    energy_wh_low: float | None = None
    energy_wh_high: float | None = None
    carbon_g: float | None = None  # of CO2 equivalent
    forecast: dict[str, Any] | None = None  # before scoring: seconds and cost, and what told them
    ledger_coverage: float | None = None
    books_closed: bool | None = None
    gates: tuple[Any, ...] = ()  # what must add up: name, passed, got and allowed of each
    backend: str | None = None  # what the workers computed with; None where nothing was scored
    precision: str | None = None
    computed_so_because: str | None = None
    saved_rows: int | None = None  # that took outputs which were there; None: not counted here
    saved_s: float | None = None  # of task time that computing them would have taken
    saved_cost: Decimal | None = None  # of it; in no other sum
    report: str | None = None
    warnings: tuple[str, ...] = field(default=())

    @property
    def rows_per_s(self) -> float | None:
        """Scored rows a second of inference, start-up and commit included."""
        return round(self.scored / self.infer_s, 1) if self.infer_s else None

    def as_json(self) -> dict[str, Any]:
        """Plain values; money as a text, so that no digit is lost."""
        plain = asdict(self) | {"rows_per_s": self.rows_per_s, "warnings": list(self.warnings)}
        sums = {name: plain[name] for name in ("cost", "saved_cost")}
        return plain | {name: None if sum_ is None else f"{sum_:f}" for name, sum_ in sums.items()}
