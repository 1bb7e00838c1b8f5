"""Suggested rules of numbers, dates and timestamps: ranges around the values that were seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Any

from millrace.udfs.readers.column_profile import ColumnProfile

MARGIN = 0.1  # of the observed range, on each side
ROWS_PER_VALUE = 10  # that a value must have had, on average, for the set to look complete
ROWS_FOR_EXACT = 50  # before what was always the same is taken for a rule
_DAYS = 365
IDENTIFIER = re.compile(r"(?:^|[_ -])(?:id|key|uuid|guid|index|no|nr|line)$|Id$|ID$")
INTEGERS = ("tinyint", "smallint", "int", "bigint")


def number_rules(
    name: str, column: str, kind: str, about: ColumnProfile
) -> Iterator[tuple[str, str, str]]:
    """Yield name, predicate and reason of each rule of a column of numbers."""
    if about.least is None:
        return
    least, most = Decimal(str(about.least)), Decimal(str(about.most))
    low, high, why = _widened(least, most, about, whole=about.whole and kind in INTEGERS)
    if kind in INTEGERS and IDENTIFIER.search(name) and not about.repeated:
        if least >= 0:
            yield (
                "range",
                f"{column} >= 0",
                f"{_n(least)} to {_n(most)} seen: identifiers grow, none is negative",
            )
        return
    low, high = _within(low, kind), _within(high, kind)
    finite = f"{column} BETWEEN {_number(low, kind)} AND {_number(high, kind)}"
    if about.not_finite:
        yield (
            "range",
            f"isnan({column}) OR {finite}",
            f"{why}; {about.not_finite:,} NaN or infinite",
        )
        return
    only = "; NaN and infinities are outside" if kind in ("float", "double") else ""
    yield "range", finite, why + only
    if kind in ("float", "double") and about.whole and about.present >= ROWS_FOR_EXACT:
        yield (
            "whole",
            f"{column} = floor({column})",
            f"all {about.present:,} values are whole numbers",
        )


def _widened(
    least: Decimal, most: Decimal, about: ColumnProfile, *, whole: bool
) -> tuple[Decimal, Decimal, str]:
    """Bounds around those that were seen, and why these."""
    seen = f"{_n(least)} to {_n(most)} seen"
    values = about.values
    if (
        whole
        and values is not None
        and len(values) == most - least + 1
        and about.present >= (ROWS_PER_VALUE * len(values))
    ):
        return (
            least,
            most,
            f"every whole number from {_n(least)} to {_n(most)} occurs, and no other",
        )
    if least >= 0 and most <= 1 and not whole:
        return Decimal(0), Decimal(1), f"{seen}: a share"
    width = (most - least) or abs(most) or Decimal(1)
    margin = width * Decimal(str(MARGIN))
    low, high = least - margin, most + margin
    if whole:
        low, high = Decimal(floor(low)), Decimal(ceil(high))
    reason = f"{seen}, and {MARGIN:.0%} of the range on each side"
    if least >= 0 > low:
        return Decimal(0), high, f"{reason}, but none was negative"
    return low, high, reason


def _within(bound: Decimal, kind: str) -> Decimal:
    """The bound inside of what the type can hold: a literal beyond would change the comparison's type."""
    bits = {"tinyint": 7, "smallint": 15, "int": 31, "bigint": 63}.get(kind)
    if bits is None:
        return bound
    return max(min(bound, Decimal(2**bits - 1)), Decimal(-(2**bits)))


def _number(bound: Decimal, kind: str) -> str:
    if kind in ("float", "double"):
        return f"{float(f'{float(bound):.6g}') if abs(bound) > 0 else 0.0!r}D"
    if kind in INTEGERS:
        return f"{int(bound)}"
    return f"{bound.normalize():f}"


def date_rules(column: str, about: ColumnProfile) -> Iterator[tuple[str, str, str]]:
    """Yield the range of a column of dates."""
    yield from _between(column, about, "DATE", date.fromisoformat)


def timestamp_rules(column: str, about: ColumnProfile) -> Iterator[tuple[str, str, str]]:
    """Yield the range of a column of timestamps, with or without a zone."""
    zone = "+" in str(about.least)[10:]
    yield from _between(
        column, about, "TIMESTAMP" if zone else "TIMESTAMP_NTZ", datetime.fromisoformat
    )


def _between(
    column: str, about: ColumnProfile, kind: str, read: Callable[[str], Any]
) -> Iterator[tuple[str, str, str]]:
    if about.least is None:
        return
    least, most = read(about.least), read(about.most)
    margin = max(timedelta(days=_DAYS), MARGIN * (most - least))
    try:
        low, high = least - margin, most + margin
    except OverflowError:
        return
    holds = f"{column} BETWEEN {kind} '{low}' AND {kind} '{high}'"
    yield "range", holds, f"{least} to {most} seen, and {margin.days:,} days on each side"


def _n(number: Decimal) -> str:
    return (
        f"{float(number):g}" if abs(number) >= 10**15 or number != int(number) else f"{int(number)}"
    )
