"""Formats of dates and timestamps in a CSV file: strptime's, converted to a pattern and an ISO 8601 text."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator

_PARTS = {
    "%Y": "[0-9]{4}",
    "%m": "[0-9]{1,2}",
    "%d": "[0-9]{1,2}",
    "%H": "[0-9]{1,2}",
    "%M": "[0-9]{1,2}",
    "%S": "[0-9]{1,2}",
    "%f": "[0-9]{1,6}",
    "%z": "Z|[+-][0-9]{2}:?[0-9]{2}",
}
_DAY = ("%Y", "%m", "%d")
_CLOCK = ("%H", "%M", "%S", "%f")  # each needs those before it
_WHY = {
    "%y": "; a year has four digits",
    "%b": "; names of months depend on a language",
    "%B": "; names of months depend on a language",
}


@lru_cache(maxsize=64)
def pattern_of(form: str) -> tuple[str, str]:
    r"""Return the regular expression of a format, and the ISO text of what matches.

    In that text ``\1`` is the first group and so on, and ``~`` is a zero before a number of one digit.
    """
    pieces = [piece for piece in re.split("(%.?)", form, flags=re.DOTALL) if piece]
    names = [piece for piece in pieces if piece in _PARTS]
    # Where no sign parts the numbers, each has all of its digits: 20260301.
    numbers = _PARTS.keys() - {"%z"}
    is_dense = any(a in numbers and (b in numbers or b[0].isdigit()) for a, b in pairwise(pieces))
    digits = ("{1,2}", "{2}") if is_dense else ("", "")
    pattern = "".join(
        f"({_PARTS[piece].replace(*digits)})"
        if piece in _PARTS
        else re.escape("%" if piece == "%%" else piece)
        for piece in pieces
    )
    at = {name: rf"\{names.index(name) + 1}" for name in names}
    iso = f"{at['%Y']}-~{at['%m']}-~{at['%d']}"
    if "%H" in at:
        iso += f" ~{at['%H']}:~{at.get('%M', '0')}:~{at.get('%S', '0')}"
    iso += f".{at['%f']}" if "%f" in at else ""
    return pattern, iso + at.get("%z", "")


def _checked(form: str, allowed: tuple[str, ...]) -> str:
    """Raise ValueError for a format that leaves a part of the day open, or has a part that is not read."""
    found = [piece for piece in re.findall("%.?", form, flags=re.DOTALL) if piece != "%%"]
    for piece in found:
        if piece not in allowed:
            raise ValueError(
                f"{piece} is not read{_WHY.get(piece, '')}; allowed: {', '.join(allowed)}"
            )
    if twice := [piece for piece in found if found.count(piece) > 1]:
        raise ValueError(f"{twice[0]} stands twice")
    if missing := [piece for piece in _DAY if piece not in found]:
        raise ValueError(f"{', '.join(missing)} is missing: a day has a year, a month and a day")
    clock = [piece for piece in _CLOCK if piece in found]
    if clock != [*_CLOCK[: len(clock)]]:
        raise ValueError(f"{clock[-1]} needs {', '.join(_CLOCK[: _CLOCK.index(clock[-1])])}")
    if "%z" in found and not clock:
        raise ValueError("%z needs %H")
    return form


DateFormat = Annotated[str, AfterValidator(lambda form: _checked(form, _DAY))]
TimestampFormat = Annotated[
    str, AfterValidator(lambda form: _checked(form, (*_DAY, *_CLOCK, "%z")))
]
