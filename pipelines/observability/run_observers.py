"""Observers of a run: events at its start and its end, and the lake's metrics after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.observability import metrics, openlineage_events
from millrace.pipelines.observability.openlineage_client import Receiver
from millrace.pipelines.observability.openlineage_events import LineageAttempt, LineageContext
from millrace.pipelines.query.run_details import read
from millrace.schemas.errors import ClaimLost


@dataclass
class Observers:
    """The receivers of an attempt's events and metrics, as the job declares, and failed deliveries."""

    attempt: LineageAttempt
    now: Clock
    receiver: Receiver | None
    warnings: list[str] = field(default_factory=list)

    def began(self) -> None:
        """Send the event of the attempt's start."""
        if self.receiver is not None:
            self._try("OpenLineage event", self._send_start, self.receiver)

    def ended(self) -> None:
        """Send the event of its end and write the metrics, both from the tables."""
        prepared = self.attempt.prepared
        if self.receiver is not None:
            self._try("OpenLineage event", self._send_end, self.receiver)
            if why := self.receiver.close():
                place = self.receiver.shown
                self.warnings.append(f"OpenLineage events did not arrive at {place}: {why}")
        if prepared.job.observe.metrics is not None:
            path = Path(prepared.job.observe.metrics)
            self._try(f"metrics in {path}", metrics.write, prepared.lake, path)

    def _send_start(self, receiver: Receiver) -> None:
        receiver.send(openlineage_events.began(self.attempt, self.now()))

    def _send_end(self, receiver: Receiver) -> None:
        details = read(self.attempt.prepared.lake, self.attempt.run.run_id)
        receiver.send(openlineage_events.ended(self.attempt, details, self.now()))

    def _try(self, what: str, send: Callable[..., object], *arguments: object) -> None:
        try:
            send(*arguments)
        except Exception as error:  # noqa: BLE001 - observation must not fail the run
            self.warnings.append(f"no {what}: {type(error).__name__}: {str(error)[:200]}")


@contextmanager
def observed(
    prepared: PreparedJob, run: Run, progress: Progress, now: Clock
) -> Iterator[list[str]]:
    """Send the attempt's start, and at the end its outcome; yield the warnings of failed deliveries."""
    wanted = prepared.job.observe
    receiver = None
    if wanted.openlineage is not None:
        token = os.environ.get("OPENLINEAGE_API_KEY")
        receiver = Receiver(wanted.openlineage, wanted.openlineage_timeout_s, token)
    observers = Observers(
        LineageAttempt(prepared, run, LineageContext.of(os.environ)), now, receiver
    )
    observers.began()
    try:
        yield observers.warnings
    except ClaimLost:
        raise  # the other driver reports the run
    except BaseException:
        observers.ended()
        for warning in observers.warnings:
            progress.say(f"  {warning}")
        raise
    observers.ended()
