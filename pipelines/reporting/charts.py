"""Numbers as pictures: pure functions from values to inline SVG, each with a title in words.

Text is escaped here, colours are CSS classes of the page (``k-<name>``), and nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from millrace.pipelines.reporting.svg import isolated, px

BAR = 1000.0  # units across a bar; the page stretches it to its column
BAR_HEIGHT = 20
THINNEST = 4.0  # what is more than nothing can be seen
GAP = 1.5  # units of paper between two parts of a bar
LABEL = 48.0  # units that the label of a band needs
ABOVE = 34.0  # units for the label above the first node
NODE = 10.0  # width of a node of the flow
BANDS = 150.0  # units that all rows together are high


@dataclass(frozen=True)
class Segment:
    """One value of a chart: what it is called, how much, and the class that colours it."""

    label: str
    value: float
    css: str


@dataclass(frozen=True)
class Band:
    """Where one outcome leaves the left node, where it arrives, and how thick it is all the way."""

    part: Segment
    left: float
    right: float
    thick: float
    middle: float  # of its label


def shares(weights: Sequence[float], width: float, least: float = 0.0) -> list[float]:
    """Cut a width in proportion to the weights; the pieces sum to it, and no weight of 0 gets any.

    Every weight above 0 gets `least` where the width allows it. Without such a weight all pieces are
    0. Raises ValueError for a weight that is negative or not a number.
    """
    if any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise ValueError(f"weights must be finite and at least 0: {list(weights)}")
    some = [at for at, weight in enumerate(weights) if weight > 0]
    pieces = [0.0] * len(weights)
    least = min(least, width / len(some)) if some else 0.0
    heavy, room = some, width
    while heavy:
        top = max(weights[at] for at in heavy)  # divided by first: their sum may be too large
        total = sum(weights[at] / top for at in heavy)
        for at in heavy:
            pieces[at] = room * (weights[at] / top / total)
        light = [at for at in heavy if pieces[at] < least]
        if not light or len(light) == len(heavy):
            break
        for at in light:
            pieces[at] = least
        heavy = [at for at in heavy if at not in light]
        room = max(0.0, width - least * (len(some) - len(heavy)))
    return pieces


def bar(
    parts: Sequence[Segment], title: str, *, whole: float | None = None, least: float = THINNEST
) -> Markup:
    """Draw parts side by side; with `whole`, the bar is as long as their share of it."""
    total = sum(part.value for part in parts)
    width = BAR if whole is None else BAR * min(1.0, total / whole) if whole > 0 else 0.0
    widths = shares([part.value for part in parts], width, least)
    starts = [0.0, *accumulate(widths)]
    drawn = Markup("").join(
        Markup('<rect class="{}" x="{}" width="{}" height="{}"><title>{}</title></rect>').format(
            part.css,
            px(start),
            px(max(wide - GAP, wide / 2)),
            BAR_HEIGHT,
            isolated(part.label),
        )
        for part, start, wide in zip(parts, starts, widths, strict=False)
        if wide > 0
    )
    return _svg("bar", BAR, BAR_HEIGHT, title, drawn, stretch=True)


def bands(outcomes: Sequence[Segment]) -> list[Band]:
    """Lay out a flow: as thick on both sides, stacked on the left, spread for labels on the right."""
    thick = shares([part.value for part in outcomes], BANDS, THINNEST)
    slots = [max(LABEL, each) for each in thick]
    left = max(0.0, (sum(slots) - BANDS) / 2)
    found, top = [], 0.0
    for part, each, slot in zip(outcomes, thick, slots, strict=True):
        found.append(Band(part, left, top + (slot - each) / 2, each, top + slot / 2))
        left, top = left + each, top + slot
    return found


def flow(source: Segment, outcomes: Sequence[Segment], title: str, *, width: float) -> Markup:
    """Draw where rows went: one node on the left, a band and a label an outcome.

    A band of few rows is drawn thicker than its share, so that it can be seen; none is drawn for 0.
    """
    laid = bands(outcomes)
    digits = max(len(f"{part.value:,.0f}") for part in outcomes)
    names = max(len(part.label) for part in outcomes)
    end = max(width / 3, width - NODE - 12 - max(11 * digits, 8 * names))
    top, thick = laid[0].left, sum(band.thick for band in laid)
    above = max(0.0, ABOVE - top)
    height = above + sum(max(LABEL, band.thick) for band in laid)
    parts = [_band(band, NODE, end, above) for band in laid if band.thick]
    parts += [_node(b.part.css, end, above + b.right, b.thick) for b in laid if b.thick]
    parts.append(_node(source.css, 0, above + top, thick) if thick else Markup(""))
    parts.append(_first(source, above + top - 11))
    parts += [_label(band.part, end + NODE + 12, above + band.middle) for band in laid]
    return _svg("flow", width, height, title, Markup("").join(parts))


def _band(band: Band, begin: float, end: float, above: float) -> Markup:
    half = (begin + end) / 2
    left, right = above + band.left, above + band.right
    path = (
        f"M{px(begin)} {px(left)}C{px(half)} {px(left)} {px(half)} {px(right)} {px(end)} {px(right)}"
        f"v{px(band.thick)}C{px(half)} {px(right + band.thick)} {px(half)} {px(left + band.thick)}"
        f" {px(begin)} {px(left + band.thick)}Z"
    )
    return Markup('<path class="band {}" d="{}"/>').format(band.part.css, path)


def _node(css: str, x: float, y: float, tall: float) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1.5"/>').format(
        css, px(x), px(y), px(NODE), px(tall)
    )


def _first(part: Segment, y: float) -> Markup:
    return Markup(
        '<text x="0" y="{}"><tspan class="figure">{:,.0f}</tspan> <tspan class="name">{}</tspan></text>'
    ).format(px(y), part.value, isolated(part.label))


def _label(part: Segment, x: float, y: float) -> Markup:
    css = "figure" if part.value else "figure none"
    return Markup(
        '<text class="{}" x="{}" y="{}">{:,.0f}</text><text class="name" x="{}" y="{}">{}</text>'
    ).format(
        css,
        px(x),
        px(y - 1),
        part.value,
        px(x),
        px(y + 16),
        isolated(part.label),
    )


def _svg(
    css: str, width: float, height: float, title: str, inside: Markup, *, stretch: bool = False
) -> Markup:
    ratio = Markup(' preserveAspectRatio="none"') if stretch else Markup("")
    return Markup(
        '<svg class="{}" role="img" viewBox="0 0 {} {}"{}><title>{}</title>{}</svg>'
    ).format(css, px(width), px(height), ratio, isolated(title), inside)
