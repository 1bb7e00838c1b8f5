"""The host's thread that loads and computes; it joins waiting requests."""

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

from millrace.udfs.backends.gpu_usage import GpuUse, gauge_of
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.batch_joining import JoinLimits, Outputs, joinable, joined, split
from millrace.udfs.host.loading import estimate_bytes, freed, limit_bytes, loaded
from millrace.udfs.host.model_cache import ModelCache, NoRoomYet
from millrace.udfs.host.payload import cost_of
from millrace.udfs.host.protocol import error_message
from millrace.udfs.host.session import Tenant
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.examples import Values
from millrace.udfs.runtime.plan import Runtime

_LOOK_AGAIN_S = 1.0  # whether a model that waits for room has waited for too long


@dataclass(frozen=True)
class ModelKey:
    """A model and how it is run."""

    folder: Path
    digest: str
    runtime: Runtime


@dataclass(eq=False)
class LoadRequest:
    """A client requests that a model is loaded."""

    tenant: Tenant
    key: ModelKey
    since: float


@dataclass(eq=False)
class PredictRequest:
    """A client requests a model's outputs for its rows."""

    tenant: Tenant
    key: ModelKey
    values: Values

    @property
    def cost(self) -> int:
        """Return rows, or padded tokens."""
        rows, longest = cost_of(self.values)
        return rows * longest


@dataclass(eq=False)
class ClientLeft:
    """A client has disconnected."""

    tenant: Tenant


class Computer:
    """Computes requests in order; ``outstanding[0]`` shows clients the amount of waiting work."""

    def __init__(self, place: HostSpec, outstanding: memoryview) -> None:
        self._room_s, self._outstanding = place.room_s, outstanding
        self._limits = JoinLimits(place.join_rows, place.join_tokens)
        limit = limit_bytes(place.device) if place.limit_bytes is None else place.limit_bytes
        self._cache: ModelCache[Model] = ModelCache(limit, place.reserve_bytes, freed)
        self._jobs: deque[LoadRequest | PredictRequest | ClientLeft] = deque()
        self._no_room: list[LoadRequest] = []
        self._looked = 0.0
        self._changed = threading.Condition()

    def put(self, job: LoadRequest | PredictRequest) -> None:
        """Queue a request."""
        with self._changed:
            self._jobs.append(job)
            self._count(job, 1)
            self._changed.notify()

    def drop(self, tenant: Tenant) -> None:
        """Drop a disconnected client: its requests are removed, its models may be evicted."""
        with self._changed:
            for job in [job for job in self._jobs if job.tenant is tenant]:
                self._jobs.remove(job)
                self._count(job, -1)
            self._jobs.append(ClientLeft(tenant))
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
                case LoadRequest() as ensure:
                    self._ensure(ensure)
                case ClientLeft(tenant):
                    self._leave(tenant)
                case _:
                    self._answer([job for job in jobs if isinstance(job, PredictRequest)])

    def _next(self) -> Sequence[LoadRequest | PredictRequest | ClientLeft]:
        """The next job, or the questions that make the next batch; nothing where it is time to look again."""
        with self._changed:
            if not self._jobs:
                self._changed.wait(_LOOK_AGAIN_S if self._no_room else None)
            if not self._jobs:
                return []
            if not isinstance(first := self._jobs[0], PredictRequest):
                return [self._jobs.popleft()]
            alike = [j for j in self._jobs if isinstance(j, PredictRequest) and j.key == first.key]
            batch = [alike[i] for i in joinable([j.values for j in alike], self._limits)]
            for job in batch:
                self._jobs.remove(job)
            return batch

    def _count(self, job: LoadRequest | PredictRequest | ClientLeft, sign: int) -> None:
        if isinstance(job, PredictRequest):
            self._outstanding[0] += sign * job.cost

    def _ensure(self, job: LoadRequest) -> None:
        key, tenant = job.key, job.tenant
        estimate = 0
        try:
            if key not in self._cache.models:
                estimate = estimate_bytes(key.folder, key.runtime)
            model = self._cache.lease(
                key, tenant, estimate, lambda: loaded(key.folder, key.digest, key.runtime)
            )
        except NoRoomYet:
            if time.monotonic() - job.since < self._room_s:
                self._no_room.append(job)
            else:
                tenant.say(error_message(self._cache.too_large(estimate)))
        except Exception as error:  # noqa: BLE001 - whatever loading raises is the client's to raise
            traceback.print_exc()
            tenant.say(error_message(error))
        else:
            tenant.say({"runtime": vars(model.runtime)})

    def _leave(self, tenant: Tenant) -> None:
        self._cache.release(tenant)
        self._retry([job for job in self._no_room if job.tenant is not tenant])

    def _retry(self, jobs: Sequence[LoadRequest]) -> None:
        self._no_room, waiting, self._looked = [], list(jobs), time.monotonic()
        for job in waiting:
            self._ensure(job)

    def _answer(self, questions: Sequence[PredictRequest]) -> None:
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
        questions[0].tenant.say(error_message(failed))
        if (
            type(failed).__name__ == "AcceleratorError"
        ):  # CUDA's state is lost; a new host has a new one
            os._exit(1)

    def _predict(
        self, questions: Sequence[PredictRequest]
    ) -> tuple[list[Outputs], Sequence[GpuUse | None]]:
        """Each question's outputs, and what it took of the GPU, where there is one."""
        model = self._cache.use(questions[0].key)
        rows = [len(question.values) for question in questions]
        gauge = gauge_of(model.runtime)
        with gauge.call() if gauge else nullcontext():
            outputs: Any = model.predict(joined([question.values for question in questions]))
        use = gauge.usage_since_last() if gauge else None
        return split(outputs, rows), use.shares(rows) if use else [None] * len(rows)

    def _done(self, question: PredictRequest) -> None:
        with self._changed:
            self._count(question, -1)
