"""What a run is doing now, on the terminal's error stream: live there, plain lines or JSON elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from millrace.pipelines.console import structured_log
from millrace.pipelines.console.progress_display import Display
from millrace.pipelines.console.progress_state import Tally, Tasks
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.job_tags import tagged

_Update = Callable[[Tasks], None]
_REFRESH_S = 0.5
PLAIN_EVERY_S = 30.0


class Progress:
    """Show the steps of a run as they pass; ``quiet`` shows nothing.

    ``as_json``: as objects, a line each, with the run's id once it is known. ``write`` gets these objects
    instead: event, message, level and facts.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        as_json: bool = False,
        every_s: float = PLAIN_EVERY_S,
        write: Callable[..., None] | None = None,
    ) -> None:
        self._write = write or (structured_log.write if as_json else None)
        self.quiet, self._every_s = quiet and self._write is None, every_s
        self._console = Console(stderr=True, highlight=False)
        self._run_id: str | None = None

    @staticmethod
    def of_command(*, quiet: bool) -> Progress:
        """Return the progress of a command: JSON where --log or MILLRACE_LOG selects it."""
        return Progress(quiet=quiet, as_json=structured_log.is_enabled())

    def about(self, run_id: str) -> None:
        """From now on it is about this run."""
        self._run_id = run_id

    def say(self, text: str, logged: str | None = None) -> None:
        """One line; ``logged`` is what machines get of it, where it may quote a row."""
        self._say(escape(text), "note", (logged or text).strip())

    def tell(self, event: str, message: str, **facts: Any) -> None:
        """What only a log for machines says."""
        if self._write is not None:
            self._write(event, message, run_id=self._run_id, **facts)

    @contextmanager
    def waiting(self, label: str) -> Iterator[None]:
        """Show ``label`` while something else than Spark works, then how long it took."""
        started = time.monotonic()
        with self._live(label, None):
            yield
        self._ended(label, None, started)

    @contextmanager
    def step(
        self, spark: SparkSession, run_id: str, name: str, label: str, tally: Tally | None = None
    ) -> Iterator[None]:
        """Tag Spark's jobs inside with run and ``name`` (the ledger reads it); show how far they are."""
        done, started = threading.Event(), time.monotonic()
        with tagged(spark, run_id, name), self._live(label, tally) as update:
            watcher = threading.Thread(
                target=_watch, args=(spark, tally, update, done), daemon=True
            )
            if not self.quiet:
                watcher.start()
            try:
                yield
            finally:
                done.set()
                if watcher.is_alive():
                    watcher.join()
        self._ended(label, tally, started)

    def _say(self, marked: str, event: str, plain: str, **facts: Any) -> None:
        if self._write is not None:
            self.tell(event, plain, **facts)
        elif not self.quiet:
            self._console.print(marked, soft_wrap=not self._console.is_terminal)

    def _ended(self, label: str, tally: Tally | None, started: float) -> None:
        """That a step has ended, and with which figures."""
        past_s = time.monotonic() - started
        known = {} if tally is None else tally.facts()
        self._say(
            f"  {escape(label)} [dim]{past_s:.1f} s[/dim]",
            "step",
            label,
            seconds=round(past_s, 3),
            **known,
        )

    @contextmanager
    def _live(self, label: str, tally: Tally | None) -> Iterator[_Update]:
        if self.quiet:
            yield lambda _: None
        elif self._console.is_terminal and self._write is None:
            display = Display(label, tally)
            with Live(
                get_renderable=display.drawn, console=self._console, transient=True,
                refresh_per_second=4,
            ):  # fmt: skip
                yield display.update
        else:
            yield self._now_and_then(label, tally)

    def _now_and_then(self, label: str, tally: Tally | None) -> _Update:
        last = time.monotonic()

        def update(tasks: Tasks) -> None:
            nonlocal last
            if time.monotonic() - last > self._every_s:
                last = time.monotonic()
                known = {"tasks_done": tasks.finished, "tasks_total": tasks.total}
                known |= {} if tally is None else tally.facts()
                self._say(
                    f"  {escape(Display(label, tally, tasks).line)}", "progress", label, **known
                )

        return update


def _watch(
    spark: SparkSession, tally: Tally | None, update: _Update, done: threading.Event
) -> None:
    with cluster.counting(spark) as counted:
        while True:  # once at least, however short the step is
            tasks = Tasks(*counted())
            if tally is not None:
                tally.look()
                tally.retried = tasks.failed
            update(tasks)
            if done.wait(_REFRESH_S):
                return
