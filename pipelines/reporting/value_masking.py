"""A value in words that do not give it away: its type, its length, the kinds of characters in it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millrace.schemas.signatures import KINDS
from millrace.schemas.tables import PAYLOAD_CELL_BYTES

_CLASSES = {  # by the first letter of Unicode's general category
    "L": "letters",
    "M": "accents",
    "N": "digits",
    "Z": "spaces",
    "P": "punctuation",
    "S": "symbols",
    "C": "control characters",
}


@dataclass(frozen=True)
class Kind:
    """What values that look alike have in common; ``of`` is what their length counts, or empty."""

    name: str
    of: str = ""
    classes: tuple[str, ...] = ()


# What quarantine has in place of a value (pipelines/validation/quarantine.py): its size and hash,
# or its hash alone.
_CONTENTS = {  # by what it says of a binary value's content
    **{kind: Kind(kind, "byte") for kind in KINDS},
    "empty": Kind("empty binary"),
    "text": Kind("text in UTF-8", "byte"),
    "binary": Kind("binary", "byte"),
}
_SIZED = re.compile(rf"(\d+) bytes, sha256 [0-9a-f]{{16}}(?:, ({'|'.join(_CONTENTS)}))?")
_REDACTED = re.compile(r"sha256 [0-9a-f]{16}")


def kind_of(value: Any) -> tuple[Kind, int]:
    """The kind of a value of JSON, and its length in what the kind says; 0 where it has none."""
    if value is None:
        return Kind("null"), 0
    if isinstance(value, bool):
        return Kind("true or false"), 0
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    return Kind("list" if isinstance(value, list) else "object", "part"), len(value)


def kind_text(kind: Kind, lengths: Sequence[int]) -> str:
    """The kind in words, with the shortest and the longest of these lengths."""
    if not kind.of:
        return kind.name
    least, most = min(lengths), max(lengths)
    counted = f"{most:,} {kind.of}" if least == most else f"{least:,} to {most:,} {kind.of}"
    text = f"{kind.name}, {counted}{'' if most == 1 else 's'}"
    return f"{text}: {', '.join(kind.classes)}" if kind.classes else text


def shape(value: Any) -> str:
    """One value's kind and length in words."""
    kind, length = kind_of(value)
    return kind_text(kind, [length])


def _number(value: float) -> tuple[Kind, int]:
    if isinstance(value, float) and not math.isfinite(value):
        return Kind("not a finite number"), 0
    sign = "negative " if value < 0 else ""
    whole = f"{abs(value):.0f}" if isinstance(value, float) else str(abs(value))
    name = "number with a fraction" if value != int(value) else "whole number"
    return Kind(sign + name, "digit"), len(whole)


def _text(value: str) -> tuple[Kind, int]:
    if not value:
        return Kind("empty text"), 0
    if sized := _SIZED.fullmatch(value):
        size = int(sized[1])
        if content := sized[2]:
            return _CONTENTS[content], size
        # Of texts, and in older lakes; a text has a hash only where it is larger than that.
        return Kind("binary" if size <= PAYLOAD_CELL_BYTES else "binary or long text", "byte"), size
    if _REDACTED.fullmatch(value):
        return Kind("redacted"), 0
    found = {unicodedata.category(character)[0] for character in value}
    classes = tuple(name for letter, name in _CLASSES.items() if letter in found)
    return Kind("text", "character", classes), len(value)
