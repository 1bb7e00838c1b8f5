"""The host's one thread that loads and computes; questions that wait together are computed together."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udfs.decode import Values
from udfs.host.joining import Limits, Outputs, joinable, joined, split
from udfs.host.loading import estimate_bytes, freed, limit_bytes, loaded
from udfs.host.payload import cost_of
from udfs.host.place import HostPlace
from udfs.host.shelf import NoRoomYet, Shelf
from udfs.host.tenant import Tenant
from udfs.host.wire import told
from udfs.models.base import Model
from udfs.models.gpu import GpuUse, gauge_of
from udfs.plan import Runtime

_LOOK_AGAIN_S = 1.0  # whether a model that waits for room has waited for too long


@dataclass(frozen=True)
class Key:
    """Which model, and how it is run."""

    folder: Path
    digest: str
    runtime: Runtime


@dataclass(eq=False)
class Ensure:
    """A client wants a model to be there."""

    tenant: Tenant
    key: Key
    since: float


@dataclass(eq=False)
class Question:
    """A client wants a model's outputs for its rows."""

    tenant: Tenant
    key: Key
    values: Values

    @property
    def cost(self) -> int:
        """Rows, or padded tokens."""
        rows, longest = cost_of(self.values)
        return rows * longest


@dataclass(eq=False)
class Left:
    """A client has gone."""

    tenant: Tenant


class Computer:
    """Takes jobs in their order; ``outstanding[0]`` shows clients how much of them there is."""

    def __init__(self, place: HostPlace, outstanding: memoryview) -> None:
        self._room_s, self._outstanding = place.room_s, outstanding
        self._limits = Limits(place.join_rows, place.join_tokens)
        limit = limit_bytes(place.device) if place.limit_bytes is None else place.limit_bytes
        self._shelf: Shelf[Model] = Shelf(limit, place.reserve_bytes, freed)
        self._jobs: deque[Ensure | Question | Left] = deque()
        self._no_room: list[Ensure] = []
        self._looked = 0.0
        self._changed = threading.Condition()

    def put(self, job: Ensure | Question) -> None:
        """Queue a job."""
        with self._changed:
            self._jobs.append(job)
            self._count(job, 1)
            self._changed.notify()

    def drop(self, tenant: Tenant) -> None:
        """The client is gone: what it asked for is not computed any more, its models may go."""
        with self._changed:
            for job in [job for job in self._jobs if job.tenant is tenant]:
                self._jobs.remove(job)
                self._count(job, -1)
            self._jobs.append(Left(tenant))
            self._changed.notify()

    def run(self) -> None:
        """Compute until the process ends."""
        while True:
            jobs = self._next()
            if self._no_room and time.monotonic() - self._looked > _LOOK_AGAIN_S:
                self._retry(self._no_room)
            if not jobs:
                continue
            match jobs[0]:
                case Ensure() as ensure:
                    self._ensure(ensure)
                case Left(tenant):
                    self._leave(tenant)
                case _:
                    self._answer([job for job in jobs if isinstance(job, Question)])

    def _next(self) -> Sequence[Ensure | Question | Left]:
        """The next job, or the questions that make the next batch; nothing where it is time to look again."""
        with self._changed:
            if not self._jobs:
                self._changed.wait(_LOOK_AGAIN_S if self._no_room else None)
            if not self._jobs:
                return []
            if not isinstance(first := self._jobs[0], Question):
                return [self._jobs.popleft()]
            alike = [j for j in self._jobs if isinstance(j, Question) and j.key == first.key]
            batch = [alike[i] for i in joinable([j.values for j in alike], self._limits)]
            for job in batch:
                self._jobs.remove(job)
            return batch

    def _count(self, job: Ensure | Question | Left, sign: int) -> None:
        if isinstance(job, Question):
            self._outstanding[0] += sign * job.cost

    def _ensure(self, job: Ensure) -> None:
        key, tenant = job.key, job.tenant
        estimate = 0
        try:
            if key not in self._shelf.held:
                estimate = estimate_bytes(key.folder, key.runtime)
            model = self._shelf.lease(
                key, tenant, estimate, lambda: loaded(key.folder, key.digest, key.runtime)
            )
        except NoRoomYet:
            if time.monotonic() - job.since < self._room_s:
                self._no_room.append(job)
            else:
                tenant.say(told(self._shelf.too_large(estimate)))
        except Exception as error:  # noqa: BLE001 - whatever loading raises is the client's to raise
            traceback.print_exc()
            tenant.say(told(error))
        else:
            tenant.say({"runtime": vars(model.runtime)})

    def _leave(self, tenant: Tenant) -> None:
        self._shelf.release(tenant)
        self._retry([job for job in self._no_room if job.tenant is not tenant])

    def _retry(self, jobs: Sequence[Ensure]) -> None:
        self._no_room, waiting, self._looked = [], list(jobs), time.monotonic()
        for job in waiting:
            self._ensure(job)

    def _answer(self, questions: Sequence[Question]) -> None:
        """Compute the questions as one batch; if that fails each by itself, so that only one is to blame."""
        try:
            outputs, uses = self._predict(questions)
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the client's to raise
            failed = error
        else:
            for question, part, use in zip(questions, outputs, uses, strict=True):
                self._done(question)
                question.tenant.answer(part, use)
            return
        if len(questions) > 1:
            for question in questions:
                self._answer([question])
            return
        traceback.print_exception(failed)
        self._done(questions[0])
        questions[0].tenant.say(told(failed))
        if (
            type(failed).__name__ == "AcceleratorError"
        ):  # CUDA's state is lost; a new host has a new one
            os._exit(1)

    def _predict(
        self, questions: Sequence[Question]
    ) -> tuple[list[Outputs], Sequence[GpuUse | None]]:
        """Each question's outputs, and what it took of the GPU, where there is one."""
        model = self._shelf.use(questions[0].key)
        rows = [len(question.values) for question in questions]
        gauge = gauge_of(model.runtime)
        with gauge.call() if gauge else nullcontext():
            outputs: Any = model.predict(joined([question.values for question in questions]))
        use = gauge.taken() if gauge else None
        return split(outputs, rows), use.shares(rows) if use else [None] * len(rows)

    def _done(self, question: Question) -> None:
        with self._changed:
            self._count(question, -1)
