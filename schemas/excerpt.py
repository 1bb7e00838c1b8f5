"""A place in a text, shown: line, column, and a caret below; what cannot be seen is spelled out."""

from __future__ import annotations

import unicodedata

_AROUND = 60  # characters shown on each side of a place


def excerpt(text: str, start: int, end: int) -> str:
    """Where characters ``start`` to ``end`` (exclusive, from 0) of the text are, in three lines.

    The text is not trusted: control characters and those that turn the direction of writing are shown
    as escapes, and of a long line only what surrounds the place.
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
    """What a name holds beside ASCII, spelled out: letters that look like others are not those."""
    odd = dict.fromkeys(char for char in name if not char.isascii())
    told = [f"U+{ord(char):04X} {unicodedata.name(char, 'without a name')}" for char in odd]
    return f" (it holds {', '.join(told[:3])})" if told else ""


def shown(text: str) -> str:
    """The text with what a terminal would not print, or would turn round, as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
