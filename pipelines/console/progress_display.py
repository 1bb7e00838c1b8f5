"""A step of a run as a terminal shows it: what is done, how far it is, what it costs and what went wrong."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from millrace.pipelines.console.progress_state import Tally, Tasks

_BAR = 28  # columns


class Display:
    """Three lines at most; rich calls `drawn` several times a second."""

    def __init__(self, label: str, tally: Tally | None, tasks: Tasks | None = None) -> None:
        self._label, self._tally, self._tasks = label, tally, tasks or Tasks()
        self._spinner = Spinner("dots")

    def update(self, tasks: Tasks) -> None:
        """Spark's tasks as they are now."""
        self._tasks = tasks

    @property
    def line(self) -> str:
        """The same facts in one line of text."""
        ahead, more = self._facts()
        return ", ".join([self._label, *ahead, *more])

    def drawn(self) -> RenderableType:
        """What a terminal shows now."""
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, Text(self._label), Text(self._task_counts, style="dim"))
        if self._tally is None:
            return head
        ahead, aside = self._facts()
        total = self._tally.rows_total or 1.0
        rows = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=total, completed=self._tally.rows, width=_BAR)
        rows.add_row(Text(""), bar, Text("  ".join(ahead)))
        details = Table.grid(padding=(0, 2))
        details.add_row(Text(""), Text("  ".join(aside), style="dim"))
        return Group(head, rows, details)

    @property
    def _task_counts(self) -> str:
        tasks = self._tasks
        return f"{tasks.finished} of {tasks.total} tasks" if tasks.total else ""

    def _facts(self) -> tuple[list[str], list[str]]:
        """Return the facts about how far the step is, and further details."""
        if self._tally is not None:
            return self._tally.parts()
        return [self._task_counts] if self._task_counts else [], []
