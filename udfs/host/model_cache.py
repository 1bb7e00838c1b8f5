"""The models of a host, within a memory limit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from millrace.schemas.errors import RunFailed

M = TypeVar("M")


@dataclass
class CachedModel(Generic[M]):
    """A loaded model and the tenants that lease it."""

    model: M
    size_bytes: int
    used: int  # a counter: the least recently used has the smallest
    tenants: set[Hashable] = field(default_factory=set)


class NoRoomYet(Exception):
    """The model will fit when other models are no longer leased."""


class ModelCache(Generic[M]):
    """Models by key; unleased ones are evicted for new ones, least recently used first.

    A model is admitted if loaded models, the reserve and its estimate are within the limit.
    """

    def __init__(self, limit_bytes: int, reserve_bytes: int, free: Callable[[], None]) -> None:
        self.models: dict[Hashable, CachedModel[M]] = {}
        self._limit, self._reserve, self._free = limit_bytes, reserve_bytes, free
        self._clock = 0

    def lease(
        self,
        key: Hashable,
        tenant: Hashable,
        estimate_bytes: int,
        load: Callable[[], tuple[M, int]],
    ) -> M:
        """Return the model; it stays loaded while a tenant leases it.

        Args:
            load: loads the model; returns it and its size in bytes.

        Raises:
            RunFailed: the model is too large by itself.
            NoRoomYet: the model must wait for others.
        """
        if key not in self.models:
            if evicted := self._to_evict(key, estimate_bytes):
                for other in evicted:
                    del self.models[other]
                self._free()
            self.models[key] = CachedModel(*load(), used=0)
        self.models[key].tenants.add(tenant)
        return self.use(key)

    def use(self, key: Hashable) -> M:
        """Return the model and mark it as the most recently used."""
        self._clock += 1
        self.models[key].used = self._clock
        return self.models[key].model

    def release(self, tenant: Hashable) -> None:
        """End all leases of a tenant; its models stay until their memory is needed."""
        for one in self.models.values():
            one.tenants.discard(tenant)

    def report(self, estimate_bytes: int) -> str:
        """Describe needed, reserved and used memory."""
        sizes = ", ".join(
            f"{one.size_bytes:,} ({len(one.tenants)} leases)" for one in self.models.values()
        )
        return f"{estimate_bytes:,} bytes needed, {self._reserve:,} reserved, held: {sizes or 'nothing'}"

    def too_large(self, estimate_bytes: int) -> RunFailed:
        """Return the error for a model without room, with the numbers."""
        return RunFailed(
            "the host has no memory for the model",
            got=self.report(estimate_bytes),
            allowed=f"{self._limit:,} bytes on the device",
            next="raise the host's limit, take a lower precision, or run fewer models at once",
        )

    def _to_evict(self, key: Hashable, estimate_bytes: int) -> list[Hashable]:
        """Return the models to evict before ``key`` fits."""
        if self._reserve + estimate_bytes > self._limit:
            raise self.too_large(estimate_bytes)
        evicted: list[Hashable] = []
        unleased = ((k, one) for k, one in self.models.items() if not one.tenants)
        queue = sorted(unleased, key=lambda pair: pair[1].used)
        while self._total(evicted) + self._reserve + estimate_bytes > self._limit:
            if not queue:
                raise NoRoomYet(key)
            evicted.append(queue.pop(0)[0])
        return evicted

    def _total(self, without: Iterable[Hashable]) -> int:
        gone = set(without)
        return sum(one.size_bytes for key, one in self.models.items() if key not in gone)
