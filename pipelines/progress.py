"""What a run is doing now, on the terminal's error stream: a live line there, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession
from rich.console import Console

from pipelines import place
from pipelines.task_times import tagged

_Update = Callable[[str], None]
_REFRESH_S = 0.5
_PLAIN_EVERY_S = 30.0


class Progress:
    """Shows the steps of a run as they pass; ``quiet`` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            self._console.print(text)

    @contextmanager
    def waiting(self, label: str) -> Iterator[None]:
        """Show ``label`` while something else than Spark works, then how long it took."""
        started = time.monotonic()
        with self._live(label):
            yield
        self.say(f"  {label} [dim]{time.monotonic() - started:.1f} s[/dim]")

    @contextmanager
    def step(self, spark: SparkSession, run_id: str, name: str, label: str) -> Iterator[None]:
        """Tag Spark's jobs inside with run and ``name`` (the ledger reads it); show the tasks done."""
        done, started = threading.Event(), time.monotonic()
        with tagged(spark, run_id, name), self._live(label) as update:
            watcher = threading.Thread(
                target=_watch, args=(spark, label, update, done), daemon=True
            )
            if not self.quiet:
                watcher.start()
            try:
                yield
            finally:
                done.set()
                if watcher.is_alive():
                    watcher.join()
        self.say(f"  {label} [dim]{time.monotonic() - started:.1f} s[/dim]")

    @contextmanager
    def _live(self, label: str) -> Iterator[_Update]:
        if self.quiet:
            yield lambda _: None
        elif self._console.is_terminal:
            with self._console.status(label) as status:
                yield status.update
        else:
            yield _plain(self._console)


def _plain(console: Console) -> _Update:
    last = time.monotonic()

    def update(text: str) -> None:
        nonlocal last
        if time.monotonic() - last > _PLAIN_EVERY_S:
            last = time.monotonic()
            console.print(f"  {text}")

    return update


def _watch(spark: SparkSession, label: str, update: _Update, done: threading.Event) -> None:
    with place.counting(spark) as tasks:
        while not done.wait(_REFRESH_S):
            finished, total = tasks()
            update(f"{label} [dim]{finished} of {total} tasks[/dim]" if total else label)
