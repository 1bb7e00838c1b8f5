"""What tells others of a run: events at its start and its end, and the lake's metrics after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import events, metrics
from pipelines.events import Around, Attempt
from pipelines.facts import read
from pipelines.progress import Progress
from pipelines.receiver import Receiver
from pipelines.runs import Clock, Run
from pipelines.work import Work
from schemas.errors import ClaimLost


@dataclass
class Observers:
    """Those who are told of an attempt, as the job says, and what could not be told them."""

    attempt: Attempt
    now: Clock
    receiver: Receiver | None
    warnings: list[str] = field(default_factory=list)

    def began(self) -> None:
        """Tell that the attempt began."""
        if self.receiver is not None:
            self._try("OpenLineage event", self._send_start, self.receiver)

    def ended(self) -> None:
        """Tell how it ended, by the tables."""
        work = self.attempt.work
        if self.receiver is not None:
            self._try("OpenLineage event", self._send_end, self.receiver)
            if why := self.receiver.close():
                place = self.receiver.shown
                self.warnings.append(f"OpenLineage events did not arrive at {place}: {why}")
        if work.job.observe.metrics is not None:
            path = Path(work.job.observe.metrics)
            self._try(f"metrics in {path}", metrics.write, work.lake, path)

    def _send_start(self, receiver: Receiver) -> None:
        receiver.send(events.began(self.attempt, self.now()))

    def _send_end(self, receiver: Receiver) -> None:
        facts = read(self.attempt.work.lake, self.attempt.run.run_id)
        receiver.send(events.ended(self.attempt, facts, self.now()))

    def _try(self, what: str, tell: Callable[..., object], *told: object) -> None:
        try:
            tell(*told)
        except Exception as error:  # noqa: BLE001 - the run counts, not what is told of it
            self.warnings.append(f"no {what}: {type(error).__name__}: {str(error)[:200]}")


@contextmanager
def observed(work: Work, run: Run, progress: Progress, now: Clock) -> Iterator[list[str]]:
    """Tell that the attempt began, and at the end how it ended; what could not be told, once it is over."""
    wanted = work.job.observe
    receiver = None
    if wanted.openlineage is not None:
        token = os.environ.get("OPENLINEAGE_API_KEY")
        receiver = Receiver(wanted.openlineage, wanted.openlineage_timeout_s, token)
    observers = Observers(Attempt(work, run, Around.of(os.environ)), now, receiver)
    observers.began()
    try:
        yield observers.warnings
    except ClaimLost:
        raise  # another driver tells of the run
    except BaseException:
        observers.ended()
        for warning in observers.warnings:
            progress.say(f"  {warning}")
        raise
    observers.ended()
