"""Numbers as pictures: pure functions from values to inline SVG, each with a title in words.

Text is escaped here, colours are CSS classes of the page (``k-<name>``), and nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup, escape

BAR = 1000.0  # units across a bar; the page stretches it to its column
BAR_HEIGHT = 20
THINNEST = 4.0  # what is more than nothing can be seen
GAP = 1.5  # units of paper between two parts of a bar
LABEL = 48.0  # units that a label beside a band needs
NODE = 10.0  # width of a node of the flow
BANDS = 150.0  # units that all rows together are high


@dataclass(frozen=True)
class Part:
    """One value of a chart: what it is called, how much, and the class that colours it."""

    label: str
    value: float
    css: str


@dataclass(frozen=True)
class Band:
    """Where one outcome leaves the left node, where it arrives, and how thick it is all the way."""

    part: Part
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
    parts: Sequence[Part], title: str, *, whole: float | None = None, least: float = THINNEST
) -> Markup:
    """Draw parts side by side; with `whole`, the bar is as long as their share of it."""
    total = sum(part.value for part in parts)
    width = BAR if whole is None else BAR * min(1.0, total / whole) if whole > 0 else 0.0
    widths = shares([part.value for part in parts], width, least)
    starts = [0.0, *accumulate(widths)]
    drawn = Markup("").join(
        Markup('<rect class="{}" x="{}" width="{}" height="{}"><title>{}</title></rect>').format(
            part.css, _n(start), _n(max(wide - GAP, wide / 2)), BAR_HEIGHT, _isolated(part.label)
        )
        for part, start, wide in zip(parts, starts, widths, strict=False)
        if wide > 0
    )
    return _svg("bar", BAR, BAR_HEIGHT, title, drawn, stretch=True)


def bands(outcomes: Sequence[Part]) -> list[Band]:
    """Lay out a flow: as thick on both sides, stacked on the left, spread for labels on the right."""
    thick = shares([part.value for part in outcomes], BANDS, THINNEST)
    slots = [max(LABEL, each) for each in thick]
    left = max(0.0, (sum(slots) - BANDS) / 2)
    found, top = [], 0.0
    for part, each, slot in zip(outcomes, thick, slots, strict=True):
        found.append(Band(part, left, top + (slot - each) / 2, each, top + slot / 2))
        left, top = left + each, top + slot
    return found


def flow(source: Part, outcomes: Sequence[Part], title: str, *, width: float) -> Markup:
    """Draw where rows went: one node on the left, a band and a label an outcome.

    A band of few rows is drawn thicker than its share, so that it can be seen; none is drawn for 0.
    """
    laid = bands(outcomes)
    height = sum(max(LABEL, band.thick) for band in laid)
    begin, end = width * 0.2, width * 0.68
    parts = [_band(band, begin + NODE, end) for band in laid if band.thick]
    parts += [_node(band.part.css, end, band.right, band.thick) for band in laid if band.thick]
    top, tall = laid[0].left, sum(band.thick for band in laid)
    parts.append(_node(source.css, begin, top, tall) if tall else Markup(""))
    parts.append(_label(source, begin - 12, height / 2, "end"))
    parts += [_label(band.part, end + NODE + 12, band.middle, "start") for band in laid]
    return _svg("flow", width, height, title, Markup("").join(parts))


def _band(band: Band, begin: float, end: float) -> Markup:
    half = (begin + end) / 2
    low_left, low_right = band.left + band.thick, band.right + band.thick
    path = (
        f"M{_n(begin)} {_n(band.left)}C{_n(half)} {_n(band.left)} {_n(half)} {_n(band.right)}"
        f" {_n(end)} {_n(band.right)}V{_n(low_right)}C{_n(half)} {_n(low_right)}"
        f" {_n(half)} {_n(low_left)} {_n(begin)} {_n(low_left)}Z"
    )
    return Markup('<path class="band {}" d="{}"/>').format(band.part.css, path)


def _node(css: str, x: float, y: float, tall: float) -> Markup:
    text = '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1.5"/>'
    return Markup(text).format(css, _n(x), _n(y), _n(NODE), _n(tall))


def _label(part: Part, x: float, y: float, anchor: str) -> Markup:
    css = "none" if not part.value else ""
    text = (
        '<text class="figure {}" x="{}" y="{}" text-anchor="{}">{:,.0f}</text>'
        '<text class="name" x="{}" y="{}" text-anchor="{}">{}</text>'
    )
    where = _n(x)
    return Markup(text).format(
        css, where, _n(y - 1), anchor, part.value, where, _n(y + 16), anchor, _isolated(part.label)
    )


def _svg(
    css: str, width: float, height: float, title: str, inside: Markup, *, stretch: bool = False
) -> Markup:
    ratio = Markup(' preserveAspectRatio="none"') if stretch else Markup("")
    return Markup(
        '<svg class="{}" role="img" viewBox="0 0 {} {}"{}><title>{}</title>{}</svg>'
    ).format(css, _n(width), _n(height), ratio, _isolated(title), inside)


def _isolated(text: str) -> Markup:
    """Escape a text, and keep its writing direction from what stands around it."""
    return Markup("\u2068{}\u2069").format(escape(text))


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
