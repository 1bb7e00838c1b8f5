"""The one grammar for durations on the command line: ``7d``, ``36h``, ``1h30m``, ``90s``."""

from __future__ import annotations

import re
from datetime import timedelta

from millrace.schemas.errors import UsageError

_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_GRAMMAR = re.compile(rf"(?:(\d{{1,5}})d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


def parse_duration(text: str, option: str) -> timedelta:
    """Return the duration that a text states: days, hours, minutes and seconds, in this order.

    Args:
        text: For example ``90s``, ``1.5m``, ``1h30m`` or ``7d``; days are whole.
        option: The option's name, for the message.

    Raises:
        UsageError: The text states no duration above zero.
    """
    match = _GRAMMAR.fullmatch(text.strip())
    numbers = [float(part or 0) for part in match.groups()] if match else [0.0]
    if not any(numbers):
        raise UsageError(
            f"{option} is not a duration",
            got=text,
            allowed="days, hours, minutes, seconds: 7d, 36h, 1h30m, 90s",
        )
    days, hours, minutes, seconds = numbers
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
