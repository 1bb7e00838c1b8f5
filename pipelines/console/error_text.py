"""An error as one line of text, with or without the values that it quotes."""

from __future__ import annotations

from millrace.pipelines.console.signals import stopped
from millrace.schemas.errors import MillraceError, without_addresses

_LONGEST = 2000  # characters of an event's detail


def one_line(error: BaseException) -> str:
    """Return the error as the table `runs` stores it; a foreign error's text becomes what was got."""
    text = without_addresses(str(error))
    if isinstance(error, KeyboardInterrupt):
        return f"{type(error).__name__}: {stopped(error).what}"
    if text and not isinstance(error, MillraceError):
        text = str(MillraceError("the driver failed", got=text))
    return f"{type(error).__name__}: {text}"[:_LONGEST]


def without_values(error: BaseException) -> str:
    """Return the error without values of rows; of a foreign error only its class."""
    if isinstance(error, MillraceError):
        return one_line(error.unquoted())
    return type(error).__name__
