"""The profile of a column: counts, bounds and shapes. Profiles of parts can be merged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

MOST_VALUES = 50  # most distinct values that a profile stores; with more it stores none
LONGEST_VALUE = 100  # characters of a stored value
MOST_SKELETONS = 3


@dataclass(frozen=True)
class ColumnProfile:
    """The profile of a column in some rows. A bound is None if no value had one."""

    rows: int = 0
    nulls: int = 0
    least: Any = None  # numbers as they are, decimals, dates and times as text
    most: Any = None
    not_finite: int = 0  # NaN and the infinities; they are in no bound
    whole: bool = True  # all numbers are integers
    shortest: int | None = None  # characters, bytes or elements
    longest: int | None = None
    blank: int = 0  # texts of nothing but spaces; binaries of nothing but zeros
    garbled: int = 0  # texts with a match of GARBAGE
    inner_nulls: int = 0  # elements of arrays that are null
    inner_not_finite: int = 0
    repeated: bool = False  # some value stands there twice
    values: tuple[Any, ...] | None = ()  # the distinct ones; None: too many, or too long
    skeletons: (
        tuple[str, ...] | None
    ) = ()  # texts with A for capitals, a for small letters, 9 for digits
    heads: tuple[str, ...] | None = ()  # the first bytes, as hex
    shapes: tuple[str, ...] | None = None  # SHAPES that every text has; None: there was no text

    @property
    def present(self) -> int:
        """Return the number of rows with a value."""
        return self.rows - self.nulls

    def as_json(self) -> str:
        """Return the JSON that `of_json` reads."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_json(text: str) -> ColumnProfile:
        """Return the profile that `as_json` wrote."""
        about: dict[str, Any] = json.loads(text)
        for name, value in about.items():
            about[name] = tuple(value) if isinstance(value, list) else value
        return ColumnProfile(**about)


def merged(one: ColumnProfile, other: ColumnProfile) -> ColumnProfile:
    """Return the profile of the rows of both. Values in both are repeated, as far as values are known."""
    both = set(one.values or ()) & set(other.values or ())
    return ColumnProfile(
        rows=one.rows + other.rows,
        nulls=one.nulls + other.nulls,
        not_finite=one.not_finite + other.not_finite,
        blank=one.blank + other.blank,
        garbled=one.garbled + other.garbled,
        inner_nulls=one.inner_nulls + other.inner_nulls,
        inner_not_finite=one.inner_not_finite + other.inner_not_finite,
        least=_chosen(min, one.least, other.least),
        most=_chosen(max, one.most, other.most),
        whole=one.whole and other.whole,
        shortest=_chosen(min, one.shortest, other.shortest),
        longest=_chosen(max, one.longest, other.longest),
        repeated=one.repeated or other.repeated or bool(both),
        values=_united(one.values, other.values, MOST_VALUES),
        skeletons=_united(one.skeletons, other.skeletons, MOST_SKELETONS),
        heads=_united(one.heads, other.heads, MOST_SKELETONS),
        shapes=_common(one.shapes, other.shapes),
    )


def _chosen(choose: Any, one: Any, other: Any) -> Any:
    found = [value for value in (one, other) if value is not None]
    return choose(found, key=_ordered) if found else None


def _ordered(value: Any) -> Any:
    """Decimals are texts here, and 10 comes after 9."""
    from decimal import Decimal, InvalidOperation

    if not isinstance(value, str):
        return value
    try:
        return Decimal(value)
    except InvalidOperation:
        return value


def _united(one: Any, other: Any, most: int) -> Any:
    if one is None or other is None:
        return None
    both = tuple(dict.fromkeys((*one, *other)))
    return both if len(both) <= most else None


def _common(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return tuple(shape for shape in one if shape in other)
