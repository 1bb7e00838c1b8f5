"""A rule's failed share as inline SVG: now, against its limit, and over the job's checks so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from millrace.pipelines.reporting.svg import isolated, px

WIDE = 1000.0  # units across a bar; the page stretches it to its column
THINNEST = 6.0  # what is more than nothing can be seen
MARK = 4.0  # units that the mark is wide
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_LINE_WIDE, _LINE_HIGH, _EDGE = 132.0, 32.0, 4.0


@dataclass(frozen=True)
class SharePoint:
    """A rule's failed share in one check; ``is_same`` unless the rule meant something else then."""

    share: float
    is_same: bool = True


def top_of(shares: Sequence[float]) -> float:
    """A round share, the least that none of these exceeds: where a scale that begins at 0 ends."""
    largest = max(shares, default=0.0)
    return next((step for step in _STEPS if largest <= step), 1.0)


def share_bar(share: float, threshold: float, top: float, css: str, title: str) -> Markup:
    """Draw a share on a scale from 0 to `top`, with a mark where more would be too much."""
    wide = min(WIDE, max(THINNEST, WIDE * share / top)) if share else 0.0
    mark = max(0.0, min(WIDE - MARK, WIDE * threshold / top - MARK / 2))
    parts = Markup('<rect class="track" width="{}" height="20"/>').format(px(WIDE))
    if wide:
        parts += Markup('<rect class="{}" width="{}" height="20"/>').format(css, px(wide))
    if threshold:
        parts += Markup('<rect class="mark" x="{}" width="{}" height="20"/>').format(
            px(mark), px(MARK)
        )
    return Markup(
        '<svg class="share" role="img" viewBox="0 0 {} 20" preserveAspectRatio="none">'
        "<title>{}</title>{}</svg>"
    ).format(px(WIDE), isolated(title), parts)


def sparkline(points: Sequence[SharePoint], title: str) -> Markup:
    """Draw shares in their order from 0 to their largest; a ring where the rule meant something else."""
    top = max((point.share for point in points), default=0.0) or 1.0
    step = (_LINE_WIDE - 2 * _EDGE) / max(1, len(points) - 1)
    high = _LINE_HIGH - 2 * _EDGE
    places = [
        (_EDGE + at * step, _EDGE + high * (1 - point.share / top))
        for at, point in enumerate(points)
    ]
    line = " ".join(f"{px(x)},{px(y)}" for x, y in places)
    drawn = Markup('<polyline class="line" points="{}"/>').format(line)
    for at, ((x, y), point) in enumerate(zip(places, points, strict=True)):
        is_last = at == len(points) - 1
        if is_last or not point.is_same:
            css = "last" if is_last else "other"
            drawn += Markup('<circle class="{}" cx="{}" cy="{}" r="2.6"/>').format(
                css, px(x), px(y)
            )
    return Markup(
        '<svg class="spark" role="img" viewBox="0 0 {} {}"><title>{}</title>{}</svg>'
    ).format(px(_LINE_WIDE), px(_LINE_HIGH), isolated(title), drawn)
