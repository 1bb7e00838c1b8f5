"""A step of a run as a terminal shows it: what is done, how far it is, what it costs and what went wrong."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipelines.tally import Tally, Tasks

_BAR = 28  # columns


class Display:
    """Three lines at most; `drawn` is asked for them several times a second."""

    def __init__(self, label: str, tally: Tally | None, tasks: Tasks | None = None) -> None:
        self._label, self._tally, self._tasks = label, tally, tasks or Tasks()
        self._spinner = Spinner("dots")

    def update(self, tasks: Tasks) -> None:
        """Spark's tasks as they are now."""
        self._tasks = tasks

    @property
    def line(self) -> str:
        """The same facts in one line of text."""
        ahead, beside = self._told()
        return ", ".join([self._label, *ahead, *beside])

    def drawn(self) -> RenderableType:
        """What a terminal shows now."""
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, Text(self._label), Text(self._told_tasks, style="dim"))
        if self._tally is None:
            return head
        ahead, aside = self._told()
        total = self._tally.rows_total or 1.0
        rows = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=total, completed=self._tally.rows(self._tasks), width=_BAR)
        rows.add_row(Text(""), bar, Text("  ".join(ahead)))
        beside = Table.grid(padding=(0, 2))
        beside.add_row(Text(""), Text("  ".join(aside), style="dim"))
        return Group(head, rows, beside)

    @property
    def _told_tasks(self) -> str:
        tasks = self._tasks
        return f"{tasks.finished} of {tasks.total} tasks" if tasks.total else ""

    def _told(self) -> tuple[list[str], list[str]]:
        """What is said of how far it is, and what beside that."""
        if self._tally is not None:
            return self._tally.parts(self._tasks)
        return [self._told_tasks] if self._told_tasks else [], []
