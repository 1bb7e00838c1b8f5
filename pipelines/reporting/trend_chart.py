"""A number over runs as inline SVG: a line with a ring a run, and a title that says it in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from millrace.pipelines.reporting.svg import isolated, px

_WIDE, _HIGH = 480.0, 120.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 6.0, 6.0, 10.0, 6.0
_MOST_RINGS = 60  # of more runs the last alone has one


@dataclass(frozen=True)
class TrendPoint:
    """One run's number; None where it has none: the line has a gap there."""

    label: str
    value: float | None


def line(points: Sequence[TrendPoint], title: str) -> Markup:
    """Draw numbers in their order on a scale from 0 to their largest. Raises ValueError for what is none."""
    known = [point.value for point in points if point.value is not None]
    if any(not math.isfinite(value) or value < 0 for value in known):
        raise ValueError(f"values must be finite and at least 0: {known}")
    top = max(known, default=0.0) or 1.0
    step = (_WIDE - _LEFT - _RIGHT) / max(1, len(points) - 1)
    high = _HIGH - _TOP - _BOTTOM
    places = [
        None if p.value is None else (_LEFT + at * step, _TOP + high * (1 - p.value / top))
        for at, p in enumerate(points)
    ]
    drawn = Markup('<line class="base" x1="0" x2="{}" y1="{}" y2="{}"/>').format(
        px(_WIDE), px(_HIGH - _BOTTOM), px(_HIGH - _BOTTOM)
    )
    for path in _paths(places):
        drawn += Markup('<polyline class="line" points="{}"/>').format(path)
    drawn += _rings(points, places)
    return Markup(
        '<svg class="trend" role="img" viewBox="0 0 {} {}"><title>{}</title>{}</svg>'
    ).format(px(_WIDE), px(_HIGH), isolated(title), drawn)


def _paths(places: Sequence[tuple[float, float] | None]) -> list[str]:
    """The line's pieces between gaps."""
    found: list[list[str]] = [[]]
    for place in places:
        if place is None:
            found.append([])
        else:
            found[-1].append(f"{px(place[0])},{px(place[1])}")
    return [" ".join(piece) for piece in found if len(piece) > 1]


def _rings(points: Sequence[TrendPoint], places: Sequence[tuple[float, float] | None]) -> Markup:
    drawn = Markup("")
    last = max((at for at, place in enumerate(places) if place is not None), default=-1)
    for at, (point, place) in enumerate(zip(points, places, strict=True)):
        if place is None or (len(points) > _MOST_RINGS and at != last):
            continue
        css = "last" if at == last else "ring"
        drawn += Markup(
            '<circle class="{}" cx="{}" cy="{}" r="3.2"><title>{}</title></circle>'
        ).format(css, px(place[0]), px(place[1]), isolated(point.label))
    return drawn
