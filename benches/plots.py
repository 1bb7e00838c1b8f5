"""Bars as an SVG file that needs nothing else: no script, no font, no style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LABELS, BARS, ROOM = 250, 480, 110  # units: names on the left, the longest bar, its figure
LINE, THICK, HEAD = 24, 16, 40
SVG = "http://www.w3.org/2000/svg"  # the format's name, not a place to fetch from
COLOURS = {
    "loop": "#8a8f98",
    "tuned": "#5b6270",
    "spark": "#b58a3c",
    "peer": "#c9a86a",
    "millrace": "#1f6f8b",
}


@dataclass(frozen=True)
class Bar:
    """One line: a name, its value, how the value is written, and the kind that colours it."""

    name: str
    value: float
    text: str
    kind: str


def bars(title: str, lines: Sequence[Bar]) -> str:
    """One bar a line from the left edge on, as long as its value's share of the largest."""
    largest = max((line.value for line in lines), default=0.0) or 1.0
    width, height = LABELS + BARS + ROOM, HEAD + LINE * len(lines) + 8
    look = 'font-family="system-ui, sans-serif" font-size="13"'
    drawn = [_line(at, line, BARS * line.value / largest) for at, line in enumerate(lines)]
    return "\n".join(
        [
            f'<svg xmlns="{SVG}" viewBox="0 0 {width} {height}" role="img" {look}>',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="8" y="22" font-weight="600" fill="#1c2430">{escape(title)}</text>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def _line(at: int, line: Bar, length: float) -> str:
    top = HEAD + LINE * at
    base = top + THICK - 4
    return (
        f'<text x="{LABELS - 8}" y="{base}" text-anchor="end" fill="#1c2430">{escape(line.name)}</text>'
        f'<rect x="{LABELS}" y="{top}" width="{max(length, 1):.1f}" height="{THICK}" '
        f'fill="{COLOURS[line.kind]}"/>'
        f'<text x="{LABELS + length + 6:.1f}" y="{base}" fill="#1c2430">{escape(line.text)}</text>'
    )
