"""How a text file writes numbers, dates and timestamps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notation:
    """Marks in numbers, and formats of strptime; without a format, ISO 8601."""

    decimal: str = "."  # before the fraction
    thousands: str = ""  # between groups of three digits
    date_format: str | None = None
    timestamp_format: str | None = None


ISO = Notation()
