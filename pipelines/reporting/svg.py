"""Helpers of every SVG chart: coordinates, and texts with an isolated writing direction."""

from __future__ import annotations

from markupsafe import Markup, escape


def px(value: float) -> str:
    """Return a number in units of the picture with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def isolated(text: str) -> Markup:
    """Escape a text, and isolate its writing direction from the texts around it."""
    return Markup("\u2068{}\u2069").format(escape(text))
