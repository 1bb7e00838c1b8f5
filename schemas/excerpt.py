"""Shows a place in a text: line, column, and a caret; invisible characters are spelled out."""

from __future__ import annotations

import unicodedata

_AROUND = 60  # characters shown on each side of a place


def excerpt(text: str, start: int, end: int) -> str:
    """Show where characters ``start`` to ``end`` (exclusive, from 0) of the text are, in three lines.

    The text is untrusted: control characters, and those that change the direction of writing, are
    escaped, and a long line is shortened.
    """
    start = max(0, min(start, len(text)))
    begins = text.rfind("\n", 0, start) + 1
    ends = text.find("\n", start)
    ends = len(text) if ends < 0 else ends
    end = max(start + 1, min(end, ends))
    left, right = max(begins, start - _AROUND), min(ends, end + _AROUND)
    before = ("..." if left > begins else "") + shown(text[left:start])
    marked = shown(text[start:end])
    after = shown(text[end:right]) + ("..." if right < ends else "")
    width = max(1, min(_width(marked), _AROUND))
    line = text.count("\n", 0, start) + 1
    return (
        f"  line {line}, column {start - begins + 1}:\n"
        f"    {before}{marked}{after}\n"
        f"    {' ' * _width(before)}{'^' * width}"
    )


def unusual(name: str) -> str:
    """Return the non-ASCII characters of a name, spelled out: some look like ASCII letters."""
    odd = dict.fromkeys(char for char in name if not char.isascii())
    characters = [f"U+{ord(char):04X} {unicodedata.name(char, 'without a name')}" for char in odd]
    return f" (it holds {', '.join(characters[:3])})" if characters else ""


def shown(text: str) -> str:
    """Escape the characters that a terminal does not print, or that change the direction of writing."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
