"""The attempts of a run: each is one stretch of time for which a driver held machines for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

BEGINS = ("started", "resumed")


@dataclass(frozen=True)
class Attempt:
    """Since when an application held machines for a run, and until when: both are charged for."""

    application: str
    number: int  # of the event that it began with
    began: datetime
    closed: datetime | None  # None: its driver died without a word

    @property
    def began_ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self.began.timestamp() * 1000)


def attempts(events: Sequence[dict[str, Any]]) -> Iterator[Attempt]:
    """The attempts that a run's events tell of, in their order.

    ``held_since`` is on the events that begin one, ``books_closed_at`` on those that end one.
    """
    ordered = sorted(events, key=lambda event: event["event"])
    starts = [at for at, event in enumerate(ordered) if event["state"] in BEGINS]
    for at, after in zip(starts, [*starts[1:], len(ordered)], strict=True):
        first, last = ordered[at], ordered[after - 1]
        closed = last["books_closed_at"] if after - at > 1 else None
        yield Attempt(
            first["application"], first["event"], _utc(first["held_since"]), closed and _utc(closed)
        )


def _utc(told: datetime) -> datetime:
    return told if told.tzinfo else told.replace(tzinfo=UTC)
