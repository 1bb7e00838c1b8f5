"""Progress of a call, as events for a callback or as a display on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.pipelines.console.progress import Progress

_EVENTS_EVERY_S = 1.0


@dataclass(frozen=True)
class ProgressEvent:
    """One event of a run, as `--log json` writes it: docs/OBSERVABILITY.md lists events and facts."""

    event: str
    message: str
    level: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class TerminalProgress:
    """Progress on the error stream, as the commands show it: a live display, plain lines or JSON.

    ``quiet``: only JSON, where MILLRACE_LOG selects it.
    """

    quiet: bool = False


OnProgress = Callable[[ProgressEvent], object] | TerminalProgress


def progress_of(on_progress: OnProgress | None) -> Progress:
    """Return the progress that calls back, or that the terminal shows; quiet for None."""
    from millrace.pipelines.console.progress import Progress

    if on_progress is None:
        return Progress(quiet=True)
    if isinstance(on_progress, TerminalProgress):
        return Progress.of_command(quiet=on_progress.quiet)

    def write(event: str, message: str, *, level: str = "info", **facts: Any) -> None:
        known = {name: value for name, value in facts.items() if value is not None}
        on_progress(ProgressEvent(event, message, level, known))

    return Progress(write=write, every_s=_EVENTS_EVERY_S)
