"""NULL in delimited text: an unquoted cell with the source's ``null`` text.

A quoted cell with that text is the text, so that ``""`` is an empty string where nothing between two
delimiters is NULL. The csv module does not distinguish them: a record that has quotes and such a cell is
parsed once more.
"""

from __future__ import annotations

import re

from millrace.schemas.sources import CsvSource


class Nulls:
    """Finds the NULL cells of a record."""

    def __init__(self, source: CsvSource) -> None:
        quote, escape = source.quote, source.escape if source.escape != source.quote else ""
        self.null, self.marks = source.null, [mark for mark in (quote, escape) if mark]
        self.escaped_null = bool(escape) and escape in source.null
        q, e, d = re.escape(quote), re.escape(escape), re.escape(source.delimiter)
        any_escaped = f"|{e}." if e else ""
        quoted = f"{q}[^{q}{e}]*(?:(?:{q}{q}{any_escaped})[^{q}{e}]*)*{q}" if quote else r"(?!)"
        plain = rf"[^{d}{e}\r\n]*(?:{e}.[^{d}{e}\r\n]*)*" if e else rf"[^{d}\r\n]*"
        self.cell = re.compile(rf"(?:{quoted}|(?P<plain>{plain}))(?:{d}|\r\n|\r|\n|\Z)", re.DOTALL)

    def applied(self, cells: list[str], raw: str) -> list[str | None]:
        """Return the cells of a record, None for those that are NULL; ``raw`` is the record's text."""
        if not any(mark in raw for mark in self.marks):
            return [None if cell == self.null else cell for cell in cells]
        if not self.escaped_null and self.null not in cells:
            return list(cells)
        found: list[str | None] = []
        position = 0
        for cell in cells:
            match = self.cell.match(raw, position)
            if match is None:  # the two parsers disagree: a fault of this file, not of the data
                raise AssertionError(f"cannot find cell {len(found)} again in {raw[:200]!r}")
            found.append(None if match["plain"] == self.null else cell)
            position = match.end()
        return found
