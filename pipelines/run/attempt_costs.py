"""What the attempts of a run cost, and how fast the units of earlier ones went.

A session holds all of its cores from its start to its end, whatever they do. An attempt costs its seconds
x slots x (price of a core + price of the memory held with it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from millrace.pipelines.accounting.rates import Rate, second
from millrace.pipelines.lake.attempts import attempts
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.spark.event_log import EventLog
from millrace.schemas.prices import PLACES


@dataclass(frozen=True)
class SlotTime:
    """So many slots for so many seconds."""

    seconds: float
    slots: int


def cost(rate: Rate, times: Sequence[SlotTime]) -> Decimal:
    """What they come to."""
    each = (second(rate.instance, one.slots) * Decimal(str(one.seconds)) for one in times)
    return sum(each, Decimal(0)).quantize(PLACES)


def slot_times(
    events: Sequence[dict[str, Any]], signs: Sequence[tuple[str, datetime]], slots: int
) -> list[SlotTime]:
    """Seconds and slots of each attempt of a run, by the run's events; ``slots`` where an event has none.

    A driver that was killed recorded no end: its attempt lasted until its last sign of life. ``signs`` are
    pairs of an application and a time.
    """
    found = []
    for attempt, following in pairwise([*attempts(events), None]):
        assert attempt is not None  # noqa: S101 - only what follows the last one is
        until = attempt.closed or attempt.last_event_at
        if until is None:
            limit = None if following is None else following.first_event_at
            lived = [
                at
                for application, at in signs
                if application == attempt.application and (limit is None or at <= limit)
            ]
            until = max([attempt.began, *lived])
        seconds = max(0.0, (until - attempt.began).total_seconds())
        found.append(SlotTime(seconds, attempt.slots or slots))
    return found


def signs_of_life(
    lake: LakeLocation, done: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]
) -> list[tuple[str, datetime]]:
    """When earlier attempts were alive: units that they committed, tasks that Spark logged."""
    found = [(row["application"], row["at"]) for row in done]
    for application in {event["application"] for event in events} - {None}:
        log = EventLog.named(lake.logs, application)
        tasks = log.all_tasks() if log else []
        found += [
            (application, datetime.fromtimestamp(task.finished_ms / 1000, UTC)) for task in tasks
        ]
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
