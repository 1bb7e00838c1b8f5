"""Offers as a picture: cost against time, both in powers of ten; an SVG file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from millrace.pipelines.console.formatting import duration
from millrace.pipelines.planning.alternatives import Offer
from millrace.pipelines.reporting.svg import px

WIDTH, HEIGHT = 760.0, 460.0
LEFT, RIGHT, TOP, BOTTOM = 74.0, 150.0, 64.0, 56.0
_NAMESPACE = "http://www.w3.org/2000/svg"  # the format's name, not a place to fetch from
_TIMES_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 43200, 86400, 604800)
_STEPS = (1, 2, 5)
_LABEL = 13.0  # units between two labels
_LETTER = 6.4  # units that a letter takes, at most
_STYLE = """
svg{font:12px system-ui,sans-serif;fill:#1c2430;background:#fff}
.grid{stroke:#e3e6ea}.axis{fill:#5b6270}.title{font-size:15px;font-weight:600}
.offer{fill:#b9c0c9}.best{fill:#1f6f8b}.here{fill:none;stroke:#b5622e;stroke-width:2}
.bar{stroke:#1f6f8b;stroke-opacity:.35;stroke-width:2}.front{fill:none;stroke:#1f6f8b;stroke-width:1.5}
text.name,text.chosen{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}
.limit{stroke:#b5622e;stroke-dasharray:5 4}.limit-text{fill:#b5622e}.chosen{font-weight:700}
"""


class Scale:
    """A logarithmic axis from the smallest to the largest value, with some room at both ends."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        low, high = math.log(min(values)), math.log(max(values))
        room = max(0.08 * (high - low), 0.2)
        self.low, self.high, self.begin, self.end = low - room, high + room, begin, end

    def __call__(self, value: float) -> float:
        """Where a value lies, in units of the picture."""
        share = (math.log(value) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def holds(self, value: float) -> bool:
        """Whether it lies on the axis."""
        return self.low <= math.log(value) <= self.high


def picture(
    offers: Sequence[Offer],
    front: Sequence[Offer],
    chosen: Offer | None,
    deadline_s: float | None,
    currency: str,
) -> str:
    """Every offer as a dot; those of the front joined and named, each with its interval of time."""
    priced = [one for one in offers if one.cost is not None]
    times = [t for one in priced for t in (one.seconds.low, one.seconds.high)]
    x = Scale([*times, *([deadline_s] if deadline_s else [])], LEFT, WIDTH - RIGHT)
    y = Scale([_cost(one) for one in priced], HEIGHT - BOTTOM, TOP)
    title = "Time and cost of the run, foreseen"
    drawn = [_axes(x, y, currency), *_deadline(x, deadline_s)]
    drawn += [_dot(one, x, y, "offer") for one in priced if one not in front]
    drawn.append(_line(front, x, y))
    drawn += [_bar(one, x, y) + _dot(one, x, y, "best") for one in front]
    drawn += [_dot(one, x, y, "here", 7.0) for one in priced if one.is_here]
    drawn += _labels([*front, *(o for o in priced if o.is_here and o not in front)], chosen, x, y)
    head = Markup(
        '<svg xmlns="{}" role="img" viewBox="0 0 {} {}"><title>{}</title><style>{}</style>'
        '<text class="title" x="16" y="26">{}</text><text class="axis" x="16" y="45">'
        "blue: no other place is both quicker and cheaper; bars: 80 % intervals; ring: this session</text>"
    ).format(_NAMESPACE, px(WIDTH), px(HEIGHT), title, Markup(_STYLE), title)  # noqa: S704 - ours
    return str(head + Markup("").join(drawn) + Markup("</svg>\n"))


def _axes(x: Scale, y: Scale, currency: str) -> Markup:
    lines = [
        Markup(
            '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
            '<text class="axis" x="{0}" y="{3}" text-anchor="middle">{4}</text>'
        ).format(
            px(x(at)),
            px(TOP),
            px(HEIGHT - BOTTOM),
            px(HEIGHT - BOTTOM + 18),
            _time(at),
        )
        for at in _apart([at for at in _TIMES_S if x.holds(at)], x, 52.0)
    ]
    lines += [
        Markup(
            '<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
            '<text class="axis" x="{3}" y="{4}" text-anchor="end">{5}</text>'
        ).format(
            px(LEFT),
            px(WIDTH - RIGHT),
            px(y(at)),
            px(LEFT - 8),
            px(y(at) + 4),
            f"{at:g}",
        )
        for at in _apart(_amounts(y), y, 22.0)
    ]
    names = Markup(
        '<text class="axis" x="{}" y="{}" text-anchor="middle">time of the whole run</text>'
        '<text class="axis" x="{}" y="{}">{}</text>'
    ).format(
        px((LEFT + WIDTH - RIGHT) / 2),
        px(HEIGHT - 12),
        px(16),
        px(TOP - 2),
        currency,
    )
    return Markup("").join(lines) + names


def _amounts(y: Scale) -> list[float]:
    powers = range(math.floor(y.low / math.log(10)), math.ceil(y.high / math.log(10)) + 1)
    marks = [float(f"{step}e{power}") for power in powers for step in _STEPS]
    return [at for at in marks if y.holds(at)]


def _apart(values: Sequence[float], scale: Scale, least: float) -> list[float]:
    """Those values whose places are at least so far from the one before."""
    found: list[float] = []
    for value in values:
        if not found or abs(scale(value) - scale(found[-1])) >= least:
            found.append(value)
    return found


def _time(at: float) -> str:
    whole = f"{at / 3600:g} h" if at >= 3600 else f"{at / 60:g} min"  # noqa: PLR2004 - an hour
    return whole if at >= 60 else f"{at:g} s"  # noqa: PLR2004 - a minute


def _deadline(x: Scale, deadline_s: float | None) -> list[Markup]:
    if deadline_s is None:
        return []
    drawn = Markup(
        '<line class="limit" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="limit-text" x="{3}" y="{4}">deadline {5}</text>'
    )
    place = px(x(deadline_s))
    label = _time(deadline_s) if deadline_s in _TIMES_S else duration(deadline_s)
    return [
        drawn.format(
            place,
            px(TOP),
            px(HEIGHT - BOTTOM),
            px(x(deadline_s) + 5),
            px(TOP + 10),
            label,
        )
    ]


def _dot(offer: Offer, x: Scale, y: Scale, css: str, radius: float = 4.0) -> Markup:
    title = f"{offer.label}: {duration(offer.seconds.mid)}, {_cost(offer):.3g}"
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
        css, px(x(offer.seconds.mid)), px(y(_cost(offer))), px(radius), title
    )


def _bar(offer: Offer, x: Scale, y: Scale) -> Markup:
    return Markup('<line class="bar" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        px(x(offer.seconds.low)),
        px(x(offer.seconds.high)),
        px(y(_cost(offer))),
        px(y(_cost(offer))),
    )


def _line(front: Sequence[Offer], x: Scale, y: Scale) -> Markup:
    points = " ".join(f"{px(x(one.seconds.mid))},{px(y(_cost(one)))}" for one in front)
    return Markup('<polyline class="front" points="{}"/>').format(points)


def _labels(offers: Sequence[Offer], chosen: Offer | None, x: Scale, y: Scale) -> list[Markup]:
    """Names beside the dots, moved up where they would touch one that is there."""
    drawn, placed = list[Markup](), list[tuple[float, float, float]]()
    for offer in sorted(offers, key=lambda one: -x(one.seconds.mid)):
        text = offer.label + (" \u2713" if offer == chosen else "")
        begin, at = x(offer.seconds.mid) + 6, y(_cost(offer)) - 8
        end = begin + _LETTER * len(text)
        while any(begin < e and b < end and abs(at - h) < _LABEL for b, e, h in placed):
            at -= 1.0
        placed.append((begin, end, at))
        css = "chosen" if offer == chosen else "name"
        drawn.append(
            Markup('<text class="{}" x="{}" y="{}">{}</text>').format(css, px(begin), px(at), text)
        )
    return drawn


def _cost(offer: Offer) -> float:
    assert offer.cost is not None  # noqa: S101 - only priced offers are drawn
    return max(offer.cost.mid, 1e-12)
