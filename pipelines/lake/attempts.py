"""The attempts of a run: each is a period in which a driver had machines for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from millrace.schemas.figures import BEGINS


@dataclass(frozen=True)
class Attempt:
    """When an application got machines for a run, and when it closed the books: charged from, until."""

    application: str
    number: int  # of the event that it began with
    began: datetime
    closed: datetime | None  # None: its driver died before it closed the books
    first_event_at: datetime | None = None
    last_event_at: datetime | None = None  # None: it has no event after the first
    slots: int | None = None  # cores of its session; None for an event of an earlier version

    @property
    def began_ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self.began.timestamp() * 1000)


def attempts(events: Sequence[dict[str, Any]]) -> Iterator[Attempt]:
    """The attempts of a run by its events, in their order.

    ``held_since`` is on the events that begin one, ``books_closed_at`` on those that end one.
    """
    ordered = sorted(events, key=lambda event: event["event"])
    starts = [at for at, event in enumerate(ordered) if event["state"] in BEGINS]
    for at, after in pairwise([*starts, len(ordered)]):
        first, last = ordered[at], ordered[after - 1]
        has_ended = after - at > 1
        closed = last.get("books_closed_at") if has_ended else None
        yield Attempt(
            first["application"],
            first["event"],
            _utc(first.get("held_since") or first["at"]),
            closed and _utc(closed),
            _known(first),
            _known(last) if has_ended else None,
            _slots(first),
        )


def _slots(event: dict[str, Any]) -> int | None:
    slots = json.loads(event.get("settings") or "{}").get("slots")
    return None if slots is None else int(slots)


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _known(event: dict[str, Any]) -> datetime | None:
    at = event.get("at")
    return at and _utc(at)
